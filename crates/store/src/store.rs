use std::fmt::Debug;

use async_trait::async_trait;
use tokio::sync::watch;
use vestibule_model::Timestamp;

use crate::{By, Changes, Counter, Kind, Op, Record, Seq, StoreError};

/// What every engine does alike; `conformance` says so in code.
///
/// Every call may fail with [`StoreError::Unavailable`] or [`StoreError::Stopped`]. Dropping the future of a write
/// does not undo it.
#[async_trait]
pub trait Store: Send + Sync + Debug {
    /// Writes all of `ops`, in order, or none. Durable when it returns. Gives the place of its last change, or of
    /// the newest one known when nothing was logged.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when an expectation fails, [`StoreError::Spent`] when a charge finds no room,
    /// [`StoreError::Recounted`] when a counter has changed, [`StoreError::TooLarge`] for a key or body out of bounds.
    async fn commit(&self, ops: Vec<Op>) -> Result<Seq, StoreError>;

    /// The record, unless it has expired. Sees every commit that was acknowledged before.
    ///
    /// # Errors
    /// As every call.
    async fn get(&self, kind: Kind, key: &str) -> Result<Option<Record>, StoreError>;

    /// At most `limit` records in the byte order of their keys, after the key `after`. Fewer than `limit`: that was
    /// all.
    ///
    /// # Errors
    /// As every call.
    async fn scan(
        &self,
        kind: Kind,
        by: By<'_>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Record>, StoreError>;

    /// At most `limit` counters of a realm that have not expired, in the byte order of their keys, after the key
    /// `after`.
    ///
    /// # Errors
    /// As every call.
    async fn counters(
        &self,
        realm: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Counter>, StoreError>;

    /// Claims each key of a realm until its expiry, and says for each whether this call is the one that has it. A key
    /// whose expiry has passed can be claimed anew; a claim that has expired already is refused, for nothing would
    /// remember it. Give the moment after which the artefact is refused on its own, leeway included.
    ///
    /// # Errors
    /// As every call, and [`StoreError::TooLarge`]. On an error, treat every key as used.
    async fn claim(&self, realm: &str, keys: Vec<(String, Timestamp)>) -> Result<Vec<bool>, StoreError>;

    /// At most `limit` changes after the place `after`.
    ///
    /// # Errors
    /// As every call.
    async fn changes(&self, after: Seq, limit: u32) -> Result<Changes, StoreError>;

    /// Wakes a follower early. Nothing may depend on it: another process's commits do not show here.
    fn hint(&self) -> watch::Receiver<Seq>;

    /// Deletes the records, counters and claims that have expired at `now`, and the log before the place `keep`. Says how many
    /// rows went. What expires is not logged: whoever keeps a record with an expiry drops it by itself.
    ///
    /// # Errors
    /// As every call.
    async fn trim(&self, now: Timestamp, keep: Seq) -> Result<u64, StoreError>;

    /// Leaves nothing behind in the files of what was overwritten or deleted before. Waits for those who read meanwhile.
    ///
    /// # Errors
    /// As every call. Something may then be left: call again.
    async fn scrub(&self) -> Result<(), StoreError>;
}
