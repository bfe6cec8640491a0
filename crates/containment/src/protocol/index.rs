//! Every attempt under way.
//!
//! An attempt is entered once, with all its names, in the shard of its own identifier; a walk passes over all of them.
//! Registering it under each name instead would make every request wait for every other at the names they share (the
//! application, everything), and make the requests pay what an order, which waits for the disk anyway, pays easily.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    hash::BuildHasher,
    sync::{
        Arc,
        PoisonError,
        // A number is drawn and nothing is made to depend on its order: no step for the models.
        atomic::{AtomicU64, Ordering},
    },
};

use foldhash::fast::FixedState;
use hashbrown::HashTable;
use vestibule_model::{AgentId, AttemptId, Denial};

use super::{
    super::sync::{Mutex, MutexGuard, Notify, SHARDS},
    flight::Flight,
    passage::Passage,
};
use crate::{CutAttempt, Path, Stage};

/// The index. It holds what is in flight and nothing else: each attempt leaves it when its `Passage` is dropped.
#[derive(Debug)]
pub(super) struct Index {
    shards: [Shard; SHARDS],
    next: AtomicU64,
    /// What was cut and has not left. An order waits for it.
    leaving: Mutex<BTreeMap<u64, Arc<Flight>>>,
    /// Something of that has left.
    left: Notify,
}

/// A cache line of its own, or requests would wait for their neighbours.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard(Mutex<HashTable<Entry>>);

#[derive(Debug)]
struct Entry {
    /// Tells most of what does not concern a walk without looking at the flight.
    trace: u64,
    flight: Arc<Flight>,
    /// The attempts made within this one.
    within: BTreeMap<u64, Arc<Flight>>,
}

/// An attempt to be cut, and for what.
pub(super) type Doomed = (Arc<Flight>, Denial);

impl Index {
    pub(super) fn new() -> Self {
        Self {
            shards: std::array::from_fn(|_| Shard::default()),
            next: AtomicU64::new(0),
            leaving: Mutex::default(),
            left: Notify::new(),
        }
    }

    /// Registers an attempt with every one of its names. It leaves when the passage is dropped.
    pub(super) fn enter(self: &Arc<Self>, attempt: AttemptId, agent: &AgentId, path: &Path<'_>) -> Passage {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let flight = Arc::new(Flight::new(id, attempt, agent, path));
        let (trace, within) = (flight.trace(), BTreeMap::new());
        let entry = Entry { trace, flight: Arc::clone(&flight), within };
        self.shard(attempt).insert_unique(place(attempt), entry, |entry| place(entry.flight.attempt));
        Passage::new(Arc::clone(self), flight)
    }

    /// Registers it under a call within which it is made.
    pub(super) fn join(&self, call: AttemptId, flight: &Arc<Flight>) -> Result<(), Denial> {
        let mut shard = self.shard(call);
        let outer =
            shard.find_mut(place(call), |entry| entry.flight.attempt == call).ok_or(Denial::CallEnded)?;
        outer.within.insert(flight.id, Arc::clone(flight));
        // INVARIANT: look at the call while its shard is held. A cut marks the call, then takes the shard to find what is
        // within: it finds this one, or this one finds the mark.
        if outer.flight.is_under_way() { Ok(()) } else { Err(Denial::CallEnded) }
    }

    pub(super) fn is_under_way(&self, call: AttemptId) -> bool {
        let shard = self.shard(call);
        shard
            .find(place(call), |entry| entry.flight.attempt == call)
            .is_some_and(|entry| entry.flight.is_under_way())
    }

    /// Nothing of it will be written any more, and nothing within it either.
    pub(super) fn leave(&self, flight: &Arc<Flight>) {
        let within = {
            let mut shard = self.shard(flight.attempt);
            let entry = shard.find_entry(place(flight.attempt), |entry| Arc::ptr_eq(&entry.flight, flight));
            entry.map(|entry| entry.remove().0.within).unwrap_or_default()
        };
        let was_cut = flight.leave();
        for call in &flight.calls {
            let mut shard = self.shard(*call);
            if let Some(outer) = shard.find_mut(place(*call), |entry| entry.flight.attempt == *call) {
                outer.within.remove(&flight.id);
            }
        }
        if was_cut {
            self.leaving().remove(&flight.id);
            self.left.notify_waiters();
        }
        if !within.is_empty() {
            self.cut(within.into_values().map(|flight| (flight, Denial::CallEnded)).collect());
        }
    }

    /// All with a name that may have left this trace.
    pub(super) fn traced(&self, trace: u64) -> Vec<Arc<Flight>> {
        let mut found = Vec::new();
        for shard in &self.shards {
            // Copied out, so that nobody is woken and no wire severed while the shard is held.
            let shard = shard.0.lock().unwrap_or_else(PoisonError::into_inner);
            let traced = shard.iter().filter(|entry| entry.trace & trace != 0);
            found.extend(traced.map(|entry| Arc::clone(&entry.flight)));
        }
        found
    }

    /// Cuts them and what is made within them. Gives what this call cut, each with the place of the one it comes from.
    pub(super) fn cut(&self, doomed: Vec<Doomed>) -> Vec<(usize, CutAttempt)> {
        let mut marked = Vec::new();
        let found = self.spread(doomed, |flight, denial| {
            let stage = flight.cut_for(denial);
            // Also what somebody else cut: they may be here still, and an order that follows waits for it.
            let mut leaving = self.leaving();
            if flight.is_unsettled() {
                leaving.insert(flight.id, Arc::clone(flight));
            }
            drop(leaving);
            marked.push(Arc::clone(flight));
            stage
        });
        // INVARIANT: all are marked before the first is severed or woken. What one lets go of, such as its agent's turn, must
        // not bring another forward that is about to be cut: an order would send on what it is to stop.
        for flight in marked {
            flight.sever_cut();
            // Last: whoever is woken finds why, and that the wire is severed.
            flight.cancelled.cancel();
        }
        found
    }

    /// What [`cut`](Self::cut) would cut.
    pub(super) fn count(&self, doomed: Vec<Doomed>) -> Vec<(usize, CutAttempt)> {
        self.spread(doomed, |flight, _| flight.stage())
    }

    fn spread(
        &self,
        doomed: Vec<Doomed>,
        mut act: impl FnMut(&Arc<Flight>, Denial) -> Option<Stage>,
    ) -> Vec<(usize, CutAttempt)> {
        let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
        let mut queue: VecDeque<_> = doomed.into_iter().enumerate().collect();
        while let Some((origin, (flight, denial))) = queue.pop_front() {
            if !seen.insert(flight.id) {
                continue;
            }
            found.extend(act(&flight, denial).map(|stage| (origin, flight.cut_attempt(stage))));
            // INVARIANT: only now. What joins it later finds it cut, see `join`.
            let within = self.within(&flight);
            queue.extend(within.into_iter().map(|flight| (origin, (flight, Denial::CallEnded))));
        }
        found
    }

    fn within(&self, flight: &Arc<Flight>) -> Vec<Arc<Flight>> {
        let shard = self.shard(flight.attempt);
        let entry = shard.find(place(flight.attempt), |entry| Arc::ptr_eq(&entry.flight, flight));
        entry.map(|entry| entry.within.values().cloned().collect()).unwrap_or_default()
    }

    /// What was cut, has not left, and has not been severed for that.
    pub(super) fn unsettled(&self) -> Vec<Arc<Flight>> {
        self.leaving().values().cloned().collect()
    }

    /// Ends when all of them have left.
    pub(super) async fn settled(&self, flights: &[Arc<Flight>]) {
        for flight in flights {
            loop {
                // INVARIANT: listen, then look.
                let left = self.left.notified();
                if flight.has_left() {
                    break;
                }
                left.await;
            }
        }
    }

    /// Severs those that have not left, and says how many.
    pub(super) fn sever(&self, flights: &[Arc<Flight>]) -> usize {
        let overdue: Vec<_> = flights.iter().filter(|flight| !flight.has_left()).collect();
        for flight in &overdue {
            flight.sever();
            // INVARIANT: marked first. A walk that comes upon it later does not put it back.
            self.leaving().remove(&flight.id);
        }
        overdue.len()
    }

    fn shard(&self, attempt: AttemptId) -> MutexGuard<'_, HashTable<Entry>> {
        // A remainder is below what it was divided by, so the first never stands in for another.
        let [first, ..] = &self.shards;
        let shard = self.shards.get((place(attempt) >> 32) as usize % SHARDS).unwrap_or(first);
        // Nothing under the lock can panic half-way; and to give up here would be to stop revoking.
        shard.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leaving(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Flight>>> {
        self.leaving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing stays of what has left.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.leaving().is_empty() && self.traced(u64::MAX).is_empty()
    }
}

/// Attempts are numbered by us, and at random: nobody can choose them to fall together.
fn place(attempt: AttemptId) -> u64 {
    FixedState::default().hash_one(attempt)
}
