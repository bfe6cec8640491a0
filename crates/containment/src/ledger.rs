//! Revocations as the store has them.

use vestibule_store::{Expect, Kind, Op, Store, StoreError};

use crate::{DenyEntry, DenyKey};

/// Reads, decides and writes again at most so many times while others write the same entry.
const ROUNDS_MAX: usize = 16;

/// The entry that stands, if any.
pub(crate) async fn standing(store: &dyn Store, key: &DenyKey) -> Result<Option<DenyEntry>, StoreError> {
    let record = store.get(Kind::Deny, &key.to_string()).await?;
    record.as_ref().map(DenyEntry::from_record).transpose()
}

/// Writes until what stands covers `wanted`, and gives what stands then. Never narrows.
pub(crate) async fn record(store: &dyn Store, wanted: &DenyEntry) -> Result<DenyEntry, StoreError> {
    for _ in 0..ROUNDS_MAX {
        let expect = match standing(store, &wanted.key).await? {
            Some(standing) if standing.covers(wanted.cutoff) => return Ok(standing),
            Some(standing) => Expect::Version(standing.version),
            None => Expect::Absent,
        };
        match store.commit(vec![Op::Put(wanted.to_put()?.expect(expect))]).await {
            // Read once more: only the store knows the version.
            Ok(_) | Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Err(StoreError::Conflict { kind: Kind::Deny, key: wanted.key.to_string() })
}
