//! Token revocation (RFC 7009), by those who act with the token. It ends the token and what is under way with it, and
//! neither its node nor its agent: those are the operator's to revoke.

use std::time::Duration;

use vestibule_containment::{DenyKey, Order, OrderError, Reason as OrderReason, Report, State};

use crate::{Issuer, OAuthError, Reason, form::Form, own_token::Inquiry, token::TokenRequest};

/// The clock of a gateway beside this one may be behind, and the token good there for as much longer.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(60);

/// What a request to revoke came to. The answer is 200 without a body in any case.
#[derive(Debug)]
pub struct Revocation {
    /// Who asked for what.
    pub inquiry: Inquiry,
    /// What was cut. None: there was nothing to revoke.
    pub report: Option<Report>,
    /// Why there was nothing to revoke, as the record says it and nobody else: the code of a reason, and the cause.
    pub nothing: Option<(Reason, String)>,
    /// For the `DPoP-Nonce` header of the answer (RFC 9449 §8.2).
    pub nonce: Option<String>,
}

impl Issuer {
    /// Answers a request at the revocation endpoint. When it returns, nothing is under way with the token any more.
    ///
    /// # Errors
    /// [`OAuthError`] when who asks does not prove who they are, the request lacks its token, the token is somebody
    /// else's, or the store fails.
    pub async fn revoke(&self, request: &TokenRequest<'_>) -> Result<Revocation, OAuthError> {
        let answer = self.revoked(request).await;
        self.with_nonce(request, answer, |answer| &mut answer.nonce)
    }

    async fn revoked(&self, request: &TokenRequest<'_>) -> Result<Revocation, OAuthError> {
        let form = Form::read(request.form)?;
        let text = form.get("token").unwrap_or_default();
        // RFC 7009 §2.1: `token_type_hint` only helps to search, and there is nothing to search.
        let token = self.own_token(text);
        let asked = (text, token.as_ref().ok());
        let agent = self.inquirer(request, form, &self.endpoints.revocation, asked).await?;
        if text.is_empty() {
            return Err(OAuthError::new(Reason::RequestMalformed, "no `token`").of(&agent));
        }
        let inquiry = Inquiry::new(agent.clone(), token.as_ref().ok());
        let token = match token {
            Ok(token) => token,
            // RFC 7009 §2.2: "invalid tokens do not cause an error response".
            Err(refusal) => {
                let error = OAuthError::from(refusal);
                let nothing = Some((error.reason, error.cause));
                return Ok(Revocation { inquiry, report: None, nothing, nonce: None });
            }
        };
        // RFC 7009 §2.1: "whether the token was issued to the client making the revocation request".
        if !token.is_of(&agent) {
            return Err(OAuthError::from(Reason::ClientNotOfToken).of(&agent));
        }
        let order = Order {
            key: DenyKey::Token(token.issued().0.clone()),
            state: State::Revoked,
            reason: OrderReason::Unspecified,
            cutoff: None,
            // Any agent may give such orders, one for each of its tokens: none is kept for longer than it matters.
            expires_at: Some(token.ends_at().plus(CLOCKS_APART_MAX)),
            by: format!("agent {agent}"),
            dry_run: false,
        };
        let report = self.containment.order(order).await.map_err(|error| failed(error).of(&agent))?;
        Ok(Revocation { inquiry, report: Some(report), nothing: None, nonce: None })
    }
}

fn failed(error: OrderError) -> OAuthError {
    if let OrderError::Store(error) = error {
        return error.into();
    }
    // Everything else is about an order that takes something back, or that is over when it is given.
    OAuthError::broken(Reason::Internal, &error)
}
