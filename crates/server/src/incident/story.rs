//! What the attempts of an incident come to, taken one by one: the timeline, the effects at applications, and the counts of
//! the summary.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Value, json};
use vestibule_evidence::{Attempt, Outcome, RecordKind, State};
use vestibule_model::{AgentId, AttemptId, Effect, Timestamp};

use super::wording;

/// The most effects, and the most attempts under way, that the summary lists.
const LISTED_MAX: usize = 100;

/// What an operation does, as far as it is known: by application and name.
pub(super) type Effects<'a> = dyn Fn(&str, &str) -> Option<Effect> + 'a;

/// What all attempts together come to.
#[derive(Debug, Default)]
pub(super) struct Story {
    /// The agent whose chains are told.
    agent: String,
    pub(super) rows: Vec<Row>,
    /// How often who did what with which end.
    pub(super) deeds: BTreeMap<Deed, u64>,
    pub(super) users: BTreeSet<String>,
    pub(super) chains: BTreeSet<Vec<String>>,
    /// How many decisions each policy determined, and were made by each set.
    pub(super) policies: BTreeMap<String, u64>,
    pub(super) policy_sets: BTreeMap<String, u64>,
    /// Operations that write or destroy which reached the application.
    pub(super) effects: u64,
    pub(super) effects_unknown: u64,
    /// The first of them.
    pub(super) listed_effects: Vec<String>,
    /// Attempts that have not ended.
    pub(super) open: Vec<AttemptId>,
    /// What the report of the order says of attempts, with what the record says.
    pub(super) cut: Vec<Value>,
}

/// A line of the timeline.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) at: Timestamp,
    pub(super) attempt: AttemptId,
    pub(super) kind: RecordKind,
    pub(super) agent: Option<String>,
    pub(super) text: String,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Deed {
    pub(super) agent: String,
    pub(super) what: String,
    pub(super) end: String,
}

/// What the order that suspended the agent says about an attempt: how far it was.
pub(super) type Stages = HashMap<String, String>;

/// The stages of a report.
pub(super) fn stages(suspension: &Value) -> Stages {
    let attempts =
        suspension.get("attempts").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = |one: &Value, key| one.get(key).and_then(Value::as_str).map(ToOwned::to_owned);
    attempts.iter().filter_map(|one| Some((text(one, "attempt")?, text(one, "stage")?))).collect()
}

impl Story {
    pub(super) fn of(agent: &AgentId) -> Self {
        Self { agent: agent.to_string(), ..Self::default() }
    }

    /// Takes the next attempt. Gives the line of its effect, if it can have had one.
    pub(super) fn take(
        &mut self,
        attempt: &Attempt,
        stages: &Stages,
        effects: &Effects<'_>,
    ) -> Option<Value> {
        let record = &attempt.record;
        let agent = record.agent.as_ref().map(ToString::to_string);
        self.users.extend(record.user.as_ref().map(ToString::to_string));
        let chain: Vec<String> = record.chain.iter().map(|link| link.agent.to_string()).collect();
        if chain.contains(&self.agent) {
            self.chains.insert(chain);
        }
        for policy in &record.policies {
            *self.policies.entry(policy.clone()).or_default() += 1;
        }
        if let Some(set) = &record.policy_set {
            *self.policy_sets.entry(set.clone()).or_default() += 1;
        }
        if attempt.state == State::Open && self.open.len() < LISTED_MAX {
            self.open.push(record.attempt);
        }
        if record.kind == RecordKind::Call {
            let deed = Deed {
                agent: agent.clone().unwrap_or_default(),
                what: wording::deed(record),
                end: wording::outcome(attempt),
            };
            *self.deeds.entry(deed).or_default() += 1;
        }
        if let Some(stage) = stages.get(&record.attempt.to_string()) {
            self.cut.push(json!({
                "attempt": record.attempt, "stage": stage, "agent": agent, "app": record.app,
                "operation": record.operation, "user": record.user.as_ref().map(ToString::to_string),
                "outcome": attempt.outcome, "cancelled": record.cancelled, "denial": record.denial,
                "arguments_digest": record.args_digest,
            }));
        }
        let text = wording::sentence(attempt);
        let effect = self.effect(attempt, &text, effects);
        self.rows.push(Row { at: record.at, attempt: record.attempt, kind: record.kind, agent, text });
        effect
    }

    fn effect(&mut self, attempt: &Attempt, text: &str, effects: &Effects<'_>) -> Option<Value> {
        let record = &attempt.record;
        if record.kind != RecordKind::Call {
            return None;
        }
        let done = reached(attempt)?;
        let (app, operation) = (record.app.as_ref()?.as_str(), record.operation.as_ref()?);
        // Of what is not known any more, the worst is assumed.
        let (effect, is_known) = match effects(app, operation) {
            Some(Effect::Read) => return None,
            Some(effect @ (Effect::Write | Effect::Destroy)) => (effect, true),
            None => (Effect::Destroy, false),
        };
        self.effects += 1;
        self.effects_unknown += u64::from(done == "unknown");
        if self.listed_effects.len() < LISTED_MAX {
            self.listed_effects.push(format!("{} ({done}) {text}", wording::moment(record.at)));
        }
        Some(json!({
            "at": record.at, "attempt": record.attempt, "app": app, "operation": operation, "effect": effect,
            "effect_is_known": is_known, "done": done, "agent": record.agent, "user": record.user,
            "arguments_digest": record.args_digest, "arguments": record.arguments,
            "upstream_status": record.upstream_status,
        }))
    }

    /// The timeline in the order of time.
    pub(super) fn sort(&mut self) {
        self.rows.sort_by_key(|row| (row.at, row.attempt));
    }
}

/// Whether the application was asked to do it, and whether it did: `completed` or `unknown`. None if it knows nothing
/// of it.
fn reached(attempt: &Attempt) -> Option<&'static str> {
    match attempt.outcome {
        Some(Outcome::Completed) => Some("completed"),
        Some(Outcome::Unknown | Outcome::Cut | Outcome::UpstreamFailed) | None => Some("unknown"),
        // What the application answered, it has received.
        Some(Outcome::Failed | Outcome::Abandoned | Outcome::Refused) => {
            attempt.record.upstream_status.map(|_| "unknown")
        }
    }
}

#[cfg(test)]
mod tests {
    use vestibule_evidence::Record;
    use vestibule_model::{AppId, SeededEntropy, TraceId};

    use super::*;

    fn call(operation: &str, outcome: Option<Outcome>, upstream_status: Option<u16>) -> Attempt {
        let at = Timestamp::from_millis(5);
        let id = AttemptId::new(at, &SeededEntropy::new(1));
        let mut record = Record::new(RecordKind::Call, id, at, TraceId::of(id));
        record.app = Some(AppId::new("web").unwrap());
        record.operation = Some(operation.to_owned());
        record.upstream_status = upstream_status;
        let state = if outcome.is_some() { State::Closed } else { State::Open };
        Attempt { record, state, outcome }
    }

    #[test]
    fn what_can_have_changed_something_is_an_effect_and_nothing_else() {
        let effects = |_: &str, operation: &str| match operation {
            "look" => Some(Effect::Read),
            "write" => Some(Effect::Write),
            _ => None,
        };
        let mut story = Story::of(&AgentId::new("a").unwrap());
        let mut done = |operation, outcome, status| {
            let effect = story.take(&call(operation, outcome, status), &Stages::new(), &effects)?;
            Some((effect["effect"].clone(), effect["done"].clone()))
        };
        assert_eq!(done("look", Some(Outcome::Completed), Some(200)), None);
        assert_eq!(
            done("write", Some(Outcome::Completed), Some(200)),
            Some((json!("write"), json!("completed")))
        );
        assert_eq!(done("write", Some(Outcome::Cut), Some(200)), Some((json!("write"), json!("unknown"))));
        assert_eq!(done("write", Some(Outcome::Unknown), None), Some((json!("write"), json!("unknown"))));
        assert_eq!(done("write", None, None), Some((json!("write"), json!("unknown"))));
        assert_eq!(done("write", Some(Outcome::Failed), Some(200)), Some((json!("write"), json!("unknown"))));
        assert_eq!(done("write", Some(Outcome::Refused), None), None);
        assert_eq!(done("write", Some(Outcome::Abandoned), None), None);
        assert_eq!(
            done("gone", Some(Outcome::Completed), None),
            Some((json!("destroy"), json!("completed")))
        );
        assert_eq!((story.effects, story.effects_unknown, story.open.len()), (6, 4, 1));
    }
}
