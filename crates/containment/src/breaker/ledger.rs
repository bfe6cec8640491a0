//! Breakers as the store has them.

use vestibule_store::{Expect, Kind, Op, Store, StoreError};

use super::{
    Breaker, Cause,
    stored::{Name, from_record, to_put},
};

/// Reads, decides and writes again at most so many times while others write the same record.
const ROUNDS_MAX: usize = 16;

/// What came of a change that the gateway made by itself.
#[derive(Debug)]
pub(super) enum Kept {
    /// It stands in the store as it was, or in a later turn: others had gone on without knowing of it.
    As(Breaker),
    /// The store has a later word.
    Overtaken(Breaker, Cause),
}

/// What the store says about a name, and in which version.
async fn read(store: &dyn Store, name: &Name) -> Result<(Option<(Breaker, Cause)>, Expect), StoreError> {
    let Some(record) = store.get(Kind::Breaker, &name.key()).await? else {
        return Ok((None, Expect::Absent));
    };
    let (_, breaker, cause) = from_record(&record)?;
    Ok((Some((breaker, cause)), Expect::Version(record.version)))
}

/// Whether it was written, and not by somebody else meanwhile.
async fn write(
    store: &dyn Store,
    name: &Name,
    (breaker, cause): (&Breaker, &Cause),
    expect: Expect,
) -> Result<bool, StoreError> {
    match store.commit(vec![Op::Put(to_put(name, breaker, cause)?.expect(expect))]).await {
        Ok(_) => Ok(true),
        Err(StoreError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Writes a change that is in force here already. What has opened is not closed again by a word that was written without
/// knowing of it.
pub(super) async fn keep(
    store: &dyn Store,
    name: &Name,
    breaker: &Breaker,
    cause: &Cause,
) -> Result<Kept, StoreError> {
    for _ in 0..ROUNDS_MAX {
        let (stored, expect) = read(store, name).await?;
        let mut next = *breaker;
        if let Some((stored, why)) = stored {
            if stored == next {
                return Ok(Kept::As(next));
            }
            if !next.supersedes(&stored) {
                if !next.is_open() || stored.is_open() {
                    return Ok(Kept::Overtaken(stored, why));
                }
                next.turn = stored.turn + 1;
            }
        }
        if write(store, name, (&next, cause), expect).await? {
            return Ok(Kept::As(next));
        }
    }
    Err(contended(name))
}

/// Writes what an operator ordered, after whatever stands there.
pub(super) async fn order(
    store: &dyn Store,
    name: &Name,
    breaker: &Breaker,
    cause: &Cause,
) -> Result<Breaker, StoreError> {
    for _ in 0..ROUNDS_MAX {
        let (stored, expect) = read(store, name).await?;
        let turn = stored.map_or(0, |(stored, _)| stored.turn + 1).max(breaker.turn);
        let next = Breaker { turn, ..*breaker };
        if write(store, name, (&next, cause), expect).await? {
            return Ok(next);
        }
    }
    Err(contended(name))
}

/// Takes the turn from `from` to `next`, unless any gateway has taken one: of all that try, one succeeds. The others get the
/// later word.
pub(super) async fn claim(
    store: &dyn Store,
    name: &Name,
    (from, next): (&Breaker, &Breaker),
    cause: &Cause,
) -> Result<Result<(), (Breaker, Cause)>, StoreError> {
    for _ in 0..ROUNDS_MAX {
        let (stored, expect) = read(store, name).await?;
        if let Some(later) = stored.filter(|(stored, _)| stored.supersedes(from)) {
            return Ok(Err(later));
        }
        // Not written: somebody was faster, and perhaps only with what we know already.
        if write(store, name, (next, cause), expect).await? {
            return Ok(Ok(()));
        }
    }
    Err(contended(name))
}

fn contended(name: &Name) -> StoreError {
    StoreError::Conflict { kind: Kind::Breaker, key: name.key() }
}
