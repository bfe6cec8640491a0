//! The records and the ordered log.

use rusqlite::{
    Connection, OptionalExtension, Row, ToSql,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef},
};
use vestibule_model::Timestamp;

use super::{counters, failed_to};
use crate::{By, Change, Changes, Expect, Kind, Op, Put, Record, Seq, StoreError, vault::Rewrapping};

/// The epoch comes from SQLite's own generator, which the system seeds: it must be new, not secret.
pub(super) const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE head (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        epoch TEXT NOT NULL,
        seq INTEGER NOT NULL
    ) STRICT;
    INSERT INTO head (id, epoch, seq) VALUES (1, lower(hex(randomblob(16))), 0);
    CREATE TABLE change_log (
        seq INTEGER PRIMARY KEY,
        kind TEXT NOT NULL,
        key TEXT NOT NULL
    ) STRICT;
    CREATE TABLE record (
        kind TEXT NOT NULL,
        key TEXT NOT NULL,
        version INTEGER NOT NULL,
        parent TEXT,
        subject TEXT,
        expires_at INTEGER,
        body TEXT NOT NULL,
        PRIMARY KEY (kind, key)
    ) STRICT;
    CREATE INDEX record_by_parent ON record (kind, parent, key) WHERE parent IS NOT NULL;
    CREATE INDEX record_by_subject ON record (kind, subject, key) WHERE subject IS NOT NULL;
    CREATE INDEX record_by_expiry ON record (expires_at) WHERE expires_at IS NOT NULL;
",
    // No new tables. Until here what was deleted stayed in the file: see `file::forget`.
    "",
    counters::MIGRATION,
];

const SELECT: &str = "SELECT kind, key, version, parent, subject, expires_at, body FROM record WHERE ";

/// All of a commit, within the savepoint that the writer holds.
pub(super) fn commit(conn: &Connection, ops: &[Op], now: Timestamp) -> Result<Seq, StoreError> {
    for op in ops {
        match op {
            Op::Put(put) => write(conn, put, now)?,
            Op::Delete { kind, key } => delete(conn, *kind, key).map_err(failed_to("delete a record"))?,
            Op::Rewrap(row) => rewrap(conn, row)?,
            Op::Charge(charge) => counters::charge(conn, charge, now)?,
            Op::Recount(recount) => counters::recount(conn, recount, now)?,
        }
    }
    head(conn).map(|(seq, _)| seq).map_err(failed_to("read the head"))
}

fn write(conn: &Connection, put: &Put, now: Timestamp) -> Result<(), StoreError> {
    let failed = failed_to("write a record");
    let standing = standing(conn, put.kind, &put.key).map_err(&failed)?;
    let live = standing.and_then(|(version, expires_at)| is_live(expires_at, now).then_some(version));
    let is_as_expected = match put.expect {
        Expect::Any => true,
        Expect::Absent => live.is_none(),
        Expect::Version(version) => live == Some(version),
    };
    if !is_as_expected {
        return Err(StoreError::Conflict { kind: put.kind, key: put.key.clone() });
    }
    let version = standing.map_or(0, |(version, _)| version) + 1;
    replace(conn, put, version, &put.body_at(version)?).map_err(&failed)?;
    if put.logged { log(conn, put.kind, &put.key).map_err(&failed) } else { Ok(()) }
}

fn standing(conn: &Connection, kind: Kind, key: &str) -> rusqlite::Result<Option<(u64, Option<Timestamp>)>> {
    conn.prepare_cached("SELECT version, expires_at FROM record WHERE kind = ?1 AND key = ?2")?
        .query_row((kind, key), |row| Ok((row.get(0)?, timestamp(row, 1)?)))
        .optional()
}

fn replace(conn: &Connection, put: &Put, version: u64, body: &str) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT OR REPLACE INTO record (kind, key, version, parent, subject, expires_at, body)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute((
        put.kind,
        &put.key,
        version,
        &put.parent,
        &put.subject,
        put.expires_at.map(Timestamp::millis),
        body,
    ))?;
    Ok(())
}

/// The body as it stands here, so a writer that was faster is not undone.
fn rewrap(conn: &Connection, row: &Rewrapping) -> Result<(), StoreError> {
    let failed = failed_to("rewrap a record");
    let standing: Option<(u64, String)> = conn
        .prepare_cached("SELECT version, body FROM record WHERE kind = ?1 AND key = ?2")
        .and_then(|mut found| {
            found.query_row((row.kind, &row.key), |r| Ok((r.get(0)?, r.get(1)?))).optional()
        })
        .map_err(&failed)?;
    let Some((version, standing)) = standing else { return Ok(()) };
    if let Some(body) = row.body(version, &standing)? {
        conn.prepare_cached("UPDATE record SET body = ?3 WHERE kind = ?1 AND key = ?2")
            .and_then(|mut update| update.execute((row.kind, &row.key, body)))
            .map_err(&failed)?;
    }
    Ok(())
}

fn delete(conn: &Connection, kind: Kind, key: &str) -> rusqlite::Result<()> {
    let mut statement = conn.prepare_cached("DELETE FROM record WHERE kind = ?1 AND key = ?2")?;
    if statement.execute((kind, key))? == 1 { log(conn, kind, key) } else { Ok(()) }
}

/// INVARIANT: the number is taken in the transaction that writes the change, from one row. Transactions that log
/// therefore commit in the order of their numbers, and a reader that has seen `n` has seen everything before it.
fn log(conn: &Connection, kind: Kind, key: &str) -> rusqlite::Result<()> {
    let seq: Seq = conn
        .prepare_cached("UPDATE head SET seq = seq + 1 RETURNING seq")?
        .query_row([], |row| row.get(0))?;
    conn.prepare_cached("INSERT INTO change_log (seq, kind, key) VALUES (?1, ?2, ?3)")?
        .execute((seq, kind, key))?;
    Ok(())
}

pub(super) fn head(conn: &Connection) -> rusqlite::Result<(Seq, String)> {
    conn.prepare_cached("SELECT seq, epoch FROM head")?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
}

pub(super) fn get(
    conn: &Connection,
    kind: Kind,
    key: &str,
    now: Timestamp,
) -> rusqlite::Result<Option<Record>> {
    let stored = conn
        .prepare_cached(&format!("{SELECT} kind = ?1 AND key = ?2"))?
        .query_row((kind, key), record)
        .optional()?;
    Ok(stored.filter(|record| is_live(record.expires_at, now)))
}

/// A scan, with what its statement needs.
pub(super) struct Scan {
    kind: Kind,
    filter: &'static str,
    sought: Option<String>,
    at: Timestamp,
    after: Option<String>,
    limit: u32,
}

impl Scan {
    pub(super) fn new(kind: Kind, by: By<'_>, after: Option<&str>, limit: u32, now: Timestamp) -> Self {
        // Each filter uses both parameters, so that one list of values fits all.
        const LIVE: &str = "?2 IS NULL AND (expires_at IS NULL OR expires_at > ?3)";
        const PARENT: &str = "parent = ?2 AND (expires_at IS NULL OR expires_at > ?3)";
        const SUBJECT: &str = "subject = ?2 AND (expires_at IS NULL OR expires_at > ?3)";
        const EXPIRED: &str = "?2 IS NULL AND expires_at <= ?3";
        let (filter, sought, at) = match by {
            By::All => (LIVE, None, now),
            By::Parent(parent) => (PARENT, Some(parent.to_owned()), now),
            By::Subject(subject) => (SUBJECT, Some(subject.to_owned()), now),
            By::ExpiredBefore(at) => (EXPIRED, None, at),
        };
        Self { kind, filter, sought, at, after: after.map(str::to_owned), limit }
    }

    pub(super) fn run(self, conn: &Connection) -> rusqlite::Result<Vec<Record>> {
        let Self { kind, filter, sought, at, after, limit } = self;
        // Two texts rather than `?4 IS NULL OR key > ?4`, which would walk the whole kind for every page.
        let beyond = if after.is_some() { ">" } else { ">=" };
        let sql = format!("{SELECT} kind = ?1 AND {filter} AND key {beyond} ?4 ORDER BY key LIMIT ?5");
        conn.prepare_cached(&sql)?
            .query_map((kind, sought, at.millis(), after.unwrap_or_default(), limit), record)?
            .collect()
    }
}

/// One snapshot for the head and the rows, or a commit between the two would look like a trimmed log.
pub(super) fn changes(
    conn: &Connection,
    after: Seq,
    limit: u32,
    now: Timestamp,
) -> rusqlite::Result<Changes> {
    let snapshot = conn.unchecked_transaction()?;
    let (head, epoch) = self::head(&snapshot)?;
    let next: Option<Seq> = snapshot
        .prepare_cached("SELECT min(seq) FROM change_log WHERE seq > ?1")?
        .query_row([after], |row| row.get(0))?;
    let trimmed = after != head && next != after.checked_add(1);
    let mut items: Vec<Change> = snapshot
        .prepare_cached("SELECT seq, kind, key FROM change_log WHERE seq > ?1 ORDER BY seq LIMIT ?2")?
        .query_map((after, limit), |row| {
            Ok(Change { seq: row.get(0)?, kind: row.get(1)?, key: row.get(2)?, record: None })
        })?
        .collect::<rusqlite::Result<_>>()?;
    for change in &mut items {
        change.record = get(&snapshot, change.kind, &change.key, now)?;
    }
    Ok(Changes { epoch, head, items, trimmed })
}

pub(super) fn trim(conn: &Connection, now: Timestamp, keep: Seq) -> Result<u64, StoreError> {
    let failed = failed_to("trim the records");
    let records =
        conn.execute("DELETE FROM record WHERE expires_at <= ?1", [now.millis()]).map_err(&failed)?;
    let log = conn.execute("DELETE FROM change_log WHERE seq < ?1", [keep]).map_err(&failed)?;
    Ok((records + log) as u64 + counters::trim(conn, now)?)
}

fn is_live(expires_at: Option<Timestamp>, now: Timestamp) -> bool {
    expires_at.is_none_or(|at| at > now)
}

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    Ok(Record {
        kind: row.get(0)?,
        key: row.get(1)?,
        version: row.get(2)?,
        parent: row.get(3)?,
        subject: row.get(4)?,
        expires_at: timestamp(row, 5)?,
        body: row.get(6)?,
    })
}

fn timestamp(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_millis))
}

impl ToSql for Kind {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.as_str().into())
    }
}

impl FromSql for Kind {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::parse(value.as_str()?).ok_or(FromSqlError::InvalidType)
    }
}
