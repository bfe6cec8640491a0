use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use vestibule_model::Timestamp;

use super::deny_set::{DenySet, InForce};
use crate::{DenyEntry, DenyKey, State, entry::Fact};

/// So many attempts that were cut are kept by name, over all reports.
const LISTED_MAX: usize = 100_000;

/// What only whoever writes needs. Held by whoever swaps the snapshot, until the walk has ended.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// Suspensions that were taken back, and are not to come back by themselves.
    resumed: BTreeMap<DenyKey, DenyEntry>,
    /// The entries that list what they have cut, and how much each lists.
    listing: VecDeque<(Arc<InForce>, usize)>,
    listed: usize,
}

/// What a fact did to the set.
pub(super) enum Done {
    /// Nothing, for it is known.
    Nothing,
    /// It denies more.
    Denies(Arc<InForce>),
    /// It denies less.
    Resumes,
}

impl Writer {
    /// Brings a fact into the set. What stands is never narrowed but by a later turn of the same suspension, not even
    /// by a record: a restored database, or a page that was read before our own order was written, knows less than we
    /// do.
    pub(super) fn take(&mut self, set: &mut DenySet, fact: Fact, now: Timestamp) -> Done {
        match fact {
            Fact::Denies(entry) => match entry.state {
                State::Revoked => revoke(set, entry, now),
                State::Suspended if entry.has_expired(now) => self.resume(set, entry, now),
                State::Suspended => self.suspend(set, entry),
            },
            Fact::Resumed(entry) => self.resume(set, entry, now),
        }
    }

    fn suspend(&mut self, set: &mut DenySet, mut entry: DenyEntry) -> Done {
        if self.resumed.get(&entry.key).is_some_and(|resumed| entry.turn < resumed.turn) {
            return Done::Nothing;
        }
        let standing = set.get(State::Suspended, &entry.key).cloned();
        if let Some(standing) = standing.as_deref().map(|held| &held.entry) {
            if entry.turn < standing.turn
                || (entry.turn == standing.turn
                    && standing.covers(&entry)
                    && entry.version <= standing.version)
            {
                return Done::Nothing;
            }
            if entry.turn == standing.turn {
                entry = entry.widened_by(standing);
            }
        }
        self.resumed.remove(&entry.key);
        let held = InForce::new(entry, standing.as_deref());
        set.insert(Arc::clone(&held));
        Done::Denies(held)
    }

    fn resume(&mut self, set: &mut DenySet, entry: DenyEntry, now: Timestamp) -> Done {
        self.resumed.retain(|_, resumed| !resumed.is_past(now));
        if self.turn(set, &entry.key) >= entry.turn {
            // Of the same turn, the suspension holds.
            return Done::Nothing;
        }
        set.remove(State::Suspended, &entry.key);
        self.resumed.insert(entry.key.clone(), entry);
        Done::Resumes
    }

    /// The highest turn of a name's suspension that is known here. 0: none.
    pub(super) fn turn(&self, set: &DenySet, key: &DenyKey) -> u64 {
        let suspended = set.get(State::Suspended, key).map(|held| held.entry.turn);
        suspended.max(self.resumed.get(key).map(|resumed| resumed.turn)).unwrap_or(0)
    }

    pub(super) fn resumed(&self, now: Timestamp) -> impl Iterator<Item = &DenyEntry> {
        self.resumed.values().filter(move |resumed| !resumed.is_past(now))
    }

    /// Keeps the newest lists, over all entries at most so long.
    pub(super) fn keep_list(&mut self, held: &Arc<InForce>, length: usize) {
        if length == 0 {
            return;
        }
        self.listed += length;
        self.listing.push_back((Arc::clone(held), length));
        while self.listed > LISTED_MAX
            && let Some((oldest, length)) = self.listing.pop_front()
        {
            self.listed -= length;
            oldest.forget_list();
        }
    }
}

fn revoke(set: &mut DenySet, entry: DenyEntry, now: Timestamp) -> Done {
    if entry.has_expired(now) {
        return Done::Nothing;
    }
    let standing = set.get(State::Revoked, &entry.key).cloned();
    let entry = match standing.as_deref().map(|held| &held.entry) {
        Some(standing) if standing.covers(&entry) && entry.version <= standing.version => {
            return Done::Nothing;
        }
        Some(standing) => {
            DenyEntry { version: entry.version.max(standing.version), ..entry.widened_by(standing) }
        }
        None => entry,
    };
    let held = InForce::new(entry, standing.as_deref());
    set.insert(Arc::clone(&held));
    Done::Denies(held)
}
