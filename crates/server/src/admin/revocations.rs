use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::json;
use vestibule_containment::{DenyKey, KeyKind, Order, OrderError, Reason, Report, State as Standing};
use vestibule_model::Timestamp;

use super::{Act, Answer, Gw, OPERATOR, Refused, json as answer, page, recorded, recorded_with};

type Given<T> = Result<Json<T>, axum::extract::rejection::JsonRejection>;

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
    let expires_at = body.expires_at.map(Timestamp::from_millis);
    let detail = json!({ "reason": reason, "cutoff": body.cutoff, "expires_at": expires_at });
    let action = match state {
        Standing::Revoked => "revoke",
        Standing::Suspended => "suspend",
    };
    let act = Act { action, target: key.to_string(), detail: &detail };
    let order = Order {
        key,
        state,
        reason,
        cutoff: body.cutoff.map(Timestamp::from_millis),
        expires_at,
        by: OPERATOR.to_owned(),
        dry_run: body.dry_run,
    };
    let is_rehearsal = order.dry_run;
    let work = async { gw.containment.order(order).await.map_err(refused) };
    let told = |report: &Report| {
        let Report { reason, cutoff, cut, completed, version, .. } = report;
        Some(json!({
            "reason": reason, "cutoff": cutoff, "expires_at": expires_at, "version": version, "cut": cut,
            "completed": completed,
        }))
    };
    let report = if is_rehearsal { work.await? } else { recorded_with(&gw, act, work, told).await? };
    answer(200, &report)
}

pub(super) async fn resume(State(gw): Gw, body: Given<Name>) -> Answer {
    let Json(name) = body.map_err(|error| Refused::invalid(error.body_text()))?;
    let key = named(&name.kind, &name.id)?;
    let act = Act { action: "resume", target: key.to_string(), detail: &json!({}) };
    let work = async { gw.containment.resume(&key, OPERATOR).await.map_err(refused) };
    answer(200, &recorded(&gw, act, work).await?)
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
