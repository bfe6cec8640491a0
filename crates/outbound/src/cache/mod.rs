//! The tokens that servers have given for applications.
//!
//! Guarantees:
//!
//! - a token serves the calls of its [`Key`] only: another user, agent or delegation, other scopes: another token;
//! - however many calls need a token, one request asks for it, and goes on whoever of them leaves;
//! - a token is not used beyond its life, nor beyond the authority on which it rests;
//! - what is revoked is dropped, also what was on its way when the order came, and given back to its server;
//! - a failure is remembered for a moment, so that a server that is down is not asked by every call.

mod entry;
mod key;
mod shelved;
mod sweep;
#[cfg(test)]
mod tests;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::sync::{Notify, watch};
use vestibule_model::{Clock, Fault, FaultKind, Monotonic, Stop};

pub(crate) use entry::{Entry, Obtained, Origin};
pub use key::MintedFor;
pub(crate) use key::{Ask, Key, Target};
pub use sweep::GiveBack;

use crate::{Shelf, strategy::TokenSource};

/// Most tokens that are kept. Beyond that, the one that ends first makes room, and is given back.
pub(crate) const ENTRIES_MAX: usize = 20_000;
/// How long a failure answers for the server.
const FAILURE_KEPT: Duration = Duration::from_secs(2);
/// A fresh token that an application refuses, too, is not replaced again within this time.
const REPLACED_AT_MOST_EVERY: Duration = Duration::from_secs(10);
/// Most failures and replacements that are remembered. Forgetting them early costs a request.
const NOTES_MAX: usize = 10_000;

/// The tokens that servers have given for applications.
pub(crate) struct Cache {
    clock: Arc<dyn Clock>,
    shelf: Arc<dyn Shelf>,
    entries_max: usize,
    state: Mutex<State>,
    /// Something has to be given back that no sweep has found.
    strays: Notify,
}

#[derive(Default)]
struct State {
    entries: HashMap<Key, Arc<Entry>>,
    flights: HashMap<Key, Flight>,
    failures: HashMap<Key, (Monotonic, Arc<Stop>)>,
    /// When a token was dropped because the application refused it.
    replaced: HashMap<Key, Monotonic>,
    /// Dropped, and to be given back.
    strays: Vec<Arc<Entry>>,
    serial: u64,
}

/// A token request that is under way.
struct Flight {
    landed: watch::Receiver<Landed>,
    minted_for: Arc<MintedFor>,
    /// Of the token that it will bring.
    serial: u64,
    /// An order has come meanwhile that reaches what it will bring.
    is_dead: bool,
}

impl Flight {
    fn of(&self) -> (u64, Arc<MintedFor>) {
        (self.serial, Arc::clone(&self.minted_for))
    }
}

/// How a flight has ended; none: it has not.
type Landed = Option<Result<Arc<Entry>, Arc<Stop>>>;

impl Cache {
    pub(crate) fn new(clock: Arc<dyn Clock>, shelf: Arc<dyn Shelf>, entries_max: usize) -> Self {
        Self { clock, shelf, entries_max, state: Mutex::default(), strays: Notify::new() }
    }

    /// The token that is asked for: one that is kept, or that `source` fetches.
    pub(crate) async fn obtain(
        self: &Arc<Self>,
        ask: Ask,
        source: &Arc<dyn TokenSource>,
    ) -> Result<Arc<Entry>, Stop> {
        let mut landed = match self.look(ask, source) {
            Look::Kept(entry) => return Ok(entry),
            Look::Failed(stop) => return Err(copy(&stop)),
            Look::Flying(landed) => landed,
        };
        // A flight that breaks off without landing has panicked.
        let broken = |_| Fault::new(FaultKind::Internal, "a token request broke off");
        let landed = landed.wait_for(Option::is_some).await.map_err(broken)?;
        match &*landed {
            Some(Ok(entry)) => Ok(Arc::clone(entry)),
            Some(Err(stop)) => Err(copy(stop)),
            None => Err(Fault::new(FaultKind::Internal, "a token request has not ended").into()),
        }
    }

    fn look(self: &Arc<Self>, ask: Ask, source: &Arc<dyn TokenSource>) -> Look {
        let (now, at) = (self.clock.now(), self.clock.monotonic());
        let mut state = self.state();
        let kept = state.entries.get(&ask.key).filter(|entry| entry.is_usable(now)).map(Arc::clone);
        let flying = state.flights.get(&ask.key).map(|flight| flight.landed.clone());
        let failed = state.failures.get(&ask.key).filter(|(since, _)| at.since(*since) < FAILURE_KEPT);
        match (kept, flying, failed) {
            (Some(entry), flying, failed) => {
                if entry.is_due(now) && flying.is_none() && failed.is_none() {
                    self.fly(&mut state, ask, source);
                }
                Look::Kept(entry)
            }
            (None, Some(landed), _) => Look::Flying(landed),
            (None, None, Some((_, stop))) => Look::Failed(Arc::clone(stop)),
            (None, None, None) => Look::Flying(self.fly(&mut state, ask, source)),
        }
    }

    /// INVARIANT: there is no other flight of that key. The request runs in a task of its own: whoever waits for it may
    /// leave, and the others get their token all the same.
    fn fly(
        self: &Arc<Self>,
        state: &mut State,
        ask: Ask,
        source: &Arc<dyn TokenSource>,
    ) -> watch::Receiver<Landed> {
        let (sender, landed) = watch::channel(None);
        state.serial += 1;
        let flight = Flight {
            landed: landed.clone(),
            minted_for: Arc::new(ask.minted_for.clone()),
            serial: state.serial,
            is_dead: false,
        };
        state.flights.insert(ask.key.clone(), flight);
        let origin = Origin::of(source, state.serial);
        let (cache, source) = (Arc::clone(self), Arc::clone(source));
        tokio::spawn(async move {
            let landing = Landing { cache: &cache, key: ask.key.clone(), is_over: false };
            let fetched = source.fetch(ask.clone(), Arc::clone(&cache)).await;
            let entry = fetched.and_then(|obtained| {
                Entry::new(ask, obtained, origin, cache.clock.now()).map_err(Stop::from)
            });
            let entry = landing.land(entry);
            let kept = entry.as_ref().ok().map(Arc::clone);
            sender.send_replace(Some(entry));
            if let Some(entry) = kept {
                cache.shelve(&entry).await;
            }
        });
        landed
    }

    /// The application has refused the token of that serial: it is dropped, and whoever asks gets another. False when a
    /// fresh one was refused just now, too: asking once more would not help.
    pub(crate) fn refused(&self, key: &Key, serial: u64) -> bool {
        let at = self.clock.monotonic();
        let mut state = self.state();
        match state.entries.get(key) {
            // Another call has found out before: what is kept now, or under way, is younger.
            None => return true,
            Some(entry) if entry.serial != serial => return true,
            Some(_) => {}
        }
        let recently = |since: &Monotonic| at.since(*since) < REPLACED_AT_MOST_EVERY;
        if state.replaced.get(key).is_some_and(recently) {
            return false;
        }
        if state.replaced.len() >= NOTES_MAX {
            state.replaced.retain(|_, since| recently(since));
        }
        if state.replaced.len() < NOTES_MAX {
            state.replaced.insert(key.clone(), at);
        }
        state.entries.remove(key);
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is there for an ask.
enum Look {
    Kept(Arc<Entry>),
    Flying(watch::Receiver<Landed>),
    Failed(Arc<Stop>),
}

/// Ends a flight, however its task ends.
struct Landing<'a> {
    cache: &'a Cache,
    key: Key,
    is_over: bool,
}

impl Landing<'_> {
    fn land(mut self, fetched: Result<Entry, Stop>) -> Result<Arc<Entry>, Arc<Stop>> {
        self.is_over = true;
        let cache = self.cache;
        let at = cache.clock.monotonic();
        let mut state = cache.state();
        let is_dead = state.flights.remove(&self.key).is_some_and(|flight| flight.is_dead);
        match fetched {
            Ok(entry) if is_dead => {
                state.strays.push(Arc::new(entry));
                drop(state);
                cache.strays.notify_one();
                let cause = "what the token is for was revoked while it was asked for";
                Err(Arc::new(Fault::new(FaultKind::AccessUnavailable, cause).into()))
            }
            Ok(entry) => {
                let entry = Arc::new(entry);
                state.failures.remove(&self.key);
                let evicted = state.make_room(cache.entries_max, &self.key);
                state.entries.insert(self.key.clone(), Arc::clone(&entry));
                drop(state);
                if evicted {
                    cache.strays.notify_one();
                }
                Ok(entry)
            }
            Err(stop) => {
                let stop = Arc::new(stop);
                state.remember(self.key.clone(), at, &stop);
                Err(stop)
            }
        }
    }
}

impl Drop for Landing<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.cache.state().flights.remove(&self.key);
        }
    }
}

impl State {
    /// Takes the token of that serial out, if it is still there.
    fn take(&mut self, key: &Key, serial: u64) -> Option<Arc<Entry>> {
        let is_it = self.entries.get(key).is_some_and(|entry| entry.serial == serial);
        if is_it { self.entries.remove(key) } else { None }
    }

    /// Makes room for one more, and says whether something has to be given back for it.
    fn make_room(&mut self, max: usize, key: &Key) -> bool {
        if self.entries.len() < max || self.entries.contains_key(key) {
            return false;
        }
        let first = self.entries.iter().min_by_key(|(_, entry)| entry.unused_at);
        let evicted = first.map(|(key, _)| key.clone()).and_then(|key| self.entries.remove(&key));
        let evicted = evicted.filter(|entry| entry.server.is_revocable());
        let is_any = evicted.is_some();
        self.strays.extend(evicted);
        is_any
    }

    fn remember(&mut self, key: Key, at: Monotonic, stop: &Arc<Stop>) {
        if self.failures.len() >= NOTES_MAX {
            self.failures.retain(|_, (since, _)| at.since(*since) < FAILURE_KEPT);
        }
        if self.failures.len() < NOTES_MAX {
            self.failures.insert(key, (at, Arc::clone(stop)));
        }
    }
}

/// Several calls fail for one reason.
fn copy(stop: &Stop) -> Stop {
    match stop {
        Stop::Denied(refusal) => Stop::Denied(refusal.clone()),
        Stop::Failed(fault) => Fault::new(fault.kind, &fault.cause).into(),
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state();
        f.debug_struct("Cache")
            .field("entries", &state.entries.len())
            .field("flights", &state.flights.len())
            .finish_non_exhaustive()
    }
}
