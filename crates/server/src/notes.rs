//! What the record and containment are told about a request: one place that maps what the doors found to the record's
//! fields. Never a secret or a token.

use std::time::Duration;

use serde_json::{Value, json};
use vestibule_containment::Path;
use vestibule_evidence::{AccessFact, ChainLink, Decision, Record};
use vestibule_inbound::Caller;
use vestibule_model::{AppId, Digest, Stop, json::Json};
use vestibule_outbound::AccessFacts;
use vestibule_policy::{Permit, ShadowDecision, Verdict};

use crate::{
    arrival::{Attempt, Demand},
    config::RecordConfig,
};

/// Everything about a caller that can be revoked.
pub(crate) fn path<'a>(caller: &'a Caller, app: &'a AppId) -> Path<'a> {
    let token = caller.token();
    Path {
        jti: Some(&token.jti),
        issued_at: token.issued_at,
        agents: caller.chain().actors(),
        nodes: &token.nodes,
        user: caller.represented(),
        behind: token.behind.as_ref(),
        app: Some(app),
        calls: &token.calls,
    }
}

pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

pub(crate) fn caller(record: &mut Record, caller: &Caller) {
    let token = caller.token();
    record.agent = Some(caller.agent().clone());
    record.user = caller.user().cloned();
    record.workflow = Some(token.workflow.clone());
    record.token = Some(token.jti.clone());
    record.key = token.bound_to;
    record.calls.clone_from(&token.calls);
    record.scopes = token.scopes.iter().cloned().collect();
    record.chain = caller
        .chain()
        .actors()
        .iter()
        .enumerate()
        .map(|(index, actor)| ChainLink {
            issuer: actor.issuer.to_string(),
            agent: actor.agent.clone(),
            node: token.nodes.get(index).map(|node| node.id.clone()),
        })
        .collect();
}

pub(crate) fn attempt(record: &mut Record, attempt: &Attempt) {
    record.bytes_in = attempt.bytes_in;
    match &attempt.demand {
        Demand::Operation { operation, arguments } => {
            record.operation = Some(operation.name.to_string());
            record.args_digest = Some(Digest::of(arguments.canonical().as_bytes()));
            record.arguments = attempt.kept.as_ref().map(|kept| redacted(arguments, kept));
        }
        Demand::Always { method } | Demand::List { method, .. } => record.method = Some((*method).to_owned()),
    }
}

/// The arguments as the application's configuration wants them recorded.
fn redacted(arguments: &Json, kept: &RecordConfig) -> Value {
    let members = arguments.as_object().unwrap_or_default();
    let shown = members.iter().map(|(name, value)| {
        let value = if kept.redact.contains(name) {
            json!("[redacted]")
        } else {
            serde_json::from_str(&value.canonical()).unwrap_or(Value::Null)
        };
        (name.clone(), value)
    });
    Value::Object(shown.collect())
}

/// Records the decision and hands on the permit.
pub(crate) fn verdict(record: &mut Record, verdict: Verdict) -> Result<Permit, Stop> {
    let (said, outcome) = match verdict {
        Verdict::Permitted(permit) => (permit.decision().clone(), Ok(permit)),
        Verdict::Refused(refusal, decision) => (decision, Err(refusal)),
    };
    record.decision = if outcome.is_ok() { Decision::Permit } else { Decision::Deny };
    decision(record, said);
    outcome.map_err(Stop::from)
}

/// Which policies determined it.
pub(crate) fn decision(record: &mut Record, said: vestibule_policy::Decision) {
    record.policies = said.policies;
    record.policy_set = Some(said.policy_set);
    record.shadow = said.shadow.iter().map(shadow).collect();
}

/// `permit User::"alice" by new.rule`: what a shadow policy would have said.
fn shadow(decision: &ShadowDecision) -> String {
    let would = match decision.would {
        vestibule_policy::Outcome::Permit => "permit",
        vestibule_policy::Outcome::Deny => "deny",
    };
    format!("{would} {} by {}", decision.subject, decision.policies.join(", "))
}

/// With which credential the application is called.
pub(crate) fn access(record: &mut Record, facts: &AccessFacts) {
    record.access = Some(AccessFact {
        strategy: facts.strategy.to_owned(),
        server: facts.server.clone(),
        scopes: facts.scopes.clone(),
        wider: facts.wider.clone(),
    });
}

pub(crate) fn stop(record: &mut Record, stop: &Stop) {
    record.denial = Some(stop.code().to_owned());
    match stop {
        Stop::Denied(refusal) => {
            // A call that was permitted and then cut stays permitted.
            if record.decision == Decision::Undecided {
                record.decision = Decision::Deny;
            }
            record.cause = Some(refusal.cause.clone()).filter(|cause| !cause.is_empty());
        }
        Stop::Failed(fault) => {
            if record.decision == Decision::Undecided {
                record.decision = Decision::Fault;
            }
            record.cause = Some(fault.cause.clone());
        }
    }
}
