use serde::Serialize;
use vestibule_model::{AgentId, AttemptId, Timestamp};

use crate::{KeyKind, Reason, State};

/// A report lists at most so many attempts.
pub(crate) const ATTEMPTS_MAX: usize = 1000;

/// What the order in force has cut on this gateway since it started, whoever gave it: repeated, an order tells the same
/// again. With `dry_run`: what would be cut beyond that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Kind of what was revoked.
    pub kind: KeyKind,
    /// Its id.
    pub id: String,
    /// Version of the order in force, which counts the times it was widened. 0 in a dry run when there is none.
    pub version: u64,
    /// What the name is now: revoked, if an order to suspend it came too late.
    pub state: State,
    /// Reason of the order in force.
    pub reason: Reason,
    /// Cutoff of the order in force.
    pub cutoff: Option<Timestamp>,
    /// What was cut.
    pub cut: Cut,
    /// Attempts that had been completed but had not left: their replies are out, and deserve a look. Attempts that had
    /// left are in the record only.
    pub completed: u64,
    /// Which attempts, those that had been completed among them, oldest first: at most 1,000, and only as long as the
    /// list is among the latest 100,000 attempts that were cut.
    pub attempts: Vec<CutAttempt>,
    /// When nothing admitted under the name was left uncut, and all of it had settled: from then on not a byte of it is
    /// written.
    pub acknowledged_at: Timestamp,
}

/// How much was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cut {
    /// Attempts in flight: streams, calls made within a call that was cut, and those that were at the door at that very
    /// moment and are refused.
    pub attempts: u64,
    /// Those of them whose reply was streaming.
    pub streams: u64,
    /// Delegation nodes that are dead: those on whose path the name stands, and all below them. At most 10,000 are
    /// counted; for other names than those of agents and delegations, among the first 20,000 that live. 0 for a token.
    pub nodes: u64,
}

/// One attempt that was cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CutAttempt {
    /// Which.
    pub attempt: AttemptId,
    /// Whose: the agent that acted.
    pub agent: AgentId,
    /// What it was doing when it was cut.
    pub stage: Stage,
}

/// How far an attempt has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The upstream knows nothing of it. Cut, it never will.
    Queued,
    /// The upstream may have begun. Cut, the reply is withheld, and whether it was done is unknown.
    Forwarded,
    /// Its reply is being written. Cut, the reply ends.
    Streaming,
    /// Its reply has been handed over as a whole. Cut, it is only told.
    Completed,
}

impl Stage {
    /// All of them, in their order.
    pub const ALL: &'static [Self] = &[Self::Queued, Self::Forwarded, Self::Streaming, Self::Completed];

    /// Its kebab-case text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Forwarded => "forwarded",
            Self::Streaming => "streaming",
            Self::Completed => "completed",
        }
    }
}

/// What an order has cut here.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cuts {
    pub(crate) attempts: u64,
    pub(crate) streams: u64,
    pub(crate) completed: u64,
    pub(crate) list: Vec<CutAttempt>,
}

impl Cuts {
    pub(crate) fn note(&mut self, cut: impl IntoIterator<Item = CutAttempt>) {
        for cut in cut {
            match cut.stage {
                Stage::Completed => self.completed += 1,
                Stage::Streaming => {
                    self.streams += 1;
                    self.attempts += 1;
                }
                Stage::Queued | Stage::Forwarded => self.attempts += 1,
            }
            self.list.push(cut);
        }
        self.list.sort_by_key(|cut| cut.attempt);
        self.list.truncate(ATTEMPTS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use vestibule_model::{SeededEntropy, Timestamp};

    use super::*;

    #[test]
    fn a_stage_is_told_by_its_text() {
        for stage in Stage::ALL {
            assert_eq!(serde_json::to_value(stage).unwrap(), stage.as_str());
        }
        assert!(Stage::ALL.is_sorted());
    }

    #[test]
    fn all_are_counted_and_the_oldest_thousand_listed() {
        let entropy = SeededEntropy::new(1);
        let agent = AgentId::new("a").unwrap();
        let cut = |n: i64| CutAttempt {
            attempt: AttemptId::new(Timestamp::from_seconds(n), &entropy),
            agent: agent.clone(),
            stage: Stage::Streaming,
        };
        let all: Vec<_> = (0..1500).map(cut).collect();
        let mut cuts = Cuts::default();
        cuts.note(all.iter().rev().take(700).cloned());
        cuts.note(all.iter().take(800).cloned());
        assert_eq!((cuts.attempts, cuts.streams, cuts.completed), (1500, 1500, 0));
        assert_eq!(cuts.list, all.get(..1000).unwrap());
    }
}
