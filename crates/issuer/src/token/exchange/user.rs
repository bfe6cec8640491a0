use vestibule_containment::Path;
use vestibule_inbound::users::{UserToken, UserTokenError, UserTokenKind};
use vestibule_model::TokenId;

use super::super::{Asked, TokenResponse, asker::Asker, mint::Granted};
use crate::{Issuer, OAuthError, Reason};

impl Issuer {
    /// An agent asks for a root that acts for a human, whose token it shows. The client is the actor: there is no actor
    /// token, and the chain begins with the agent.
    ///
    /// The attack: an agent, or whoever finds the token of a human, presents it to act for them. So it must have been
    /// issued to or for this very agent.
    pub(super) async fn for_user(
        &self,
        asked: Asked<'_>,
        token: &str,
        kind: UserTokenKind,
    ) -> Result<TokenResponse, OAuthError> {
        // First, so that no stranger makes us ask the human's issuer for its keys.
        let asker = self.asker(asked).await?;
        let granted = async {
            let (granted, shown) = self.on_behalf(asked, &asker, token, kind).await?;
            self.mint(granted).map(|response| response.resting_on(shown.or(asker.token.clone())))
        };
        granted.await.map_err(|error| error.of(&asker.agent.id))
    }

    async fn on_behalf(
        &self,
        asked: Asked<'_>,
        asker: &Asker,
        token: &str,
        kind: UserTokenKind,
    ) -> Result<(Granted, Option<TokenId>), OAuthError> {
        let user = self.users.verify(token, kind).await.map_err(refused)?;
        if !user.is_for(&asker.agent.id) {
            let cause = format!("a token of `{}`", user.user.id.issuer);
            return Err(OAuthError::new(Reason::UserTokenNotForClient, cause));
        }
        // One without a `jti` is revoked with its user, session or client.
        let issuer = &user.user.id.issuer;
        let shown = user.grant.jti.as_ref().map(|jti| TokenId::foreign(issuer, jti)).transpose();
        let shown = shown.map_err(|error| OAuthError::new(Reason::UserTokenMalformed, error))?;
        self.stands(&user, shown.as_ref())?;
        let (grant, expires_at) = (user.grant.clone(), user.expires_at);
        let granted = self.rooted(asked, asker, Some((user.user, user.grant))).await?;
        if let Some(kept) = &self.user_tokens {
            // Only what a root rests on, and no longer than any root of now lives.
            let roots_end = self.clock.now().plus(self.config.node_ttl);
            kept.keep(&grant, token, expires_at.min(roots_end)).await?;
        }
        Ok((granted, shown))
    }

    /// A root is as old as itself, so a human who was cut off yesterday could be acted for anew with a token from the
    /// day before: what counts here is when the token was issued.
    fn stands(&self, user: &UserToken, jti: Option<&TokenId>) -> Result<(), OAuthError> {
        Ok(self.containment.check(&Path {
            jti,
            issued_at: user.issued_at,
            agents: &[],
            nodes: &[],
            user: Some(&user.user),
            behind: None,
            app: None,
            calls: &[],
        })?)
    }
}

fn refused(error: UserTokenError) -> OAuthError {
    let reason = Reason::ALL.iter().copied().find(|reason| reason.code() == error.code());
    OAuthError::broken(reason.unwrap_or(Reason::UserTokenMalformed), &error)
}
