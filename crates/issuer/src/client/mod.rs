//! Who asks for a token: client authentication (RFC 6749 §2.3, RFC 7523 §2.2), exactly one method per request; and who
//! is spawned: the actor token (RFC 8693 §2.1).

mod actor;
mod assertion;
mod presented;
mod single_use;

use std::sync::Arc;

use http::HeaderMap;
use secrecy::SecretString;
use vestibule_model::{Agent, AgentId, AgentState, Clock, Thumbprint};
use vestibule_store::Store;

use crate::{OAuthError, Reason, Registry, form::Form, registry::Credential};
pub(crate) use actor::Actor;
use assertion::Audience;
use presented::Presented;
use single_use::SingleUse;

/// What proves who asks.
pub(crate) struct Clients {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    registry: Arc<Registry>,
    audience: Audience,
}

/// An agent that has proved itself.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) agent: Arc<Agent>,
    /// The registered key that it proved itself with; none for a secret.
    pub(crate) key: Option<Thumbprint>,
}

/// An agent whose proof is good, and was perhaps used before: only [`Clients::admit`] makes a [`Client`] of it.
#[must_use]
pub(crate) struct Recognised {
    client: Client,
    single_use: Option<SingleUse>,
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

    /// Whether the request holds any part of a client authentication. The name of the client alone is none.
    pub(crate) fn is_presented(headers: &HeaderMap, form: Form<'_>) -> bool {
        presented::is_any(headers, form)
    }

    /// The agent that asks.
    ///
    /// # Errors
    /// A [`Reason`] of `invalid_client` or `invalid_request`.
    pub(crate) fn recognise(&self, headers: &HeaderMap, form: Form<'_>) -> Result<Recognised, OAuthError> {
        let recognised = match presented::read(headers, form)? {
            Presented::Secret { client_id, secret } => self.by_secret(&client_id, &secret)?,
            Presented::Assertion { client_id, assertion } => self.by_assertion(client_id, assertion)?,
        };
        let agent = &recognised.client.agent;
        match agent.state {
            AgentState::Active => Ok(recognised),
            AgentState::Retired => Err(OAuthError::new(Reason::AgentRetired, naming(agent.id.as_str()))),
        }
    }

    /// Uses its proof up. After everything that the client can put right by sending the same assertion again, such as
    /// a nonce that lacked, and before anything is done for it.
    ///
    /// # Errors
    /// [`Reason::AssertionReplayed`], [`Reason::StoreUnavailable`].
    pub(crate) async fn admit(&self, recognised: Recognised) -> Result<Client, OAuthError> {
        let Recognised { client, single_use } = recognised;
        if let Some(once) = single_use
            && !once.claim(self.store.as_ref()).await?
        {
            return Err(OAuthError::new(Reason::AssertionReplayed, naming(client.agent.id.as_str())));
        }
        Ok(client)
    }

    fn by_secret(&self, client_id: &str, secret: &SecretString) -> Result<Recognised, OAuthError> {
        let client = AgentId::new(client_id).ok().and_then(|id| self.registry.client(&id));
        let credential = client.as_ref().map(|(_, credential)| credential.as_ref());
        let is_right = Credential::is_secret(credential, secret);
        let reason = match (client, is_right) {
            (Some((agent, _)), true) => {
                return Ok(Recognised { client: Client { agent, key: None }, single_use: None });
            }
            (Some((_, credential)), false) => match credential.as_ref() {
                Credential::Secret(_) => Reason::ClientSecretWrong,
                Credential::Keys(_) => Reason::ClientMethodWrong,
            },
            (None, _) => Reason::ClientUnknown,
        };
        Err(OAuthError::new(reason, naming(client_id)))
    }

    fn by_assertion(&self, client_id: Option<&str>, text: &str) -> Result<Recognised, OAuthError> {
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
        let verified = assertion::verify(&assertion, keys, &self.audience, self.clock.now())
            .map_err(|reason| OAuthError::new(reason, naming(named)))?;
        let client = Client { agent, key: Some(verified.key) };
        Ok(Recognised { client, single_use: Some(verified.single_use) })
    }
}

/// A client that has not proved itself, for the log: what it calls itself, if that has the form of an id.
fn naming(client_id: &str) -> String {
    match AgentId::new(client_id) {
        Ok(id) if client_id.len() <= 64 => format!("client `{id}`"),
        Ok(_) | Err(_) => "client with a malformed id".to_owned(),
    }
}
