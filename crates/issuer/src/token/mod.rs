//! The token endpoint (RFC 6749 §3.2). One file per grant.

mod claims;
mod client_credentials;

use std::{collections::BTreeSet, fmt};

use http::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use vestibule_model::{AgentId, AppId, Jti, NodeId, Timestamp, WorkflowId};

use crate::{Issuer, OAuthError, Reason, form::Form};

/// A request at the token endpoint. Its size is bounded by whoever read it.
#[derive(Clone, Copy)]
pub struct TokenRequest<'a> {
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its body, decoded from `application/x-www-form-urlencoded`, in the order and number in which it came.
    pub form: &'a [(String, String)],
}

impl fmt::Debug for TokenRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRequest").field("parameters", &self.form.len()).finish_non_exhaustive()
    }
}

/// A token, and what is recorded about it.
#[derive(Debug)]
pub struct TokenResponse {
    access_token: SecretString,
    expires_in: i64,
    /// What was minted, for the record.
    pub minted: Minted,
}

/// What was minted, without the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Minted {
    /// The agent it is for.
    pub agent: AgentId,
    /// The application it opens.
    pub app: AppId,
    /// Its `aud`.
    pub resource: String,
    /// The node it was minted under.
    pub node: NodeId,
    /// The tree of that node.
    pub workflow: WorkflowId,
    /// Its identifier.
    pub jti: Jti,
    /// The scopes granted.
    pub scopes: BTreeSet<String>,
    /// Its expiry.
    pub expires_at: Timestamp,
    /// The expiry of its node: what outlives the token, a stream, ends then.
    pub node_expires_at: Timestamp,
}

impl TokenResponse {
    /// The body of the answer (RFC 6749 §5.1), which holds the token.
    #[must_use]
    pub fn body(&self) -> Value {
        let mut body = json!({
            "access_token": self.access_token.expose_secret(),
            "token_type": "Bearer",
            "expires_in": self.expires_in,
        });
        if let (Some(scope), Some(members)) = (joined(&self.minted.scopes), body.as_object_mut()) {
            members.insert("scope".to_owned(), scope.into());
        }
        body
    }
}

impl Issuer {
    /// Answers a request at the token endpoint.
    ///
    /// # Errors
    /// [`OAuthError`] with what to answer and what to record.
    pub async fn token(&self, request: &TokenRequest<'_>) -> Result<TokenResponse, OAuthError> {
        let form = Form::read(request.form)?;
        let agent = self.clients.authenticate(request.headers, form).await?;
        let granted = async {
            self.roots.admit(&agent.id)?;
            match form.get("grant_type") {
                Some("client_credentials") => self.client_credentials(&agent, form).await,
                Some(_) => Err(Reason::GrantUnsupported.into()),
                None => Err(OAuthError::new(Reason::RequestMalformed, "no `grant_type`")),
            }
        };
        granted.await.map_err(|error: OAuthError| error.of(&agent.id))
    }
}

/// RFC 6749 §3.3: separated by spaces, and at least one.
fn joined(scopes: &BTreeSet<String>) -> Option<String> {
    let scopes: Vec<_> = scopes.iter().map(String::as_str).collect();
    (!scopes.is_empty()).then(|| scopes.join(" "))
}
