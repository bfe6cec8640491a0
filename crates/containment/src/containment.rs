use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::{ArcSwap, ArcSwapOption};
use vestibule_model::{Clock, Denial};
use vestibule_store::{Change, Follower, Kind, Record, Store, StoreError, Subscriber};

use crate::{
    Cut, DenyEntry, DenyKey, Order, Passage, Path, Report,
    deny_set::DenySet,
    in_flight::{Index, Tally},
    ledger, reach,
};

/// What is revoked, and what is under way. See the crate's page for the order in which the two are touched.
#[derive(Debug)]
pub struct Containment {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    denied: ArcSwap<DenySet>,
    version: AtomicU64,
    in_flight: Arc<Index>,
    lease: ArcSwapOption<Lease>,
    /// Held by whoever swaps the snapshot, until its walk has ended.
    writing: Mutex<()>,
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
        Arc::new(Self {
            store,
            clock,
            denied: ArcSwap::default(),
            version: AtomicU64::new(0),
            in_flight: Arc::new(Index::new()),
            lease: ArcSwapOption::empty(),
            writing: Mutex::default(),
        })
    }

    /// From now on admits, as long as what `follower` has applied is at most `lease` old. A follower that is gone
    /// vouches for nothing.
    pub fn attach(&self, follower: &Arc<Follower>, lease: Duration) {
        self.lease.store(Some(Arc::new(Lease { follower: Arc::downgrade(follower), age_max: lease })));
    }

    /// Lets an attempt in, to be cut as soon as a name on its path is revoked.
    ///
    /// # Errors
    /// [`Denial::ContainmentStale`] when this gateway cannot tell what is revoked, else the denial of the first name on
    /// the path that is: token, then nodes, then agents.
    pub fn admit(&self, path: &Path<'_>) -> Result<Passage, Denial> {
        self.is_current()?;
        // INVARIANT: register, then check. The other way round, a revocation between the two would swap the snapshot
        // after our check and walk the index before our registration: admitted, and never cut.
        let flight = self.in_flight.enter(path.keys(), path.issued_at);
        let passage = Passage::new(Arc::clone(&self.in_flight), Arc::clone(&flight));
        // Refused, the passage is dropped and leaves the index again.
        self.denied.load().check(flight.keys(), path.issued_at)?;
        Ok(passage)
    }

    /// Whether it would be let in now. For what is not under way afterwards, such as minting a token.
    ///
    /// # Errors
    /// As [`admit`](Self::admit).
    pub fn check(&self, path: &Path<'_>) -> Result<(), Denial> {
        self.is_current()?;
        self.denied.load().check(&path.keys(), path.issued_at)
    }

    fn is_current(&self) -> Result<(), Denial> {
        let lease = self.lease.load();
        let is_current = lease.as_ref().is_some_and(|lease| {
            lease.follower.upgrade().is_some_and(|follower| follower.state_age() <= lease.age_max)
        });
        if is_current { Ok(()) } else { Err(Denial::ContainmentStale) }
    }

    /// Changes whenever what is revoked does. Read it, then check: while it stays the same, so does the answer, but
    /// for staleness.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// What is revoked, in the order of kind and id.
    #[must_use]
    pub fn list(&self) -> Vec<DenyEntry> {
        let now = self.clock.now();
        let mut entries: Vec<_> =
            self.denied.load().iter().filter(|entry| !entry.has_expired(now)).cloned().collect();
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        entries
    }

    /// Revokes. When it returns, the order survives a restart and nothing admitted here under that name is uncut.
    /// Repeating it is no error and changes nothing; a later cutoff, or none, widens what stands.
    ///
    /// # Errors
    /// When the store fails. The order may then be in force all the same: repeat it.
    pub async fn revoke(&self, order: Order) -> Result<Report, StoreError> {
        let (entry, tally) =
            if order.dry_run { self.rehearse(&order).await? } else { self.enforce(&order).await? };
        let nodes = reach::nodes(self.store.as_ref(), &order.key).await?;
        Ok(Report {
            kind: entry.key.kind(),
            id: entry.key.id().to_owned(),
            version: entry.version,
            reason: entry.reason,
            cut: Cut { attempts: tally.attempts, streams: tally.streams, nodes },
            completed: tally.completed,
            acknowledged_at: self.clock.now(),
        })
    }

    async fn enforce(&self, order: &Order) -> Result<(DenyEntry, Tally), StoreError> {
        let wanted = DenyEntry::new(order, self.clock.now());
        let entry = ledger::record(self.store.as_ref(), &wanted).await?;
        self.publish(vec![entry.clone()]);
        // Not what this call cut: our follower may have published the order before us.
        let tally = self.denied.load().tally(&entry.key);
        Ok((entry, tally))
    }

    async fn rehearse(&self, order: &Order) -> Result<(DenyEntry, Tally), StoreError> {
        let wanted = DenyEntry::new(order, self.clock.now());
        let entry = match ledger::standing(self.store.as_ref(), &order.key).await? {
            Some(standing) if standing.covers(wanted.cutoff) => standing,
            Some(standing) => DenyEntry { version: standing.version, ..wanted },
            None => wanted,
        };
        let tally = self.in_flight.count(&entry);
        Ok((entry, tally))
    }

    /// Brings entries into force: swaps the snapshot, then walks the index.
    fn publish(&self, entries: Vec<DenyEntry>) {
        let _turn = self.turn();
        let standing = self.denied.load();
        let news: Vec<_> = entries.into_iter().filter_map(|entry| standing.news(entry)).collect();
        if news.is_empty() {
            return;
        }
        // INVARIANT: swap, then walk. See `admit`.
        self.swap(standing.with(&news, self.clock.now()));
        for held in news {
            let before = standing.tally(&held.entry.key);
            let now = self.in_flight.cut(&held.entry);
            held.tally.get_or_init(|| before.plus(now));
        }
    }

    fn retract(&self, key: &DenyKey) {
        let _turn = self.turn();
        let standing = self.denied.load();
        if standing.get(key).is_some() {
            self.swap(standing.without(key));
        }
    }

    fn swap(&self, set: DenySet) {
        self.denied.store(Arc::new(set));
        self.version.fetch_add(1, Ordering::Release);
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is in force here and not covered by what the store has.
    fn unknown_to(&self, stored: &[DenyEntry]) -> Vec<DenyEntry> {
        let stored: HashMap<_, _> = stored.iter().map(|entry| (&entry.key, entry)).collect();
        let is_lost =
            |entry: &DenyEntry| stored.get(&entry.key).is_none_or(|stored| !stored.covers(entry.cutoff));
        self.list().into_iter().filter(is_lost).collect()
    }
}

/// Called within the runtime of the follower.
impl Subscriber for Containment {
    fn kinds(&self) -> &'static [Kind] {
        &[Kind::Deny]
    }

    /// A union, never a replacement. A database that was restored from a backup, or a standby that took over, has lost
    /// the newest revocations: whoever was revoked last would be let in again.
    fn reset(&self, records: Vec<Record>) -> Result<(), StoreError> {
        let stored: Vec<_> = records.iter().map(DenyEntry::from_record).collect::<Result<_, _>>()?;
        let lost = self.unknown_to(&stored);
        self.publish(stored);
        if !lost.is_empty() {
            tokio::spawn(write_back(Arc::clone(&self.store), lost));
        }
        Ok(())
    }

    fn apply(&self, change: &Change) -> Result<(), StoreError> {
        match &change.record {
            Some(record) => self.publish(vec![DenyEntry::from_record(record)?]),
            // What is no name never came into force.
            None => DenyKey::parse(&change.key).map_or((), |key| self.retract(&key)),
        }
        Ok(())
    }
}

/// What the store has lost, it is told again. In memory it holds in any case.
async fn write_back(store: Arc<dyn Store>, lost: Vec<DenyEntry>) {
    for entry in lost {
        match ledger::record(store.as_ref(), &entry).await {
            Ok(_) => tracing::warn!(key = %entry.key, "the store had lost a revocation; it was written back"),
            Err(error) => {
                tracing::error!(key = %entry.key, %error, "the store has lost a revocation and does not take it back");
            }
        }
    }
}
