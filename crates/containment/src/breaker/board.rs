use std::sync::Arc;

use hashbrown::HashTable;
use vestibule_model::{AgentId, Denial, Timestamp};

use super::{
    Phase,
    installed::{Installed, Probe},
};
use crate::{DenyKey, path, path::Known};

/// A change copies one of them.
const PARTS: usize = 64;

/// The breakers of all agents that have opened, as one immutable snapshot. Those that were closed again stay for a while, so
/// that an older word is known to be one.
#[derive(Debug, Clone)]
pub(crate) struct Board {
    /// How many are not closed: with none, nothing is looked up.
    shut: usize,
    parts: Box<[Arc<HashTable<Arc<Installed>>>]>,
}

impl Default for Board {
    fn default() -> Self {
        let empty = Arc::new(HashTable::new());
        Self { shut: 0, parts: (0..PARTS).map(|_| Arc::clone(&empty)).collect() }
    }
}

impl Board {
    /// Lets an attempt with these names on its path pass, as a probe where one is due.
    ///
    /// # Errors
    /// [`Denial::AgentSuspended`] when a breaker is not closed, and has no place for a probe.
    pub(crate) fn admit(&self, names: &[Known]) -> Result<Box<[Probe]>, Denial> {
        let mut probes: Vec<Probe> = Vec::new();
        for installed in self.not_closed(names) {
            // An agent may stand above itself.
            if probes.iter().any(|probe| Arc::ptr_eq(&probe.installed, installed)) {
                continue;
            }
            // Refused, the probes of the others are dropped and give their places back.
            match installed.breaker.phase {
                Phase::Probing { .. } => probes.push(installed.take().ok_or(Denial::AgentSuspended)?),
                Phase::Open { .. } | Phase::Closed => return Err(Denial::AgentSuspended),
            }
        }
        Ok(probes.into_boxed_slice())
    }

    /// Whether a token may be minted for who has these names: who may be probed needs one.
    ///
    /// # Errors
    /// [`Denial::AgentSuspended`] while a breaker is open.
    pub(crate) fn check(&self, names: &[Known], now: Timestamp) -> Result<(), Denial> {
        let is_shut = self.not_closed(names).any(|installed| installed.breaker.is_shut(now));
        if is_shut { Err(Denial::AgentSuspended) } else { Ok(()) }
    }

    /// The breakers of these names that are not closed.
    pub(crate) fn not_closed<'a>(&'a self, names: &'a [Known]) -> impl Iterator<Item = &'a Arc<Installed>> {
        let names = if self.shut == 0 { &[] } else { names };
        names.iter().filter_map(|name| match &name.key {
            DenyKey::Agent(agent) => self.find(name.hash, agent).filter(|found| !found.is_closed()),
            DenyKey::Token(_)
            | DenyKey::Delegation(_)
            | DenyKey::User(_)
            | DenyKey::Session(_)
            | DenyKey::Client(_)
            | DenyKey::Credential(_)
            | DenyKey::App(_)
            | DenyKey::All => None,
        })
    }

    pub(crate) fn get(&self, agent: &AgentId) -> Option<&Arc<Installed>> {
        self.find(path::hash(&DenyKey::Agent(agent.clone())), agent)
    }

    fn find(&self, hash: u64, agent: &AgentId) -> Option<&Arc<Installed>> {
        self.parts.get(place(hash))?.find(hash, |found| found.is(hash, agent))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Installed>> {
        self.parts.iter().flat_map(|part| part.iter())
    }

    /// Puts one in the place of what was there, and forgets those of the same part that nobody needs to know of any more.
    pub(crate) fn put(&mut self, installed: Arc<Installed>, now: Timestamp) {
        let Some(part) = self.parts.get_mut(place(installed.hash)).map(Arc::make_mut) else { return };
        let shut = &mut self.shut;
        part.retain(|found| {
            let goes = found.has_ended(now) || found.is(installed.hash, &installed.agent);
            *shut -= usize::from(goes && !found.is_closed());
            !goes
        });
        *shut += usize::from(!installed.is_closed());
        part.insert_unique(installed.hash, installed, |installed| installed.hash);
    }
}

/// Other bits than those that a table uses.
fn place(hash: u64) -> usize {
    (hash >> 32) as usize % PARTS
}

impl Installed {
    fn is(&self, hash: u64, agent: &AgentId) -> bool {
        self.hash == hash && self.agent == *agent
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.breaker.phase == Phase::Closed
    }

    /// Whether it is as if it had never opened.
    pub(crate) fn has_ended(&self, now: Timestamp) -> bool {
        self.breaker.ends_at(self.agent.as_key().is_some()).is_some_and(|end| end <= now)
    }

    /// Whether `other` is to take its place.
    pub(crate) fn yields_to(&self, other: &Self, now: Timestamp) -> bool {
        self.has_ended(now) || other.breaker.supersedes(&self.breaker)
    }
}
