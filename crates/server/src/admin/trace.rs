use axum::extract::{Path, State};
use vestibule_evidence::{TraceBounds, TraceOf};
use vestibule_model::{AttemptId, WorkflowId};

use super::{Answer, Gw, Refused, json as answer};
use crate::gateway::Gateway;

/// Who asked for an attempt, and what came of it.
pub(super) async fn attempt(State(gw): Gw, Path(id): Path<String>) -> Answer {
    let id = AttemptId::parse(&id).map_err(|error| Refused::invalid(error.to_string()))?;
    traced(&gw, TraceOf::Attempt(id), "attempt").await
}

/// A whole tree of delegations, with everything that was done in it.
pub(super) async fn workflow(State(gw): Gw, Path(id): Path<String>) -> Answer {
    let id = WorkflowId::parse(&id).map_err(|error| Refused::invalid(error.to_string()))?;
    traced(&gw, TraceOf::Workflow(id), "workflow").await
}

/// A trace sees everything up to now: what is queued is written first.
async fn traced(gw: &Gateway, of: TraceOf, what: &str) -> Answer {
    let trace = gw.evidence.trace(of, TraceBounds::default()).await.map_err(Refused::broken)?;
    if trace.attempts == 0 {
        return Err(Refused::not_found(what));
    }
    answer(200, &trace)
}
