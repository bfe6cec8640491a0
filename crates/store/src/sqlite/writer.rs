//! One thread writes each file, and commits what waits together: a sync costs the same for one commit as for many.

use std::{sync::Arc, thread};

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use crate::StoreError;

/// The most commits that share one transaction. Bounds how long the first of them waits for the last.
const BATCH_MAX: usize = 256;

/// The most commits that wait. Beyond it, the callers wait before they are queued.
const QUEUE_MAX: usize = 1024;

/// The queue of a writing thread, which ends when this is dropped and the queue is empty.
#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Box<dyn Job>>,
}

impl Writer {
    pub(super) fn start(name: &str, conn: Connection) -> Result<Self, StoreError> {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || write(conn, waiting))
            .map_err(|error| StoreError::unavailable("start its writer", error))?;
        Ok(Self { queue })
    }

    /// Runs `work` within a transaction and answers after the commit. Undone when `work` fails.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = Waiting { work: Some(work), outcome: Err(StoreError::Stopped), reply };
        self.queue.send(Box::new(job)).await.map_err(|_| StoreError::Stopped)?;
        answer.await.map_err(|_| StoreError::Stopped)?
    }
}

/// What waits in the queue, whatever it gives back.
trait Job: Send {
    /// Does the work and says whether to keep it.
    fn work(&mut self, conn: &Connection) -> bool;
    /// Tells the caller, once the transaction has ended.
    fn answer(self: Box<Self>, committed: &Result<(), Arc<rusqlite::Error>>);
}

struct Waiting<F, T> {
    work: Option<F>,
    outcome: Result<T, StoreError>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> Job for Waiting<F, T>
where
    F: FnOnce(&Connection) -> Result<T, StoreError> + Send,
    T: Send,
{
    fn work(&mut self, conn: &Connection) -> bool {
        if let Some(work) = self.work.take() {
            self.outcome = work(conn);
        }
        self.outcome.is_ok()
    }

    fn answer(self: Box<Self>, committed: &Result<(), Arc<rusqlite::Error>>) {
        let outcome = match (self.outcome, committed) {
            (Ok(_), Err(error)) => {
                Err(StoreError::Unavailable { doing: "commit", source: Arc::<rusqlite::Error>::clone(error) })
            }
            (outcome, _) => outcome,
        };
        // A caller that has gone away wants no answer; its commit stands.
        let _gone = self.reply.send(outcome);
    }
}

fn write(mut conn: Connection, mut waiting: mpsc::Receiver<Box<dyn Job>>) {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while waiting.blocking_recv_many(&mut batch, BATCH_MAX) > 0 {
        let committed = commit(&mut conn, &mut batch).map_err(Arc::new);
        for job in batch.drain(..) {
            job.answer(&committed);
        }
    }
}

/// One transaction for all, a savepoint for each, so that one that fails takes nobody with it. When SQLite gives up
/// the whole transaction (a full disk), the savepoint is gone too, and ending it fails the batch.
fn commit(conn: &mut Connection, batch: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
    let mut tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for job in batch {
        let savepoint = tx.savepoint()?;
        if job.work(&savepoint) { savepoint.commit()? } else { savepoint.finish()? }
    }
    tx.commit()
}
