//! The gateway as a client: of applications, and of the issuers of users.

use std::{sync::Arc, time::Duration};

use secrecy::SecretString;
use vestibule_egress::{Addresses, Client, EgressLimits, Trust};
use vestibule_inbound::{
    Caller,
    users::{IssuerClients, UserIssuers},
};
use vestibule_issuer::Issuer;
use vestibule_model::{AgentId, AttemptId, Clock, Fault};
use vestibule_outbound::{CallTokenSource, Outbound, Secrets, UpstreamConfig};

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
    clock: &Arc<dyn Clock>,
    issuer: &Arc<Issuer>,
) -> Result<Outbound, StartError> {
    let limits = EgressLimits {
        connect_timeout: Duration::from_secs(10),
        head_timeout: Duration::from_secs(settings.limits.upstream_head_seconds),
        idle_timeout: Duration::from_secs(60),
        idle_per_host: 256,
    };
    let client =
        Client::new(Addresses::Operator, limits, Trust::default()).map_err(broken("open the HTTP client"))?;
    let upstreams = settings
        .apps
        .iter()
        .map(|app| UpstreamConfig { app: app.id.clone(), url: app.url.clone(), strategy: app.access.clone() })
        .collect();
    let call_tokens = Arc::new(Called(Arc::clone(issuer)));
    Outbound::new(upstreams, client, secrets, Arc::clone(clock), call_tokens)
        .map_err(|error| StartError::Configuration(error.to_string()))
}
