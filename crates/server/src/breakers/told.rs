//! What a breaker that has changed by itself leaves behind: it is kept in the store, recorded, counted and logged.

use std::sync::Arc;

use serde_json::{Value, json};
use vestibule_containment::breaker::{Breaker, Cause, Change, Phase, UpstreamChange};
use vestibule_evidence::{Outcome, Record, RecordKind};
use vestibule_model::{AttemptId, Fault, TraceId};

use crate::{gateway::Gateway, metrics::Breaking};

/// Keeps and records what has changed. It is in force already.
pub(super) fn agents(gw: &Arc<Gateway>, changes: impl IntoIterator<Item = Change>) {
    for change in changes {
        let (agent, breaker) = (&change.agent, &change.breaker);
        gw.metrics.breaking(Breaking::Agent, &breaker.phase);
        let (state, cause) = (action(&breaker.phase), &change.cause);
        tracing::warn!(%agent, state, signal = %cause.signal, detail = cause.detail, "the breaker of an agent has changed");
        let gateway = Arc::clone(gw);
        // INVARIANT: tracked, so that a gateway that stops keeps and records it.
        gw.withdrawals.spawn(async move {
            let Change { agent, breaker, cause, cut } = &change;
            if let Err(error) = gateway.containment.breakers().keep(&change).await {
                tracing::error!(%agent, %error, "the breaker of an agent is not in the state: a restart forgets it");
            }
            let mut detail = detail(breaker, cause);
            if let Some(members) = detail.as_object_mut() {
                members.insert("cut".to_owned(), json!({ "attempts": cut.attempts, "streams": cut.streams }));
            }
            written(&gateway, action(&breaker.phase), format!("agent/{agent}"), &detail).await;
        });
    }
}

/// Records what has changed. It is this gateway's own.
pub(super) fn upstreams(gw: &Arc<Gateway>, changes: impl IntoIterator<Item = UpstreamChange>) {
    for UpstreamChange { app, breaker, cause } in changes {
        gw.metrics.breaking(Breaking::Upstream, &breaker.phase);
        let state = action(&breaker.phase);
        tracing::warn!(%app, state, signal = %cause.signal, detail = cause.detail, "the breaker of an application has changed");
        let gateway = Arc::clone(gw);
        gw.withdrawals.spawn(async move {
            let detail = detail(&breaker, &cause);
            written(&gateway, state, format!("app/{app}"), &detail).await;
        });
    }
}

fn action(phase: &Phase) -> &'static str {
    match phase {
        Phase::Open { .. } => "breaker-trip",
        Phase::Probing { .. } => "breaker-probe",
        Phase::Closed => "breaker-close",
    }
}

fn detail(breaker: &Breaker, cause: &Cause) -> Value {
    let until = match breaker.phase {
        Phase::Open { until } => until,
        Phase::Probing { until } => Some(until),
        Phase::Closed => None,
    };
    json!({ "signal": cause.signal, "detail": cause.detail, "until": until, "strikes": breaker.strikes, "version": breaker.turn })
}

/// The act of the gateway itself.
async fn written(gw: &Gateway, action: &str, target: String, detail: &Value) {
    let at = gw.clock.now();
    let id = AttemptId::new(at, &*gw.entropy);
    let mut record = Record::new(RecordKind::Administration, id, at, TraceId::of(id));
    record.author = Some("gateway".to_owned());
    record.action = Some(action.to_owned());
    record.target = Some(target);
    record.detail = Some(detail.to_string());
    let closed: Result<(), Fault> = match gw.evidence.begin_act(record) {
        Ok(entry) => entry.close(Outcome::Completed).await,
        Err(fault) => Err(fault),
    };
    if let Err(fault) = closed {
        tracing::error!(action, %fault, "a breaker has changed and that cannot be recorded");
    }
}
