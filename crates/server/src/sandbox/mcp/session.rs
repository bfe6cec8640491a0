//! The sessions of legacy clients.

use std::{
    collections::HashMap,
    fmt::Write,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;
use vestibule_model::Entropy;

use super::{message::Id, stream::LogLevel};

const SESSIONS_MAX: usize = 10_000;
const RUNNING_MAX: usize = 100;

/// All sessions. When there are too many, the oldest goes.
#[derive(Debug)]
pub(in super::super) struct Sessions {
    entropy: Arc<dyn Entropy>,
    closing: CancellationToken,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    opened: u64,
    sessions: HashMap<String, Arc<Session>>,
}

impl Sessions {
    /// No session yet. All end when `closing` is cancelled.
    pub(in super::super) fn new(entropy: Arc<dyn Entropy>, closing: CancellationToken) -> Self {
        Self { entropy, closing, table: Mutex::default() }
    }

    /// Opens a session and gives its id: 128 random bits in hexadecimal.
    pub(super) fn open(&self) -> String {
        let mut bytes = [0; 16];
        self.entropy.fill(&mut bytes);
        let id = bytes.iter().fold(String::new(), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        });
        let mut table = self.table();
        if table.sessions.len() >= SESSIONS_MAX {
            table.evict_oldest();
        }
        table.opened += 1;
        let session = Session::new(table.opened, self.closing.child_token());
        table.sessions.insert(id.clone(), Arc::new(session));
        id
    }

    pub(super) fn get(&self, id: &str) -> Option<Arc<Session>> {
        self.table().sessions.get(id).cloned()
    }

    /// Ends a session and all its streams.
    pub(super) fn end(&self, id: &str) {
        if let Some(session) = self.table().sessions.remove(id) {
            session.ended.cancel();
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn evict_oldest(&mut self) {
        let oldest = self.sessions.iter().min_by_key(|(_, session)| session.number).map(|(id, _)| id.clone());
        if let Some(session) = oldest.and_then(|id| self.sessions.remove(&id)) {
            session.ended.cancel();
        }
    }
}

#[derive(Debug)]
pub(super) struct Session {
    number: u64,
    ended: CancellationToken,
    /// None until the client has set one.
    log_level: Mutex<Option<LogLevel>>,
    running: Mutex<HashMap<Id, CancellationToken>>,
}

impl Session {
    fn new(number: u64, ended: CancellationToken) -> Self {
        Self { number, ended, log_level: Mutex::default(), running: Mutex::default() }
    }

    /// Cancelled when the session has ended.
    pub(super) fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    pub(super) fn log_level(&self) -> Option<LogLevel> {
        *self.log_level.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_log_level(&self, level: LogLevel) {
        *self.log_level.lock().unwrap_or_else(PoisonError::into_inner) = Some(level);
    }

    /// Registers a request. It is over when its token is cancelled. None when a request with this id runs
    /// already, or too many run.
    pub(super) fn start(&self, id: &Id) -> Option<CancellationToken> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|_, stop| !stop.is_cancelled());
        if running.contains_key(id) || running.len() >= RUNNING_MAX {
            return None;
        }
        let stop = self.ended.child_token();
        running.insert(id.clone(), stop.clone());
        Some(stop)
    }

    /// Stops a request of this session, if it runs.
    pub(super) fn cancel(&self, id: &Id) {
        if let Some(stop) = self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(id) {
            stop.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use vestibule_model::SeededEntropy;

    use super::*;

    #[test]
    fn oldest_session_makes_room_for_a_new_one() {
        let sessions = Sessions::new(Arc::new(SeededEntropy::new(1)), CancellationToken::new());
        let first = sessions.open();
        let evicted = sessions.get(&first).unwrap();
        let second = sessions.open();
        (2..SESSIONS_MAX).for_each(|_| drop(sessions.open()));
        assert!(sessions.get(&first).is_some());
        sessions.open();
        assert!(sessions.get(&first).is_none());
        assert!(evicted.ended().is_cancelled());
        assert!(sessions.get(&second).is_some());
    }

    #[test]
    fn id_can_be_used_again_once_its_request_is_over() {
        let session = Session::new(1, CancellationToken::new());
        let id = Id::Number(1);
        let running = session.start(&id).unwrap();
        assert!(session.start(&id).is_none());
        running.cancel();
        assert!(session.start(&id).is_some());
    }

    #[test]
    fn session_runs_a_bounded_number_of_requests() {
        let session = Session::new(1, CancellationToken::new());
        let running: Vec<_> = (0..=100).map(|number| session.start(&Id::Number(number)).is_some()).collect();
        assert_eq!(running.iter().filter(|started| **started).count(), RUNNING_MAX);
    }
}
