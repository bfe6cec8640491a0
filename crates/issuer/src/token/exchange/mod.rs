//! Token exchange (RFC 8693): one file for each kind. Which kind a request is, the types of its tokens say and never
//! their looks; what is then not a token of that kind is refused.

mod again;
mod below;
mod invoked;
mod spawn;
mod user;

use vestibule_inbound::Caller;

use super::{Asked, TokenResponse};
use crate::{
    Issuer, OAuthError,
    form::{Exchange, Subject},
    lineage::Lineage,
};

impl Issuer {
    /// RFC 8693 §2.
    pub(super) async fn exchange(&self, asked: Asked<'_>) -> Result<TokenResponse, OAuthError> {
        let Exchange { subject, issued } = asked.form.exchange(&self.config.issuer)?;
        let response = match subject {
            Subject::User { token, kind } => self.for_user(asked, token, kind).await,
            Subject::Spawn { token, actor } => self.spawn(asked, token, actor).await,
            Subject::Again { token } => self.again(asked, token).await,
            Subject::Invoked { token } => self.invoked(asked, token).await,
        };
        response.map(|response| response.issued_as(issued))
    }

    /// Whether nothing on the path of the token is revoked. To be asked before its holder proves the key: each proof that
    /// passes is remembered, and who holds dead tokens must not fill that memory. Whoever presents a token of ours learns
    /// that it has ended, and nothing else.
    fn is_alive(&self, caller: &Caller) -> Result<(), OAuthError> {
        let token = caller.token();
        let app = self.resources.of(&token.audience).map(|resource| &resource.app);
        let presented = Some((&token.jti, token.issued_at));
        let checked = Lineage::of_caller(caller).check(&self.containment, &self.name, app, presented);
        checked.map_err(|denial| OAuthError::from(denial).about_token().under(caller))
    }
}
