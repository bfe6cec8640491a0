use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use hashbrown::HashTable;
use vestibule_model::{Denial, Timestamp};

use super::super::sync::PARTS;
use crate::{
    CutAttempt, DenyEntry, DenyKey, KeyKind, State,
    path::{self, Known},
    report::Cuts,
};

/// All that is denied, as one immutable snapshot.
#[derive(Debug, Clone)]
pub(super) struct DenySet {
    /// Changes with every snapshot.
    pub(super) version: u64,
    /// Entries of each kind: what is of a kind of which there are none is not looked up.
    kinds: [usize; KeyKind::ALL.len()],
    parts: Box<[Arc<HashTable<Slot>>]>,
}

/// What is in force about one name.
#[derive(Debug, Clone, Default)]
struct Slot {
    hash: u64,
    /// The sooner end of the two. Here, so that a sweep looks at nothing else.
    ends_at: Option<Timestamp>,
    revoked: Option<Arc<InForce>>,
    suspended: Option<Arc<InForce>>,
}

/// An entry and what it has cut here, since its first version.
#[derive(Debug)]
pub(super) struct InForce {
    pub(super) entry: DenyEntry,
    /// Written by the walk that follows the swap.
    cuts: Mutex<Cuts>,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// A request, or a walk.
    ToPass,
    /// A token is to be minted.
    ToMint,
}

impl Default for DenySet {
    fn default() -> Self {
        let empty = Arc::new(HashTable::new());
        Self {
            version: 0,
            kinds: [0; KeyKind::ALL.len()],
            parts: (0..PARTS).map(|_| Arc::clone(&empty)).collect(),
        }
    }
}

impl DenySet {
    /// The entry that denies one of `names`. A revocation before a suspension: who is told to come back later comes
    /// back.
    pub(super) fn find(
        &self,
        names: &[Known],
        asked: Asked,
        now: impl Fn() -> Timestamp,
    ) -> Option<&Arc<InForce>> {
        if self.is_empty() {
            return None;
        }
        let mut suspended = None;
        for name in names {
            let Some(slot) = self.slot(name.hash, &name.key) else { continue };
            let denies = |held: &&Arc<InForce>| held.denies(name, asked) && !held.entry.has_expired(now());
            if let Some(revoked) = slot.revoked.as_ref().filter(denies) {
                return Some(revoked);
            }
            suspended = suspended.or(slot.suspended.as_ref().filter(denies));
        }
        suspended
    }

    /// # Errors
    /// The denial of the entry that [`find`](Self::find) gives.
    pub(super) fn check(
        &self,
        names: &[Known],
        asked: Asked,
        now: impl Fn() -> Timestamp,
    ) -> Result<(), Denial> {
        self.find(names, asked, now).map_or(Ok(()), |held| Err(held.entry.denial()))
    }

    pub(super) fn get(&self, state: State, key: &DenyKey) -> Option<&Arc<InForce>> {
        self.slot(path::hash(key), key)?.of(state)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &DenyEntry> {
        let slots = self.parts.iter().flat_map(|part| part.iter());
        slots.flat_map(|slot| slot.revoked.iter().chain(&slot.suspended)).map(|held| &held.entry)
    }

    /// Brings an entry into force, in the place of an older one.
    pub(super) fn insert(&mut self, held: Arc<InForce>) {
        let (state, key) = (held.entry.state, &held.entry.key);
        let (hash, kind) = (path::hash(key), key.kind());
        let Some(part) = self.parts.get_mut(place(hash)).map(Arc::make_mut) else { return };
        let found = part.find_mut(hash, |slot| slot.is_of(hash, key));
        let slot = match found {
            Some(slot) => slot,
            None => {
                let slot = Slot { hash, ..Slot::default() };
                part.insert_unique(hash, slot, |slot| slot.hash).into_mut()
            }
        };
        let is_new = slot.of_mut(state).replace(held).is_none();
        slot.ends_at = slot.end();
        if is_new && let Some(count) = self.kinds.get_mut(kind as usize) {
            *count += 1;
        }
    }

    pub(super) fn remove(&mut self, state: State, key: &DenyKey) {
        let hash = path::hash(key);
        self.drop_from(place(hash), |slot| slot.is_of(hash, key), |held| held.entry.state == state);
    }

    /// Drops what has expired in the parts of these names. All of it goes in time, for every name that comes sweeps its
    /// own part.
    pub(super) fn sweep<'a>(&mut self, keys: impl Iterator<Item = &'a DenyKey>, now: Timestamp) {
        let places: BTreeSet<_> = keys.map(|key| place(path::hash(key))).collect();
        let ends = |slot: &Slot| slot.ends_at.is_some_and(|end| end <= now);
        places.into_iter().for_each(|place| self.drop_from(place, ends, |held| held.entry.has_expired(now)));
    }

    fn drop_from(
        &mut self,
        place: usize,
        is_touched: impl Fn(&Slot) -> bool,
        is_gone: impl Fn(&InForce) -> bool,
    ) {
        let Some(part) = self.parts.get_mut(place) else { return };
        if !part.iter().any(&is_touched) {
            return;
        }
        let kinds = &mut self.kinds;
        Arc::make_mut(part).retain(|slot| {
            if is_touched(slot) {
                for held in [&mut slot.revoked, &mut slot.suspended] {
                    if let Some(gone) = held.take_if(|held| is_gone(held))
                        && let Some(count) = kinds.get_mut(gone.entry.key.kind() as usize)
                    {
                        *count -= 1;
                    }
                }
                slot.ends_at = slot.end();
            }
            slot.revoked.is_some() || slot.suspended.is_some()
        });
    }

    fn is_empty(&self) -> bool {
        self.kinds == [0; KeyKind::ALL.len()]
    }

    fn slot(&self, hash: u64, key: &DenyKey) -> Option<&Slot> {
        if self.kinds.get(key.kind() as usize) == Some(&0) {
            return None;
        }
        self.parts.get(place(hash))?.find(hash, |slot| slot.is_of(hash, key))
    }
}

/// Other bits than those that a table uses.
fn place(hash: u64) -> usize {
    (hash >> 32) as usize % PARTS
}

impl Slot {
    fn is_of(&self, hash: u64, key: &DenyKey) -> bool {
        // The hash lies here and the key elsewhere, and seldom is another key's hash the same.
        self.hash == hash
            && self.revoked.as_ref().or(self.suspended.as_ref()).is_some_and(|held| held.entry.key == *key)
    }

    fn end(&self) -> Option<Timestamp> {
        let both = self.revoked.iter().chain(&self.suspended);
        both.filter_map(|held| held.entry.expires_at).min()
    }

    fn of(&self, state: State) -> Option<&Arc<InForce>> {
        match state {
            State::Revoked => self.revoked.as_ref(),
            State::Suspended => self.suspended.as_ref(),
        }
    }

    fn of_mut(&mut self, state: State) -> &mut Option<Arc<InForce>> {
        match state {
            State::Revoked => &mut self.revoked,
            State::Suspended => &mut self.suspended,
        }
    }
}

impl InForce {
    /// An entry that takes the place of another about the same name has cut what that one has.
    pub(super) fn new(entry: DenyEntry, before: Option<&Self>) -> Arc<Self> {
        let cuts = before.map(Self::cuts).unwrap_or_default();
        Arc::new(Self { entry, cuts: Mutex::new(cuts) })
    }

    fn denies(&self, name: &Known, asked: Asked) -> bool {
        let entry = &self.entry;
        // A name that was superseded ends nothing but minting, and that only for whoever presents it.
        let is_reached = entry.reason.cascades() || (asked == Asked::ToMint && !name.is_ancestor);
        is_reached && entry.kills(name.since)
    }

    pub(super) fn note(&self, cut: impl IntoIterator<Item = CutAttempt>) -> usize {
        let mut cuts = self.cuts.lock().unwrap_or_else(PoisonError::into_inner);
        cuts.note(cut);
        cuts.list.len()
    }

    pub(super) fn cuts(&self) -> Cuts {
        self.cuts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps the numbers.
    pub(super) fn forget_list(&self) {
        self.cuts.lock().unwrap_or_else(PoisonError::into_inner).list = Vec::new();
    }
}
