//! What every agent did lately, in memory. On the path of every request: no lock is shared by all, and nothing is allocated
//! for an agent that is known.

use std::{
    hash::BuildHasher,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use vestibule_model::AgentId;

use super::{Cause, Charge, Thresholds, meter::Meter};

/// Parts, each with a lock of its own.
const PARTS: usize = 64;
/// Most meters of a part: 65,536 in all.
const PART_MAX: usize = 1024;

/// Whose attempts a meter measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Of {
    /// The agent's own.
    Itself,
    /// Those of all that it has spawned and that are known by their keys alone.
    Spawned,
}

/// The meters of all agents that did something lately.
#[derive(Debug)]
pub(super) struct Meters {
    parts: [Part; PARTS],
    /// Keyed, so that nobody can choose names that fall together.
    hasher: RandomState,
}

/// A cache line of its own, or requests would wait for their neighbours.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Part(Mutex<HashTable<Entry>>);

#[derive(Debug)]
struct Entry {
    hash: u64,
    agent: AgentId,
    of: Of,
    seen: Duration,
    meter: Meter,
}

impl Meters {
    pub(super) fn new() -> Self {
        Self { parts: std::array::from_fn(|_| Part::default()), hasher: RandomState::default() }
    }

    /// Counts, and says why the agent's breaker trips if it does. It then begins anew, so that it trips once.
    pub(super) fn charge(
        &self,
        (agent, of): (&AgentId, Of),
        charge: &Charge,
        by: &Thresholds,
        now: Duration,
    ) -> Option<Cause> {
        let hash = self.hasher.hash_one((agent, of));
        let mut part = self.part(hash)?.lock().unwrap_or_else(PoisonError::into_inner);
        let found = part.find_mut(hash, |entry| entry.is(hash, agent, of));
        let entry = match found {
            Some(entry) => entry,
            None => {
                make_room(&mut part, now);
                let entry = Entry { hash, agent: agent.clone(), of, seen: now, meter: Meter::new(by.window) };
                part.insert_unique(hash, entry, |entry| entry.hash).into_mut()
            }
        };
        entry.seen = now;
        let cause = entry.meter.charge(charge, by, now);
        if cause.is_some() {
            entry.meter = Meter::new(by.window);
        }
        cause
    }

    fn part(&self, hash: u64) -> Option<&Mutex<HashTable<Entry>>> {
        // Other bits than those that a table uses.
        self.parts.get((hash >> 32) as usize % PARTS).map(|part| &part.0)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.parts.iter().map(|part| part.0.lock().unwrap().len()).sum()
    }
}

impl Entry {
    fn is(&self, hash: u64, agent: &AgentId, of: Of) -> bool {
        self.hash == hash && self.of == of && self.agent == *agent
    }

    /// Who comes and goes is forgotten first: what it did is counted with the agent that it comes from as well, which
    /// must not be crowded out by its own children.
    fn is_fleeting(&self) -> bool {
        self.of == Of::Itself && self.agent.as_key().is_some()
    }
}

/// Forgets whom nothing is known about any more; and if all are active, a quarter, those first who were away longest.
fn make_room(part: &mut HashTable<Entry>, now: Duration) {
    if part.len() < PART_MAX {
        return;
    }
    part.retain(|entry| !entry.meter.is_idle(now));
    if part.len() < PART_MAX / 4 * 3 {
        return;
    }
    let mut order: Vec<_> = part.iter().map(|entry| (!entry.is_fleeting(), entry.seen)).collect();
    let (_, last, _) = order.select_nth_unstable(PART_MAX / 4);
    let last = *last;
    part.retain(|entry| (!entry.is_fleeting(), entry.seen) > last);
}

#[cfg(test)]
mod tests {
    use vestibule_model::Thumbprint;

    use super::*;
    use crate::breaker::{End, Rest, Share};

    const BY: Thresholds = Thresholds {
        window: Duration::from_secs(60),
        denials: Some(Share { percent: 50, calls_min: 10 }),
        errors: None,
        calls: None,
        operations: None,
        bytes: None,
        rest: Rest { open: Duration::from_secs(60), open_max: Duration::from_secs(60), probes: 1 },
    };
    const DENIED: Charge = Charge { end: Some(End::Denied), operation: None, bytes: 0 };

    fn child(number: u64) -> AgentId {
        let mut bytes = [0; 32];
        bytes.iter_mut().zip(number.to_be_bytes()).for_each(|(slot, byte)| *slot = byte);
        AgentId::of_key(&Thumbprint::from_bytes(bytes))
    }

    #[test]
    fn agents_are_counted_apart_and_an_agent_apart_from_its_children() {
        let meters = Meters::new();
        let (a, b) = (AgentId::new("a").unwrap(), AgentId::new("b").unwrap());
        let denied = |who| meters.charge(who, &DENIED, &BY, Duration::ZERO);
        for _ in 0..9 {
            for who in [(&a, Of::Itself), (&a, Of::Spawned), (&b, Of::Itself)] {
                assert_eq!(denied(who), None);
            }
        }
        assert!(denied((&a, Of::Itself)).is_some());
        assert_eq!(denied((&a, Of::Itself)), None, "it begins anew");
        assert!(denied((&a, Of::Spawned)).is_some());
        assert!(denied((&b, Of::Itself)).is_some());
    }

    #[test]
    fn however_many_come_and_go_few_are_remembered_and_no_registered_agent_is_forgotten_for_them() {
        let meters = Meters::new();
        let registered = AgentId::new("a").unwrap();
        for _ in 0..9 {
            meters.charge((&registered, Of::Itself), &DENIED, &BY, Duration::ZERO);
        }
        for number in 0..200_000 {
            let now = Duration::from_millis(number / 10);
            meters.charge((&child(number), Of::Itself), &DENIED, &BY, now);
        }
        assert!(meters.len() <= PARTS * PART_MAX, "{}", meters.len());
        let now = Duration::from_secs(20);
        assert!(meters.charge((&registered, Of::Itself), &DENIED, &BY, now).is_some());
    }

    #[test]
    fn who_did_nothing_within_the_window_makes_room_first() {
        let meters = Meters::new();
        for number in 0..80_000 {
            meters.charge((&child(number), Of::Itself), &DENIED, &BY, Duration::ZERO);
        }
        let later = Duration::from_secs(120);
        for number in 80_000..81_000 {
            meters.charge((&child(number), Of::Itself), &DENIED, &BY, later);
        }
        for number in 80_000..81_000 {
            for _ in 0..8 {
                assert_eq!(meters.charge((&child(number), Of::Itself), &DENIED, &BY, later), None);
            }
            assert!(meters.charge((&child(number), Of::Itself), &DENIED, &BY, later).is_some());
        }
    }
}
