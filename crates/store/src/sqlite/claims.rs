use rusqlite::Connection;
use vestibule_model::Timestamp;

use super::failed_to;
use crate::StoreError;

pub(super) const MIGRATIONS: &[&str] = &["
    CREATE TABLE claim (
        realm TEXT NOT NULL,
        key TEXT NOT NULL,
        expires_at INTEGER NOT NULL,
        PRIMARY KEY (realm, key)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX claim_by_expiry ON claim (expires_at);
"];

/// One statement decides and takes, so there is no moment between for a second caller.
const CLAIM: &str = "
    INSERT INTO claim (realm, key, expires_at) VALUES (?1, ?2, ?3)
    ON CONFLICT (realm, key) DO UPDATE SET expires_at = excluded.expires_at WHERE claim.expires_at <= ?4";

pub(super) fn claim(
    conn: &Connection,
    realm: &str,
    keys: &[(String, Timestamp)],
    now: Timestamp,
) -> Result<Vec<bool>, StoreError> {
    let failed = failed_to("claim");
    let mut statement = conn.prepare_cached(CLAIM).map_err(&failed)?;
    let mut claimed = Vec::with_capacity(keys.len());
    for (key, expires_at) in keys {
        let is_ours = *expires_at > now
            && statement.execute((realm, key, expires_at.millis(), now.millis())).map_err(&failed)? == 1;
        claimed.push(is_ours);
    }
    Ok(claimed)
}

pub(super) fn trim(conn: &Connection, now: Timestamp) -> Result<u64, StoreError> {
    let trimmed = conn.execute("DELETE FROM claim WHERE expires_at <= ?1", [now.millis()]);
    Ok(trimmed.map_err(failed_to("trim the claims"))? as u64)
}
