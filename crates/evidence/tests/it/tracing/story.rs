//! A workflow of four agents, one of them called by another, told by its records.

use std::{collections::HashMap, fmt::Write as _};

use vestibule_evidence::{
    Attempt, Cancelled, ChainLink, Decision, DelegationFact, Outcome, Record, RecordKind, State, Trace,
    TraceNode, TraceStep,
};
use vestibule_model::{
    AgentId, AppId, AttemptId, Jti, NodeId, Origin, SeededEntropy, Thumbprint, Timestamp, TokenId, TraceId,
    UserId, WorkflowId,
};

use crate::rig::START;

/// A node, as a token names it: with all above it and the calls around it.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) chain: Vec<ChainLink>,
    pub(crate) calls: Vec<AttemptId>,
    pub(crate) key: Thumbprint,
    pub(crate) token: TokenId,
    fact: DelegationFact,
}

impl Node {
    pub(crate) fn id(&self) -> &NodeId {
        &self.fact.node
    }
}

#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) records: Vec<Attempt>,
    pub(crate) workflow: WorkflowId,
    pub(crate) planner: Node,
    pub(crate) reviewer: Node,
    pub(crate) user: UserId,
    names: HashMap<AttemptId, &'static str>,
    entropy: SeededEntropy,
}

pub(crate) fn agent(id: &str) -> AgentId {
    AgentId::new(id).unwrap()
}

/// Ana's planner spawns a worker and its sibling. The worker calls the reviewer, which spawns a clerk. The reviewer is
/// suspended while a call of the clerk streams.
pub(crate) fn story() -> Story {
    let entropy = SeededEntropy::new(5);
    let planner = Node {
        chain: Vec::new(),
        calls: Vec::new(),
        key: Thumbprint::from_bytes([0; 32]),
        token: Jti::random(&entropy).into(),
        fact: DelegationFact {
            node: NodeId::random(&entropy),
            parent: None,
            origin: Origin::Root,
            made_by: None,
            expires_at: Timestamp::from_millis(START).plus(std::time::Duration::from_hours(1)),
        },
    };
    let mut story = Story {
        records: Vec::new(),
        workflow: WorkflowId::random(&entropy),
        reviewer: planner.clone(),
        planner,
        user: UserId { issuer: "https://idp.example".to_owned(), subject: "ana".to_owned() },
        names: HashMap::new(),
        entropy,
    };
    let planner = story.makes("planner-token", "planner", Origin::Root, None, &[]);
    story.planner = planner.clone();
    story.calls("list", &planner);
    let worker = story.makes("worker-token", "worker", Origin::Spawned, Some(&planner), &[]);
    let sibling = story.makes("sibling-token", "sibling", Origin::Spawned, Some(&planner), &[]);
    story.calls("sibling-list", &sibling);
    let review = story.calls("review", &worker);
    let reviewer = story.makes("reviewer-token", "reviewer", Origin::Invoked, Some(&worker), &[review]);
    story.reviewer = reviewer.clone();
    let clerk = story.makes("clerk-token", "clerk", Origin::Spawned, Some(&reviewer), &[review]);
    story.calls("stream", &clerk);
    let streamed = story.records.last_mut().unwrap();
    streamed.outcome = Some(Outcome::Cut);
    streamed.record.cancelled = Some(Cancelled::Notified);
    streamed.record.denial = Some("agent-suspended".to_owned());
    story.acts("suspension", "suspend", "agent/reviewer");
    story.calls("refused", &clerk);
    let refused = story.records.last_mut().unwrap();
    refused.outcome = Some(Outcome::Refused);
    refused.record.decision = Decision::Deny;
    refused.record.denial = Some("agent-suspended".to_owned());
    story
}

impl Story {
    /// A second after the one before.
    fn record(&mut self, name: &'static str, kind: RecordKind) -> Record {
        let at = Timestamp::from_millis(START + 1000 * i64::try_from(self.records.len()).unwrap());
        let id = AttemptId::new(at, &self.entropy);
        self.names.insert(id, name);
        Record::new(kind, id, at, TraceId::of(id))
    }

    fn ends(&mut self, record: Record) -> AttemptId {
        let id = record.attempt;
        self.records.push(Attempt { record, state: State::Closed, outcome: Some(Outcome::Completed) });
        id
    }

    /// A token request that makes a node.
    pub(crate) fn makes(
        &mut self,
        name: &'static str,
        of: &str,
        origin: Origin,
        parent: Option<&Node>,
        calls: &[AttemptId],
    ) -> Node {
        let mut record = self.record(name, RecordKind::TokenRequest);
        let fact = DelegationFact {
            node: NodeId::random(&self.entropy),
            parent: parent.map(|parent| parent.id().clone()),
            origin,
            made_by: Some(record.attempt),
            expires_at: self.planner.fact.expires_at,
        };
        let mut chain = parent.map(|parent| parent.chain.clone()).unwrap_or_default();
        let issuer = "https://gateway.example".to_owned();
        chain.push(ChainLink { issuer, agent: agent(of), node: Some(fact.node.clone()) });
        let mut key = [0; 32];
        vestibule_model::Entropy::fill(&self.entropy, &mut key);
        let (key, token) = (Thumbprint::from_bytes(key), Jti::random(&self.entropy).into());
        let node = Node { chain, calls: calls.to_vec(), key, token, fact };
        self.fill(&mut record, &node);
        record.delegation = Some(node.fact.clone());
        // Whoever hands on authority asks with its own key.
        let asker = parent.filter(|_| origin == Origin::Spawned).unwrap_or(&node);
        record.key = Some(asker.key);
        record.agent = asker.chain.last().map(|link| link.agent.clone());
        self.ends(record);
        node
    }

    pub(crate) fn calls(&mut self, name: &'static str, node: &Node) -> AttemptId {
        let mut record = self.record(name, RecordKind::Call);
        self.fill(&mut record, node);
        record.app = Some(AppId::new("github").unwrap());
        record.operation = Some(name.to_owned());
        record.policies = vec![format!("may-{name}")];
        self.ends(record)
    }

    pub(crate) fn acts(&mut self, name: &'static str, action: &str, target: &str) -> AttemptId {
        let mut record = self.record(name, RecordKind::Administration);
        record.action = Some(action.to_owned());
        record.target = Some(target.to_owned());
        record.author = Some("operator".to_owned());
        self.ends(record)
    }

    fn fill(&self, record: &mut Record, node: &Node) {
        record.agent = node.chain.last().map(|link| link.agent.clone());
        record.user = Some(self.user.clone());
        record.chain.clone_from(&node.chain);
        record.workflow = Some(self.workflow.clone());
        record.calls.clone_from(&node.calls);
        record.token = Some(node.token.clone());
        record.key = Some(node.key);
        record.decision = Decision::Permit;
    }

    pub(crate) fn id(&self, name: &str) -> AttemptId {
        *self.names.iter().find(|(_, other)| **other == name).unwrap().0
    }

    /// As if those records had been rotated away.
    pub(crate) fn without(&self, names: &[&str]) -> Vec<Attempt> {
        let is_gone = |attempt: &&Attempt| names.contains(&self.names[&attempt.record.attempt]);
        self.records.iter().filter(|attempt| !is_gone(attempt)).cloned().collect()
    }

    /// The tree as indented names.
    pub(crate) fn outline(&self, trace: &Trace) -> String {
        let mut text = String::new();
        for act in &trace.acts {
            writeln!(text, "! {} {}", act.action, act.target).unwrap();
        }
        trace.roots.iter().for_each(|node| self.node(&mut text, 0, node));
        trace.apart.iter().for_each(|step| self.step(&mut text, 0, step));
        text
    }

    fn node(&self, text: &mut String, depth: usize, node: &TraceNode) {
        let agent = node.agent.as_ref().map_or("?", AgentId::as_str);
        let origin = node.origin.map_or("?", Origin::as_str);
        writeln!(text, "{:depth$}{agent} {origin}", "").unwrap();
        for act in &node.acts {
            writeln!(text, "{:depth$}  ! {} {}", "", act.action, act.target).unwrap();
        }
        node.steps.iter().for_each(|step| self.step(text, depth + 2, step));
    }

    fn step(&self, text: &mut String, depth: usize, step: &TraceStep) {
        let name = step.attempt.map_or("?", |id| self.names[&id]);
        let became = step.record.as_ref().map_or("?", |record| record.outcome.unwrap().as_str());
        writeln!(text, "{:depth$}- {name} {became}", "").unwrap();
        step.nodes.iter().for_each(|node| self.node(text, depth + 2, node));
    }
}
