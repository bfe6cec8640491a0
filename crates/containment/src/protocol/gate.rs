use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError},
};

use vestibule_model::{AgentId, AttemptId, Clock, Denial};

use super::{
    super::sync::{ArcSwap, Mutex, MutexGuard},
    deny_set::{Asked, DenySet, InForce},
    flight::Flight,
    index::{Doomed, Index},
    passage::Passage,
    writer::{Done, Writer},
};
use crate::{
    CutAttempt, DenyEntry, DenyKey, Path, State,
    breaker::{Board, Installed},
    entry::Fact,
    path::{self, Known},
    report::Cuts,
};

/// What is denied, and what is under way.
#[derive(Debug)]
pub(crate) struct Gate {
    clock: Arc<dyn Clock>,
    denied: ArcSwap<DenySet>,
    breakers: ArcSwap<Board>,
    index: Arc<Index>,
    writing: Mutex<Writer>,
}

/// Attempts that were cut and had not left when somebody looked.
#[derive(Debug)]
pub(crate) struct Unsettled(Vec<Arc<Flight>>);

impl Gate {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            denied: ArcSwap::from_pointee(DenySet::default()),
            breakers: ArcSwap::from_pointee(Board::default()),
            index: Arc::new(Index::new()),
            writing: Mutex::new(Writer::default()),
        }
    }

    pub(crate) fn admit(&self, path: &Path<'_>, attempt: AttemptId) -> Result<Passage, Denial> {
        let Some(agent) = path.agents.last() else { return Err(Denial::AgentUnknown) };
        // INVARIANT: register, then check. The other way round, an order between the two would swap the snapshot after
        // our check and walk the index before our registration: admitted, and never cut.
        let mut passage = self.index.enter(attempt, &agent.agent, path);
        // Refused, the passage is dropped and leaves the index again.
        for call in path.calls {
            self.index.join(*call, &passage.flight)?;
        }
        self.denied.load().check(&passage.flight.names, Asked::ToPass, || self.clock.now())?;
        passage.probes = self.breakers.load().admit(&passage.flight.names)?;
        Ok(passage)
    }

    /// Whether a token may be minted.
    pub(crate) fn check(&self, path: &Path<'_>) -> Result<(), Denial> {
        if !path.calls.iter().all(|call| self.is_under_way(*call)) {
            return Err(Denial::CallEnded);
        }
        let names = path.names();
        self.denied.load().check(&names, Asked::ToMint, || self.clock.now())?;
        self.breakers.load().check(&names, self.clock.now())
    }

    pub(crate) fn is_under_way(&self, call: AttemptId) -> bool {
        self.index.is_under_way(call)
    }

    pub(crate) fn version(&self) -> u64 {
        self.denied.load().version
    }

    /// What is in force, but for suspensions of what is revoked anyway.
    pub(crate) fn list(&self) -> Vec<DenyEntry> {
        let (now, set) = (self.clock.now(), self.denied.load());
        let is_moot = |entry: &&DenyEntry| {
            entry.state == State::Suspended
                && set
                    .get(State::Revoked, &entry.key)
                    .is_some_and(|revoked| revoked.entry.covers(entry) && !revoked.entry.has_expired(now))
        };
        let in_force = set.iter().filter(|entry| !entry.has_expired(now) && !is_moot(entry));
        let mut entries: Vec<_> = in_force.cloned().collect();
        entries.sort_by(|a, b| (&a.key, a.state as u8).cmp(&(&b.key, b.state as u8)));
        entries
    }

    /// Brings facts into force: swaps the snapshot, then walks the index.
    pub(crate) fn publish(&self, facts: Vec<Fact>) {
        // INVARIANT: held until the walk has ended. Whoever finds its own order in force already, for the follower was
        // faster, must find what it cut as well.
        let mut writer = self.turn();
        let mut set = DenySet::clone(&self.denied.load());
        let (now, mut news, mut is_changed) = (self.clock.now(), Vec::new(), false);
        set.sweep(facts.iter().map(|fact| &fact.entry().key), now);
        for fact in facts {
            match writer.take(&mut set, fact, now) {
                Done::Nothing => {}
                Done::Denies(held) => news.push(held),
                Done::Resumes => is_changed = true,
            }
        }
        if news.is_empty() && !is_changed {
            return;
        }
        set.version += 1;
        let set = Arc::new(set);
        // INVARIANT: swap, then walk. See `admit`.
        self.denied.store(Arc::clone(&set));
        let news = news.iter().map(|held| &held.entry.key);
        for (held, cut) in self.walk(&set, news, |index, doomed| index.cut(doomed)) {
            let length = held.note(cut);
            writer.keep_list(&held, length);
        }
    }

    /// Changes the breaker of an agent: swaps the snapshot, then walks the index and cuts all that has the agent on its path,
    /// if the breaker is now open. Only the attempt `spared` is not cut: it is being refused, and is to be told so.
    /// Gives nothing where `change` does.
    pub(crate) fn switch(
        &self,
        agent: &AgentId,
        spared: Option<AttemptId>,
        change: impl FnOnce(Option<&Arc<Installed>>) -> Option<Installed>,
    ) -> Option<(Arc<Installed>, Cuts)> {
        let _turn = self.turn();
        let mut board = Board::clone(&self.breakers.load());
        let now = self.clock.now();
        let installed = change(board.get(agent).filter(|standing| !standing.has_ended(now))).map(Arc::new)?;
        board.put(Arc::clone(&installed), now);
        // INVARIANT: swap, then walk. See `admit`.
        self.breakers.store(Arc::new(board));
        let mut cuts = Cuts::default();
        if installed.breaker.is_open() {
            let key = DenyKey::Agent(agent.clone());
            let hash = path::hash(&key);
            let is_below = |flight: &Flight| {
                flight.names.iter().any(|name| name.hash == hash && name.key == key)
                    && spared != Some(flight.attempt)
            };
            let found = self.index.traced(path::trace(hash)).into_iter().filter(|flight| is_below(flight));
            let doomed = found.map(|flight| (flight, Denial::AgentSuspended)).collect();
            cuts.note(self.index.cut(doomed).into_iter().map(|(_, cut)| cut));
        }
        Some((installed, cuts))
    }

    /// The breaker that refuses who has these names, or has cut them, if it is no order that does.
    pub(crate) fn tripped(&self, names: &[Known]) -> Option<Arc<Installed>> {
        self.denied.load().check(names, Asked::ToPass, || self.clock.now()).ok()?;
        self.breakers.load().not_closed(names).next().cloned()
    }

    /// The breaker of an agent, if it has opened.
    pub(crate) fn breaker(&self, agent: &AgentId) -> Option<Arc<Installed>> {
        let now = self.clock.now();
        self.breakers.load().get(agent).filter(|standing| !standing.has_ended(now)).cloned()
    }

    /// The breakers that are known, but for those that have ended.
    pub(crate) fn breakers(&self) -> Vec<Arc<Installed>> {
        let now = self.clock.now();
        self.breakers.load().iter().filter(|standing| !standing.has_ended(now)).cloned().collect()
    }

    /// What an entry would cut.
    pub(crate) fn count(&self, entry: DenyEntry) -> Cuts {
        let held = InForce::new(entry, None);
        let mut set = DenySet::default();
        set.insert(Arc::clone(&held));
        let key = std::iter::once(&held.entry.key);
        for (held, cut) in self.walk(&set, key, |index, doomed| index.count(doomed)) {
            held.note(cut);
        }
        held.cuts()
    }

    /// Finds all with one of these names that `set` denies and does something to it. Gives to each entry what came of
    /// it.
    fn walk<'a>(
        &self,
        set: &DenySet,
        names: impl Iterator<Item = &'a DenyKey>,
        act: impl FnOnce(&Index, Vec<Doomed>) -> Vec<(usize, CutAttempt)>,
    ) -> Vec<(Arc<InForce>, Vec<CutAttempt>)> {
        let trace = names.fold(0, |all, key| all | path::trace(path::hash(key)));
        let (mut doomed, mut denying): (Vec<Doomed>, Vec<&Arc<InForce>>) = (Vec::new(), Vec::new());
        for flight in self.index.traced(trace) {
            if let Some(held) = set.find(&flight.names, Asked::ToPass, || self.clock.now()) {
                doomed.push((flight, held.entry.denial()));
                denying.push(held);
            }
        }
        let mut found: BTreeMap<_, (Arc<InForce>, Vec<CutAttempt>)> = BTreeMap::new();
        for (origin, cut) in act(&self.index, doomed) {
            let Some(held) = denying.get(origin) else { continue };
            found.entry(Arc::as_ptr(held)).or_insert_with(|| (Arc::clone(held), Vec::new())).1.push(cut);
        }
        found.into_values().collect()
    }

    /// What the entry in force has cut here.
    pub(crate) fn cuts(&self, state: State, key: &DenyKey) -> Cuts {
        self.denied.load().get(state, key).map(|held| held.cuts()).unwrap_or_default()
    }

    /// The suspension of a name as it is known here, and its highest turn.
    pub(crate) fn suspension(&self, key: &DenyKey) -> (Option<DenyEntry>, u64) {
        let (writer, set) = (self.turn(), self.denied.load());
        let held = set.get(State::Suspended, key).map(|held| held.entry.clone());
        (held, writer.turn(&set, key))
    }

    /// What is known here and not covered by what the store has.
    pub(crate) fn unknown_to(&self, stored: &[Fact]) -> Vec<Fact> {
        let (writer, set, now) = (self.turn(), self.denied.load(), self.clock.now());
        let stored: HashMap<_, _> =
            stored.iter().map(|fact| ((fact.entry().state as u8, &fact.entry().key), fact.entry())).collect();
        let is_lost = |entry: &&DenyEntry| {
            let stored = stored.get(&(entry.state as u8, &entry.key));
            stored.is_none_or(|stored| match entry.state {
                State::Revoked => !stored.covers(entry),
                State::Suspended => stored.turn < entry.turn,
            })
        };
        let denies = set.iter().filter(|entry| !entry.has_expired(now)).filter(is_lost);
        let denies = denies.cloned().map(Fact::Denies);
        denies.chain(writer.resumed(now).filter(is_lost).cloned().map(Fact::Resumed)).collect()
    }

    pub(crate) fn unsettled(&self) -> Unsettled {
        Unsettled(self.index.unsettled())
    }

    /// Ends when all of them have left.
    pub(crate) async fn settled(&self, unsettled: &Unsettled) {
        self.index.settled(&unsettled.0).await;
    }

    /// Severs the wires of those that have not left, and says how many there are.
    pub(crate) fn sever(&self, unsettled: &Unsettled) -> usize {
        self.index.sever(&unsettled.0)
    }

    fn turn(&self) -> MutexGuard<'_, Writer> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing stays of what has left.
    #[cfg(test)]
    pub(crate) fn is_idle(&self) -> bool {
        self.index.is_empty()
    }
}

impl Unsettled {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
