use std::collections::BTreeSet;

use vestibule_model::{Agent, Jti};

use super::{Minted, TokenResponse, claims};
use crate::{Issuer, OAuthError, Reason, form::Form};

impl Issuer {
    /// RFC 6749 §4.4: the agent asks for itself.
    pub(super) async fn client_credentials(
        &self,
        agent: &Agent,
        form: Form<'_>,
    ) -> Result<TokenResponse, OAuthError> {
        let scopes = scopes(agent, form.get("scope"))?;
        let resource = self.resources.choose(agent, &form.resources())?;
        let root = self.roots.of(agent, resource).await?;
        let now = self.clock.now();
        let expires_at = now.plus(self.config.token_ttl).min(root.expires_at);
        let minted = Minted {
            agent: agent.id.clone(),
            app: resource.app.clone(),
            resource: resource.identifier.clone(),
            node: root.id,
            workflow: root.workflow,
            jti: Jti::random(self.entropy.as_ref()),
            scopes,
            expires_at,
            node_expires_at: root.expires_at,
        };
        let token = self
            .keys
            .sign(&claims::of(&minted, agent, &self.config, now))
            .map_err(|error| OAuthError::broken(Reason::Internal, &error))?;
        let expires_in = expires_at.seconds() - now.seconds();
        Ok(TokenResponse { access_token: token.into(), expires_in, minted })
    }
}

/// RFC 6749 §3.3. Our default for a request without a scope is every scope that the agent may have: a scope bounds and
/// never grants.
fn scopes(agent: &Agent, asked: Option<&str>) -> Result<BTreeSet<String>, OAuthError> {
    let Some(asked) = asked else { return Ok(agent.scopes.clone()) };
    let asked: BTreeSet<String> = asked.split(' ').map(str::to_owned).collect();
    if asked.is_subset(&agent.scopes) {
        Ok(asked)
    } else {
        Err(OAuthError::new(Reason::ScopeNotAllowed, "not a subset of the agent's scopes"))
    }
}
