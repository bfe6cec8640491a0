use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::{Value, json};
use vestibule_containment::{
    Cut,
    breaker::{Breaker, Cause, Change, Phase, Tripped, UpstreamChange},
};
use vestibule_model::{AgentId, AppId, Timestamp};

use super::{Act, Answer, Gw, OPERATOR, Refused, json as answer, page, recorded_with};
use crate::{gateway::Gateway, metrics::Breaking};

type Given<T> = Result<Json<T>, axum::extract::rejection::JsonRejection>;

/// Longest reason of an operator, in bytes.
const REASON_MAX_BYTES: usize = 256;
/// Longest time for which a breaker is opened by hand, in seconds: 30 days. Longer is until it is reset.
const SECONDS_MAX: u64 = 30 * 24 * 60 * 60;

/// Whose breaker.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Agent,
    App,
}

/// Which breaker to open.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Trip {
    kind: Kind,
    id: String,
    /// For how long; none: until it is reset.
    #[serde(default)]
    seconds: Option<u64>,
    #[serde(default)]
    reason: String,
}

/// Which breaker to close.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Reset {
    kind: Kind,
    id: String,
}

enum Whose {
    Agent(AgentId),
    App(AppId),
}

impl Whose {
    fn of(gw: &Gateway, kind: Kind, id: &str) -> Result<Self, Refused> {
        match kind {
            Kind::Agent => {
                AgentId::new(id).map(Self::Agent).map_err(|error| Refused::invalid(error.to_string()))
            }
            Kind::App => {
                let app = gw.apps.get(id).ok_or_else(|| Refused::not_found("application"))?;
                Ok(Self::App(app.id().clone()))
            }
        }
    }

    fn target(&self) -> String {
        match self {
            Self::Agent(agent) => format!("agent/{agent}"),
            Self::App(app) => format!("app/{app}"),
        }
    }
}

/// The breakers of agents that are not closed, then those of all applications.
pub(super) async fn list(State(gw): Gw) -> Answer {
    let agents = gw.containment.breakers().list().into_iter().map(|tripped| {
        let Tripped { agent, breaker, cause } = tripped;
        shown("agent", agent.as_str(), &breaker, &cause)
    });
    let apps = gw.upstreams.list().into_iter().map(|standing| app(&standing));
    page(agents.chain(apps).collect(), None)
}

pub(super) async fn trip(State(gw): Gw, body: Given<Trip>) -> Answer {
    let Json(Trip { kind, id, seconds, reason }) =
        body.map_err(|error| Refused::invalid(error.body_text()))?;
    let whose = Whose::of(&gw, kind, &id)?;
    if seconds.is_some_and(|seconds| !(1..=SECONDS_MAX).contains(&seconds)) {
        return Err(Refused::invalid(format!(
            "`seconds` must be from 1 to {SECONDS_MAX}; leave it out for no end"
        )));
    }
    if reason.len() > REASON_MAX_BYTES || reason.chars().any(char::is_control) {
        return Err(Refused::invalid(format!(
            "`reason` must have at most {REASON_MAX_BYTES} bytes and no control characters"
        )));
    }
    let until = seconds.map(|seconds| gw.clock.now().plus(std::time::Duration::from_secs(seconds)));
    let act = Act {
        action: "breaker-trip",
        target: whose.target(),
        detail: &json!({ "until": until, "reason": reason }),
    };
    let work = opened(&gw, &whose, until, Cause::order(OPERATOR, &reason));
    answer(200, &recorded_with(&gw, act, work, |shown| Some(shown.clone())).await?)
}

async fn opened(
    gw: &Gateway,
    whose: &Whose,
    until: Option<Timestamp>,
    cause: Cause,
) -> Result<Value, Refused> {
    match whose {
        Whose::Agent(agent) => {
            let rest = gw.settings.breakers.of(agent, &gw.registry.directory()).rest;
            let opened = gw.containment.breakers().open(agent, until, rest, cause).await;
            let change = opened.map_err(Refused::broken)?;
            gw.metrics.breaking(Breaking::Agent, &change.breaker.phase);
            Ok(changed(gw, &change))
        }
        Whose::App(id) => {
            let opened = gw.upstreams.open(id, until, cause).await.map_err(Refused::broken)?;
            told(gw, opened.ok_or_else(|| Refused::not_found("application"))?)
        }
    }
}

pub(super) async fn reset(State(gw): Gw, body: Given<Reset>) -> Answer {
    let Json(Reset { kind, id }) = body.map_err(|error| Refused::invalid(error.body_text()))?;
    let whose = Whose::of(&gw, kind, &id)?;
    let act = Act { action: "breaker-close", target: whose.target(), detail: &json!({}) };
    let work = closed(&gw, &whose);
    answer(200, &recorded_with(&gw, act, work, |shown| Some(shown.clone())).await?)
}

async fn closed(gw: &Gateway, whose: &Whose) -> Result<Value, Refused> {
    let is_closed = || Refused::new(409, "not-open", "its breaker is not open");
    let cause = Cause::order(OPERATOR, "reset");
    match whose {
        Whose::Agent(agent) => {
            let closed = gw.containment.breakers().close(agent, cause).await.map_err(Refused::broken)?;
            let change = closed.ok_or_else(is_closed)?;
            gw.metrics.breaking(Breaking::Agent, &change.breaker.phase);
            Ok(changed(gw, &change))
        }
        Whose::App(id) => {
            let closed = gw.upstreams.close(id, cause).await.map_err(Refused::broken)?;
            told(gw, closed.ok_or_else(is_closed)?)
        }
    }
}

fn told(gw: &Gateway, change: UpstreamChange) -> Result<Value, Refused> {
    gw.metrics.breaking(Breaking::Upstream, &change.breaker.phase);
    Ok(app(&change))
}

fn changed(gw: &Gateway, change: &Change) -> Value {
    let Change { agent, breaker, cause, cut: Cut { attempts, streams, .. } } = change;
    let mut shown = shown("agent", agent.as_str(), breaker, cause);
    if let Some(members) = shown.as_object_mut() {
        members.insert("cut".to_owned(), json!({ "attempts": attempts, "streams": streams }));
        members.insert("acknowledged_at".to_owned(), json!(gw.clock.now()));
    }
    shown
}

fn app(UpstreamChange { app, breaker, cause }: &UpstreamChange) -> Value {
    shown("app", app.as_str(), breaker, cause)
}

fn shown(kind: &str, id: &str, breaker: &Breaker, cause: &Cause) -> Value {
    let (state, until) = match breaker.phase {
        Phase::Closed => ("closed", None),
        Phase::Open { until } => ("open", until),
        Phase::Probing { until } => ("probing", Some(until)),
    };
    // One that has never opened has no history.
    let has_opened = breaker.turn > 0;
    json!({
        "kind": kind,
        "id": id,
        "version": breaker.turn,
        "state": state,
        "until": until,
        "since": has_opened.then_some(breaker.since),
        "strikes": breaker.strikes,
        "signal": has_opened.then_some(cause.signal),
        "detail": cause.detail,
        "by": has_opened.then_some(&cause.by),
    })
}
