//! The token endpoint (RFC 6749 §3.2). One file per grant; what they share is here and in `mint`, `narrow` and `asker`.

mod asker;
mod call;
mod claims;
mod client_credentials;
mod exchange;
mod foreign;
mod mint;
mod narrow;

use std::{fmt, net::IpAddr};

use http::HeaderMap;
use vestibule_model::AttemptId;

use crate::{Issuer, OAuthError, Reason, form::Form};
pub(crate) use claims::bounds;
pub(crate) use mint::token_type;
pub use mint::{Minted, TokenResponse};

/// A request at the token, introspection or revocation endpoint. Its size is bounded by whoever read it.
#[derive(Clone, Copy)]
pub struct TokenRequest<'a> {
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its body, decoded from `application/x-www-form-urlencoded`, in the order and number in which it came.
    pub form: &'a [(String, String)],
    /// Under which it is recorded: a node that it makes names it.
    pub attempt: AttemptId,
    /// Its source address, if known, for policy.
    pub ip: Option<IpAddr>,
}

impl fmt::Debug for TokenRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRequest")
            .field("attempt", &self.attempt)
            .field("parameters", &self.form.len())
            .finish_non_exhaustive()
    }
}

/// A grant that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grant {
    /// RFC 6749 §4.4.
    ClientCredentials,
    /// RFC 8693 §2.1.
    TokenExchange,
}

impl Grant {
    pub(crate) const ALL: [Self; 2] = [Self::ClientCredentials, Self::TokenExchange];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::ClientCredentials => "client_credentials",
            Self::TokenExchange => "urn:ietf:params:oauth:grant-type:token-exchange",
        }
    }
}

/// A request with its parameters.
#[derive(Clone, Copy)]
struct Asked<'a> {
    request: &'a TokenRequest<'a>,
    form: Form<'a>,
}

impl Issuer {
    /// Answers a request at the token endpoint.
    ///
    /// # Errors
    /// [`OAuthError`] with what to answer and what to record.
    pub async fn token(&self, request: &TokenRequest<'_>) -> Result<TokenResponse, OAuthError> {
        let answer = self.granted(request).await;
        self.with_nonce(request, answer, |response| &mut response.nonce)
    }

    async fn granted(&self, request: &TokenRequest<'_>) -> Result<TokenResponse, OAuthError> {
        let asked = Asked { request, form: Form::read(request.form)? };
        let named = asked.form.get("grant_type");
        match Grant::ALL.into_iter().find(|grant| named == Some(grant.as_str())) {
            Some(Grant::ClientCredentials) => self.client_credentials(asked).await,
            Some(Grant::TokenExchange) => self.exchange(asked).await,
            None => {
                // Who sends what is not served is worth knowing.
                let asker = self.asker(asked).await?;
                let error = match named {
                    Some(_) => OAuthError::from(Reason::GrantUnsupported),
                    None => OAuthError::new(Reason::RequestMalformed, "no `grant_type`"),
                };
                Err(error.of(&asker.agent.id))
            }
        }
    }
}
