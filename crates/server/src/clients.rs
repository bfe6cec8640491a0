//! The gateway as a client: of applications, of the authorization servers that give tokens for them, and of the issuers
//! of users.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use secrecy::SecretString;
use serde_json::Value;
use vestibule_egress::{Addresses, Client, EgressLimits, Trust};
use vestibule_inbound::{
    Caller,
    users::{IssuerClients, UserIssuers},
};
use vestibule_issuer::Issuer;
use vestibule_model::{AgentId, AttemptId, Clock, Entropy, Fault, NodeId, Timestamp};
use vestibule_outbound::{
    Backing, CallTokenSource, Outbound, OutboundConfig, Secrets, Shelf, Signer, UpstreamConfig, UserTokens,
    Ways,
};

use crate::{
    config::Settings,
    gateway::{StartError, broken},
};

/// What a called agent gets is signed by the issuer.
#[derive(Debug)]
struct Called(Arc<Issuer>);

impl CallTokenSource for Called {
    fn call_token(
        &self,
        caller: &Caller,
        agent: &AgentId,
        call: AttemptId,
        life: Duration,
    ) -> Result<SecretString, Fault> {
        self.0.call_token(caller, agent, call, life)
    }
}

/// What others are told about callers, too.
#[derive(Debug)]
struct Vouched {
    name: String,
    issuer: Arc<Issuer>,
}

impl Signer for Vouched {
    fn issuer(&self) -> &str {
        &self.name
    }

    fn sign(&self, typ: &str, claims: &Value) -> Result<SecretString, Fault> {
        self.issuer.sign_for_others(typ, claims)
    }
}

/// Keeps nothing: the tokens of applications end with the process, and no user's token is at hand.
#[derive(Debug)]
struct NothingKept;

#[async_trait]
impl Shelf for NothingKept {
    async fn put(&self, _: &str, _: SecretString, _: Timestamp) -> Result<(), Fault> {
        Ok(())
    }

    async fn all(&self) -> Result<Vec<(String, SecretString)>, Fault> {
        Ok(Vec::new())
    }

    async fn remove(&self, _: &str) -> Result<(), Fault> {
        Ok(())
    }
}

#[async_trait]
impl UserTokens for NothingKept {
    async fn of_root(&self, _: &NodeId) -> Result<Option<SecretString>, Fault> {
        Ok(None)
    }
}

/// Nothing is fetched yet: a user issuer that is down does not keep the gateway from starting.
pub(crate) fn user_issuers(
    settings: &Settings,
    own_issuer: &str,
    clock: &Arc<dyn Clock>,
) -> Result<UserIssuers, StartError> {
    let limits = EgressLimits {
        connect_timeout: Duration::from_secs(5),
        head_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(30),
        idle_per_host: 2,
    };
    let client = |addresses| Client::new(addresses, limits, Trust::default());
    let clients = IssuerClients {
        operator: client(Addresses::Operator).map_err(broken("open the HTTP client"))?,
        stranger: client(Addresses::Stranger).map_err(broken("open the HTTP client"))?,
    };
    UserIssuers::new(settings.user_issuers.clone(), &clients, own_issuer, Arc::clone(clock))
        .map_err(|error| StartError::Configuration(error.to_string()))
}

/// Door two, and the client that calls applications.
pub(crate) fn outbound(
    settings: &Settings,
    secrets: Secrets,
    (clock, entropy): (&Arc<dyn Clock>, &Arc<dyn Entropy>),
    (name, issuer): (&str, &Arc<Issuer>),
) -> Result<Outbound, StartError> {
    let limits = EgressLimits {
        connect_timeout: Duration::from_secs(10),
        head_timeout: Duration::from_secs(settings.limits.upstream_head_seconds),
        idle_timeout: Duration::from_secs(60),
        idle_per_host: 256,
    };
    let client =
        Client::new(Addresses::Operator, limits, Trust::default()).map_err(broken("open the HTTP client"))?;
    let apps = settings
        .apps
        .iter()
        .map(|app| UpstreamConfig { app: app.id.clone(), url: app.url.clone(), strategy: app.access.clone() })
        .collect();
    let backing = Backing {
        secrets,
        clock: Arc::clone(clock),
        entropy: Arc::clone(entropy),
        call_tokens: Arc::new(Called(Arc::clone(issuer))),
        signer: Arc::new(Vouched { name: name.to_owned(), issuer: Arc::clone(issuer) }),
        shelf: Arc::new(NothingKept),
        user_tokens: Arc::new(NothingKept),
    };
    let config = OutboundConfig { apps, servers: settings.authorization_servers.clone() };
    Outbound::new(config, Ways { apps: client, servers: Trust::default() }, backing)
        .map_err(|error| StartError::Configuration(error.to_string()))
}
