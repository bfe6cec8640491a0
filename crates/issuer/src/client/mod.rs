//! Who asks for a token: client authentication (RFC 6749 §2.3, RFC 7523 §2.2), exactly one method per request; and who
//! is spawned: the actor token (RFC 8693 §2.1).

mod actor;
mod assertion;
mod presented;
mod single_use;

use std::sync::Arc;

use http::HeaderMap;
use secrecy::SecretString;
use vestibule_inbound::workloads::{Workload, WorkloadError, WorkloadIssuers};
use vestibule_model::{Agent, AgentId, AgentState, Clock, Thumbprint, Timestamp, TokenId};
use vestibule_store::Store;

use crate::{Backing, OAuthError, Reason, Registry, form::Form, registry::Credential};
pub(crate) use actor::Actor;
use assertion::Audience;
use presented::Presented;
use single_use::SingleUse;

/// What proves who asks.
pub(crate) struct Clients {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    registry: Arc<Registry>,
    workloads: Arc<WorkloadIssuers>,
    audience: Audience,
}

/// An agent that has proved itself.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) agent: Arc<Agent>,
    /// The registered key that it proved itself with; none for a secret, and none for a workload.
    pub(crate) key: Option<Thumbprint>,
    /// The token that a platform gave it, and when it did.
    pub(crate) token: Option<(TokenId, Timestamp)>,
}

/// An agent whose proof is good, and was perhaps used before: only [`Clients::admit`] makes a [`Client`] of it.
#[must_use]
pub(crate) struct Recognised {
    client: Client,
    single_use: Option<SingleUse>,
    demand: Demand,
}

/// Which proof of possession an authentication counts with alone.
#[derive(Debug, Clone, Copy)]
enum Demand {
    Nothing,
    AnyKey,
    ThisKey(Thumbprint),
}

impl Demand {
    fn of(workload: &Workload) -> Self {
        match (workload.bound_to, workload.needs_proof) {
            (Some(key), _) => Self::ThisKey(key),
            (None, true) => Self::AnyKey,
            (None, false) => Self::Nothing,
        }
    }

    fn check(self, proven: Option<Thumbprint>) -> Result<(), Reason> {
        match (self, proven) {
            (Self::Nothing, _) | (Self::AnyKey, Some(_)) => Ok(()),
            (Self::ThisKey(key), Some(proven)) if key == proven => Ok(()),
            (Self::ThisKey(_), Some(_)) => Err(Reason::ProofWrongKey),
            (Self::AnyKey | Self::ThisKey(_), None) => Err(Reason::ProofMissing),
        }
    }
}

impl Clients {
    pub(crate) fn new(
        backing: &Backing,
        registry: Arc<Registry>,
        workloads: Arc<WorkloadIssuers>,
        issuer: &str,
        token_endpoint: &str,
    ) -> Self {
        let audience = Audience { issuer: issuer.to_owned(), token_endpoint: token_endpoint.to_owned() };
        let (store, clock) = (Arc::clone(&backing.store), Arc::clone(&backing.clock));
        Self { store, clock, registry, workloads, audience }
    }

    /// Whether the request holds any part of a client authentication. The name of the client alone is none.
    pub(crate) fn is_presented(headers: &HeaderMap, form: Form<'_>) -> bool {
        presented::is_any(headers, form)
    }

    /// The agent that asks.
    ///
    /// # Errors
    /// A [`Reason`] of `invalid_client` or `invalid_request`.
    pub(crate) async fn recognise(
        &self,
        headers: &HeaderMap,
        form: Form<'_>,
    ) -> Result<Recognised, OAuthError> {
        let recognised = match presented::read(headers, form)? {
            Presented::Secret { client_id, secret } => self.by_secret(&client_id, &secret)?,
            Presented::Assertion { client_id, assertion } => self.by_assertion(client_id, assertion).await?,
        };
        let agent = &recognised.client.agent;
        match agent.state {
            AgentState::Active => Ok(recognised),
            AgentState::Retired => Err(OAuthError::new(Reason::AgentRetired, naming(agent.id.as_str()))),
        }
    }

    /// Uses its proof up. After everything that the client can put right by sending the same assertion again, such as
    /// a nonce that lacked, and before anything is done for it. `proven` is the key whose possession the request proves.
    ///
    /// # Errors
    /// [`Reason::AssertionReplayed`], [`Reason::StoreUnavailable`]; [`Reason::ProofMissing`] or
    /// [`Reason::ProofWrongKey`] for a workload that counts only with another proof.
    pub(crate) async fn admit(
        &self,
        recognised: Recognised,
        proven: Option<Thumbprint>,
    ) -> Result<Client, OAuthError> {
        let Recognised { client, single_use, demand } = recognised;
        demand.check(proven).map_err(|reason| OAuthError::from(reason).of(&client.agent.id))?;
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
                let client = Client { agent, key: None, token: None };
                return Ok(Recognised { client, single_use: None, demand: Demand::Nothing });
            }
            (Some((_, credential)), false) => match credential.as_ref() {
                Credential::Secret(_) => Reason::ClientSecretWrong,
                Credential::Keys(_) => Reason::ClientMethodWrong,
            },
            (None, _) => Reason::ClientUnknown,
        };
        Err(OAuthError::new(reason, naming(client_id)))
    }

    async fn by_assertion(&self, client_id: Option<&str>, text: &str) -> Result<Recognised, OAuthError> {
        let assertion = assertion::parse(text)?;
        // An agent that signs for itself is its own issuer, and its id is no URL of a configured one.
        if self.workloads.are_named_by(&assertion) {
            return self.by_workload(client_id, text).await;
        }
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
        let client = Client { agent, key: Some(verified.key), token: None };
        let single_use = Some(verified.single_use);
        Ok(Recognised { client, single_use, demand: Demand::Nothing })
    }

    /// An agent that nobody registered, and for which a platform vouches. Its token may have been used before: the
    /// platform gives the same one again as long as it is valid.
    async fn by_workload(&self, client_id: Option<&str>, text: &str) -> Result<Recognised, OAuthError> {
        let workload = self.workloads.verify(text).await.map_err(not_proven)?;
        let demand = Demand::of(&workload);
        let Workload { agent, token, issued_at, .. } = workload;
        // RFC 7521 §4.2, as for every assertion.
        if client_id.is_some_and(|id| id != agent.id.as_str()) {
            return Err(OAuthError::new(Reason::AssertionWrongSubject, naming(agent.id.as_str())));
        }
        let client = Client { agent, key: None, token: Some((token, issued_at)) };
        Ok(Recognised { client, single_use: None, demand })
    }
}

fn not_proven(error: WorkloadError) -> OAuthError {
    let reason = match error {
        WorkloadError::IssuerUnknown => Reason::ClientUnknown,
        WorkloadError::Form(_)
        | WorkloadError::Malformed(_)
        | WorkloadError::KeyUnknown
        | WorkloadError::SignatureInvalid => Reason::AssertionInvalid,
        WorkloadError::WrongAudience => Reason::AssertionWrongAudience,
        WorkloadError::Expired => Reason::AssertionExpired,
        WorkloadError::TooLong => Reason::AssertionTooLong,
        WorkloadError::NotYetValid => Reason::AssertionNotYetValid,
        WorkloadError::SubjectMissing => Reason::AssertionWrongSubject,
        WorkloadError::NoRule { .. } => Reason::WorkloadUnknown,
        WorkloadError::KeysUnavailable { .. } => Reason::AssertionKeysUnavailable,
    };
    OAuthError::broken(reason, &error)
}

/// A client that has not proved itself, for the log: what it calls itself, if that has the form of an id.
fn naming(client_id: &str) -> String {
    match AgentId::new(client_id) {
        Ok(id) if client_id.len() <= 64 => format!("client `{id}`"),
        Ok(_) | Err(_) => "client with a malformed id".to_owned(),
    }
}
