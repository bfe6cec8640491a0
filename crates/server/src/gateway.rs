//! Every room of the gateway, assembled once from the settings.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use secrecy::SecretString;
use tokio_util::task::TaskTracker;
use vestibule_containment::{Containment, breaker::Upstreams};
use vestibule_evidence::{Evidence, EvidenceConfig, LogKey, Mode};
use vestibule_inbound::{
    Authenticator, HopTokens,
    dpop::Proofs,
    users::UserIssuers,
    workloads::{WorkloadIssuerConfig, WorkloadIssuers},
};
use vestibule_issuer::{Backing, Issuer, IssuerConfig, Judges, Keys, Registry};
use vestibule_mcp::SessionSeal;
use vestibule_model::{Clock, Entropy};
use vestibule_outbound::{Outbound, Secrets};
use vestibule_policy::Lock;
use vestibule_store::{Follower, SqliteStore, Store};

use crate::{
    apps::Apps,
    clients,
    config::{EvidenceMode, Settings},
    limits::Limits,
    metrics::Metrics,
    names::Names,
    outer_calls::OuterCalls,
    policies::Policies,
    running::{Bound, Surroundings},
    secret_file,
    shelf::StateShelf,
    slots::{BytesInFlight, Slots},
    vault::VaultDesk,
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

pub(crate) fn broken<E: std::fmt::Display>(what: &'static str) -> impl FnOnce(E) -> StartError {
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
    pub(crate) upstreams: Arc<Upstreams>,
    pub(crate) authenticator: Authenticator,
    pub(crate) registry: Arc<Registry>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) issuer: Arc<Issuer>,
    pub(crate) proofs: Arc<Proofs>,
    pub(crate) users: Arc<UserIssuers>,
    pub(crate) vault: VaultDesk,
    pub(crate) workloads: Arc<WorkloadIssuers>,
    pub(crate) lock: Arc<Lock>,
    pub(crate) policies: Policies,
    pub(crate) outbound: Outbound,
    pub(crate) apps: Apps,
    pub(crate) sessions: SessionSeal,
    pub(crate) slots: Slots,
    pub(crate) limits: Limits,
    pub(crate) bytes: Arc<BytesInFlight>,
    pub(crate) metrics: Metrics,
    pub(crate) calls: OuterCalls,
    /// What tells applications that a call is over, and keeps and records breakers that have changed. A gateway that stops
    /// waits for them.
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
        let (names, admin_names) = names(&settings, bound);
        let secrets = Secrets::new(env);
        let admin_token = secret_file::admin_token(&settings, &secrets, &*entropy)?;

        private_folder(&settings.state_folder)?;
        let evidence = open_evidence(&settings, &clock, &entropy)?;
        let State { store, follower, containment, upstreams, registry, keys, vault } =
            State::load(&settings, &secrets, &clock, &entropy).await?;
        let secrets = secrets.with_vault(vault.secrets());

        let apps = Apps::new(&settings, names.public_url());
        apps.recall(&*store).await.map_err(broken("load the operations of applications"))?;
        let proofs = Proofs::new(Arc::clone(&clock), &*entropy);
        let hop_tokens = hop_tokens(names.public_url(), &keys, &clock, &proofs);
        let lock = lock(&registry);
        let kept = StateShelf::new(&store, &vault.vault());
        let (users, workloads) = clients::outside_issuers(&settings, names.public_url(), &clock)?;
        let issuer = Issuer::new(
            issuer_config(&settings, names.public_url(), &apps),
            Backing {
                store: Arc::clone(&store),
                clock: Arc::clone(&clock),
                entropy: Arc::clone(&entropy),
                user_tokens: settings.needs_user_tokens().then(|| kept.users.clone()),
            },
            Arc::clone(&registry),
            Arc::clone(&keys),
            Judges {
                containment: Arc::clone(&containment),
                lock: Arc::clone(&lock),
                proofs: Arc::clone(&proofs),
                users: Arc::clone(&users),
                workloads: Arc::clone(&workloads),
            },
        )
        .map_err(|error| StartError::Configuration(error.to_string()))?;
        let issuer = Arc::new(issuer);
        let outbound =
            clients::outbound(&settings, (secrets, kept), (&clock, &entropy), (names.public_url(), &issuer))?;
        outbound.recall().await.map_err(broken("load the tokens for applications"))?;
        let session_key = secret_file::session_key(&settings.state_folder, &*entropy)?;
        Ok(Self {
            lock,
            policies: Policies::new(settings.policies_folder.clone(), &settings.timezone),
            authenticator: clients::door_one(hop_tokens, &users, &registry, &proofs),
            slots: Slots::new(&settings.limits),
            limits: Limits::new(&settings, &store, &clock),
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
            upstreams,
            registry,
            keys,
            issuer,
            proofs,
            users,
            vault,
            workloads,
            outbound,
            apps,
            sessions: SessionSeal::new(&session_key),
        })
    }
}

/// The lock, without policies yet, and in step with the registry.
fn lock(registry: &Registry) -> Arc<Lock> {
    let lock = Arc::new(Lock::new(None, registry.directory()));
    let followed = Arc::clone(&lock);
    registry.on_change(move |directory| followed.replace_directory(directory));
    lock
}

fn hop_tokens(name: &str, keys: &Keys, clock: &Arc<dyn Clock>, proofs: &Arc<Proofs>) -> HopTokens {
    HopTokens::new(name, keys.verification(), Arc::clone(clock), TOKEN_CACHE, Arc::clone(proofs))
}

/// The HTTP names of both listeners.
fn names(settings: &Settings, bound: &Bound) -> (Names, Names) {
    let no_origins = std::collections::BTreeSet::new();
    (
        Names::new(&settings.data, bound.data.address(), &bound.data.origin(), &settings.allowed_origins),
        Names::new(&settings.admin, bound.admin.address(), &bound.admin.origin(), &no_origins),
    )
}

/// What survives, and what follows it.
struct State {
    store: Arc<dyn Store>,
    follower: Arc<Follower>,
    containment: Arc<Containment>,
    upstreams: Arc<Upstreams>,
    registry: Arc<Registry>,
    keys: Arc<Keys>,
    vault: VaultDesk,
}

impl State {
    async fn load(
        settings: &Settings,
        secrets: &Secrets,
        clock: &Arc<dyn Clock>,
        entropy: &Arc<dyn Entropy>,
    ) -> Result<Self, StartError> {
        private_folder(&settings.state_folder)?;
        let store =
            SqliteStore::open(&settings.state_folder, Arc::clone(clock)).map_err(broken("open the state"))?;
        let store: Arc<dyn Store> = Arc::new(store);
        let containment = Containment::new(Arc::clone(&store), Arc::clone(clock));
        let thresholds = settings.breakers.upstreams.clone();
        let upstreams = Upstreams::new(Arc::clone(&store), Arc::clone(clock), thresholds);
        let vault = VaultDesk::open(settings, secrets, &store, clock).await?;
        let rules = WorkloadIssuerConfig::rules_of(&settings.workload_issuers)
            .map_err(|error| StartError::Configuration(error.to_string()))?;
        let rules = Arc::new(rules);
        let registry = Registry::ruled(Arc::clone(&store), Arc::clone(clock), Arc::clone(entropy), rules);
        let keys = Keys::open(Arc::clone(&store), vault.vault(), Arc::clone(clock), settings.token_ttl)
            .await
            .map_err(broken("open the signing keys"))?;
        let follower = Follower::start(
            Arc::clone(&store),
            Arc::clone(clock),
            POLL,
            vec![
                containment.clone(),
                containment.breakers().clone(),
                upstreams.clone(),
                registry.clone(),
                keys.clone(),
                vault.secrets(),
            ],
        )
        .await
        .map_err(broken("load the state"))?;
        containment.attach(&follower, settings.lease);
        Ok(Self { store, follower, containment, upstreams, registry, keys, vault })
    }
}

fn issuer_config(settings: &Settings, issuer: &str, apps: &Apps) -> IssuerConfig {
    let resources = apps.iter().map(|app| (app.id().clone(), app.resource().to_owned())).collect();
    IssuerConfig {
        token_ttl: settings.token_ttl,
        node_ttl: settings.delegation_ttl,
        max_depth: settings.max_depth,
        max_children: settings.max_children,
        max_tree_nodes: settings.max_tree_nodes,
        max_roots: settings.max_roots,
        scope_claims: settings.scope_claims.clone(),
        ..IssuerConfig::new(issuer, resources)
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
