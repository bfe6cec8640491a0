use std::{
    hash::{BuildHasher, RandomState},
    sync::{Arc, LazyLock},
};

use vestibule_containment::{
    Passage,
    breaker::{Charge, End, Thresholds},
};
use vestibule_inbound::Caller;
use vestibule_model::{AgentId, AttemptId, Denial, Stop};

use super::told;
use crate::{
    arrival::{Attempt, Demand},
    forward::Reply,
    gateway::Gateway,
};

/// Bytes of a reply are counted when so many have gone out, and at its end.
const BYTES_AT_ONCE: u64 = 64 << 10;

/// What the breakers of an agent learn from an attempt that was admitted. Attempts that were not count for nothing: who
/// pretends to be somebody trips nobody's breaker.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// A hash of the operation's name, once it is known that the attempt is one.
    operation: Option<u64>,
    bytes_in: u64,
}

/// The bytes of a reply, where they are judged.
pub(crate) struct Metered {
    caller: Caller,
    attempt: AttemptId,
    uncounted: u64,
}

impl Measured {
    /// What was asked for.
    pub(crate) fn asked(&mut self, attempt: &Attempt) {
        self.bytes_in = attempt.bytes_in;
        self.operation = match &attempt.demand {
            Demand::Operation { operation, .. } => Some(hash(operation)),
            Demand::Always { .. } | Demand::List { .. } => None,
        };
    }

    /// How it went: an answer of the application has begun, or it was stopped. What was cut meanwhile is not the agent's to
    /// answer for.
    pub(crate) fn ended(
        self,
        gw: &Arc<Gateway>,
        caller: &Caller,
        passage: &Passage,
        passed: Result<&mut Reply, &Stop>,
    ) {
        let end = self.end(&passed);
        let agents = caller.chain().actors();
        let mut judged = None;
        let by = |agent: &AgentId| *judged.insert(thresholds(gw, agent));
        let charge = Charge { end: Some(end), operation: self.operation, bytes: self.bytes_in };
        let breakers = gw.containment.breakers();
        let mut changes = breakers.charge(agents, Some(passage.attempt()), &charge, by);
        let by = judged;
        if passage.is_probe() {
            let is_good = match end {
                End::Denied => Some(false),
                End::Done => Some(true),
                End::Erred => Some(by.is_none_or(|by| by.errors.is_none())),
                End::Other => None,
            };
            // What broke says nothing about the agent: its place goes to another.
            let is_answered = passed.is_ok() || end == End::Denied;
            changes.extend(
                is_good
                    .filter(|_| is_answered)
                    .into_iter()
                    .flat_map(|is_good| breakers.verdict(passage, is_good)),
            );
        }
        told::agents(gw, changes);
        if let Ok(reply) = passed
            && by.is_some_and(|by| by.bytes.is_some())
        {
            reply.metered =
                Some(Metered { caller: caller.clone(), attempt: passage.attempt(), uncounted: 0 });
        }
    }

    fn end(&self, passed: &Result<&mut Reply, &Stop>) -> End {
        match passed {
            Err(Stop::Denied(refusal)) if is_of_policy(refusal.denial) => End::Denied,
            Ok(reply) if self.operation.is_some() && is_callers_error(reply.status.as_u16()) => End::Erred,
            Ok(_) | Err(Stop::Failed(_)) if self.operation.is_some() => End::Done,
            Ok(_) | Err(_) => End::Other,
        }
    }
}

impl Metered {
    /// Counts bytes that go out. A stream that is too much is cut as everything else of its agent is.
    pub(crate) fn count(&mut self, gw: &Arc<Gateway>, bytes: u64) {
        self.uncounted += bytes;
        if self.uncounted >= BYTES_AT_ONCE {
            self.charge(gw, None);
        }
    }

    /// The reply ends, and is not cut any more.
    pub(crate) fn end(&mut self, gw: &Arc<Gateway>) {
        if self.uncounted > 0 {
            self.charge(gw, Some(self.attempt));
        }
    }

    fn charge(&mut self, gw: &Arc<Gateway>, spared: Option<AttemptId>) {
        let charge = Charge { bytes: std::mem::take(&mut self.uncounted), ..Charge::default() };
        let agents = self.caller.chain().actors();
        let by = |agent: &AgentId| thresholds(gw, agent);
        told::agents(gw, gw.containment.breakers().charge(agents, spared, &charge, by));
    }
}

fn thresholds(gw: &Gateway, agent: &AgentId) -> Thresholds {
    gw.settings.breakers.of(agent, &gw.registry.directory())
}

/// Whether somebody asked for an operation that they may not have. Not: a malformed request, a method that the protocol has and
/// the gateway has not, a limit; nor what is the gateway's own fault, such as policies that cannot be evaluated.
fn is_of_policy(denial: Denial) -> bool {
    matches!(
        denial,
        Denial::OperationUnknown
            | Denial::OperationNotPermitted
            | Denial::ArgumentsNotPermitted
            | Denial::ScopeInsufficient
            | Denial::AuthorityExceeded
            | Denial::ArgumentUndeclared
            | Denial::ArgumentInexact
    )
}

/// Whether the application says that the request was wrong. 429 is about how much, 5xx about the application itself: one that
/// is down must not suspend everybody who calls it.
fn is_callers_error(status: u16) -> bool {
    (400..500).contains(&status) && status != 429
}

/// One for the whole process, and keyed: nobody can choose names that fall together.
fn hash(operation: &impl std::hash::Hash) -> u64 {
    static STATE: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    STATE.hash_one(operation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_denial_of_policy_counts_against_an_agent() {
        let counted = Denial::ALL.iter().filter(|denial| is_of_policy(**denial)).map(|denial| denial.code());
        insta::assert_snapshot!(counted.collect::<Vec<_>>().join(" "), @"operation-unknown operation-not-permitted arguments-not-permitted scope-insufficient authority-exceeded argument-undeclared argument-inexact");
    }

    #[test]
    fn an_application_that_is_down_or_busy_is_nobodys_error() {
        for (status, is_error) in
            [(200, false), (302, false), (400, true), (404, true), (429, false), (500, false), (503, false)]
        {
            assert_eq!(is_callers_error(status), is_error, "{status}");
        }
    }
}
