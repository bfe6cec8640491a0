use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering},
};

use vestibule_model::AgentId;

use super::{Breaker, Cause};
use crate::{DenyKey, path};

/// The breaker of an agent as it is in force here, once it has opened.
#[derive(Debug)]
pub(crate) struct Installed {
    pub(crate) agent: AgentId,
    /// Of the agent's name, as the index of what is in flight has it.
    pub(super) hash: u64,
    pub(crate) breaker: Breaker,
    pub(crate) cause: Cause,
    /// How many probes this gateway may still let through.
    tickets: AtomicU32,
}

/// A breaker that refuses, or has cut.
#[derive(Debug, Clone)]
pub struct Tripped {
    /// Whose it is.
    pub agent: AgentId,
    /// Where it stands.
    pub breaker: Breaker,
    /// Why.
    pub cause: Cause,
}

impl From<Arc<Installed>> for Tripped {
    fn from(installed: Arc<Installed>) -> Self {
        let Installed { agent, breaker, cause, .. } = &*installed;
        Self { agent: agent.clone(), breaker: *breaker, cause: cause.clone() }
    }
}

/// The place of an attempt among the probes of one breaker. Given back when the attempt ends without having told anything.
#[derive(Debug)]
pub(crate) struct Probe {
    pub(crate) installed: Arc<Installed>,
    has_told: AtomicBool,
}

impl Installed {
    /// `probes`: how many this gateway may let through; 0 where another does.
    pub(crate) fn new(agent: &AgentId, breaker: Breaker, cause: Cause, probes: u32) -> Self {
        let hash = path::hash(&DenyKey::Agent(agent.clone()));
        Self { agent: agent.clone(), hash, breaker, cause, tickets: AtomicU32::new(probes) }
    }

    pub(super) fn take(self: &Arc<Self>) -> Option<Probe> {
        let less = |tickets: u32| tickets.checked_sub(1);
        self.tickets.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).ok()?;
        Some(Probe { installed: Arc::clone(self), has_told: AtomicBool::new(false) })
    }
}

impl Probe {
    /// Whether this is the first word of it.
    pub(super) fn tell(&self) -> bool {
        !self.has_told.swap(true, Ordering::AcqRel)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if !self.has_told.load(Ordering::Acquire) {
            self.installed.tickets.fetch_add(1, Ordering::AcqRel);
        }
    }
}
