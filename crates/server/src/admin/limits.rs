use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Answer, Gw, Refused, json as answer, page};
use crate::{
    config::{Quota, Rate, Rule},
    gateway::Gateway,
    limits::Standing,
};

/// Callers that are shown of one limit, at most: those who have used most of it.
const SHOWN_MAX: usize = 1_000;

/// Whose use is shown. What is not given fits everybody.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Whose {
    agent: Option<String>,
    /// `{issuer}#{subject}`.
    user: Option<String>,
    app: Option<String>,
    /// `{app}__{operation}`.
    operation: Option<String>,
}

pub(super) async fn list(State(gw): Gw) -> Answer {
    page(all(&gw), None)
}

/// A limit, and what is used of it now.
pub(super) async fn show(State(gw): Gw, Path(id): Path<String>, Query(whose): Query<Whose>) -> Answer {
    let mut shown = all(&gw).into_iter().find(|limit| limit.get("id") == Some(&json!(id)));
    let (Some(Value::Object(limit)), Some(mut standing)) =
        (shown.take(), gw.limits.standing(&id).await.map_err(Refused::broken)?)
    else {
        return Err(Refused::not_found("limit"));
    };
    standing.retain(|standing| whose.is(standing));
    standing.sort_by_key(|standing| std::cmp::Reverse(standing.used));
    let is_complete = standing.len() <= SHOWN_MAX;
    let used: Vec<Value> = standing.iter().take(SHOWN_MAX).map(used).collect();
    let more = [("used", json!(used)), ("is_complete", json!(is_complete))];
    let more = more.map(|(name, value)| (name.to_owned(), value));
    answer(200, &limit.into_iter().chain(more).collect::<Map<_, _>>())
}

impl Whose {
    fn is(&self, standing: &Standing) -> bool {
        let key = &standing.key;
        let fits = |asked: &Option<String>, found: Option<String>| asked.is_none() || *asked == found;
        fits(&self.agent, key.agent.as_ref().map(ToString::to_string))
            && fits(&self.user, key.user.as_ref().map(ToString::to_string))
            && fits(&self.app, key.app.as_ref().map(ToString::to_string))
            && fits(&self.operation, key.operation.as_ref().map(|operation| operation.0.to_string()))
    }
}

fn used(standing: &Standing) -> Value {
    let Standing { key, used, of, resets_in_seconds } = standing;
    json!({
        "agent": key.agent,
        "user": key.user.as_ref().map(ToString::to_string),
        "app": key.app,
        "operation": key.operation,
        "used": used,
        "of": of,
        "resets_in_seconds": resets_in_seconds,
    })
}

fn all(gw: &Gateway) -> Vec<Value> {
    let rates = gw.limits.rates().map(|rate| rated(gw, rate));
    rates.chain(gw.limits.quotas().map(|quota| metered(gw, quota))).collect()
}

fn rated(gw: &Gateway, rate: &Rate) -> Value {
    let Rate { rule, calls, seconds, burst } = rate;
    let limit = format!("{calls} in {seconds} s, {burst} at once");
    json!({
        "id": rule.name, "kind": "rate", "limit": limit, "calls": calls, "seconds": seconds, "burst": burst,
        "per": rule.per, "only": only(rule), "unknown_operations": gw.limits.unknown(rule, &gw.apps),
    })
}

fn metered(gw: &Gateway, quota: &Quota) -> Value {
    let Quota { rule, calls, period } = quota;
    let limit = format!("{calls} in each {}", period.as_str());
    json!({
        "id": rule.name, "kind": "quota", "limit": limit, "calls": calls, "per_period": period,
        "per": rule.per, "only": only(rule), "unknown_operations": gw.limits.unknown(rule, &gw.apps),
    })
}

fn only(rule: &Rule) -> Value {
    let only = &rule.only;
    let operations: Vec<String> = only.operations.iter().map(ToString::to_string).collect();
    json!({ "apps": only.apps, "operations": operations, "agents": only.agents, "groups": only.groups })
}
