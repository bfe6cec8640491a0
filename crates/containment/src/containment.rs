use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use vestibule_model::{AttemptId, Clock, Denial};
use vestibule_store::{Change, Follower, Kind, Record, Store, StoreError, Subscriber};

use crate::{
    Cut, DenyEntry, DenyKey, Order, OrderError, Passage, Path, Report,
    breaker::{Breakers, Tripped},
    entry::Fact,
    ledger::{self, Outcome, Standing},
    protocol::Gate,
    reach,
    report::Cuts,
};

/// What was cut has this long to leave by itself: its task must be woken and drop what it holds. Then its wire goes.
const SETTLE_MAX: Duration = Duration::from_secs(1);

/// What is denied, and what is under way. See the crate's page for the order in which the two are touched.
#[derive(Debug)]
pub struct Containment {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    gate: Arc<Gate>,
    breakers: Arc<Breakers>,
    lease: ArcSwapOption<Lease>,
}

/// Whose word is taken for how old the snapshot is.
#[derive(Debug)]
struct Lease {
    /// Weak, for the follower holds this containment as its subscriber.
    follower: Weak<Follower>,
    age_max: Duration,
}

impl Containment {
    /// Knows nothing yet and therefore refuses everything: make it a subscriber of a follower, then
    /// [`attach`](Self::attach) that.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let gate = Arc::new(Gate::new(Arc::clone(&clock)));
        let breakers = Breakers::new(Arc::clone(&store), Arc::clone(&clock), Arc::clone(&gate));
        Arc::new(Self { store, clock, gate, breakers, lease: ArcSwapOption::empty() })
    }

    /// The circuit breakers of agents: another subscriber.
    #[must_use]
    pub fn breakers(&self) -> &Arc<Breakers> {
        &self.breakers
    }

    /// From now on admits, as long as what `follower` has applied is at most `lease` old. A follower that is gone
    /// vouches for nothing.
    pub fn attach(&self, follower: &Arc<Follower>, lease: Duration) {
        self.lease.store(Some(Arc::new(Lease { follower: Arc::downgrade(follower), age_max: lease })));
    }

    /// Lets an attempt in, to be cut as soon as a name on its path is revoked or suspended, or a call within which it
    /// is made has ended.
    ///
    /// # Errors
    /// [`Denial::ContainmentStale`] when this gateway cannot tell what is revoked. [`Denial::CallEnded`] when a call
    /// within which it is made is not under way. Else the denial of the first name on the path that is revoked (token,
    /// nodes, agents, keys, user, session, client, application, everything), or if none is, of the first that is
    /// suspended, or whose [breaker](crate::breaker) is open. [`Denial::AgentUnknown`] when nobody makes the attempt.
    pub fn admit(&self, path: &Path<'_>, attempt: AttemptId) -> Result<Passage, Denial> {
        self.is_current()?;
        self.gate.admit(path, attempt)
    }

    /// Whether a token may be minted for it now: for what presents itself with this path and is not under way
    /// afterwards. Minds what is superseded too, unless it is the name of an ancestor: whose key was rotated asks with
    /// the new one, and its descendants go on.
    ///
    /// # Errors
    /// As [`admit`](Self::admit).
    pub fn check(&self, path: &Path<'_>) -> Result<(), Denial> {
        self.is_current()?;
        self.gate.check(path)
    }

    /// The breaker for which [`admit`](Self::admit) refuses with [`Denial::AgentSuspended`]; none where an order does.
    #[must_use]
    pub fn tripped(&self, path: &Path<'_>) -> Option<Tripped> {
        self.gate.tripped(&path.names()).map(Tripped::from)
    }

    /// The breaker for which an attempt was cut with [`Denial::AgentSuspended`]; none where an order did.
    #[must_use]
    pub fn tripped_in(&self, passage: &Passage) -> Option<Tripped> {
        self.gate.tripped(&passage.flight.names).map(Tripped::from)
    }

    /// Whether that attempt is under way here: admitted, not cut, not ended.
    #[must_use]
    pub fn is_under_way(&self, call: AttemptId) -> bool {
        self.gate.is_under_way(call)
    }

    fn is_current(&self) -> Result<(), Denial> {
        let lease = self.lease.load();
        let is_current = lease.as_ref().is_some_and(|lease| {
            lease.follower.upgrade().is_some_and(|follower| follower.state_age() <= lease.age_max)
        });
        if is_current { Ok(()) } else { Err(Denial::ContainmentStale) }
    }

    /// Changes whenever what is denied does. Read it, then check: while it stays the same, what was let in would be let
    /// in again, but for staleness and calls that end. What was refused need not be refused again: an order may expire.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.gate.version()
    }

    /// The orders in force, in the order of kind and id. A name that is revoked until a cutoff and suspended beyond it
    /// has two.
    #[must_use]
    pub fn list(&self) -> Vec<DenyEntry> {
        self.gate.list()
    }

    /// Revokes or suspends. When it returns, the order survives a restart, nothing admitted here under that name is
    /// uncut, and nothing that was cut will be written any more: it waits for what was cut to leave, at most a second,
    /// and severs the wires of what has not.
    ///
    /// Repeating it is no error and changes nothing. What stands is only ever made severer: of two cutoffs the later
    /// holds or none, of two ends the later or none, of two reasons the one that cascades. What is revoked is not
    /// suspended: the report then tells of the revocation. What is suspended can be revoked.
    ///
    /// # Errors
    /// [`OrderError::Expired`], and [`OrderError::Store`].
    pub async fn order(&self, order: Order) -> Result<Report, OrderError> {
        let wanted = DenyEntry::new(&order, self.clock.now());
        if wanted.has_expired(self.clock.now()) {
            return Err(OrderError::Expired);
        }
        let (entry, cuts) =
            if order.dry_run { self.rehearse(&wanted).await? } else { self.enforce(&wanted).await? };
        let acknowledged_at = self.clock.now();
        let nodes = reach::nodes(self.store.as_ref(), &entry).await?;
        Ok(Report {
            kind: entry.key.kind(),
            id: entry.key.id().into_owned(),
            version: entry.version,
            state: entry.state,
            reason: entry.reason,
            cutoff: entry.cutoff,
            cut: Cut { attempts: cuts.attempts, streams: cuts.streams, nodes },
            completed: cuts.completed,
            attempts: cuts.list,
            acknowledged_at,
        })
    }

    async fn enforce(&self, wanted: &DenyEntry) -> Result<(DenyEntry, Cuts), StoreError> {
        let (_, turn) = self.gate.suspension(&wanted.key);
        let entry = ledger::record(self.store.as_ref(), wanted, turn).await?;
        self.gate.publish(vec![Fact::Denies(entry.clone())]);
        settle(&self.gate).await;
        // Not what this call cut: our follower may have published the order before us.
        let cuts = self.gate.cuts(entry.state, &entry.key);
        Ok((entry, cuts))
    }

    async fn rehearse(&self, wanted: &DenyEntry) -> Result<(DenyEntry, Cuts), StoreError> {
        let (_, turn) = self.gate.suspension(&wanted.key);
        let entry = match Standing::read(self.store.as_ref(), &wanted.key).await?.with(wanted, turn) {
            Outcome::Stands(entry) => entry,
            Outcome::Writes(entry, version) => DenyEntry { version: version.unwrap_or(0), ..entry },
        };
        let cuts = self.gate.count(entry.clone());
        Ok((entry, cuts))
    }

    /// Takes a suspension back, and gives it as it was. What it cut stays cut; what comes now is let in again, here when
    /// this returns, at other gateways as soon as they have followed.
    ///
    /// # Errors
    /// [`OrderError::NotSuspended`]; [`OrderError::Revoked`] when a revocation denies all that the suspension does;
    /// [`OrderError::Store`].
    pub async fn resume(&self, key: &DenyKey, by: &str) -> Result<DenyEntry, OrderError> {
        let known = self.gate.suspension(key);
        let (lifted, resumed) =
            ledger::resume(self.store.as_ref(), key, known, (by, self.clock.now())).await?;
        self.gate.publish(vec![resumed]);
        Ok(lifted)
    }
}

/// Called within the runtime of the follower.
impl Subscriber for Containment {
    fn kinds(&self) -> &'static [Kind] {
        &[Kind::Deny]
    }

    /// A union, never a replacement. A database that was restored from a backup, or a standby that took over, has lost
    /// the newest orders: whoever was revoked last would be let in again, and whoever was resumed last be suspended.
    fn reset(&self, records: Vec<Record>) -> Result<(), StoreError> {
        let stored: Vec<_> = records.iter().map(Fact::from_record).collect::<Result<_, _>>()?;
        let lost = self.gate.unknown_to(&stored);
        self.gate.publish(stored);
        if !lost.is_empty() {
            tokio::spawn(write_back(Arc::clone(&self.store), lost));
        }
        Ok(())
    }

    fn apply(&self, change: &Change) -> Result<(), StoreError> {
        // A record that is gone takes nothing back: it has expired, which is known here, or somebody has deleted it, and
        // only a suspension ends by an order. Nor could it be told from one that was written anew since.
        if let Some(record) = &change.record {
            self.gate.publish(vec![Fact::from_record(record)?]);
        }
        Ok(())
    }
}

/// Waits for all that was cut, by whomever.
pub(crate) async fn settle(gate: &Gate) {
    let unsettled = gate.unsettled();
    if unsettled.is_empty() {
        return;
    }
    if tokio::time::timeout(SETTLE_MAX, gate.settled(&unsettled)).await.is_err() {
        let attempts = gate.sever(&unsettled);
        tracing::warn!(
            attempts,
            "attempts that were cut did not end in time; their connections were severed"
        );
    }
}

/// What the store has lost, it is told again. In memory it holds in any case.
async fn write_back(store: Arc<dyn Store>, lost: Vec<Fact>) {
    for fact in lost {
        let key = &fact.entry().key;
        match ledger::restore(store.as_ref(), &fact).await {
            Ok(()) => tracing::warn!(%key, "the store had lost an order; it was written back"),
            Err(error) => {
                tracing::error!(%key, %error, "the store has lost an order and does not take it back")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use vestibule_model::{Actor, AgentId, FixedClock, Timestamp};

    use super::*;
    use crate::{KeyKind, Reason, State};

    fn now() -> Timestamp {
        Timestamp::from_seconds(1_800_000_000)
    }

    fn gate() -> Gate {
        Gate::new(Arc::new(FixedClock::at(now())))
    }

    fn admit(gate: &Gate, agent: &str, attempt: u32) -> Passage {
        let agents = [Actor { issuer: "https://us".into(), agent: AgentId::new(agent).unwrap() }];
        let (jti, nodes, user, behind, app, calls) = (None, &[], None, None, None, &[]);
        let path = Path { jti, issued_at: now(), agents: &agents, nodes, user, behind, app, calls };
        gate.admit(&path, AttemptId::parse(&format!("{attempt:032x}")).unwrap()).unwrap()
    }

    #[test]
    fn of_what_has_left_nothing_stays() {
        let gate = gate();
        // Two of each attempt: the caller's mistake leaves nothing behind either.
        let passages: Vec<_> = (0..1000).map(|n| admit(&gate, "a", n / 2)).collect();
        assert!(!gate.is_idle());
        drop(passages);
        assert!(gate.is_idle());
    }

    #[test]
    fn the_newest_lists_are_kept_and_of_the_others_the_numbers() {
        let gate = gate();
        let key = |n: u32| DenyKey::new(KeyKind::Agent, &format!("a-{n}")).unwrap();
        for n in 0..101 {
            let passages: Vec<_> = (0..1000).map(|m| admit(&gate, &format!("a-{n}"), m)).collect();
            let order = Order {
                key: key(n),
                state: State::Revoked,
                reason: Reason::Compromise,
                cutoff: None,
                expires_at: None,
                by: "operator".to_owned(),
                dry_run: false,
            };
            gate.publish(vec![Fact::Denies(DenyEntry::new(&order, now()))]);
            drop(passages);
        }
        let told = |n| {
            let cuts = gate.cuts(State::Revoked, &key(n));
            (cuts.attempts, cuts.list.len())
        };
        assert_eq!([told(0), told(1), told(100)], [(1000, 0), (1000, 1000), (1000, 1000)]);
    }
}
