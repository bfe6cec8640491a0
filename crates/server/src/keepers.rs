//! The tasks that keep a gateway current: applications, policies, certificates, and what has expired.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::time::MissedTickBehavior;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use vestibule_evidence::{Outcome, Record, RecordKind};
use vestibule_model::{AppKind, AttemptId, TraceId};

use crate::{
    apps::{App, Apps},
    gateway::Gateway,
    give_back,
    tls::Tls,
};

/// How often files are looked at.
const RELOAD: Duration = Duration::from_secs(1);
/// How often the keys of outside issuers are looked after.
const WARM: Duration = Duration::from_secs(300);
/// How often what has expired is forgotten.
const TIDY: Duration = Duration::from_secs(60);
/// How long the start waits for applications to tell their operations.
const FIRST_DISCOVERY: Duration = Duration::from_secs(10);
/// Rows of the change log that are kept for gateways that fall behind.
const KEPT_CHANGES: u64 = 100_000;

/// Reads every application once, then the policies. An application that does not answer does not hold the others up: it
/// is asked again, and its operations are unknown until then.
pub(crate) async fn first_look(gateway: &Arc<Gateway>) {
    let looks = readable(gateway).map(|app| {
        let gateway = Arc::clone(gateway);
        tokio::spawn(async move {
            let look = Apps::refresh(&app, &gateway.outbound, &*gateway.store);
            match tokio::time::timeout(FIRST_DISCOVERY, look).await {
                Ok(Ok(true)) => accepted(&gateway, &app).await,
                Ok(Ok(false)) => {}
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
    refresh_policies(gateway).await;
    gateway.limits.warn_of_unknown(&gateway.apps);
}

/// Brings the policies in step with their folder and the applications. Reading and checking thousands of policies takes
/// long enough to be kept off the threads that serve.
pub(crate) async fn refresh_policies(gateway: &Arc<Gateway>) {
    let gateway = Arc::clone(gateway);
    let refresh = move || gateway.policies.refresh(&gateway.lock, &gateway.apps, gateway.clock.now());
    let _ = tokio::task::spawn_blocking(refresh).await;
}

/// Starts the tasks. They end with `stop`.
pub(crate) fn spawn(
    gateway: &Arc<Gateway>,
    stop: &CancellationToken,
    tasks: &TaskTracker,
    tls: Vec<Arc<Tls>>,
) {
    for app in readable(gateway) {
        tasks.spawn(until(stop.clone(), watch_app(Arc::clone(gateway), app)));
    }
    tasks.spawn(until(stop.clone(), watch_users(Arc::clone(gateway))));
    tasks.spawn(until(stop.clone(), watch_files(Arc::clone(gateway), tls)));
    tasks.spawn(until(stop.clone(), give_back::keep(Arc::clone(gateway))));
    tasks.spawn(until(stop.clone(), tidy(Arc::clone(gateway))));
}

async fn until(stop: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = stop.cancelled() => {}
    }
}

/// The applications whose operations are read from them.
fn readable(gateway: &Gateway) -> impl Iterator<Item = Arc<App>> + use<'_> {
    gateway.apps.iter().filter(|app| app.kind() == AppKind::Mcp).cloned()
}

async fn watch_app(gateway: Arc<Gateway>, app: Arc<App>) {
    loop {
        app.due().await;
        match Apps::refresh(&app, &gateway.outbound, &*gateway.store).await {
            Ok(true) => {
                accepted(&gateway, &app).await;
                refresh_policies(&gateway).await;
            }
            Ok(false) => {}
            Err(cause) => tracing::warn!(app = %app.id(), cause, "the application cannot be read"),
        }
    }
}

/// Definitions are taken as the application gives them; that this was done, and with which, stands in the record.
pub(crate) async fn accepted(gateway: &Gateway, app: &App) {
    let at = gateway.clock.now();
    let id = AttemptId::new(at, &*gateway.entropy);
    let mut record = Record::new(RecordKind::Administration, id, at, TraceId::of(id));
    let operations = app.operations();
    let (count, digest) = operations.map_or((0, None), |all| (all.all().len(), Some(all.digest())));
    record.app = Some(app.id().clone());
    record.author = Some("gateway".to_owned());
    record.action = Some("operations-accept".to_owned());
    record.target = Some(format!("app/{}", app.id()));
    record.detail = Some(json!({ "operations": count, "digest": digest }).to_string());
    let written = match gateway.evidence.begin_act(record) {
        Ok(entry) => entry.close(Outcome::Completed).await,
        Err(fault) => Err(fault),
    };
    if let Err(fault) = written {
        tracing::error!(app = %app.id(), %fault, "the acceptance of operations cannot be recorded");
    }
}

async fn watch_files(gateway: Arc<Gateway>, tls: Vec<Arc<Tls>>) {
    let mut tick = tokio::time::interval(RELOAD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        tls.iter().for_each(|tls| tls.refresh());
        refresh_policies(&gateway).await;
    }
}

/// Keeps the keys of outside issuers fresh, so that no agent waits for one.
async fn watch_users(gateway: Arc<Gateway>) {
    let mut tick = tokio::time::interval(WARM);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        tokio::join!(gateway.users.warm(), gateway.workloads.warm());
    }
}

/// Forgets what has expired: delegations, claims, retired keys, old rows of the change log.
async fn tidy(gateway: Arc<Gateway>) {
    let mut tick = tokio::time::interval(TIDY);
    loop {
        tick.tick().await;
        let now = gateway.clock.now();
        gateway.keys.retire(now);
        gateway.limits.tidy();
        let keep = gateway.follower.applied().saturating_sub(KEPT_CHANGES);
        if let Err(error) = gateway.store.trim(now, keep).await {
            tracing::warn!(%error, "expired state cannot be removed");
        }
    }
}
