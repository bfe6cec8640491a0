//! The running gateway: every room, assembled once from the settings, and the tasks that keep them current.

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, atomic::AtomicBool, atomic::Ordering},
    time::Duration,
};

use secrecy::SecretString;
use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use vestibule_containment::Containment;
use vestibule_egress::{Addresses, Client, EgressLimits, Trust};
use vestibule_evidence::{Evidence, EvidenceConfig, LogKey, Mode};
use vestibule_inbound::{Authenticator, HopTokens};
use vestibule_issuer::{Backing, Issuer, IssuerConfig, Keys, Registry};
use vestibule_mcp::SessionSeal;
use vestibule_model::{AppId, AppKind, Clock, Entropy};
use vestibule_outbound::{Outbound, Secrets, UpstreamConfig};
use vestibule_policy::Lock;
use vestibule_store::{Follower, SqliteStore, Store};

use crate::{
    admin,
    apps::{Apps, Operations},
    config::{EvidenceMode, LimitsConfig, Settings},
    data,
    listener::{Handler, Listener},
    metrics::Metrics,
    names::Names,
    policies::Policies,
    secret_file,
    slots::{BytesInFlight, Slots},
    tls::Tls,
};

/// Verified tokens that are remembered; a token that is forgotten is verified again.
const TOKEN_CACHE: usize = 50_000;
/// Entries of the record that may wait to be written: about 35 MB, and half as many attempts under way.
const RECORD_QUEUE: usize = 20_000;
/// How often the change log is polled when nothing hints at a change.
const POLL: Duration = Duration::from_millis(50);
/// How often files are looked at.
const RELOAD: Duration = Duration::from_secs(1);
/// Operators' requests may finish within this time once the data listener has drained. A live view never ends by itself.
const OPERATORS_DRAIN_SECONDS: u64 = 1;
/// How long the start waits for applications to tell their operations.
const FIRST_DISCOVERY: Duration = Duration::from_secs(10);

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
    pub(crate) issuer: Issuer,
    pub(crate) lock: Arc<Lock>,
    pub(crate) policies: Policies,
    pub(crate) outbound: Outbound,
    pub(crate) apps: Apps,
    pub(crate) sessions: SessionSeal,
    pub(crate) slots: Slots,
    pub(crate) bytes: Arc<BytesInFlight>,
    pub(crate) metrics: Metrics,
    pub(crate) draining: AtomicBool,
}

/// What a gateway takes from outside: time, randomness and the environment.
#[derive(Clone)]
pub struct Surroundings {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// The randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Looks up an environment variable that a secret reference names.
    pub env: fn(&str) -> Option<String>,
}

impl std::fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").finish_non_exhaustive()
    }
}

/// A gateway that serves. Ends when it is stopped.
pub struct Running {
    gateway: Arc<Gateway>,
    data_address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
    operators: Operators,
}

/// The admin listener: it outlives the drain, so that probes and operators can see it.
struct Operators {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("gateway_url", &self.gateway_url()).finish_non_exhaustive()
    }
}

/// The two listeners, bound.
struct Bound {
    data: Listener,
    admin: Listener,
    tls: Vec<Arc<Tls>>,
}

impl Running {
    /// Starts a gateway: binds both listeners, opens state and record, reads the applications' operations and the
    /// policies, then serves.
    ///
    /// # Errors
    /// [`StartError`] says what to look at.
    pub async fn start(settings: Settings, surroundings: Surroundings) -> Result<Self, StartError> {
        let bound = bind(&settings).await?;
        let limits = Arc::new(settings.limits.clone());
        let gateway = Arc::new(Gateway::open(settings, surroundings, &bound).await?);
        gateway.first_look().await;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        gateway.spawn_keepers(&stop, &tasks, bound.tls);
        let (data_handler, admin_handler) = handlers(&gateway);
        let data_address = bound.data.address();
        tasks.spawn(bound.data.serve(Arc::clone(&limits), data_handler, stop.clone()));
        let operators = Operators::serve(bound.admin, &limits, admin_handler);
        Ok(Self { gateway, data_address, stop, tasks, operators })
    }

    /// The address that the data listener is bound to, whatever clients call it.
    #[must_use]
    pub fn data_address(&self) -> SocketAddr {
        self.data_address
    }

    /// The origin of the data listener, as clients use it.
    #[must_use]
    pub fn gateway_url(&self) -> &str {
        self.gateway.names.public_url()
    }

    /// The origin of the admin listener, as operators use it.
    #[must_use]
    pub fn admin_url(&self) -> &str {
        self.gateway.admin_names.public_url()
    }

    /// The operators' token.
    #[must_use]
    pub fn admin_token(&self) -> &SecretString {
        &self.gateway.admin_token
    }

    /// Every application with its kind and its resource identifier.
    #[must_use]
    pub fn apps(&self) -> Vec<(String, AppKind, String)> {
        self.gateway
            .apps
            .iter()
            .map(|app| (app.id().to_string(), app.kind(), app.resource().to_owned()))
            .collect()
    }

    /// The operations of an application, once they are known.
    #[must_use]
    pub fn operations(&self, id: &AppId) -> Option<Arc<Operations>> {
        self.gateway.apps.get(id.as_str())?.operations()
    }

    /// Loads the policies again if their folder has changed. Happens every second by itself.
    pub async fn reload(&self) {
        let gateway = Arc::clone(&self.gateway);
        let _ = tokio::task::spawn_blocking(move || gateway.refresh_policies()).await;
    }

    /// Why the policies in the folder are not running, if they are not.
    #[must_use]
    pub fn policy_status(&self) -> crate::PolicyStatus {
        self.gateway.policies.status()
    }

    /// Stops: readiness off, no new connections, running calls finish within `limits.drain_seconds`, the record is
    /// completed and signed.
    pub async fn stop(self) {
        self.stop_unless(std::future::pending()).await;
    }

    /// As [`stop`](Self::stop), but where `hurry` is ready first, running calls are cut and what was forwarded stays
    /// open in the record: the next start closes it as `unknown`. Returns whether all calls had ended.
    pub async fn stop_unless(self, hurry: impl Future<Output = ()>) -> bool {
        self.gateway.draining.store(true, Ordering::SeqCst);
        self.stop.cancel();
        self.tasks.close();
        let drain = async {
            self.tasks.wait().await;
            self.operators.stop.cancel();
            let _ = self.operators.task.await;
        };
        let is_drained = tokio::select! {
            () = drain => true,
            () = hurry => false,
        };
        self.gateway.evidence.shutdown().await;
        is_drained
    }
}

impl Operators {
    fn serve(listener: Listener, limits: &LimitsConfig, handler: Handler) -> Self {
        let limits = LimitsConfig { drain_seconds: OPERATORS_DRAIN_SECONDS, ..limits.clone() };
        let stop = CancellationToken::new();
        let task = tokio::spawn(listener.serve(Arc::new(limits), handler, stop.clone()));
        Self { stop, task }
    }
}

async fn bind(settings: &Settings) -> Result<Bound, StartError> {
    let mut all = Vec::new();
    let mut listen = async |name: &'static str, listener: &crate::config::ListenerSettings| {
        let tls = listener.tls.clone().map(Tls::load).transpose();
        let tls = tls.map_err(|error| StartError::Configuration(format!("`{name}.tls`: {error}")))?;
        all.extend(tls.clone());
        Listener::bind(listener.listen, tls).await.map_err(|error| in_use(name, listener.listen, &error))
    };
    let data = listen("data", &settings.data).await?;
    let admin = listen("admin", &settings.admin).await?;
    Ok(Bound { data, admin, tls: all })
}

fn in_use(name: &str, address: SocketAddr, error: &io::Error) -> StartError {
    StartError::Configuration(format!(
        "`{name}.listen`: cannot bind {address}: {error}; choose another address, or port 0 for a free one"
    ))
}

impl Gateway {
    async fn open(settings: Settings, outside: Surroundings, bound: &Bound) -> Result<Self, StartError> {
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
        let hop_tokens =
            HopTokens::new(names.public_url(), keys.verification(), Arc::clone(&clock), TOKEN_CACHE);
        let resources = apps.iter().map(|app| (app.id().clone(), app.resource().to_owned())).collect();
        let issuer = Issuer::new(
            IssuerConfig {
                token_ttl: settings.token_ttl,
                node_ttl: settings.delegation_ttl,
                scope_claims: settings.scope_claims.clone(),
                ..IssuerConfig::new(names.public_url(), resources)
            },
            Backing { store: Arc::clone(&store), clock: Arc::clone(&clock), entropy: Arc::clone(&entropy) },
            Arc::clone(&registry),
            Arc::clone(&keys),
            Arc::clone(&containment),
        )
        .map_err(|error| StartError::Configuration(error.to_string()))?;
        let lock = Arc::new(Lock::new(None, registry.directory()));
        let followed = Arc::clone(&lock);
        registry.on_change(move |directory| followed.replace_directory(directory));
        let outbound = outbound(&settings, secrets, &clock)?;
        let sessions = SessionSeal::new(&secret_file::session_key(&settings.state_folder, &*entropy)?);
        Ok(Self {
            lock,
            policies: Policies::new(settings.policies_folder.clone(), &settings.timezone),
            authenticator: Authenticator::new(vec![Box::new(hop_tokens)]),
            slots: Slots::new(&settings.limits),
            bytes: BytesInFlight::new(settings.limits.bytes_in_flight_max),
            metrics: Metrics::default(),
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
            outbound,
            apps,
            sessions,
        })
    }

    /// Reads every application once, then the policies. An application that does not answer does not hold the others
    /// up: it is asked again, and its operations are unknown until then.
    async fn first_look(self: &Arc<Self>) {
        let looks = self.apps.iter().filter(|app| app.kind() == AppKind::Mcp).map(|app| {
            let (gateway, app) = (Arc::clone(self), Arc::clone(app));
            tokio::spawn(async move {
                let look = Apps::refresh(&app, &gateway.outbound, &*gateway.store);
                match tokio::time::timeout(FIRST_DISCOVERY, look).await {
                    Ok(Ok(_)) => {}
                    Ok(Err(cause)) => {
                        tracing::warn!(app = %app.id(), cause, "the application cannot be read yet")
                    }
                    Err(_) => tracing::warn!(app = %app.id(), "the application does not answer yet"),
                }
            })
        });
        for look in looks.collect::<Vec<_>>() {
            let _ = look.await;
        }
        self.refresh_policies();
    }

    /// Brings the policies in step with their folder and the applications.
    pub(crate) fn refresh_policies(&self) {
        self.policies.refresh(&self.lock, &self.apps.catalog(), self.clock.now());
    }

    fn spawn_keepers(self: &Arc<Self>, stop: &CancellationToken, tasks: &TaskTracker, tls: Vec<Arc<Tls>>) {
        for app in self.apps.iter().filter(|app| app.kind() == AppKind::Mcp) {
            let (gateway, app) = (Arc::clone(self), Arc::clone(app));
            let keeper = async move {
                loop {
                    app.due().await;
                    match Apps::refresh(&app, &gateway.outbound, &*gateway.store).await {
                        Ok(true) => gateway.refresh_policies(),
                        Ok(false) => {}
                        Err(cause) => {
                            tracing::warn!(app = %app.id(), cause, "the application cannot be read")
                        }
                    }
                }
            };
            tasks.spawn(until(stop.clone(), keeper));
        }
        let gateway = Arc::clone(self);
        let keeper = async move {
            let mut tick = tokio::time::interval(RELOAD);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                tls.iter().for_each(|tls| tls.refresh());
                let gateway = Arc::clone(&gateway);
                // Reading and checking thousands of policies takes long enough to be kept off the request threads.
                let _ = tokio::task::spawn_blocking(move || gateway.refresh_policies()).await;
            }
        };
        tasks.spawn(until(stop.clone(), keeper));
        let gateway = Arc::clone(self);
        let keeper = async move {
            let mut tick = tokio::time::interval(Duration::from_secs(60));
            loop {
                tick.tick().await;
                gateway.tidy().await;
            }
        };
        tasks.spawn(until(stop.clone(), keeper));
    }

    /// Forgets what has expired: delegations, claims, retired keys, old rows of the change log.
    async fn tidy(&self) {
        const KEPT_CHANGES: u64 = 100_000;
        let now = self.clock.now();
        self.keys.retire(now);
        let keep = self.follower.applied().saturating_sub(KEPT_CHANGES);
        if let Err(error) = self.store.trim(now, keep).await {
            tracing::warn!(%error, "expired state cannot be removed");
        }
    }
}

async fn until(stop: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = stop.cancelled() => {}
    }
}

fn handlers(gateway: &Arc<Gateway>) -> (Handler, Handler) {
    let data = data::handler(Arc::clone(gateway));
    let admin = admin::handler(Arc::clone(gateway));
    (data, admin)
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

fn outbound(settings: &Settings, secrets: Secrets, clock: &Arc<dyn Clock>) -> Result<Outbound, StartError> {
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
    Outbound::new(upstreams, client, secrets, Arc::clone(clock))
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
