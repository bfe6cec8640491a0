//! Counters, in the file and the transactions of the records: what is counted and what it is counted for are written
//! together, and survive a loss of power together.

use rusqlite::{Connection, OptionalExtension, Row};
use vestibule_model::Timestamp;

use super::failed_to;
use crate::{Charge, Counter, Recount, StoreError};

pub(super) const MIGRATION: &str = "
    CREATE TABLE counter (
        realm TEXT NOT NULL,
        key TEXT NOT NULL,
        used INTEGER NOT NULL,
        expires_at INTEGER NOT NULL,
        era INTEGER NOT NULL,
        PRIMARY KEY (realm, key)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX counter_by_expiry ON counter (expires_at);
";

/// One statement decides and counts. An expired counter starts anew.
const CHARGE: &str = "
    INSERT INTO counter (realm, key, used, expires_at, era) SELECT ?1, ?2, 1, ?3, ?4 WHERE ?5 > 0
    ON CONFLICT (realm, key) DO UPDATE SET
        used = CASE WHEN counter.expires_at <= ?4 THEN 1 ELSE counter.used + 1 END,
        expires_at = CASE WHEN counter.expires_at <= ?4 THEN excluded.expires_at
                          ELSE max(counter.expires_at, excluded.expires_at) END,
        era = CASE WHEN counter.expires_at <= ?4 THEN max(counter.era + 1, ?4) ELSE counter.era END
    WHERE counter.used < ?5 OR counter.expires_at <= ?4";

pub(super) fn charge(conn: &Connection, charge: &Charge, now: Timestamp) -> Result<(), StoreError> {
    let Charge { realm, key, most, expires_at } = charge;
    let failed = failed_to("count");
    let changed = conn
        .prepare_cached(CHARGE)
        .and_then(|mut charging| charging.execute((realm, key, expires_at.millis(), now.millis(), most)))
        .map_err(&failed)?;
    if changed == 1 {
        return Ok(());
    }
    let era = conn
        .prepare_cached("SELECT era FROM counter WHERE realm = ?1 AND key = ?2")
        .and_then(|mut reading| reading.query_row((realm, key), |row| row.get(0)).optional())
        .map_err(&failed)?;
    Err(StoreError::Spent { realm: realm.clone(), key: key.clone(), era: era.unwrap_or_default() })
}

/// INVARIANT: a counter that begins anew, for whatever reason, is of a later era; so a count that was begun before is
/// never taken for one of the present.
pub(super) fn recount(conn: &Connection, recount: &Recount, now: Timestamp) -> Result<(), StoreError> {
    let Recount { realm, key, era, living } = recount;
    let failed = failed_to("count anew");
    let changed = conn
        .prepare_cached(
            "UPDATE counter SET used = ?4, era = max(era + 1, ?5) WHERE realm = ?1 AND key = ?2 AND era = ?3",
        )
        .and_then(|mut counting| counting.execute((realm, key, era, living, now.millis())))
        .map_err(&failed)?;
    if changed == 1 { Ok(()) } else { Err(StoreError::Recounted { realm: realm.clone(), key: key.clone() }) }
}

pub(super) fn list(
    conn: &Connection,
    realm: &str,
    after: Option<&str>,
    limit: u32,
    now: Timestamp,
) -> rusqlite::Result<Vec<Counter>> {
    // As for records: two texts, so that each is a walk along the key.
    let beyond = if after.is_some() { ">" } else { ">=" };
    let sql = format!(
        "SELECT key, used, expires_at FROM counter
         WHERE realm = ?1 AND key {beyond} ?2 AND expires_at > ?3 ORDER BY key LIMIT ?4"
    );
    conn.prepare_cached(&sql)?
        .query_map((realm, after.unwrap_or_default(), now.millis(), limit), counter)?
        .collect()
}

pub(super) fn trim(conn: &Connection, now: Timestamp) -> Result<u64, StoreError> {
    let trimmed = conn.execute("DELETE FROM counter WHERE expires_at <= ?1", [now.millis()]);
    Ok(trimmed.map_err(failed_to("trim the counters"))? as u64)
}

fn counter(row: &Row<'_>) -> rusqlite::Result<Counter> {
    let expires_at = Timestamp::from_millis(row.get(2)?);
    Ok(Counter { key: row.get(0)?, used: row.get(1)?, expires_at })
}
