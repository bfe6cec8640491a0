use std::{
    fs::{OpenOptions, Permissions},
    io,
    path::Path,
    time::Duration,
};

use rusqlite::{Connection, TransactionBehavior, ffi};

use super::failed_to;
use crate::StoreError;

/// How long a writer waits for another process's transaction.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Opens a file for writing. `migrations` bring it from one schema number to the next; the number is kept in
/// `user_version`.
pub(super) fn open(path: &Path, synchronous: &str, migrations: &[&str]) -> Result<Connection, StoreError> {
    protect(path).map_err(|source| StoreError::File { path: path.to_owned(), source })?;
    let mut conn = Connection::open(path).map_err(failed_to("open the file"))?;
    configure(&conn, synchronous).map_err(failed_to("configure the file"))?;
    forget(&conn, migrations).map_err(failed_to("rewrite the file"))?;
    migrate(&mut conn, migrations)?;
    Ok(conn)
}

/// SQLite would create the file as the umask says, and gives its `-wal` and `-shm` files the same mode: on a shared
/// machine every user could read the agents, the revocations and the sealed keys.
fn protect(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    file.set_permissions(<Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600))?;
    file.sync_all()
}

fn configure(conn: &Connection, synchronous: &str) -> rusqlite::Result<()> {
    conn.busy_timeout(BUSY_TIMEOUT)?;
    // The pragma answers with the mode in force; `changes` and the readers rely on WAL's snapshots.
    let mode: String = conn.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(rusqlite::Error::InvalidQuery);
    }
    conn.pragma_update(None, "synchronous", synchronous)?;
    // What is deleted or replaced is overwritten with zeros: signing keys of a time before they were sealed, and texts
    // under a key of the vault that is gone.
    conn.pragma_update(None, "secure_delete", true)?;
    conn.set_prepared_statement_cache_capacity(32);
    Ok(())
}

/// Before the second schema, what was deleted stayed where it was: the file is written anew without it, once. In memory,
/// or a copy of everything would lie in the system's folder for temporary files for a while.
fn forget(conn: &Connection, migrations: &[&str]) -> rusqlite::Result<()> {
    let found: usize = conn.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if found != 1 || migrations.len() < 2 {
        return Ok(());
    }
    conn.execute_batch("PRAGMA temp_store = MEMORY; VACUUM; PRAGMA temp_store = DEFAULT;")
}

/// Another connection to a file that is open already.
pub(super) fn reopen(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open(path)?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    conn.pragma_update(None, "secure_delete", true)?;
    Ok(conn)
}

/// How often a checkpoint is tried, each time as long as [`BUSY_TIMEOUT`]: readers that follow each other closely keep
/// it waiting.
const CHECKPOINTS_MAX: usize = 6;

/// Brings the write-ahead log into the database file, and leaves none of it behind.
pub(super) fn checkpoint(conn: &Connection) -> rusqlite::Result<()> {
    for _ in 0..CHECKPOINTS_MAX {
        let is_busy: bool = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
        if !is_busy {
            return Ok(());
        }
    }
    Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_BUSY), None))
}

fn migrate(conn: &mut Connection, migrations: &[&str]) -> Result<(), StoreError> {
    let failed = failed_to("bring the schema up to date");
    // Immediate: of two processes that open a new folder at once, the second finds the work done.
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&failed)?;
    let found: usize = tx.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(&failed)?;
    let known = migrations.len();
    let Some(missing) = migrations.get(found..) else {
        return Err(StoreError::SchemaNewer { found, known });
    };
    for migration in missing {
        tx.execute_batch(migration).map_err(&failed)?;
    }
    tx.pragma_update(None, "user_version", known).map_err(&failed)?;
    tx.commit().map_err(&failed)
}
