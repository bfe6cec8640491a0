use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use vestibule_model::{Denial, Timestamp};

use crate::{DenyEntry, DenyKey, in_flight::Tally};

/// All that is revoked, as one immutable snapshot.
#[derive(Debug, Default)]
pub(crate) struct DenySet {
    entries: HashMap<DenyKey, Arc<Held>>,
}

/// An entry and what it has cut here, since its first version.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) entry: DenyEntry,
    /// Set by the walk that follows the swap.
    pub(crate) tally: OnceLock<Tally>,
}

impl DenySet {
    /// The first of `keys` that is revoked for what was issued then.
    pub(crate) fn check(&self, keys: &[DenyKey], issued_at: Timestamp) -> Result<(), Denial> {
        if self.entries.is_empty() {
            return Ok(());
        }
        let is_dead = |key: &&DenyKey| self.get(key).is_some_and(|held| held.entry.kills(issued_at));
        match keys.iter().find(is_dead) {
            Some(key) => Err(key.denial()),
            None => Ok(()),
        }
    }

    pub(crate) fn get(&self, key: &DenyKey) -> Option<&Arc<Held>> {
        self.entries.get(key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &DenyEntry> {
        self.entries.values().map(|held| &held.entry)
    }

    /// What the entry of that name has cut here.
    pub(crate) fn tally(&self, key: &DenyKey) -> Tally {
        self.get(key).and_then(|held| held.tally.get().copied()).unwrap_or_default()
    }

    /// What is new about `entry`; nothing when it is in force. What stands is never narrowed, not even by a record:
    /// a restored database, or a page that was read before our own order was written, knows less than we do.
    pub(crate) fn news(&self, mut entry: DenyEntry) -> Option<Arc<Held>> {
        if let Some(Held { entry: standing, .. }) = self.get(&entry.key).map(Arc::as_ref)
            && standing.covers(entry.cutoff)
        {
            if entry.version <= standing.version {
                return None;
            }
            entry.cutoff = standing.cutoff;
        }
        Some(Arc::new(Held { entry, tally: OnceLock::new() }))
    }

    /// A set that also holds `news`, without what has expired.
    pub(crate) fn with(&self, news: &[Arc<Held>], now: Timestamp) -> Self {
        let standing = self.entries.values().filter(|held| !held.entry.has_expired(now));
        let all = standing.chain(news).map(|held| (held.entry.key.clone(), Arc::clone(held)));
        Self { entries: all.collect() }
    }

    pub(crate) fn without(&self, key: &DenyKey) -> Self {
        let rest = self.entries.iter().filter(|(held, _)| *held != key);
        Self { entries: rest.map(|(key, held)| (key.clone(), Arc::clone(held))).collect() }
    }
}
