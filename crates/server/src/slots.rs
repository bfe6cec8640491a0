//! Bounds over many requests: how many of one agent run and wait, and how many bytes are buffered in total.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use vestibule_model::{Actor, AgentId, Denial, Refusal};

use crate::config::LimitsConfig;

/// How many requests of one agent run and wait. One busy agent cannot starve the others, nor can it by spawning: the
/// agents that are known by their keys alone share a bound below the registered agent that they come from.
#[derive(Debug)]
pub(crate) struct Slots {
    running_max: usize,
    waiting_max: usize,
    wait_max: Duration,
    spawned_max: usize,
    lanes: Mutex<HashMap<AgentId, Arc<Lane>>>,
    /// By the registered agent from which they come.
    spawned: Mutex<HashMap<AgentId, Arc<Semaphore>>>,
}

#[derive(Debug)]
struct Lane {
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// The right to run one request; given back on drop.
#[derive(Debug)]
pub(crate) struct Slot {
    _turn: OwnedSemaphorePermit,
    _share: Option<OwnedSemaphorePermit>,
}

/// Counts a waiting request also when its future is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Slots {
    pub(crate) fn new(limits: &LimitsConfig) -> Self {
        Self {
            running_max: limits.agent_requests_max,
            waiting_max: limits.agent_queue_max,
            wait_max: Duration::from_secs(limits.agent_queue_seconds),
            spawned_max: limits.spawned_requests_max,
            lanes: Mutex::default(),
            spawned: Mutex::default(),
        }
    }

    /// Waits for a turn, in order. `agents` are those of the chain, the root first.
    pub(crate) async fn take(&self, agents: &[Actor]) -> Result<Slot, Refusal> {
        let none = || self.refuse("a request of nobody");
        let (current, above) = agents.split_last().ok_or_else(none)?;
        let share = self.share(&current.agent, above)?;
        let turn = self.turn(&current.agent).await?;
        Ok(Slot { _turn: turn, _share: share })
    }

    /// The place of an agent that was spawned among all that come from the same registered one.
    fn share(&self, agent: &AgentId, above: &[Actor]) -> Result<Option<OwnedSemaphorePermit>, Refusal> {
        let registered = above.iter().rev().find(|actor| actor.agent.as_key().is_none());
        let Some(registered) = registered.filter(|_| agent.as_key().is_some()) else { return Ok(None) };
        let shares = {
            let mut spawned = self.spawned.lock().unwrap_or_else(PoisonError::into_inner);
            if spawned.len().is_power_of_two() && spawned.len() >= 1024 {
                spawned.retain(|_, shares| shares.available_permits() < self.spawned_max);
            }
            let shares = spawned.entry(registered.agent.clone());
            Arc::clone(shares.or_insert_with(|| Arc::new(Semaphore::new(self.spawned_max))))
        };
        let full =
            |_| self.refuse("as many requests of the agents that one agent has spawned as there may be");
        shares.try_acquire_owned().map(Some).map_err(full)
    }

    async fn turn(&self, agent: &AgentId) -> Result<OwnedSemaphorePermit, Refusal> {
        let lane = self.lane(agent);
        if let Ok(turn) = Arc::clone(&lane.turns).try_acquire_owned() {
            return Ok(turn);
        }
        let waiting = Waiting(&lane.waiting);
        if lane.waiting.fetch_add(1, Ordering::SeqCst) >= self.waiting_max {
            return Err(self.refuse("the queue of this agent is full"));
        }
        let turn = tokio::time::timeout(self.wait_max, Arc::clone(&lane.turns).acquire_owned()).await;
        drop(waiting);
        match turn {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(self.refuse("no turn within `agent_queue_seconds`")),
        }
    }

    fn lane(&self, agent: &AgentId) -> Arc<Lane> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(agent) {
            return Arc::clone(lane);
        }
        // Ephemeral agents come and go: forget the lanes that nobody uses before the map grows further.
        if lanes.len().is_power_of_two() && lanes.len() >= 1024 {
            let running_max = self.running_max;
            lanes.retain(|_, lane| {
                Arc::strong_count(lane) > 1 || lane.turns.available_permits() < running_max
            });
        }
        let lane = Arc::new(Lane {
            turns: Arc::new(Semaphore::new(self.running_max)),
            waiting: AtomicUsize::new(0),
        });
        lanes.insert(agent.clone(), Arc::clone(&lane));
        lane
    }

    fn refuse(&self, cause: &str) -> Refusal {
        let mut refusal = Refusal::new(Denial::TooManyRequests, cause);
        refusal.retry_after = Some(Duration::from_secs(1));
        refusal.hints.push(format!("at most {} requests of an agent run at once", self.running_max));
        refusal
    }
}

/// The bytes buffered for all requests together.
#[derive(Debug)]
pub(crate) struct BytesInFlight {
    held: AtomicUsize,
    max: usize,
}

/// Some bytes of the total; given back on drop.
#[derive(Debug)]
pub(crate) struct Held {
    total: Arc<BytesInFlight>,
    bytes: usize,
}

impl BytesInFlight {
    pub(crate) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { held: AtomicUsize::new(0), max })
    }

    /// Nothing yet.
    pub(crate) fn hold(self: &Arc<Self>) -> Held {
        Held { total: Arc::clone(self), bytes: 0 }
    }

    /// What is held now.
    pub(crate) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

impl Held {
    /// Takes `bytes` more of the total, before they are kept.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Denial> {
        let before = self.total.held.fetch_add(bytes, Ordering::SeqCst);
        self.bytes += bytes;
        if before.saturating_add(bytes) > self.total.max {
            Err(Denial::BytesInFlightExceeded)
        } else {
            Ok(())
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.total.held.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(agents: &[&AgentId]) -> Vec<Actor> {
        agents.iter().map(|agent| Actor { issuer: "https://i".into(), agent: (*agent).clone() }).collect()
    }

    #[tokio::test]
    async fn what_an_agent_spawns_shares_a_bound_and_what_another_spawns_does_not_notice() {
        let limits = LimitsConfig { spawned_requests_max: 2, ..LimitsConfig::default() };
        let slots = Slots::new(&limits);
        let (a, b) = (AgentId::new("a").unwrap(), AgentId::new("b").unwrap());
        let key = |byte: u8| AgentId::of_key(&vestibule_model::Thumbprint::from_bytes([byte; 32]));
        let first = slots.take(&chain(&[&a, &key(1)])).await.unwrap();
        let _second = slots.take(&chain(&[&a, &key(1), &key(2)])).await.unwrap();
        let refused = slots.take(&chain(&[&a, &key(3)])).await.unwrap_err();
        assert_eq!(refused.denial, Denial::TooManyRequests);
        assert!(slots.take(&chain(&[&a])).await.is_ok(), "its own requests are counted apart");
        assert!(slots.take(&chain(&[&b, &key(3)])).await.is_ok());
        drop(first);
        assert!(slots.take(&chain(&[&a, &key(3)])).await.is_ok());
    }

    fn slots(running: usize, waiting: usize) -> Arc<Slots> {
        let limits =
            LimitsConfig { agent_requests_max: running, agent_queue_max: waiting, ..LimitsConfig::default() };
        Arc::new(Slots::new(&limits))
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_is_refused_and_another_agent_does_not_notice() {
        let slots = slots(1, 1);
        let (a, b) = (AgentId::new("a").unwrap(), AgentId::new("b").unwrap());
        let first = slots.take(&chain(&[&a])).await.unwrap();
        let second = {
            let (slots, a) = (Arc::clone(&slots), a.clone());
            tokio::spawn(async move { slots.take(&chain(&[&a])).await })
        };
        while slots.lane(&a).waiting.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(slots.take(&chain(&[&a])).await.unwrap_err().denial, Denial::TooManyRequests);
        assert!(slots.take(&chain(&[&b])).await.is_ok());
        drop(first);
        assert!(second.await.unwrap().is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_does_not_come_is_refused_in_time() {
        let slots = slots(1, 1);
        let a = AgentId::new("a").unwrap();
        let _first = slots.take(&chain(&[&a])).await.unwrap();
        assert_eq!(slots.take(&chain(&[&a])).await.unwrap_err().denial, Denial::TooManyRequests);
        assert_eq!(slots.lane(&a).waiting.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn bytes_are_given_back_also_when_they_were_too_many() {
        let total = BytesInFlight::new(10);
        let mut one = total.hold();
        assert_eq!(one.grow(8), Ok(()));
        let mut two = total.hold();
        assert_eq!(two.grow(8), Err(Denial::BytesInFlightExceeded));
        drop(two);
        drop(one);
        assert_eq!(total.held(), 0);
    }
}
