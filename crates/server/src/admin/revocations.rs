use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::json;
use vestibule_containment::{DenyKey, KeyKind, Order, Reason};
use vestibule_model::Timestamp;

use super::{Act, Answer, Gw, OPERATOR, Refused, json as answer, page, recorded};

/// What to revoke.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    /// `agent`, `token` or `delegation`.
    kind: String,
    /// Its id; a token's is its `jti`.
    id: String,
    #[serde(default)]
    reason: Option<Reason>,
    /// Milliseconds since the Unix epoch: only what was issued at or before is dead.
    #[serde(default)]
    cutoff: Option<i64>,
    #[serde(default)]
    dry_run: bool,
}

pub(super) async fn revoke(
    State(gw): Gw,
    body: Result<Json<Body>, axum::extract::rejection::JsonRejection>,
) -> Answer {
    let Json(body) = body.map_err(|error| Refused::invalid(error.body_text()))?;
    let kind = KeyKind::parse(&body.kind)
        .ok_or_else(|| Refused::invalid("`kind` must be `agent`, `token` or `delegation`"))?;
    let key = DenyKey::new(kind, &body.id).map_err(|error| Refused::invalid(error.to_string()))?;
    let reason = body.reason.unwrap_or(Reason::Unspecified);
    let detail = json!({ "reason": reason, "cutoff": body.cutoff });
    let act = Act { action: "revoke", target: key.to_string(), detail: &detail };
    let order = Order {
        key,
        reason,
        cutoff: body.cutoff.map(Timestamp::from_millis),
        by: OPERATOR.to_owned(),
        dry_run: body.dry_run,
    };
    let is_rehearsal = order.dry_run;
    let work = async { gw.containment.revoke(order).await.map_err(Refused::broken) };
    let report = if is_rehearsal { work.await? } else { recorded(&gw, act, work).await? };
    answer(200, &report)
}

pub(super) async fn list(State(gw): Gw) -> Answer {
    page(gw.containment.list().iter().map(|entry| json!(entry)).collect(), None)
}
