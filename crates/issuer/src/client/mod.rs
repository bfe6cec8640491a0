//! Who asks for a token: client authentication (RFC 6749 §2.3, RFC 7523 §2.2), exactly one method per request.

mod assertion;

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::HeaderMap;
use secrecy::{ExposeSecret, SecretString};
use url::form_urlencoded;
use vestibule_inbound::{Credential as Authorization, authorization};
use vestibule_model::{Agent, AgentId, AgentState, Clock};
use vestibule_store::Store;

use crate::{OAuthError, Reason, Registry, form::Form, registry::Credential};
use assertion::Audience;

/// RFC 7523 §2.2.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What proves who asks.
pub(crate) struct Clients {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    registry: Arc<Registry>,
    audience: Audience,
}

/// What a request presents.
enum Presented<'a> {
    Secret { client_id: String, secret: SecretString },
    Assertion { client_id: Option<&'a str>, assertion: &'a str },
}

impl Clients {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        registry: Arc<Registry>,
        issuer: &str,
        token_endpoint: &str,
    ) -> Self {
        let audience = Audience { issuer: issuer.to_owned(), token_endpoint: token_endpoint.to_owned() };
        Self { store, clock, registry, audience }
    }

    /// The agent that asks.
    ///
    /// # Errors
    /// A [`Reason`] of `invalid_client` or `invalid_request`.
    pub(crate) async fn authenticate(
        &self,
        headers: &HeaderMap,
        form: Form<'_>,
    ) -> Result<Arc<Agent>, OAuthError> {
        let agent = match presented(headers, form)? {
            Presented::Secret { client_id, secret } => self.by_secret(&client_id, &secret)?,
            Presented::Assertion { client_id, assertion } => self.by_assertion(client_id, assertion).await?,
        };
        match agent.state {
            AgentState::Active => Ok(agent),
            AgentState::Retired => Err(OAuthError::new(Reason::AgentRetired, naming(agent.id.as_str()))),
        }
    }

    fn by_secret(&self, client_id: &str, secret: &SecretString) -> Result<Arc<Agent>, OAuthError> {
        let client = AgentId::new(client_id).ok().and_then(|id| self.registry.client(&id));
        let credential = client.as_ref().map(|(_, credential)| credential.as_ref());
        let is_right = Credential::is_secret(credential, secret);
        let reason = match (client, is_right) {
            (Some((agent, _)), true) => return Ok(agent),
            (Some((_, credential)), false) => match credential.as_ref() {
                Credential::Secret(_) => Reason::ClientSecretWrong,
                Credential::Keys(_) => Reason::ClientMethodWrong,
            },
            (None, _) => Reason::ClientUnknown,
        };
        Err(OAuthError::new(reason, naming(client_id)))
    }

    async fn by_assertion(&self, client_id: Option<&str>, text: &str) -> Result<Arc<Agent>, OAuthError> {
        let assertion = assertion::parse(text)?;
        let named = assertion::subject(&assertion)?;
        let (agent, credential) = AgentId::new(named)
            .ok()
            .and_then(|id| self.registry.client(&id))
            .ok_or_else(|| OAuthError::new(Reason::ClientUnknown, naming(named)))?;
        let Credential::Keys(keys) = credential.as_ref() else {
            return Err(OAuthError::new(Reason::ClientMethodWrong, naming(named)));
        };
        // RFC 7521 §4.2: a `client_id` beside the assertion names the same client.
        if client_id.is_some_and(|id| id != named) {
            return Err(OAuthError::new(Reason::AssertionWrongSubject, naming(named)));
        }
        let claims = assertion::verify(&assertion, keys, &self.audience, self.clock.now())
            .map_err(|reason| OAuthError::new(reason, naming(named)))?;
        // Last, so that nobody else can use up an identifier of this client.
        let fresh = self.store.claim("client-assertion", vec![claims.single_use]).await?;
        if fresh == [true] {
            Ok(agent)
        } else {
            Err(OAuthError::new(Reason::AssertionReplayed, naming(named)))
        }
    }
}

/// A client that has not proved itself, for the log: what it calls itself, if that has the form of an id.
fn naming(client_id: &str) -> String {
    match AgentId::new(client_id) {
        Ok(id) if client_id.len() <= 64 => format!("client `{id}`"),
        Ok(_) | Err(_) => "client with a malformed id".to_owned(),
    }
}

fn presented<'a>(headers: &HeaderMap, form: Form<'a>) -> Result<Presented<'a>, OAuthError> {
    let header = authorization(headers).map_err(|error| OAuthError::new(Reason::ClientMalformed, error))?;
    let (client_id, secret) = (form.get("client_id"), form.get("client_secret"));
    let (kind, assertion) = (form.get("client_assertion_type"), form.get("client_assertion"));
    let has_assertion = kind.is_some() || assertion.is_some();
    // RFC 6749 §2.3: "MUST NOT use more than one authentication method in each request".
    if [header.is_some(), secret.is_some(), has_assertion].into_iter().filter(|used| *used).count() > 1 {
        return Err(Reason::ClientMixed.into());
    }
    if let Some(header) = header {
        return basic(header, client_id).ok_or_else(|| Reason::ClientMalformed.into());
    }
    if let (Some(client_id), Some(secret)) = (client_id, secret) {
        return Ok(Presented::Secret { client_id: client_id.to_owned(), secret: secret.into() });
    }
    match (kind, assertion) {
        (Some(ASSERTION_TYPE), Some(assertion)) => Ok(Presented::Assertion { client_id, assertion }),
        (None, None) => Err(Reason::ClientMissing.into()),
        (Some(_) | None, _) => Err(Reason::ClientMalformed.into()),
    }
}

/// RFC 6749 §2.3.1: identifier and secret are form-encoded, then put together for RFC 7617.
fn basic(header: Authorization<'_>, beside: Option<&str>) -> Option<Presented<'static>> {
    if !header.is("Basic") {
        return None;
    }
    let decoded = SecretString::from(String::from_utf8(STANDARD.decode(header.value).ok()?).ok()?);
    let (client_id, secret) = decoded.expose_secret().split_once(':')?;
    let client_id = form_decoded(client_id)?;
    if beside.is_some_and(|id| id != client_id) {
        return None;
    }
    Some(Presented::Secret { secret: form_decoded(secret)?.into(), client_id })
}

fn form_decoded(text: &str) -> Option<String> {
    if text.contains(['&', '=']) {
        return None;
    }
    let mut parts = form_urlencoded::parse(text.as_bytes());
    parts.next().map(|(text, _)| text.into_owned())
}
