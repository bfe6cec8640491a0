//! Orders as the store has them.

use vestibule_model::Timestamp;
use vestibule_store::{Expect, Kind, Op, Store, StoreError};

use crate::{
    DenyEntry, DenyKey, OrderError, State,
    entry::{Fact, record_key},
};

/// Reads, decides and writes again at most so many times while others write the same entry.
const ROUNDS_MAX: usize = 16;

/// What the store says about a name.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    revoked: Option<DenyEntry>,
    suspended: Option<Fact>,
}

/// What an order comes to.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// What stands does all that was ordered.
    Stands(DenyEntry),
    /// This is to take the place of the entry of that version; none: of nothing.
    Writes(DenyEntry, Option<u64>),
}

impl Standing {
    pub(crate) async fn read(store: &dyn Store, key: &DenyKey) -> Result<Self, StoreError> {
        let read = async |state| {
            let record = store.get(Kind::Deny, &record_key(state, key)).await?;
            record.as_ref().map(Fact::from_record).transpose()
        };
        let revoked = read(State::Revoked).await?.and_then(|fact| match fact {
            Fact::Denies(entry) => Some(entry),
            Fact::Resumed(_) => None,
        });
        Ok(Self { revoked, suspended: read(State::Suspended).await? })
    }

    /// The suspension in force. `turn` is the highest one known here: a store that is behind it was restored.
    fn suspension(&self, now: Timestamp, turn: u64) -> Option<&DenyEntry> {
        match self.suspended.as_ref()? {
            Fact::Denies(entry) => Some(entry).filter(|entry| !entry.has_expired(now) && turn <= entry.turn),
            Fact::Resumed(_) => None,
        }
    }

    /// What an order comes to. Never narrows.
    pub(crate) fn with(&self, wanted: &DenyEntry, turn: u64) -> Outcome {
        if let Some(revoked) = self.revoked.as_ref().filter(|revoked| revoked.covers(wanted)) {
            return Outcome::Stands(revoked.clone());
        }
        let (version, in_force) = match wanted.state {
            State::Revoked => (self.revoked.as_ref().map(|entry| entry.version), self.revoked.as_ref()),
            State::Suspended => {
                (self.suspended.as_ref().map(|fact| fact.entry().version), self.suspension(wanted.at, turn))
            }
        };
        let turn = match wanted.state {
            State::Revoked => 0,
            State::Suspended => self.turn().max(turn) + 1,
        };
        match in_force {
            Some(entry) if entry.covers(wanted) => Outcome::Stands(entry.clone()),
            Some(entry) => Outcome::Writes(DenyEntry { turn, ..wanted.clone().widened_by(entry) }, version),
            None => Outcome::Writes(DenyEntry { turn, ..wanted.clone() }, version),
        }
    }

    fn turn(&self) -> u64 {
        self.suspended.as_ref().map_or(0, |fact| fact.entry().turn)
    }
}

/// Writes until what stands does all that was ordered, and gives what stands then.
pub(crate) async fn record(
    store: &dyn Store,
    wanted: &DenyEntry,
    turn: u64,
) -> Result<DenyEntry, StoreError> {
    for _ in 0..ROUNDS_MAX {
        // Once more after it was written: only the store knows the version.
        match Standing::read(store, &wanted.key).await?.with(wanted, turn) {
            Outcome::Stands(entry) => return Ok(entry),
            Outcome::Writes(entry, version) => write(store, &Fact::Denies(entry), version).await?,
        }
    }
    Err(contended(wanted))
}

/// Takes a suspension back, and gives it as it was, and what stands then. `known` is the suspension as this gateway
/// knows it, and `turn` the highest turn it knows.
pub(crate) async fn resume(
    store: &dyn Store,
    key: &DenyKey,
    (known, turn): (Option<DenyEntry>, u64),
    (by, now): (&str, Timestamp),
) -> Result<(DenyEntry, Fact), OrderError> {
    let mut lifted: Option<DenyEntry> = None;
    for _ in 0..ROUNDS_MAX {
        let standing = Standing::read(store, key).await?;
        if let (Some(lifted), Some(resumed @ Fact::Resumed(_))) = (&lifted, &standing.suspended) {
            return Ok((DenyEntry { version: resumed.entry().version, ..lifted.clone() }, resumed.clone()));
        }
        // A store that has lost the suspension is told of its end as well, or a gateway that was away brings it back.
        let known = known.as_ref().filter(|entry| !entry.has_expired(now) && standing.turn() < entry.turn);
        let suspension = standing.suspension(now, turn).or(known);
        let is_moot =
            |entry: &DenyEntry| standing.revoked.as_ref().is_some_and(|revoked| revoked.covers(entry));
        let suspension = match suspension {
            Some(entry) if is_moot(entry) => return Err(OrderError::Revoked),
            Some(entry) => entry,
            None if standing.revoked.is_some() => return Err(OrderError::Revoked),
            None => return Err(OrderError::NotSuspended),
        };
        let turn = standing.turn().max(turn) + 1;
        let resumed = DenyEntry { turn, by: by.to_owned(), at: now, ..suspension.clone() };
        let version = standing.suspended.as_ref().map(|fact| fact.entry().version);
        lifted = Some(suspension.clone());
        write(store, &Fact::Resumed(resumed), version).await?;
    }
    Err(OrderError::Store(StoreError::Conflict { kind: Kind::Deny, key: key.to_string() }))
}

/// Tells a store again what it has lost.
pub(crate) async fn restore(store: &dyn Store, lost: &Fact) -> Result<(), StoreError> {
    let entry = lost.entry();
    match entry.state {
        State::Revoked => record(store, entry, 0).await.map(|_| ()),
        State::Suspended => {
            for _ in 0..ROUNDS_MAX {
                let standing = Standing::read(store, &entry.key).await?;
                if standing.turn() >= entry.turn {
                    return Ok(());
                }
                let version = standing.suspended.as_ref().map(|fact| fact.entry().version);
                write(store, lost, version).await?;
            }
            Err(contended(entry))
        }
    }
}

/// Writes, unless somebody else has.
async fn write(store: &dyn Store, fact: &Fact, version: Option<u64>) -> Result<(), StoreError> {
    let expect = version.map_or(Expect::Absent, Expect::Version);
    match store.commit(vec![Op::Put(fact.to_put()?.expect(expect))]).await {
        Ok(_) | Err(StoreError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn contended(entry: &DenyEntry) -> StoreError {
    StoreError::Conflict { kind: Kind::Deny, key: record_key(entry.state, &entry.key) }
}
