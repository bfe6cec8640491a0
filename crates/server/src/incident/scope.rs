//! Which attempts belong to an incident.

use std::collections::HashSet;

use vestibule_evidence::{Attempt, Fit, Record, RecordKind, Selection, State, target};
use vestibule_model::{AgentId, AttemptId, Timestamp};

/// The most names whose orders are looked for.
const TARGETS_MAX: usize = 20_000;

/// What the agent and everything below it did, what made the delegations under which they acted, and every act on any of
/// them.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    agent: AgentId,
    /// As it stands in a line, if it is part of a chain.
    needle: String,
    since: Timestamp,
    /// The token requests that made the nodes.
    makers: HashSet<AttemptId>,
    targets: HashSet<String>,
    /// Attempts that have not ended.
    pub(crate) open: HashSet<AttemptId>,
    /// Attempts of the agent and those below it before that moment: they are not in it.
    pub(crate) older: u64,
}

impl Scope {
    pub(crate) fn new(agent: &AgentId, incident: AttemptId, since: Timestamp) -> Self {
        // Neither quote nor backslash is in the id of an agent, so this is how JSON shows it.
        let needle = format!("\"{agent}\"");
        let targets = HashSet::from([
            target("agent", agent.as_str()),
            target("incident", &incident.to_string()),
            target("all", "*"),
        ]);
        let (makers, open) = Default::default();
        Self { agent: agent.clone(), needle, since, makers, targets, open, older: 0 }
    }

    /// An act on that name belongs to it, too.
    pub(crate) fn name(&mut self, kind: &str, id: &str) {
        if self.targets.len() < TARGETS_MAX {
            self.targets.insert(target(kind, id));
        }
    }

    /// The request that made a node belongs to it, whoever sent it and however long ago.
    pub(crate) fn made_by(&mut self, request: AttemptId) {
        self.makers.insert(request);
    }

    /// Orders may name whatever has the agent above it.
    fn learn(&mut self, record: &Record) {
        let from = record.chain.iter().position(|link| link.agent == self.agent);
        for link in record.chain.iter().skip(from.unwrap_or(usize::MAX)) {
            self.name("agent", link.agent.as_str());
            if let Some(node) = &link.node {
                self.name("delegation", node.as_str());
            }
        }
        if let Some(key) = record.key {
            self.name("credential", &key.to_string());
        }
        if let Some(token) = &record.token {
            self.name("token", token.as_str());
        }
        if let Some(user) = &record.user {
            self.name("user", &user.to_string());
        }
    }
}

impl Selection for Scope {
    fn may_fit(&self, attempt: AttemptId, line: &str) -> bool {
        // Only acts have a target; where there is none, `null` follows.
        line.contains(&self.needle) || line.contains("\"target\":\"") || self.makers.contains(&attempt)
    }

    fn fits(&mut self, attempt: &Attempt) -> Fit {
        let record = &attempt.record;
        let is_maker = self.makers.contains(&record.attempt);
        let is_own = record.agent.as_ref() == Some(&self.agent)
            || record.chain.iter().any(|link| link.agent == self.agent);
        let is_recent = record.at >= self.since;
        let fit = if is_own && is_recent {
            self.learn(record);
            if is_maker { Fit::Key } else { Fit::Yes }
        } else if is_maker || (is_recent && self.is_act(record)) {
            Fit::Key
        } else {
            self.older += u64::from(is_own);
            Fit::No
        };
        if fit != Fit::No && attempt.state == State::Open {
            self.open.insert(record.attempt);
        }
        fit
    }
}

impl Scope {
    fn is_act(&self, record: &Record) -> bool {
        match record.kind {
            RecordKind::Administration | RecordKind::TokenRevocation => {
                record.target.as_ref().is_some_and(|target| self.targets.contains(target))
            }
            RecordKind::Call | RecordKind::TokenRequest | RecordKind::TokenIntrospection => false,
        }
    }
}
