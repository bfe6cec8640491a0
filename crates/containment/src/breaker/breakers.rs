use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use tokio::sync::{Mutex, MutexGuard};
use vestibule_model::{Actor, AgentId, AttemptId, Clock, Monotonic, Timestamp};
use vestibule_store::{Change as Logged, Kind, Record, Store, StoreError, Subscriber};

use super::{
    Breaker, Cause, Charge, Rest, Signal, Thresholds,
    installed::{Installed, Tripped},
    ledger::{self, Kept},
    meters::{Meters, Of},
    stored::{Name, from_record},
};
use crate::{Cut, Passage, containment::settle, protocol::Gate};

/// How many breakers can be written at once here. Each waits for the store.
const PLACES: usize = 16;

/// The circuit breakers of agents. See the module's page.
#[derive(Debug)]
pub struct Breakers {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    started: Monotonic,
    gate: Arc<Gate>,
    meters: Meters,
    /// Of all calls that find a breaker due, one asks the store, and the others here wait for it.
    places: [Mutex<()>; PLACES],
    hasher: RandomState,
}

/// A breaker that has changed, and what that cut here.
#[derive(Debug, Clone)]
pub struct Change {
    /// Whose.
    pub agent: AgentId,
    /// Where it stands now.
    pub breaker: Breaker,
    /// Why.
    pub cause: Cause,
    /// What was cut. Nodes are not counted.
    pub cut: Cut,
}

impl Breakers {
    pub(crate) fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, gate: Arc<Gate>) -> Arc<Self> {
        let (started, meters) = (clock.monotonic(), Meters::new());
        let places = std::array::from_fn(|_| Mutex::default());
        Arc::new(Self { store, clock, started, gate, meters, places, hasher: RandomState::new() })
    }

    /// Counts what an attempt of the last of `agents` adds, and opens the breakers that trip, before it returns: their next
    /// attempt is refused, and what they have under way is cut, but for `spared`, which has its answer. `thresholds` are those of the agent
    /// that is given to it: of one that was spawned, those of the registered one that it comes from.
    ///
    /// What has opened is in force here; hand each to [`keep`](Self::keep).
    pub fn charge(
        &self,
        agents: &[Actor],
        spared: Option<AttemptId>,
        charge: &Charge,
        thresholds: impl FnOnce(&AgentId) -> Thresholds,
    ) -> Vec<Change> {
        let Some((Actor { agent, .. }, above)) = agents.split_last() else { return Vec::new() };
        let now = self.clock.monotonic().since(self.started);
        let trip = |whose: (&AgentId, Of), by: &Thresholds| {
            let cause = self.meters.charge(whose, charge, by, now)?;
            self.trip(whose, cause, by.rest, spared)
        };
        if agent.as_key().is_none() {
            return trip((agent, Of::Itself), &thresholds(agent)).into_iter().collect();
        }
        let registered = above.iter().rev().map(|actor| &actor.agent).find(|above| above.as_key().is_none());
        let by = thresholds(registered.unwrap_or(agent));
        let own = trip((agent, Of::Itself), &by);
        let family = registered.and_then(|from| trip((from, Of::Spawned), &by.of_spawned()));
        own.into_iter().chain(family).collect()
    }

    fn trip(
        &self,
        (agent, of): (&AgentId, Of),
        mut cause: Cause,
        rest: Rest,
        spared: Option<AttemptId>,
    ) -> Option<Change> {
        if of == Of::Spawned {
            cause.detail.push_str(", by what it has spawned");
        }
        self.switch(agent, spared, |standing| {
            let before = standing.map_or_else(|| Breaker::new(rest), |standing| standing.breaker);
            let after = before.trip(self.clock.now(), rest);
            (after != before).then(|| Installed::new(agent, after, cause, 0))
        })
    }

    /// Says how the probe went that the attempt was, if it was one. The first word about a breaker decides: it closes, or
    /// opens again for longer.
    ///
    /// What has changed is in force here; hand each to [`keep`](Self::keep).
    pub fn verdict(&self, passage: &Passage, is_good: bool) -> Vec<Change> {
        let told = passage.probes().iter().filter(|probe| probe.tell());
        told.filter_map(|probe| {
            let (agent, now) = (&probe.installed.agent, self.clock.now());
            self.switch(agent, Some(passage.attempt()), |standing| {
                let Breaker { rest, .. } = probe.installed.breaker;
                let breaker = standing.filter(|standing| Arc::ptr_eq(standing, &probe.installed))?.breaker;
                let (after, what) = if is_good {
                    (breaker.close(now), "a probe went well")
                } else {
                    (breaker.trip(now, rest), "a probe was denied")
                };
                Some(Installed::new(agent, after, Cause::own(Signal::Probe, what), 0))
            })
        })
        .collect()
    }

    fn due(&self, agent: &AgentId) -> Option<Arc<Installed>> {
        let now = self.clock.now();
        self.gate.breaker(agent).filter(|standing| standing.breaker.is_due(now))
    }

    /// Lets the breakers of these agents be probed that are due, unless another gateway was faster: the change to probing is
    /// written in the store by one of all gateways, and that one lets the probes through. Admit the attempt again then. Waits
    /// while another attempt asks for the same.
    ///
    /// # Errors
    /// When the store cannot be reached: nothing is probed.
    pub async fn probe(&self, agents: &[Actor]) -> Result<Vec<Change>, StoreError> {
        let mut changes = Vec::new();
        for Actor { agent, .. } in agents {
            if self.due(agent).is_none() {
                continue;
            }
            let _one = self.alone(agent).await;
            // Somebody may have been faster.
            let Some(standing) = self.due(agent) else { continue };
            changes.extend(self.begin(&standing).await?);
        }
        Ok(changes)
    }

    /// INVARIANT: whoever writes holds this until it is in force here. A trip whose writing was delayed would else find
    /// our own "probing" or an operator's "closed" in the store, not know of it, and take the turn after it.
    async fn alone(&self, agent: &AgentId) -> Option<MutexGuard<'_, ()>> {
        let place = usize::try_from(self.hasher.hash_one(agent) % PLACES as u64).unwrap_or_default();
        Some(self.places.get(place)?.lock().await)
    }

    async fn begin(&self, standing: &Arc<Installed>) -> Result<Option<Change>, StoreError> {
        let (agent, from) = (&standing.agent, standing.breaker);
        let Some(next) = from.probe(self.clock.now()) else { return Ok(None) };
        let cause = Cause::own(Signal::Probe, format!("{} may pass", next.rest.probes));
        let name = Name::Agent(agent.clone());
        match ledger::claim(self.store.as_ref(), &name, (&from, &next), &cause).await? {
            // The follower may have brought our own word already; what was ordered by hand meanwhile stays.
            Ok(()) => Ok(self.switch(agent, None, |now| {
                let is_ours = |now: &Arc<Installed>| Arc::ptr_eq(now, standing) || now.breaker == next;
                now.filter(|now| is_ours(now)).map(|_| Installed::new(agent, next, cause, next.rest.probes))
            })),
            Err((breaker, cause)) => {
                self.install(agent, breaker, &cause);
                Ok(None)
            }
        }
    }

    /// Writes into the store what has changed here, and ends what it cut. A change that was overtaken meanwhile is not
    /// written.
    ///
    /// # Errors
    /// When the store fails. It is in force here all the same.
    pub async fn keep(&self, change: &Change) -> Result<(), StoreError> {
        let Change { agent, breaker, cause, .. } = change;
        settle(&self.gate).await;
        let _alone = self.alone(agent).await;
        if self.gate.breaker(agent).is_some_and(|standing| standing.breaker != *breaker) {
            return Ok(());
        }
        match ledger::keep(self.store.as_ref(), &Name::Agent(agent.clone()), breaker, cause).await? {
            Kept::As(breaker) => self.install(agent, breaker, cause),
            Kept::Overtaken(breaker, cause) => self.install(agent, breaker, &cause),
        }
        Ok(())
    }

    /// Opens the breaker of an agent by hand, until then or until it is reset. When it returns, that survives a restart, and
    /// nothing of what it cut will be written any more.
    ///
    /// # Errors
    /// When the store fails. It is open here all the same: repeat it.
    pub async fn open(
        &self,
        agent: &AgentId,
        until: Option<Timestamp>,
        rest: Rest,
        cause: Cause,
    ) -> Result<Change, StoreError> {
        let (now, name) = (self.clock.now(), Name::Agent(agent.clone()));
        let mut held = Breaker::new(rest).hold(now, until, rest);
        let opened = self.switch(agent, None, |standing| {
            held = standing.map_or(held, |standing| standing.breaker.hold(now, until, rest));
            Some(Installed::new(agent, held, cause.clone(), 0))
        });
        let alone = self.alone(agent).await;
        let breaker = ledger::order(self.store.as_ref(), &name, &held, &cause).await?;
        self.install(agent, breaker, &cause);
        drop(alone);
        settle(&self.gate).await;
        let cut = opened.map_or(Cut { attempts: 0, streams: 0, nodes: 0 }, |opened| opened.cut);
        Ok(Change { agent: agent.clone(), breaker, cause, cut })
    }

    /// Closes the breaker of an agent by hand; none when it is not open. What it cut stays cut.
    ///
    /// # Errors
    /// When the store fails. It stays as it is: repeat it.
    pub async fn close(&self, agent: &AgentId, cause: Cause) -> Result<Option<Change>, StoreError> {
        let _alone = self.alone(agent).await;
        let Some(standing) = self.gate.breaker(agent).filter(|standing| !standing.is_closed()) else {
            return Ok(None);
        };
        let closed = standing.breaker.close(self.clock.now());
        let breaker =
            ledger::order(self.store.as_ref(), &Name::Agent(agent.clone()), &closed, &cause).await?;
        self.install(agent, breaker, &cause);
        Ok(Some(Change {
            agent: agent.clone(),
            breaker,
            cause,
            cut: Cut { attempts: 0, streams: 0, nodes: 0 },
        }))
    }

    /// The breakers that are not closed, in the order of their agents.
    #[must_use]
    pub fn list(&self) -> Vec<Tripped> {
        let standing = self.gate.breakers().into_iter().filter(|standing| !standing.is_closed());
        let mut all: Vec<_> = standing.map(Tripped::from).collect();
        all.sort_by(|a, b| a.agent.cmp(&b.agent));
        all
    }

    /// Brings a word of the store into force, unless a later one is known.
    fn install(&self, agent: &AgentId, breaker: Breaker, cause: &Cause) {
        let now = self.clock.now();
        self.switch(agent, None, |standing| {
            let next = Installed::new(agent, breaker, cause.clone(), 0);
            let is_news = standing.is_none_or(|standing| standing.yields_to(&next, now));
            (is_news && !next.has_ended(now)).then_some(next)
        });
    }

    fn switch(
        &self,
        agent: &AgentId,
        spared: Option<AttemptId>,
        change: impl FnOnce(Option<&Arc<Installed>>) -> Option<Installed>,
    ) -> Option<Change> {
        let (installed, cuts) = self.gate.switch(agent, spared, change)?;
        Some(Change {
            agent: agent.clone(),
            breaker: installed.breaker,
            cause: installed.cause.clone(),
            cut: Cut { attempts: cuts.attempts, streams: cuts.streams, nodes: 0 },
        })
    }

    fn follow(&self, record: &Record) -> Result<Option<(AgentId, Breaker)>, StoreError> {
        let (name, breaker, cause) = from_record(record)?;
        let Name::Agent(agent) = name else { return Ok(None) };
        self.install(&agent, breaker, &cause);
        Ok(Some((agent, breaker)))
    }
}

/// Called within the runtime of the follower.
impl Subscriber for Breakers {
    fn kinds(&self) -> &'static [Kind] {
        &[Kind::Breaker]
    }

    /// A union, as of orders: a database that was restored from a backup has lost the newest changes, and is told again.
    fn reset(&self, records: Vec<Record>) -> Result<(), StoreError> {
        let followed = records.iter().map(|record| self.follow(record)).collect::<Result<Vec<_>, _>>()?;
        let is_stored = |standing: &Installed| {
            followed
                .iter()
                .flatten()
                .any(|(agent, breaker)| *agent == standing.agent && !standing.breaker.supersedes(breaker))
        };
        for lost in self.gate.breakers().iter().filter(|standing| !is_stored(standing)) {
            let name = Name::Agent(lost.agent.clone());
            let (store, breaker, cause) = (Arc::clone(&self.store), lost.breaker, lost.cause.clone());
            tokio::spawn(async move {
                match ledger::keep(store.as_ref(), &name, &breaker, &cause).await {
                    Ok(_) => tracing::warn!(?name, "the store had lost a breaker; it was written back"),
                    Err(error) => tracing::error!(?name, %error, "the store has lost a breaker"),
                }
            });
        }
        Ok(())
    }

    /// A record that is gone closes nothing: it has ended, which is known here.
    fn apply(&self, change: &Logged) -> Result<(), StoreError> {
        match &change.record {
            Some(record) => self.follow(record).map(drop),
            None => Ok(()),
        }
    }
}
