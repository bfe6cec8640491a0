use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::{Connection, OpenFlags};
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::{failed_to, file::BUSY_TIMEOUT};
use crate::StoreError;

/// How many reads run at once.
const READERS: usize = 4;

/// Connections that only read. WAL lets them read beside the writer.
#[derive(Debug)]
pub(super) struct Readers {
    idle: Arc<Mutex<Vec<Connection>>>,
    /// One permit for each idle connection.
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let open = || {
            let conn = Connection::open_with_flags(
                path,
                OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
            )?;
            conn.busy_timeout(BUSY_TIMEOUT)?;
            Ok(conn)
        };
        let idle: Result<Vec<_>, rusqlite::Error> = (0..READERS).map(|_| open()).collect();
        let idle = idle.map_err(failed_to("open the file for reading"))?;
        Ok(Self { idle: Arc::new(Mutex::new(idle)), permits: Arc::new(Semaphore::new(READERS)) })
    }

    /// Runs `work` on a thread that may block.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| StoreError::Stopped)?;
        let idle = Arc::clone(&self.idle);
        let reading = spawn_blocking(move || {
            let take = || idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let conn = take().ok_or(StoreError::Stopped)?;
            let outcome = work(&conn);
            idle.lock().unwrap_or_else(PoisonError::into_inner).push(conn);
            drop(permit); // only now: a caller that goes away must not let another in before the connection is back
            outcome.map_err(failed_to(doing))
        });
        reading.await.map_err(|error| StoreError::unavailable(doing, error))?
    }
}
