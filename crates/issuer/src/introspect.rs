//! Token introspection (RFC 7662): whether a token would be let in now, for those whom it concerns.
//!
//! The attack it must not help: whoever finds a token, or tries many, learns what it is good for. So who asks proves who
//! they are, and a token that is none of their business answers like one that never was.

use serde_json::{Map, Value, json};
use vestibule_model::{AgentId, Denial};

use crate::{
    Issuer, OAuthError, Reason,
    form::Form,
    lineage::Lineage,
    own_token::{Inquiry, OwnToken},
    token::{TokenRequest, bounds, token_type},
};

/// The answer to a question about a token, and what is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introspection {
    /// The body of the answer (RFC 7662 §2.2).
    pub body: Value,
    /// Who asked about what.
    pub inquiry: Inquiry,
    /// Why the token is not active, as the record says it and nobody else: the code of a reason, and the cause.
    pub inactive: Option<(Reason, String)>,
    /// For the `DPoP-Nonce` header of the answer (RFC 9449 §8.2).
    pub nonce: Option<String>,
}

impl Issuer {
    /// Answers a request at the introspection endpoint.
    ///
    /// # Errors
    /// [`OAuthError`] when who asks does not prove who they are, or the question lacks its token.
    pub async fn introspect(&self, request: &TokenRequest<'_>) -> Result<Introspection, OAuthError> {
        let answer = self.introspected(request).await;
        self.with_nonce(request, answer, |answer| &mut answer.nonce)
    }

    async fn introspected(&self, request: &TokenRequest<'_>) -> Result<Introspection, OAuthError> {
        let form = Form::read(request.form)?;
        let text = form.get("token").unwrap_or_default();
        let token = self.own_token(text);
        let asked = (text, token.as_ref().ok());
        let agent = self.inquirer(request, form, &self.endpoints.introspection, asked).await?;
        // RFC 7662 §2.1: REQUIRED. After the authentication, so that strangers learn nothing else.
        if text.is_empty() {
            return Err(OAuthError::new(Reason::RequestMalformed, "no `token`").of(&agent));
        }
        let (body, inactive) = match token.as_ref().map_err(|refusal| refusal.clone().into()) {
            Ok(token) => match self.is_active(request, token, &agent) {
                Ok(()) => (self.described_to_asker(token), None),
                Err(error) => (json!({"active": false}), Some(error)),
            },
            Err(error) => (json!({"active": false}), Some(error)),
        };
        // RFC 7662 §4: "active" says that the token is good. Who cannot tell says neither yes nor no.
        if let Some(error) = inactive.as_ref().filter(|error| error.reason == Reason::ContainmentStale) {
            return Err(OAuthError::new(error.reason, &error.cause).of(&agent));
        }
        let inactive = inactive.map(|error: OAuthError| (error.reason, error.cause));
        Ok(Introspection { body, inquiry: Inquiry::new(agent, token.as_ref().ok()), inactive, nonce: None })
    }

    /// Whether the door would let it in now, and whether that is the asker's business.
    fn is_active(
        &self,
        request: &TokenRequest<'_>,
        token: &OwnToken,
        asker: &AgentId,
    ) -> Result<(), OAuthError> {
        let is_called = match token {
            OwnToken::Hop(_) => false,
            OwnToken::Call(called) => called.agent == *asker,
        };
        if !is_called && !token.is_of(asker) {
            return Err(Reason::ClientNotOfToken.into());
        }
        let facts = token.caller().token();
        if self.clock.now() >= facts.expires_at {
            return Err(Reason::TokenExpired.into());
        }
        let app = match token {
            OwnToken::Hop(_) => Some(self.resources.of(&facts.audience).ok_or(Reason::TargetNotAllowed)?),
            OwnToken::Call(called) if self.containment.is_under_way(called.call) => None,
            OwnToken::Call(_) => return Err(Denial::CallEnded.into()),
        };
        // As for a request, and not as for minting: what a rotation has replaced still runs. It leaves again at once.
        let lineage = Lineage::of_caller(token.caller());
        lineage.is_known(&self.registry)?;
        let app = app.map(|resource| &resource.app);
        Ok(lineage.path(&self.name, app, Some(token.issued()), |path| {
            self.containment.admit(path, request.attempt).map(drop)
        })?)
    }

    /// RFC 7662 §2.2, RFC 8693 §4.1, RFC 9396 §9.2, RFC 9449 §6.2. Neither the node's path nor custom claims: who acts
    /// with a token needs to know what it is good for, and not who else has been where.
    fn described_to_asker(&self, token: &OwnToken) -> Value {
        let facts = token.caller().token();
        let mut said = Lineage::of_caller(token.caller()).claims(&self.config.issuer);
        said.retain(|name, _| name != "acti");
        let mut body = Map::new();
        let mut put = |name: &str, value: Value| body.insert(name.to_owned(), value);
        put("active", json!(true));
        put("iss", json!(self.config.issuer));
        put("aud", json!(facts.audience));
        put("jti", json!(facts.jti));
        put("iat", json!(facts.issued_at.seconds()));
        put("exp", json!(facts.expires_at.seconds()));
        if let OwnToken::Hop(_) = token {
            put("token_type", json!(token_type(facts.bound_to.as_ref())));
        }
        if let Some(key) = &facts.bound_to {
            put("cnf", json!({"jkt": key}));
        }
        body.extend(said);
        bounds(&mut body, &facts.scopes, facts.authority.as_ref());
        Value::Object(body)
    }
}
