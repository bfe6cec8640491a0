//! Every room of the gateway, assembled once from the settings.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use secrecy::SecretString;
use tokio_util::task::TaskTracker;
use vestibule_containment::Containment;
use vestibule_egress::{Addresses, Client, EgressLimits, Trust};
use vestibule_evidence::{Evidence, EvidenceConfig, LogKey, Mode};
use vestibule_inbound::{
    Authenticator, Caller, HopTokens,
    dpop::Proofs,
    users::{IssuerClients, UserIssuers},
};
use vestibule_issuer::{Backing, Issuer, IssuerConfig, Judges, Keys, Registry};
use vestibule_mcp::SessionSeal;
use vestibule_model::{AgentId, AttemptId, Clock, Entropy, Fault};
use vestibule_outbound::{CallTokenSource, Outbound, Secrets, UpstreamConfig};
use vestibule_policy::Lock;
use vestibule_store::{Follower, SqliteStore, Store};

use crate::{
    apps::Apps,
    config::{EvidenceMode, Settings},
    metrics::Metrics,
    names::Names,
    outer_calls::OuterCalls,
    policies::Policies,
    running::{Bound, Surroundings},
    secret_file,
    slots::{BytesInFlight, Slots},
};

/// Verified tokens that are remembered; a token that is forgotten is verified again.
const TOKEN_CACHE: usize = 50_000;
/// Entries of the record that may wait to be written: about 35 MB, and half as many attempts under way.
const RECORD_QUEUE: usize = 20_000;
/// How often the change log is polled when nothing hints at a change.
const POLL: Duration = Duration::from_millis(50);

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A configuration that is valid as such, but not here: files, addresses, secrets.
    #[error("{0}")]
    Configuration(String),
    /// Something broke. The text says what to look at.
    #[error("{what}: {cause}")]
    Broken {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        cause: String,
    },
}

fn broken<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> StartError {
    move |error| StartError::Broken { what, cause: error.to_string() }
}

/// Every room of the gateway.
pub(crate) struct Gateway {
    pub(crate) settings: Settings,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) names: Names,
    pub(crate) admin_names: Names,
    pub(crate) admin_token: SecretString,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) follower: Arc<Follower>,
    pub(crate) evidence: Evidence,
    pub(crate) containment: Arc<Containment>,
    pub(crate) authenticator: Authenticator,
    pub(crate) registry: Arc<Registry>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) proofs: Arc<Proofs>,
    pub(crate) users: Arc<UserIssuers>,
    pub(crate) lock: Arc<Lock>,
    pub(crate) policies: Policies,
    pub(crate) outbound: Outbound,
    pub(crate) apps: Apps,
    pub(crate) sessions: SessionSeal,
    pub(crate) slots: Slots,
    pub(crate) bytes: Arc<BytesInFlight>,
    pub(crate) metrics: Metrics,
    pub(crate) calls: OuterCalls,
    /// What tells applications that a call is over. A gateway that stops waits for them.
    pub(crate) withdrawals: TaskTracker,
    pub(crate) draining: AtomicBool,
}

impl Gateway {
    pub(crate) async fn open(
        settings: Settings,
        outside: Surroundings,
        bound: &Bound,
    ) -> Result<Self, StartError> {
        let Surroundings { clock, entropy, env } = outside;
        let names =
            Names::new(&settings.data, bound.data.address(), &bound.data.origin(), &settings.allowed_origins);
        let no_origins = std::collections::BTreeSet::new();
        let admin_names =
            Names::new(&settings.admin, bound.admin.address(), &bound.admin.origin(), &no_origins);
        let secrets = Secrets::new(env);
        let admin_token = secret_file::admin_token(&settings, &secrets, &*entropy)?;

        private_folder(&settings.state_folder)?;
        let store = SqliteStore::open(&settings.state_folder, Arc::clone(&clock))
            .map_err(broken("open the state"))?;
        let store: Arc<dyn Store> = Arc::new(store);
        let evidence = open_evidence(&settings, &clock, &entropy)?;
        let containment = Containment::new(Arc::clone(&store), Arc::clone(&clock));
        let registry = Registry::new(Arc::clone(&store), Arc::clone(&clock), Arc::clone(&entropy));
        let keys = Keys::open(Arc::clone(&store), Arc::clone(&clock), settings.token_ttl)
            .await
            .map_err(broken("open the signing keys"))?;
        let follower = Follower::start(
            Arc::clone(&store),
            Arc::clone(&clock),
            POLL,
            vec![containment.clone(), registry.clone(), keys.clone()],
        )
        .await
        .map_err(broken("load the state"))?;
        containment.attach(&follower, settings.lease);

        let apps = Apps::new(&settings, names.public_url());
        apps.recall(&*store).await.map_err(broken("load the operations of applications"))?;
        let proofs = Proofs::new(Arc::clone(&clock), &*entropy);
        let hop_tokens = HopTokens::new(
            names.public_url(),
            keys.verification(),
            Arc::clone(&clock),
            TOKEN_CACHE,
            Arc::clone(&proofs),
        );
        let lock = Arc::new(Lock::new(None, registry.directory()));
        let followed = Arc::clone(&lock);
        registry.on_change(move |directory| followed.replace_directory(directory));
        let users = Arc::new(user_issuers(&settings, names.public_url(), &clock)?);
        let resources = apps.iter().map(|app| (app.id().clone(), app.resource().to_owned())).collect();
        let issuer = Issuer::new(
            IssuerConfig {
                token_ttl: settings.token_ttl,
                node_ttl: settings.delegation_ttl,
                max_depth: settings.max_depth,
                max_children: settings.max_children,
                scope_claims: settings.scope_claims.clone(),
                ..IssuerConfig::new(names.public_url(), resources)
            },
            Backing { store: Arc::clone(&store), clock: Arc::clone(&clock), entropy: Arc::clone(&entropy) },
            Arc::clone(&registry),
            Arc::clone(&keys),
            Judges {
                containment: Arc::clone(&containment),
                lock: Arc::clone(&lock),
                proofs: Arc::clone(&proofs),
                users: Arc::clone(&users),
            },
        )
        .map_err(|error| StartError::Configuration(error.to_string()))?;
        let issuer = Arc::new(issuer);
        let outbound = outbound(&settings, secrets, &clock, Arc::new(Called(Arc::clone(&issuer))))?;
        let sessions = SessionSeal::new(&secret_file::session_key(&settings.state_folder, &*entropy)?);
        Ok(Self {
            lock,
            policies: Policies::new(settings.policies_folder.clone(), &settings.timezone),
            authenticator: Authenticator::new(vec![Box::new(hop_tokens)]),
            slots: Slots::new(&settings.limits),
            bytes: BytesInFlight::new(settings.limits.bytes_in_flight_max),
            metrics: Metrics::default(),
            calls: OuterCalls::default(),
            withdrawals: TaskTracker::new(),
            draining: AtomicBool::new(false),
            settings,
            clock,
            entropy,
            names,
            admin_names,
            admin_token,
            store,
            follower,
            evidence,
            containment,
            registry,
            keys,
            issuer,
            proofs,
            users,
            outbound,
            apps,
            sessions,
        })
    }
}

fn open_evidence(
    settings: &Settings,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> Result<Evidence, StartError> {
    private_folder(&settings.evidence_folder)?;
    let key = LogKey::load_or_create(&settings.state_folder.join("log.key"), &**entropy)
        .map_err(broken("open the key of the record"))?;
    let config = EvidenceConfig {
        folder: settings.evidence_folder.clone(),
        origin: settings.evidence_origin.clone(),
        mode: match settings.evidence_mode {
            EvidenceMode::Batched => Mode::Batched,
            EvidenceMode::Required => Mode::Required,
        },
        segment_max_bytes: settings.segment_max_bytes,
        queue_max: RECORD_QUEUE,
    };
    Evidence::open(config, key, Arc::clone(clock), Arc::clone(entropy)).map_err(broken("open the record"))
}

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
fn user_issuers(
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
    let client = |addresses| Client::new(addresses, limits.clone(), Trust::default());
    let clients = IssuerClients {
        operator: client(Addresses::Operator).map_err(broken("open the HTTP client"))?,
        stranger: client(Addresses::Stranger).map_err(broken("open the HTTP client"))?,
    };
    UserIssuers::new(settings.user_issuers.clone(), &clients, own_issuer, Arc::clone(clock))
        .map_err(|error| StartError::Configuration(error.to_string()))
}

fn outbound(
    settings: &Settings,
    secrets: Secrets,
    clock: &Arc<dyn Clock>,
    call_tokens: Arc<dyn CallTokenSource>,
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
    Outbound::new(upstreams, client, secrets, Arc::clone(clock), call_tokens)
        .map_err(|error| StartError::Configuration(error.to_string()))
}

/// A folder that only its owner may read.
pub(crate) fn private_folder(folder: &Path) -> Result<(), StartError> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| {
        StartError::Broken {
            what: "make a folder",
            cause: format!("`{}`: {error}", PathBuf::from(folder).display()),
        }
    })
}
