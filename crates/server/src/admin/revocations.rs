use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::json;
use vestibule_containment::{
    DenyEntry, DenyKey, KeyKind, Order, OrderError, Reason, Report, State as Standing,
};
use vestibule_model::Timestamp;

use super::{Act, Answer, Gw, OPERATOR, Refused, json as answer, page, recorded, recorded_with};
use crate::gateway::Gateway;

pub(super) type Given<T> = Result<Json<T>, axum::extract::rejection::JsonRejection>;

/// What to revoke or suspend.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    /// Of what kind the name is.
    kind: String,
    /// Its id; a token's is its `jti`.
    id: String,
    /// `revoked`, which is for good and the default, or `suspended`.
    #[serde(default)]
    state: Option<Standing>,
    #[serde(default)]
    reason: Option<Reason>,
    /// Milliseconds since the Unix epoch: only what was issued at or before is dead.
    #[serde(default)]
    cutoff: Option<i64>,
    /// Milliseconds since the Unix epoch: from then on the order is as if never given.
    #[serde(default)]
    expires_at: Option<i64>,
    #[serde(default)]
    dry_run: bool,
}

/// What to resume.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Name {
    kind: String,
    id: String,
}

fn named(kind: &str, id: &str) -> Result<DenyKey, Refused> {
    let kind = KeyKind::parse(kind).ok_or_else(|| {
        let kinds: Vec<_> = KeyKind::ALL.iter().map(|kind| kind.as_str()).collect();
        Refused::invalid(format!("`kind` must be one of {}", kinds.join(", ")))
    })?;
    DenyKey::new(kind, id).map_err(|error| Refused::invalid(error.to_string()))
}

pub(super) async fn order(State(gw): Gw, body: Given<Body>) -> Answer {
    let Json(body) = body.map_err(|error| Refused::invalid(error.body_text()))?;
    let key = named(&body.kind, &body.id)?;
    let (state, reason) =
        (body.state.unwrap_or(Standing::Revoked), body.reason.unwrap_or(Reason::Unspecified));
    let order = Order {
        key,
        state,
        reason,
        cutoff: body.cutoff.map(Timestamp::from_millis),
        expires_at: body.expires_at.map(Timestamp::from_millis),
        by: OPERATOR.to_owned(),
        dry_run: body.dry_run,
    };
    answer(200, &ordered(&gw, order).await?)
}

/// Gives an order, in its record unless it is a rehearsal.
pub(super) async fn ordered(gw: &Gateway, order: Order) -> Result<Report, Refused> {
    let (cutoff, expires_at) = (order.cutoff, order.expires_at);
    let detail = json!({ "reason": order.reason, "cutoff": cutoff, "expires_at": expires_at });
    let action = match order.state {
        Standing::Revoked => "revoke",
        Standing::Suspended => "suspend",
    };
    let act = Act { action, target: order.key.to_string(), detail: &detail };
    let is_rehearsal = order.dry_run;
    let work = async { gw.containment.order(order).await.map_err(refused) };
    let told = |report: &Report| {
        let Report { reason, cutoff, cut, completed, version, .. } = report;
        Some(json!({
            "reason": reason, "cutoff": cutoff, "expires_at": expires_at, "version": version, "cut": cut,
            "completed": completed,
        }))
    };
    if is_rehearsal { work.await } else { recorded_with(gw, act, work, told).await }
}

pub(super) async fn resume(State(gw): Gw, body: Given<Name>) -> Answer {
    let Json(name) = body.map_err(|error| Refused::invalid(error.body_text()))?;
    let key = named(&name.kind, &name.id)?;
    answer(200, &resumed(&gw, &key).await?)
}

/// Takes a suspension back, in its record.
pub(super) async fn resumed(gw: &Gateway, key: &DenyKey) -> Result<DenyEntry, Refused> {
    let act = Act { action: "resume", target: key.to_string(), detail: &json!({}) };
    let work = async { gw.containment.resume(key, OPERATOR).await.map_err(refused) };
    recorded(gw, act, work).await
}

pub(super) async fn list(State(gw): Gw) -> Answer {
    page(gw.containment.list().iter().map(|entry| json!(entry)).collect(), None)
}

fn refused(error: OrderError) -> Refused {
    match error {
        OrderError::NotSuspended => Refused::new(409, "not-suspended", "it is not suspended"),
        OrderError::Revoked => Refused::new(409, "revoked", "it is revoked, which is for good"),
        OrderError::Expired => Refused::invalid("`expires_at` is past"),
        OrderError::Store(error) => Refused::broken(error),
    }
}
