use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use vestibule_model::{AttemptId, NodeId, Timestamp};

use super::piece::{self, Piece};
use crate::{Attempt, TraceAct, target};

/// An act that names more nodes stands at the whole tree instead, lest a trace grow with their product.
const PLACES_MAX: usize = 16;
/// No node lives longer: until then an act may have cut one of which no record says when it expires.
const NODE_LIFE_MAX: Duration = Duration::from_hours(24);

/// Everything in a tree that an act can name, by its target. What an act on a session or a client of the user reached
/// cannot be told: records do not name them.
pub(super) struct Names {
    /// What names the tree as a whole.
    tree: BTreeSet<String>,
    nodes: BTreeMap<String, BTreeSet<NodeId>>,
    since: Timestamp,
    until: Timestamp,
}

impl Names {
    pub(super) fn of(pieces: &BTreeMap<AttemptId, Piece>) -> Self {
        let facts = pieces.values().filter_map(|piece| piece.delegation.as_ref());
        let expiries = facts.map(|fact| (&fact.node, fact.expires_at)).collect();
        let since = pieces.values().map(|piece| piece.record.at).min();
        let until = pieces.values().map(|piece| end(piece, &expiries)).max();
        let mut names = Self {
            tree: BTreeSet::from([target("all", "*")]),
            nodes: BTreeMap::new(),
            since: since.unwrap_or(Timestamp::from_millis(0)),
            until: until.unwrap_or(Timestamp::from_millis(0)),
        };
        pieces.values().for_each(|piece| names.add(piece));
        names
    }

    fn add(&mut self, piece: &Piece) {
        self.tree.extend(piece.user.as_ref().map(|user| target("user", &user.to_string())));
        self.tree.extend(piece.record.app.as_ref().map(|app| target("app", app.as_str())));
        for (node, agent) in &piece.path {
            self.name("delegation", node.as_str(), node);
            self.name("agent", agent.as_str(), node);
            if let Some(key) = agent.as_key() {
                self.name("credential", &key.to_string(), node);
            }
        }
        if let (Some(key), Some(node)) = (piece.key, piece.asker()) {
            self.name("credential", &key.to_string(), node);
        }
        if let (Some(token), Some(node)) = (&piece.record.token, piece.node()) {
            self.name("token", token.as_str(), node);
        }
    }

    fn name(&mut self, kind: &str, id: &str, node: &NodeId) {
        self.nodes.entry(target(kind, id)).or_default().insert(node.clone());
    }

    /// A text that every act holds.
    pub(super) fn needles() -> [String; 1] {
        // Where there is no target, `null` follows.
        ["\"target\":\"".to_owned()]
    }

    /// The act, if it reaches the tree in its time.
    pub(super) fn act(&self, attempt: &Attempt) -> Option<TraceAct> {
        let act = piece::act(attempt)?;
        let is_order = matches!(act.action.as_str(), "revoke" | "suspend" | "resume");
        let is_in_time = self.since <= act.at && act.at <= self.until;
        let is_named = self.tree.contains(&act.target) || self.nodes.contains_key(&act.target);
        (is_order && is_in_time && is_named).then_some(act)
    }

    /// The nodes that a target names; empty if it is the whole tree.
    pub(super) fn places(&self, target: &str) -> Vec<NodeId> {
        let nodes = self.nodes.get(target).filter(|nodes| nodes.len() <= PLACES_MAX);
        nodes.map(|nodes| nodes.iter().cloned().collect()).unwrap_or_default()
    }
}

/// Until when an act may have reached what a record is about.
fn end(piece: &Piece, expiries: &BTreeMap<&NodeId, Timestamp>) -> Timestamp {
    let at = piece.record.at;
    match piece.node() {
        Some(node) => expiries.get(node).copied().unwrap_or(at.plus(NODE_LIFE_MAX)).max(at),
        None => at,
    }
}
