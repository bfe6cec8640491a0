//! A gateway that serves: how it starts, what it tells about itself, and how it stops.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
};

use secrecy::SecretString;
use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use vestibule_model::{AppId, AppKind, Clock, Entropy};

use crate::{
    admin,
    apps::Operations,
    config::{LimitsConfig, Settings},
    data,
    gateway::{Gateway, StartError},
    keepers,
    listener::{Handler, Listener},
    tls::Tls,
};

/// Operators' requests may finish within this time once the data listener has drained. A live view never ends by itself.
const OPERATORS_DRAIN_SECONDS: u64 = 1;

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
pub(crate) struct Bound {
    pub(crate) data: Listener,
    pub(crate) admin: Listener,
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
        keepers::first_look(&gateway).await;
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        keepers::spawn(&gateway, &stop, &tasks, bound.tls);
        let (data_handler, admin_handler) =
            (data::handler(Arc::clone(&gateway)), admin::handler(Arc::clone(&gateway)));
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
        keepers::refresh_policies(&self.gateway).await;
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
            self.gateway.withdrawals.close();
            self.gateway.withdrawals.wait().await;
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
