//! Every attempt under way, found by each name on its path.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio_util::sync::CancellationToken;
use vestibule_model::{Denial, Timestamp};

use crate::{DenyEntry, DenyKey};

/// Requests of different agents seldom wait for each other.
const SHARDS: usize = 64;

/// The attempts under one shard's names. Ordered, so that those of one name are a range.
type Shard = BTreeMap<(DenyKey, u64), Arc<Flight>>;

/// The index. It holds what is in flight and nothing else: each attempt leaves it when its `Passage` is dropped.
#[derive(Debug)]
pub(crate) struct Index {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
    next: AtomicU64,
}

/// One attempt under way.
#[derive(Debug)]
pub(crate) struct Flight {
    id: u64,
    keys: Vec<DenyKey>,
    issued_at: Timestamp,
    denial: OnceLock<Denial>,
    pub(crate) cancelled: CancellationToken,
    pub(crate) is_streaming: AtomicBool,
    pub(crate) is_completed: AtomicBool,
}

impl Flight {
    pub(crate) fn keys(&self) -> &[DenyKey] {
        &self.keys
    }

    /// Why it was cut. One atomic load while it was not.
    pub(crate) fn cut(&self) -> Option<Denial> {
        self.denial.get().copied()
    }

    pub(crate) async fn until_cut(&self) -> Denial {
        self.cancelled.cancelled().await;
        *self.denial.wait() // set before the cancellation: there is no waiting here
    }

    /// Whether this call is the one that cut it.
    fn cut_for(&self, denial: Denial) -> bool {
        // INVARIANT: the reason first, so that whoever is woken finds it.
        let is_first = self.denial.set(denial).is_ok();
        self.cancelled.cancel();
        is_first
    }
}

/// What a walk found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) attempts: u64,
    pub(crate) streams: u64,
    pub(crate) completed: u64,
}

impl Tally {
    pub(crate) fn plus(self, more: Self) -> Self {
        Self {
            attempts: self.attempts + more.attempts,
            streams: self.streams + more.streams,
            completed: self.completed + more.completed,
        }
    }
}

impl Index {
    pub(crate) fn new() -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        Self { shards, hasher: RandomState::new(), next: AtomicU64::new(0) }
    }

    /// Registers an attempt under every one of its names.
    pub(crate) fn enter(&self, keys: Vec<DenyKey>, issued_at: Timestamp) -> Arc<Flight> {
        let flight = Arc::new(Flight {
            id: self.next.fetch_add(1, Ordering::Relaxed),
            keys,
            issued_at,
            denial: OnceLock::new(),
            cancelled: CancellationToken::new(),
            is_streaming: AtomicBool::new(false),
            is_completed: AtomicBool::new(false),
        });
        for key in &flight.keys {
            self.shard(key).insert((key.clone(), flight.id), Arc::clone(&flight));
        }
        flight
    }

    pub(crate) fn leave(&self, flight: &Flight) {
        for key in &flight.keys {
            self.shard(key).remove(&(key.clone(), flight.id));
        }
    }

    /// Cuts what an entry denies, and says what this call cut.
    pub(crate) fn cut(&self, entry: &DenyEntry) -> Tally {
        self.walk(entry, |flight| flight.cut_for(entry.key.denial()))
    }

    /// What [`cut`](Self::cut) would cut.
    pub(crate) fn count(&self, entry: &DenyEntry) -> Tally {
        self.walk(entry, |flight| flight.cut().is_none())
    }

    fn walk(&self, entry: &DenyEntry, is_counted: impl Fn(&Flight) -> bool) -> Tally {
        let mut tally = Tally::default();
        // Copied out, so that no task is woken while the shard is held.
        for flight in self.under(&entry.key) {
            if !entry.kills(flight.issued_at) || !is_counted(&flight) {
                continue;
            }
            if flight.is_completed.load(Ordering::Acquire) {
                tally.completed += 1;
                continue;
            }
            tally.attempts += 1;
            tally.streams += u64::from(flight.is_streaming.load(Ordering::Acquire));
        }
        tally
    }

    fn under(&self, key: &DenyKey) -> Vec<Arc<Flight>> {
        let bounds = (key.clone(), 0)..=(key.clone(), u64::MAX);
        self.shard(key).range(bounds).map(|(_, flight)| Arc::clone(flight)).collect()
    }

    fn shard(&self, key: &DenyKey) -> MutexGuard<'_, Shard> {
        let place = self.hasher.hash_one(key) as usize % SHARDS;
        #[expect(clippy::indexing_slicing, reason = "a remainder is below what it was divided by")]
        let shard = &self.shards[place];
        // Nothing under the lock can panic half-way; and to give up here would be to stop revoking.
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names under which something is registered.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap().len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeyKind;

    #[test]
    fn an_attempt_that_names_an_agent_twice_leaves_nothing_behind() {
        let index = Index::new();
        let key = |id| DenyKey::new(KeyKind::Agent, id).unwrap();
        let now = Timestamp::from_seconds(1_800_000_000);
        let one = index.enter(vec![key("a"), key("b"), key("a")], now);
        let two = index.enter(vec![key("a")], now);
        assert_eq!(index.len(), 3);
        index.leave(&one);
        assert_eq!(index.under(&key("a")).len(), 1, "the other stays");
        index.leave(&two);
        assert_eq!(index.len(), 0);
    }
}
