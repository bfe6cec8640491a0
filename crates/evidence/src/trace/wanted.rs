use std::collections::BTreeSet;

use vestibule_model::{AttemptId, NodeId, WorkflowId};

use crate::{DelegationFact, Record};

/// Which attempts belong to a trace. Each can be told by its own record, so the log is read once however deep the tree
/// is: a record names all nodes above it and all calls around it.
pub(super) enum Wanted {
    Workflow(WorkflowId),
    Around(Around),
}

/// One attempt, with what it rests on and what came of it.
pub(super) struct Around {
    id: AttemptId,
    workflow: Option<WorkflowId>,
    /// The nodes from the root to the one it was done under.
    path: BTreeSet<NodeId>,
    /// The calls within which it was done.
    calls: BTreeSet<AttemptId>,
    /// The node that it made.
    made: Option<NodeId>,
}

impl Wanted {
    /// All that is known about an attempt whose record is gone: what was done within it still names it.
    pub(super) fn unknown(id: AttemptId) -> Self {
        let (path, calls) = (BTreeSet::new(), BTreeSet::new());
        Self::Around(Around { id, workflow: None, path, calls, made: None })
    }

    pub(super) fn around(record: &Record) -> Self {
        Self::Around(Around {
            id: record.attempt,
            workflow: record.workflow.clone(),
            path: record.chain.iter().filter_map(|link| link.node.clone()).collect(),
            calls: record.calls.iter().copied().collect(),
            made: made(record).map(|fact| fact.node.clone()),
        })
    }

    pub(super) fn workflow(&self) -> Option<WorkflowId> {
        match self {
            Self::Workflow(workflow) => Some(workflow.clone()),
            Self::Around(around) => around.workflow.clone(),
        }
    }

    /// Texts that every record that fits holds. Identifiers are hexadecimal: as JSON they are as they are.
    pub(super) fn needles(&self) -> [String; 1] {
        let text = match self {
            Self::Workflow(workflow) | Self::Around(Around { workflow: Some(workflow), .. }) => {
                workflow.to_string()
            }
            Self::Around(Around { id, workflow: None, .. }) => id.to_string(),
        };
        [format!("\"{text}\"")]
    }

    pub(super) fn fits(&self, record: &Record) -> bool {
        match self {
            Self::Workflow(workflow) => record.workflow.as_ref() == Some(workflow),
            Self::Around(around) => around.fits(record),
        }
    }
}

impl Around {
    fn fits(&self, record: &Record) -> bool {
        let is_asked_for = record.attempt == self.id;
        let is_within = || record.calls.contains(&self.id);
        let is_around = || self.calls.contains(&record.attempt);
        let made_a_node_above = || made(record).is_some_and(|fact| self.path.contains(&fact.node));
        let is_below_what_it_made =
            || self.made.is_some() && record.chain.iter().any(|link| link.node == self.made);
        is_asked_for || is_within() || is_around() || made_a_node_above() || is_below_what_it_made()
    }
}

/// The node that a record made itself.
fn made(record: &Record) -> Option<&DelegationFact> {
    record.delegation.as_ref().filter(|fact| fact.made_by == Some(record.attempt))
}
