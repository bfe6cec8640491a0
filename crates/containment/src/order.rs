use serde::{Deserialize, Serialize};
use vestibule_model::Timestamp;

use crate::{DenyKey, KeyKind};

/// Why something is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// It is in somebody else's hands.
    Compromise,
    /// Its key is.
    KeyCompromise,
    /// It did what it must not.
    PolicyViolation,
    /// Something newer takes its place. On an agent or a delegation it acts like every other reason: on all whose path
    /// names it.
    Superseded,
    /// Not said.
    Unspecified,
}

/// An order to revoke.
#[derive(Debug, Clone)]
pub struct Order {
    /// What.
    pub key: DenyKey,
    /// Why.
    pub reason: Reason,
    /// Only what was issued at or before this moment is dead; none: everything is, for good.
    pub cutoff: Option<Timestamp>,
    /// Who gave the order.
    pub by: String,
    /// Only tell what it would do.
    pub dry_run: bool,
}

/// What the revocation in force has cut on this gateway since it started, whoever gave the order: repeated, an order
/// tells the same again. With `dry_run`: what would be cut beyond that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Kind of what was revoked.
    pub kind: KeyKind,
    /// Its id.
    pub id: String,
    /// Version of the revocation in force, which counts the times it was widened. 0 in a dry run when there is none.
    pub version: u64,
    /// Reason of the revocation in force.
    pub reason: Reason,
    /// What was cut.
    pub cut: Cut,
    /// Attempts that had been completed but had not left the index: their replies are out, and deserve a look.
    /// Attempts that had left it are in the record only.
    pub completed: u64,
    /// When nothing admitted under the name was left uncut.
    pub acknowledged_at: Timestamp,
}

/// How much was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cut {
    /// Attempts in flight, streams among them, and those that were at the door at that very moment and are refused.
    pub attempts: u64,
    /// Those of them whose reply was streaming.
    pub streams: u64,
    /// Delegation nodes that are dead: those of the agent, or the node and all below it. At most 10,000 are counted.
    pub nodes: u64,
}
