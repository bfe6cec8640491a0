use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use governor::{
    clock::Clock as _,
    nanos::Nanos,
    state::{StateStore, keyed::DefaultHasher},
};

use super::{asking::Key, ticks::Ticks};

/// A full map is swept once within this time at most.
const SWEPT_AGAIN_NANOS: u64 = 1_000_000_000;

/// The state of one rate: for each key the moment at which it is as fresh as one that was never seen. Bounded, and what is
/// as good as fresh is forgotten; the maps that `governor` brings are neither.
#[derive(Debug, Clone)]
pub(super) struct Cells(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    map: Mutex<Map>,
    /// Of `map`, to be read without its lock.
    len: AtomicUsize,
    keys_max: usize,
    ticks: Ticks,
}

#[derive(Debug, Default)]
struct Map {
    until: HashMap<Key, u64, DefaultHasher>,
    swept: u64,
}

impl Cells {
    pub(super) fn new(ticks: Ticks, keys_max: usize) -> Self {
        Self(Arc::new(Inner { map: Mutex::default(), len: AtomicUsize::new(0), keys_max, ticks }))
    }

    /// Whether `key` is counted already, or there is room for one more.
    pub(super) fn takes(&self, key: &Key) -> bool {
        if self.0.len.load(Ordering::Relaxed) < self.0.keys_max {
            return true;
        }
        let mut map = self.0.locked();
        let now = self.0.ticks.now().as_u64();
        if map.until.contains_key(key) {
            return true;
        }
        if now.saturating_sub(map.swept) >= SWEPT_AGAIN_NANOS {
            self.0.sweep(&mut map, now);
        }
        map.until.len() < self.0.keys_max
    }

    /// Forgets what is as good as fresh.
    pub(super) fn tidy(&self) {
        let now = self.0.ticks.now().as_u64();
        self.0.sweep(&mut self.0.locked(), now);
    }

    /// For each key that is not fresh the nanoseconds until it is.
    pub(super) fn standing(&self) -> Vec<(Key, u64)> {
        let now = self.0.ticks.now().as_u64();
        let map = self.0.locked();
        let left = map.until.iter().map(|(key, until)| (key, until.saturating_sub(now)));
        left.filter(|(_, left)| *left > 0).map(|(key, left)| (key.clone(), left)).collect()
    }
}

impl Inner {
    fn locked(&self) -> MutexGuard<'_, Map> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sweep(&self, map: &mut Map, now: u64) {
        map.until.retain(|_, until| *until > now);
        map.until.shrink_to(map.until.len().saturating_mul(2));
        map.swept = now;
        self.len.store(map.until.len(), Ordering::Relaxed);
    }
}

impl StateStore for Cells {
    type Key = Key;

    fn measure_and_replace<T, F, E>(&self, key: &Key, measure: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut map = self.0.locked();
        if let Some(until) = map.until.get_mut(key) {
            let (outcome, next) = measure(Some((*until).into()))?;
            *until = next.as_u64();
            return Ok(outcome);
        }
        let (outcome, next) = measure(None)?;
        map.until.insert(key.clone(), next.as_u64());
        self.0.len.store(map.until.len(), Ordering::Relaxed);
        Ok(outcome)
    }
}
