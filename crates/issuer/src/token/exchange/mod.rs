//! Token exchange (RFC 8693): one file for each kind. Which kind a request is, the types of its tokens say and never
//! their looks; what is then not a token of that kind is refused.

mod again;
mod below;
mod invoked;
mod spawn;
mod user;

use super::{Asked, TokenResponse};
use crate::{
    Issuer, OAuthError,
    form::{Exchange, Subject},
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
}
