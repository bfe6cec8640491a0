//! What reached the sandbox, and what became of it: the proof, in a test or the tour, that a refused call never came this
//! far and that a call which was cut did not go on here. Whoever has the sandbox's credential reads it at `/journal`.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use ::http::Method;
use axum::{Json, extract::State};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Sandbox, progress::Seconds};

/// How many calls are remembered; older ones are forgotten.
pub const SEEN_MAX: usize = 256;
const PATH_MAX_CHARS: usize = 128;

/// A call of an operation, or a request that did not present the credential. Who called is not known here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Seen {
    /// Counts what was seen, from 1 on.
    pub number: u64,
    /// The operation, such as `list_repos`; of a refused request its method and path, such as `POST /mcp`.
    pub operation: String,
    /// Of `stream_progress`: how long it was to take, in seconds. By it a caller finds its own call again.
    pub seconds: Option<u32>,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The credential was missing or wrong: 401.
    Refused,
    /// It is being answered.
    Running,
    /// It was answered to the end, be it with an error of the operation.
    Answered,
    /// It ended early: it was called off, its session ended, or the sandbox stopped; in other than the legacy era of MCP
    /// also because the client left.
    Cancelled,
}

/// `GET /journal`: what was seen, oldest first.
pub(super) async fn show(State(sandbox): State<Sandbox>) -> Json<Value> {
    Json(json!({ "seen": sandbox.seen() }))
}

#[derive(Debug, Clone, Default)]
pub(super) struct Journal(Arc<Mutex<Pages>>);

#[derive(Debug, Default)]
struct Pages {
    requests: u64,
    written: u64,
    recent: VecDeque<Seen>,
}

impl Journal {
    /// Counts a request.
    pub(super) fn arrived(&self) {
        self.pages().requests += 1;
    }

    pub(super) fn refused(&self, method: &Method, path: &str) {
        let path: String = path.chars().take(PATH_MAX_CHARS).collect();
        self.pages().write(format!("{method} {path}"), None, Outcome::Refused);
    }

    /// Remembers a call as running.
    pub(super) fn call(&self, operation: &str) -> Call {
        self.running(operation, None)
    }

    /// The same of a call that takes its time.
    pub(super) fn call_for(&self, operation: &str, seconds: Seconds) -> Call {
        self.running(operation, Some(seconds.get()))
    }

    fn running(&self, operation: &str, seconds: Option<u32>) -> Call {
        let number = self.pages().write(operation.to_owned(), seconds, Outcome::Running);
        Call { journal: self.clone(), number, outcome: Outcome::Cancelled }
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.pages().recent.iter().cloned().collect()
    }

    pub(super) fn requests(&self) -> u64 {
        self.pages().requests
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pages {
    fn write(&mut self, operation: String, seconds: Option<u32>, outcome: Outcome) -> u64 {
        self.written += 1;
        self.recent.push_back(Seen { number: self.written, operation, seconds, outcome });
        if self.recent.len() > SEEN_MAX {
            self.recent.pop_front();
        }
        self.written
    }
}

/// A call under way. Dropped before it is answered, it counts as cancelled.
#[derive(Debug)]
pub(super) struct Call {
    journal: Journal,
    number: u64,
    outcome: Outcome,
}

impl Call {
    pub(super) fn answered(mut self) {
        self.outcome = Outcome::Answered;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut pages = self.journal.pages();
        if let Some(seen) = pages.recent.iter_mut().find(|seen| seen.number == self.number) {
            seen.outcome = self.outcome;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn call_that_is_dropped_unanswered_counts_as_cancelled() {
        let journal = Journal::default();
        journal.call("list_repos").answered();
        drop(journal.call("stream_progress"));
        let _running = journal.call("create_repo");
        let outcomes: Vec<_> = journal.seen().into_iter().map(|seen| seen.outcome).collect();
        assert_eq!(outcomes, [Outcome::Answered, Outcome::Cancelled, Outcome::Running]);
    }

    #[test]
    fn only_the_latest_calls_are_remembered() {
        let journal = Journal::default();
        let first = journal.call("first");
        (0..SEEN_MAX).for_each(|_| journal.call("later").answered());
        first.answered();
        assert_eq!(journal.seen().len(), SEEN_MAX);
        assert!(journal.seen().iter().all(|seen| seen.operation == "later"));
    }
}
