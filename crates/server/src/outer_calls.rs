//! The calls of agents to agents, so that a caller of the legacy era can call one off: its message names a request, and
//! the connection of the call stays open. In the modern era, and over HTTP, closing the connection is the word, and the
//! call ends with it anyway.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use vestibule_containment::OffSwitch;
use vestibule_inbound::Caller;
use vestibule_mcp::Id;
use vestibule_model::{AgentId, AppId, UserId};

/// The calls that are under way to applications that are agents, by who made them under which identifier.
#[derive(Debug, Default)]
pub(crate) struct OuterCalls {
    under: Arc<Mutex<Under>>,
    next: AtomicU64,
}

type Under = HashMap<Name, (u64, OffSwitch)>;

/// Every client counts from one: a request is its caller's, in its session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    agent: AgentId,
    user: Option<UserId>,
    app: AppId,
    session: Option<String>,
    request: Id,
}

/// One call that can be called off, as long as this is kept.
#[derive(Debug)]
pub(crate) struct OuterCall {
    name: Name,
    number: u64,
    under: Arc<Mutex<Under>>,
}

impl OuterCalls {
    /// A call begins. A second one under the same name takes its place: identifiers are unique in a session, and who uses
    /// one twice can call off the later one only.
    pub(crate) fn begin(&self, name: Name, switch: OffSwitch) -> OuterCall {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        lock(&self.under).insert(name.clone(), (number, switch));
        OuterCall { name, number, under: Arc::clone(&self.under) }
    }

    /// Calls one off. Nothing happens where there is none of that name.
    pub(crate) fn call_off(&self, name: &Name) {
        // Taken out first: calling off wakes whoever drops the call, which comes here.
        let taken = lock(&self.under).remove(name);
        if let Some((_, switch)) = taken {
            switch.call_off();
        }
    }
}

impl Name {
    pub(crate) fn of(caller: &Caller, app: &AppId, session: Option<&str>, request: &Id) -> Self {
        Self {
            agent: caller.agent().clone(),
            user: caller.user().cloned(),
            app: app.clone(),
            session: session.map(ToOwned::to_owned),
            request: request.canonical(),
        }
    }
}

impl Drop for OuterCall {
    fn drop(&mut self) {
        let mut under = lock(&self.under);
        // A later call may stand there by now.
        if under.get(&self.name).is_some_and(|(number, _)| *number == self.number) {
            under.remove(&self.name);
        }
    }
}

fn lock(under: &Mutex<Under>) -> MutexGuard<'_, Under> {
    under.lock().unwrap_or_else(PoisonError::into_inner)
}
