//! The protected applications and what can be done to them. The operations of an MCP application are read from it,
//! accepted as first seen, kept in the store, and read again from time to time.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tokio::sync::Notify;
use vestibule_egress::{Client, full};
use vestibule_mcp::discovery::{Discovery, Reply, Step};
use vestibule_model::{AppId, AppKind, Digest, Operation, Risk};
use vestibule_outbound::{Forward, Outbound};
use vestibule_policy::{AppOperations, Catalog};
use vestibule_store::{Kind, Op, Put, Store, StoreError};

use crate::config::{AppSettings, Settings};

/// Largest answer that is read while discovering operations, in bytes.
const DISCOVERY_MAX_BYTES: usize = 16 << 20;
/// Longest single step of a discovery.
const DISCOVERY_STEP_MAX: Duration = Duration::from_secs(10);

/// The operations of one application, found by name.
#[derive(Debug)]
pub struct Operations {
    all: Vec<Operation>,
    by_name: HashMap<Arc<str>, usize>,
    /// The scopes that any of them asks for, in order, separated by spaces.
    scopes: String,
    digest: Digest,
}

impl Operations {
    fn new(all: Vec<Operation>) -> Self {
        let by_name =
            all.iter().enumerate().map(|(at, operation)| (Arc::clone(&operation.name), at)).collect();
        let scopes: BTreeSet<&str> =
            all.iter().flat_map(|operation| operation.scopes.iter().map(String::as_str)).collect();
        let scopes = scopes.into_iter().collect::<Vec<_>>().join(" ");
        let digest = Digest::of(format!("{all:?}").as_bytes());
        Self { all, by_name, scopes, digest }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Operation] {
        &self.all
    }

    /// Of everything that is known about them.
    pub(crate) fn digest(&self) -> Digest {
        self.digest
    }

    /// The one of that name.
    pub(crate) fn get(&self, name: &str) -> Option<&Operation> {
        self.by_name.get(name).and_then(|at| self.all.get(*at))
    }
}

/// One protected application.
#[derive(Debug)]
pub(crate) struct App {
    settings: AppSettings,
    resource: String,
    metadata_url: String,
    operations: ArcSwapOption<Operations>,
    /// Asks for its operations to be read again soon.
    stale: Notify,
}

impl App {
    fn new(settings: AppSettings, public_url: &str) -> Self {
        let resource = settings.resource(public_url);
        let path = resource.strip_prefix(public_url).unwrap_or_default();
        // RFC 9728 §3.1: the well-known part goes between host and path.
        let metadata_url = format!("{public_url}/.well-known/oauth-protected-resource{path}");
        for warning in settings.routes.iter().flat_map(|routes| routes.warnings()) {
            tracing::warn!(app = %settings.id, warning, "an operation is left out");
        }
        let operations = settings.routes.as_ref().map(|routes| Operations::new(routes.operations()));
        let operations = ArcSwapOption::from_pointee(operations);
        Self { settings, resource, metadata_url, operations, stale: Notify::new() }
    }

    pub(crate) fn id(&self) -> &AppId {
        &self.settings.id
    }

    pub(crate) fn kind(&self) -> AppKind {
        self.settings.kind
    }

    pub(crate) fn settings(&self) -> &AppSettings {
        &self.settings
    }

    /// Its resource identifier (RFC 8707): the audience of tokens for it.
    pub(crate) fn resource(&self) -> &str {
        &self.resource
    }

    /// Where its protected resource metadata is.
    pub(crate) fn metadata_url(&self) -> &str {
        &self.metadata_url
    }

    /// Its operations, once they are known.
    pub(crate) fn operations(&self) -> Option<Arc<Operations>> {
        self.operations.load_full()
    }

    /// The scopes that any of its operations asks for, in order, separated by spaces.
    pub(crate) fn scopes(&self) -> String {
        self.operations().map(|operations| operations.scopes.clone()).unwrap_or_default()
    }

    /// Somebody asked for an operation that is not known: it may be new.
    pub(crate) fn suspect(&self) {
        self.stale.notify_one();
    }

    /// Waits until its operations should be read again.
    pub(crate) async fn due(&self) {
        let wait =
            if self.operations.load().is_some() { self.settings.refresh } else { Duration::from_secs(1) };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            // However often unknown operations are asked for, the application is asked once a second at most.
            () = async { self.stale.notified().await; tokio::time::sleep(Duration::from_secs(1)).await } => {}
        }
    }

    /// Reads the operations from the application, through door two.
    async fn discover(&self, outbound: &Outbound) -> Result<Vec<Operation>, String> {
        let mut discovery = Discovery::default();
        let mut reply: Option<Reply> = None;
        loop {
            match discovery.next(reply.take()) {
                Step::Done(operations) => {
                    for warning in discovery.warnings() {
                        tracing::warn!(app = %self.id(), warning, "an operation is left out");
                    }
                    return Ok(operations);
                }
                Step::Failed(reason) => return Err(reason),
                Step::Send(request) => {
                    let access = outbound.obtain_own(self.id()).await.map_err(|fault| fault.to_string())?;
                    let forward = Forward {
                        method: request.method,
                        path: String::new(),
                        query: None,
                        headers: request.headers,
                        body: full(request.body),
                    };
                    let answer = tokio::time::timeout(DISCOVERY_STEP_MAX, async {
                        let response =
                            outbound.call(access, forward).await.map_err(|fault| fault.to_string())?;
                        let (parts, body) = response.into_parts();
                        let body = Client::read_body(body, DISCOVERY_MAX_BYTES)
                            .await
                            .map_err(|error| error.to_string())?;
                        Ok::<_, String>(Reply::new(parts.status, &parts.headers, body))
                    });
                    reply = Some(answer.await.map_err(|_| "no answer in time".to_owned())??);
                }
            }
        }
    }

    /// What the operator knows better than the server.
    fn reviewed(&self, mut operations: Vec<Operation>) -> Vec<Operation> {
        for operation in &mut operations {
            if let Some(review) = self.settings.review.get(&*operation.name) {
                if let Some(effect) = review.effect {
                    operation.effect = effect;
                    operation.risk = Risk::Reviewed;
                }
                operation.scopes.extend(review.scopes.iter().cloned());
            }
        }
        operations
    }
}

/// All applications.
#[derive(Debug)]
pub(crate) struct Apps(BTreeMap<AppId, Arc<App>>);

impl Apps {
    pub(crate) fn new(settings: &Settings, public_url: &str) -> Self {
        Self(
            settings
                .apps
                .iter()
                .map(|app| (app.id.clone(), Arc::new(App::new(app.clone(), public_url))))
                .collect(),
        )
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<App>> {
        self.0.get(&AppId::new(id).ok()?).cloned()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<App>> {
        self.0.values()
    }

    /// The operations of all applications that are known, for the policies to be checked against.
    pub(crate) fn catalog(&self) -> Catalog {
        let known = |app: &Arc<App>| {
            let operations = app.operations().map(|operations| operations.all().to_vec()).unwrap_or_default();
            AppOperations { app: app.id().clone(), kind: app.kind(), operations }
        };
        self.iter().map(known).collect()
    }

    /// Puts in place what the store remembers of earlier discoveries.
    pub(crate) async fn recall(&self, store: &dyn Store) -> Result<(), StoreError> {
        for app in self.iter().filter(|app| app.kind() == AppKind::Mcp) {
            if let Some(record) = store.get(Kind::Operations, app.id().as_str()).await? {
                let operations: Vec<Operation> = record.decode()?;
                app.operations.store(Some(Arc::new(Operations::new(app.reviewed(operations)))));
            }
        }
        Ok(())
    }

    /// Reads one application's operations and keeps them. True when they have changed.
    pub(crate) async fn refresh(app: &App, outbound: &Outbound, store: &dyn Store) -> Result<bool, String> {
        let found = app.discover(outbound).await?;
        let reviewed = app.reviewed(found.clone());
        if app.operations().is_some_and(|known| *known.all() == *reviewed) {
            return Ok(false);
        }
        let put = Put::new(Kind::Operations, app.id().as_str(), &found).map_err(|error| error.to_string())?;
        store.commit(vec![Op::Put(put)]).await.map_err(|error| error.to_string())?;
        app.operations.store(Some(Arc::new(Operations::new(reviewed))));
        Ok(true)
    }
}
