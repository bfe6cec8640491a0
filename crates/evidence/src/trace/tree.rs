use std::collections::{BTreeMap, BTreeSet};

use vestibule_model::{AgentId, AttemptId, DEPTH_MAX, NodeId, Origin, Thumbprint, Timestamp};

use super::piece::Piece;
use crate::{TraceAct, TraceNode, TraceRecord, TraceStep};

/// What the records together say of a node.
#[derive(Default)]
struct Facts {
    /// The earliest attempt that speaks of it.
    first: Option<AttemptId>,
    agent: Option<AgentId>,
    parent: Option<NodeId>,
    origin: Option<Origin>,
    made_by: Option<AttemptId>,
    expires_at: Option<Timestamp>,
    keys: BTreeSet<Thumbprint>,
    /// The calls within which it was made; none if no record says.
    calls: Option<Vec<AttemptId>>,
    /// The calls around anything that was done under it or below.
    around: BTreeSet<AttemptId>,
    acts: Vec<TraceAct>,
}

/// An attempt under a node: what is known about it, and the nodes that it brought about.
#[derive(Default)]
struct Step {
    record: Option<TraceRecord>,
    nodes: Vec<NodeId>,
}

pub(super) struct Tree {
    nodes: BTreeMap<NodeId, Facts>,
    steps: BTreeMap<NodeId, BTreeMap<Option<AttemptId>, Step>>,
    /// Under which node each attempt stands.
    askers: BTreeMap<AttemptId, NodeId>,
    apart: Vec<TraceStep>,
}

impl Tree {
    /// Attempts in their order; where records contradict each other, the first one counts.
    pub(super) fn new(pieces: BTreeMap<AttemptId, Piece>) -> Self {
        let (nodes, steps, askers) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut tree = Self { nodes, steps, askers, apart: Vec::new() };
        for (id, piece) in pieces {
            tree.learn(id, &piece);
            tree.place(id, piece);
        }
        tree.end_what_is_endless();
        tree
    }

    fn learn(&mut self, id: AttemptId, piece: &Piece) {
        let mut above: Option<&NodeId> = None;
        for (node, agent) in &piece.path {
            let facts = self.facts(id, node);
            facts.agent.get_or_insert_with(|| agent.clone());
            facts.parent = facts.parent.take().or(above.cloned());
            facts.around.extend(&piece.calls);
            above = Some(node);
        }
        if let Some(fact) = &piece.delegation {
            if let Some(parent) = &fact.parent {
                self.facts(id, parent);
            }
            let facts = self.facts(id, &fact.node);
            facts.parent = facts.parent.take().or(fact.parent.clone());
            facts.origin.get_or_insert(fact.origin);
            facts.made_by = facts.made_by.or(fact.made_by);
            facts.expires_at.get_or_insert(fact.expires_at);
        }
        if let Some(node) = piece.node() {
            self.facts(id, node).calls.get_or_insert_with(|| piece.calls.clone());
        }
        if let (Some(key), Some(node)) = (piece.key, piece.asker()) {
            self.facts(id, node).keys.insert(key);
        }
    }

    fn facts(&mut self, id: AttemptId, node: &NodeId) -> &mut Facts {
        let facts = self.nodes.entry(node.clone()).or_default();
        facts.first.get_or_insert(id);
        facts
    }

    fn place(&mut self, id: AttemptId, piece: Piece) {
        let asker = piece.asker().cloned();
        let record = Some(piece.record);
        match asker {
            Some(node) => {
                self.askers.insert(id, node.clone());
                self.steps.entry(node).or_default().entry(Some(id)).or_default().record = record;
            }
            None if piece.act.is_some() => {}
            None => self.apart.push(TraceStep { attempt: Some(id), record, nodes: Vec::new() }),
        }
    }

    /// Takes from its parent what has more above it than a chain can have: a log that makes no sense may put nodes above
    /// each other in a circle.
    fn end_what_is_endless(&mut self) {
        let endless: Vec<NodeId> = self.nodes.keys().filter(|node| self.is_endless(node)).cloned().collect();
        for node in endless {
            if let Some(facts) = self.nodes.get_mut(&node) {
                facts.parent = None;
            }
        }
    }

    fn is_endless(&self, node: &NodeId) -> bool {
        let above = |node: &&NodeId| self.nodes.get(*node).and_then(|facts| facts.parent.as_ref());
        std::iter::successors(Some(node), above).nth(DEPTH_MAX).is_some()
    }

    /// Lets an act stand at a node that it names.
    pub(super) fn note(&mut self, node: &NodeId, act: &TraceAct) {
        if let Some(facts) = self.nodes.get_mut(node) {
            facts.acts.push(act.clone());
        }
    }

    /// The roots with everything below them, and the attempts of no node.
    pub(super) fn grow(mut self) -> (Vec<TraceNode>, Vec<TraceStep>) {
        let mut roots = Vec::new();
        let mut below = Vec::new();
        // The earliest first.
        let mut nodes: Vec<(&NodeId, &Facts)> = self.nodes.iter().collect();
        nodes.sort_by_key(|(_, facts)| facts.first);
        for (node, facts) in nodes {
            match &facts.parent {
                None => roots.push(node.clone()),
                Some(parent) => below.push((parent.clone(), self.cause(parent, facts), node.clone())),
            }
        }
        for (parent, cause, node) in below {
            self.steps.entry(parent).or_default().entry(cause).or_default().nodes.push(node);
        }
        self.add_unknown_makers();
        let roots = roots.into_iter().map(|node| self.node(node)).collect();
        (roots, self.apart)
    }

    /// Under which attempt of its parent a node came to be; none if that cannot be told.
    fn cause(&self, parent: &NodeId, facts: &Facts) -> Option<AttemptId> {
        let cause = match facts.origin {
            Some(Origin::Spawned | Origin::Root) => facts.made_by,
            Some(Origin::Invoked) => facts.calls.as_ref()?.last().copied(),
            None => self.call_of_its_own(parent, facts),
        };
        // A log that makes no sense may name an attempt of somebody else.
        cause.filter(|cause| self.askers.get(cause).is_none_or(|asker| asker == parent))
    }

    /// The call within which a node was made of which no token request tells.
    fn call_of_its_own(&self, parent: &NodeId, facts: &Facts) -> Option<AttemptId> {
        // Whom a call brings about stands directly below the caller: a call of the parent around anything here is it.
        let known = facts.around.iter().find(|call| self.askers.get(call) == Some(parent));
        // Of a call whose record is gone: what the parent was not already within.
        let outer = self.nodes.get(parent).and_then(|parent| parent.calls.as_ref());
        let unknown = || {
            let (inner, outer) = (facts.calls.as_ref()?.last()?, outer?.last());
            (outer != Some(inner)).then_some(inner)
        };
        known.or_else(unknown).copied()
    }

    /// The token requests that made a node for the agent that asked, where their record is not there.
    fn add_unknown_makers(&mut self) {
        for (node, facts) in &self.nodes {
            let is_its_own = matches!(facts.origin, Some(Origin::Root | Origin::Invoked));
            if let Some(maker) = facts.made_by.filter(|maker| is_its_own && !self.askers.contains_key(maker))
            {
                self.steps.entry(node.clone()).or_default().entry(Some(maker)).or_default();
            }
        }
    }

    /// Recursion ends: no path is longer than a chain can be, see [`end_what_is_endless`](Self::end_what_is_endless).
    fn node(&mut self, node: NodeId) -> TraceNode {
        let facts = self.nodes.remove(&node).unwrap_or_default();
        let steps = self.steps.remove(&node).unwrap_or_default();
        let mut step = |(attempt, step): (Option<AttemptId>, Step)| TraceStep {
            attempt,
            record: step.record,
            nodes: step.nodes.into_iter().map(|node| self.node(node)).collect(),
        };
        TraceNode {
            steps: steps.into_iter().map(&mut step).collect(),
            node,
            agent: facts.agent,
            origin: facts.origin,
            made_by: facts.made_by,
            expires_at: facts.expires_at,
            keys: facts.keys.into_iter().collect(),
            acts: facts.acts,
        }
    }
}
