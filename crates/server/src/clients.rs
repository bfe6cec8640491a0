//! The gateway as a client: of applications, of the authorization servers that give tokens for them, and of outside
//! issuers.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use secrecy::SecretString;
use serde_json::Value;
use vestibule_egress::{Addresses, Client, EgressLimits, Trust};
use vestibule_inbound::{
    AccessTokens, Authenticator, Caller, HopTokens, OutsideTokens,
    dpop::Proofs,
    users::{IssuerClients, UserIssuers},
    workloads::WorkloadIssuers,
};
use vestibule_issuer::{Issuer, Registry};
use vestibule_model::{AgentId, AttemptId, Clock, Entropy, Fault};
use vestibule_outbound::{
    Backing, CallTokenSource, Outbound, OutboundConfig, Secrets, Signer, UpstreamConfig, Ways,
};

use crate::{
    config::Settings,
    gateway::{StartError, broken},
    shelf::StateShelf,
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

/// The issuers of users and of workloads. Nothing is fetched yet: one that is down does not keep the gateway from
/// starting.
pub(crate) fn outside_issuers(
    settings: &Settings,
    own_issuer: &str,
    clock: &Arc<dyn Clock>,
) -> Result<(Arc<UserIssuers>, Arc<WorkloadIssuers>), StartError> {
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
    let users = settings.user_issuers.clone();
    let workloads = settings.workload_issuers.clone();
    let workloads = WorkloadIssuers::new(workloads, &users, &clients, own_issuer, Arc::clone(clock))
        .map_err(|error| StartError::Configuration(error.to_string()))?;
    let users = UserIssuers::new(users, &clients, own_issuer, Arc::clone(clock))
        .map_err(|error| StartError::Configuration(error.to_string()))?;
    Ok((Arc::new(users), Arc::new(workloads)))
}

/// Door one: tokens of ours, and those of outside issuers, where some are named for that.
pub(crate) fn door_one(
    hop_tokens: HopTokens,
    users: &Arc<UserIssuers>,
    registry: &Registry,
    proofs: &Arc<Proofs>,
) -> Authenticator {
    if !users.have_callers() {
        return Authenticator::new(vec![Box::new(hop_tokens)]);
    }
    let directory = Arc::new(ArcSwap::new(registry.directory()));
    let followed = Arc::clone(&directory);
    registry.on_change(move |agents| followed.store(agents));
    let outside = OutsideTokens::new(Arc::clone(users), directory, Arc::clone(proofs));
    Authenticator::new(vec![Box::new(AccessTokens::new(hop_tokens, outside))])
}

/// Door two, and the client that calls applications.
pub(crate) fn outbound(
    settings: &Settings,
    (secrets, kept): (Secrets, StateShelf),
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
        shelf: Arc::new(kept.clone()),
        user_tokens: Arc::new(kept),
    };
    let config = OutboundConfig { apps, servers: settings.authorization_servers.clone() };
    Outbound::new(config, Ways { apps: client, servers: Trust::default() }, backing)
        .map_err(|error| StartError::Configuration(error.to_string()))
}
