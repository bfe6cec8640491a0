//! The embedded engine: two SQLite files in WAL mode.
//!
//! `state.db` holds the records, the log and the counters and is synced at every commit (`synchronous=FULL`): what was
//! acknowledged survives a loss of power. `claims.db` is synced at checkpoints only (`NORMAL`), so that a storm of
//! claims never delays a revocation; a crash of the program loses no claim, a loss of power may lose the last ones,
//! and with them their protection against replay until they expire.
//!
//! Both files are for their owner only. A second process may open the same folder: SQLite's lock orders the writers
//! and each sees the other's commits.

mod claims;
mod counters;
mod file;
mod readers;
mod state;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use tokio::{sync::watch, task::spawn_blocking};
use vestibule_model::{Clock, Timestamp};

use self::{readers::Readers, writer::Writer};
use crate::{By, Changes, Counter, KEY_MAX_BYTES, Kind, Op, Record, Seq, Store, StoreError};

/// A [`Store`] in a folder of its own.
#[derive(Debug)]
pub struct SqliteStore {
    state: Writer,
    claims: Writer,
    readers: Readers,
    hint: watch::Sender<Seq>,
    state_path: PathBuf,
    clock: Arc<dyn Clock>,
}

impl SqliteStore {
    /// Opens `state.db` and `claims.db` in `folder`, which must exist; makes the files (mode 0600) where there are
    /// none, and brings older ones to the present schema. Blocks for as long as that takes.
    ///
    /// # Errors
    /// [`StoreError::File`] when a file cannot be made or protected, [`StoreError::SchemaNewer`] when it is of a
    /// newer version, [`StoreError::Unavailable`] when it is not a usable database.
    pub fn open(folder: &Path, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let state_path = folder.join("state.db");
        let state = file::open(&state_path, "FULL", state::MIGRATIONS)?;
        let claims = file::open(&folder.join("claims.db"), "NORMAL", claims::MIGRATIONS)?;
        let (head, _) = state::head(&state).map_err(failed_to("read the head"))?;
        Ok(Self {
            state: Writer::start("store-state", state)?,
            claims: Writer::start("store-claims", claims)?,
            readers: Readers::open(&state_path)?,
            hint: watch::Sender::new(head),
            state_path,
            clock,
        })
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, ops: Vec<Op>) -> Result<Seq, StoreError> {
        for op in &ops {
            match op {
                Op::Put(put) => put.bounded()?,
                Op::Charge(charge) => charge.bounded()?,
                Op::Delete { .. } | Op::Rewrap(_) | Op::Recount(_) => {}
            }
        }
        let now = self.clock.now();
        let seq = self.state.run(move |conn| state::commit(conn, &ops, now)).await?;
        self.hint.send_if_modified(|known| {
            let is_newer = seq > *known;
            *known = seq.max(*known);
            is_newer
        });
        Ok(seq)
    }

    async fn get(&self, kind: Kind, key: &str) -> Result<Option<Record>, StoreError> {
        let (key, now) = (key.to_owned(), self.clock.now());
        self.readers.run("read a record", move |conn| state::get(conn, kind, &key, now)).await
    }

    async fn scan(
        &self,
        kind: Kind,
        by: By<'_>,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Record>, StoreError> {
        let scan = state::Scan::new(kind, by, after, limit, self.clock.now());
        self.readers.run("scan records", move |conn| scan.run(conn)).await
    }

    async fn counters(
        &self,
        realm: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Counter>, StoreError> {
        let (realm, after, now) = (realm.to_owned(), after.map(str::to_owned), self.clock.now());
        let list = move |conn: &_| counters::list(conn, &realm, after.as_deref(), limit, now);
        self.readers.run("read counters", list).await
    }

    async fn claim(&self, realm: &str, keys: Vec<(String, Timestamp)>) -> Result<Vec<bool>, StoreError> {
        if keys.iter().any(|(key, _)| key.len() > KEY_MAX_BYTES) {
            return Err(StoreError::TooLarge { what: "a key", max_bytes: KEY_MAX_BYTES });
        }
        let (realm, now) = (realm.to_owned(), self.clock.now());
        self.claims.run(move |conn| claims::claim(conn, &realm, &keys, now)).await
    }

    async fn changes(&self, after: Seq, limit: u32) -> Result<Changes, StoreError> {
        let now = self.clock.now();
        self.readers.run("read changes", move |conn| state::changes(conn, after, limit, now)).await
    }

    fn hint(&self) -> watch::Receiver<Seq> {
        self.hint.subscribe()
    }

    async fn trim(&self, now: Timestamp, keep: Seq) -> Result<u64, StoreError> {
        let state = self.state.run(move |conn| state::trim(conn, now, keep)).await?;
        let claims = self.claims.run(move |conn| claims::trim(conn, now)).await?;
        Ok(state + claims)
    }

    /// Deleted content is overwritten as it is deleted (`secure_delete`); what is left is the write-ahead log. On a
    /// connection of its own, for the writer's is always within a transaction.
    async fn scrub(&self) -> Result<(), StoreError> {
        let path = self.state_path.clone();
        let doing = "clear its write-ahead log";
        let work = move || file::checkpoint(&file::reopen(&path)?);
        let done = spawn_blocking(work).await.map_err(|error| StoreError::unavailable(doing, error))?;
        done.map_err(failed_to(doing))
    }
}

/// Says what was tried, beside what SQLite says.
fn failed_to(doing: &'static str) -> impl Fn(rusqlite::Error) -> StoreError {
    move |error| StoreError::unavailable(doing, error)
}
