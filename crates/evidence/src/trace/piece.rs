use vestibule_model::{AgentId, AttemptId, DEPTH_MAX, NodeId, Origin, Thumbprint, UserId, WorkflowId};

use crate::{Attempt, DelegationFact, Record, RecordKind, TraceAct, TraceRecord};

/// What a trace keeps of an attempt.
pub(super) struct Piece {
    pub(super) record: TraceRecord,
    pub(super) workflow: Option<WorkflowId>,
    pub(super) user: Option<UserId>,
    /// From the root: the nodes, with their agents.
    pub(super) path: Vec<(NodeId, AgentId)>,
    pub(super) calls: Vec<AttemptId>,
    pub(super) key: Option<Thumbprint>,
    /// The node that was made or used.
    pub(super) delegation: Option<DelegationFact>,
    /// Whether this attempt made it.
    pub(super) is_maker: bool,
    /// Of an administrative act that was asked for by its own identifier.
    pub(super) act: Option<TraceAct>,
}

impl Piece {
    pub(super) fn of(attempt: &Attempt) -> Self {
        let record = &attempt.record;
        let links = record.chain.iter().take(DEPTH_MAX);
        Self {
            record: summary(attempt),
            workflow: record.workflow.clone(),
            user: record.user.clone(),
            path: links.filter_map(|link| Some((link.node.clone()?, link.agent.clone()))).collect(),
            calls: record.calls.clone(),
            key: record.key,
            is_maker: record.delegation.as_ref().is_some_and(|fact| fact.made_by == Some(record.attempt)),
            delegation: record.delegation.clone(),
            act: act(attempt).filter(|_| record.kind == RecordKind::Administration),
        }
    }

    /// The node that the record is about: its token's.
    pub(super) fn node(&self) -> Option<&NodeId> {
        self.delegation.as_ref().map(|fact| &fact.node).or(self.path.last().map(|(node, _)| node))
    }

    /// The node of the agent that asked. A delegation is asked for by the agent above.
    pub(super) fn asker(&self) -> Option<&NodeId> {
        let spawned = self.delegation.as_ref().filter(|fact| self.is_maker && fact.origin == Origin::Spawned);
        spawned.and_then(|fact| fact.parent.as_ref()).or_else(|| self.node())
    }
}

fn summary(attempt: &Attempt) -> TraceRecord {
    let record = &attempt.record;
    TraceRecord {
        at: record.at,
        kind: record.kind,
        agent: record.agent.clone(),
        method: record.method.clone(),
        app: record.app.clone(),
        operation: record.operation.clone(),
        token: record.token.clone(),
        decision: record.decision,
        policies: record.policies.clone(),
        denial: record.denial.clone(),
        cancelled: record.cancelled,
        state: attempt.state,
        outcome: attempt.outcome,
    }
}

/// What was done to a target, if that is what the attempt is.
pub(super) fn act(attempt: &Attempt) -> Option<TraceAct> {
    let record = &attempt.record;
    Some(TraceAct {
        attempt: record.attempt,
        at: record.at,
        action: action(record)?.to_owned(),
        target: record.target.clone()?,
        author: record.author.clone().or_else(|| record.agent.as_ref().map(ToString::to_string)),
        detail: record.detail.clone(),
        outcome: attempt.outcome,
    })
}

fn action(record: &Record) -> Option<&str> {
    match record.kind {
        RecordKind::Administration => record.action.as_deref(),
        RecordKind::TokenRevocation => Some("revoke"),
        RecordKind::Call | RecordKind::TokenRequest | RecordKind::TokenIntrospection => None,
    }
}
