use serde::{Deserialize, Serialize};
use vestibule_model::Timestamp;

use crate::{Outcome, Record};

/// Whether an attempt has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It is under way, or the gateway stopped under it and has not started again.
    Open,
    /// It has ended.
    Closed,
}

/// One attempt, joined from its two entries. As JSON, one flat object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// What is known about it.
    #[serde(flatten)]
    pub record: Record,
    /// Whether it has ended.
    pub state: State,
    /// How it ended; none while it is open.
    pub outcome: Option<Outcome>,
}

/// A stretch of time of which entries may be missing, because the gateway did not stop in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The time of the last entry that was on disk.
    pub from: Timestamp,
    /// When the gateway started again.
    pub to: Timestamp,
    /// Bytes at the end of the log that were no whole entry. They were moved to the file `torn`.
    pub torn_bytes: u64,
}
