use std::{
    path::PathBuf,
    sync::{
        Arc,
        mpsc::{self, Sender},
    },
    thread::{self, Thread},
};

use serde::{Deserialize, Serialize};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, broadcast, oneshot};
use vestibule_model::{Clock, Entropy, Fault, Timestamp};

use crate::{
    Attempt, Entry, EvidenceError, LogKey, PublicKey, Record, Trace, TraceBounds, TraceOf,
    error::{chain, unavailable},
    recovery, trace_in,
    writer::{Message, Writer},
};

/// Attempts that a receiver of the live view may lag behind before it loses some.
const LIVE_MAX: usize = 1024;
/// Places for the entries of administrative acts.
const ACT_PLACES: usize = 1_024;

/// When an entry is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Some 10 ms after it is submitted. A power failure loses those; the `gap` entry says so.
    #[default]
    Batched,
    /// Before the attempt goes on: `opened` before the application sees a byte, `closed` before the last byte of the
    /// reply.
    Required,
}

/// Where and how the log is kept.
#[derive(Debug, Clone)]
pub struct EvidenceConfig {
    /// Its folder, of this log only.
    pub folder: PathBuf,
    /// Its name, `<host>/<replica>`: stands in every checkpoint.
    pub origin: String,
    /// When an entry is durable.
    pub mode: Mode,
    /// A segment that would grow beyond this is ended, unless it is empty.
    pub segment_max_bytes: u64,
    /// The most entries that wait for the writer or are reserved by attempts under way: two for an attempt that is not
    /// opened, one for one that is. Bounds the attempts under way, too.
    pub queue_max: usize,
}

/// The log of what was attempted. Cheap to clone. When the last clone and the last [`Entry`] are dropped without
/// [`shutdown`](Self::shutdown), the writer ends the log in order all the same, but nobody waits for it.
#[derive(Debug, Clone)]
pub struct Evidence(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    folder: PathBuf,
    public: PublicKey,
    mode: Mode,
    clock: Arc<dyn Clock>,
    sender: Sender<Message>,
    writer: Thread,
    /// Bounds the queue. A bounded channel would not do: it cannot promise a place to an entry that comes later.
    places: Arc<Semaphore>,
    /// Places that only administrative acts take.
    acts: Arc<Semaphore>,
    live: broadcast::Sender<Arc<Attempt>>,
}

impl Evidence {
    /// Opens the log, or begins one where there is none. Blocks: reads the whole log, compares it with everything that
    /// was signed, closes as `unknown` what was open, and records a `gap` when the last stop was not in order.
    ///
    /// # Errors
    /// When the log is not what was signed, is in use, or cannot be read or written.
    pub fn open(
        config: EvidenceConfig,
        key: LogKey,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, EvidenceError> {
        let public = key.public(&config.origin)?;
        let log = recovery::open(&config, &key, &*clock, &*entropy)?;
        let (sender, receiver) = mpsc::channel();
        let places = Arc::new(Semaphore::new(config.queue_max.min(Semaphore::MAX_PERMITS)));
        let work = Writer::new(log, receiver, Arc::clone(&clock), entropy);
        let acts = Arc::new(Semaphore::new(ACT_PLACES));
        let closed_at_end = [Arc::clone(&places), Arc::clone(&acts)];
        let writer = thread::Builder::new()
            .name("evidence".to_owned())
            .spawn(move || work.run(closed_at_end))
            .map_err(EvidenceError::Thread)?
            .thread()
            .clone();
        let live = broadcast::Sender::new(LIVE_MAX);
        let EvidenceConfig { folder, mode, .. } = config;
        Ok(Self(Arc::new(Inner { folder, public, mode, clock, sender, writer, places, acts, live })))
    }

    /// The key that checks what this log signs.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.0.public
    }

    /// Begins the record of an attempt. Nothing is written yet.
    ///
    /// # Errors
    /// When the writer has failed or the queue is full: what cannot be recorded is refused.
    pub fn begin(&self, record: Record) -> Result<Entry, Fault> {
        let places = Self::reserve(&self.0.places)?;
        Ok(Entry::new(self.clone(), record, places))
    }

    /// Begins the record of an administrative act. Acts have places of their own: whoever floods the gateway with
    /// attempts must not keep an operator from revoking.
    ///
    /// # Errors
    /// When the writer has failed or too many acts are under way.
    pub fn begin_act(&self, record: Record) -> Result<Entry, Fault> {
        let places = Self::reserve(&self.0.acts)?;
        Ok(Entry::new(self.clone(), record, places))
    }

    /// Waits until everything submitted before is durable, in either mode.
    ///
    /// # Errors
    /// When the writer has failed.
    pub async fn flush(&self) -> Result<(), Fault> {
        let (flushed, wait) = oneshot::channel();
        self.send(Message::Flush(flushed))?;
        Self::wait(Some(wait)).await
    }

    /// Waits until everything submitted before is durable and under a signed checkpoint.
    ///
    /// # Errors
    /// When the writer has failed.
    pub async fn sign(&self) -> Result<(), Fault> {
        let (signed, wait) = oneshot::channel();
        self.send(Message::Sign(signed))?;
        Self::wait(Some(wait)).await
    }

    /// Rebuilds what came of an attempt or a workflow, and who asked for it, from everything that was submitted before.
    /// Reads the whole log up to three times, on a thread of its own.
    ///
    /// # Errors
    /// When the writer has failed, or a segment cannot be read or holds a line that is no entry.
    pub async fn trace(&self, of: TraceOf, bounds: TraceBounds) -> Result<Trace, Fault> {
        self.flush().await?;
        let folder = self.0.folder.clone();
        let traced = tokio::task::spawn_blocking(move || trace_in(&folder, of, bounds));
        traced.await.map_err(unavailable)?.map_err(|error| unavailable(chain(&error)))
    }

    /// Ends the log in order: writes what is queued, marks the stop, signs. From now on every attempt is refused; let
    /// those under way end before.
    pub async fn shutdown(&self) {
        self.0.places.close();
        self.0.acts.close();
        let (stopped, wait) = oneshot::channel();
        let ended = match self.send(Message::Stop(stopped)) {
            Ok(()) => Self::wait(Some(wait)).await,
            Err(fault) => Err(fault),
        };
        if let Err(fault) = ended {
            tracing::error!(%fault, "the log was not ended in order");
        }
    }

    /// The attempts that end from now on, for the live view only: whoever is slow loses some, and what is shown may not
    /// be durable yet.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Attempt>> {
        self.0.live.subscribe()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    pub(crate) fn show(&self, attempt: impl FnOnce() -> Attempt) {
        if self.0.live.receiver_count() > 0 {
            // The last receiver may have left since.
            let _ = self.0.live.send(Arc::new(attempt()));
        }
    }

    /// The places of an attempt's two entries.
    fn reserve(places: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Fault> {
        Arc::clone(places).try_acquire_many_owned(2).map_err(|refused| match refused {
            TryAcquireError::NoPermits => {
                unavailable("too many attempts wait for their record to be written")
            }
            TryAcquireError::Closed => stopped(),
        })
    }

    /// Hands lines to the writer. What is returned tells when they are durable, where that matters.
    pub(crate) fn submit(
        &self,
        lines: Vec<u8>,
        places: OwnedSemaphorePermit,
    ) -> Result<Option<oneshot::Receiver<()>>, Fault> {
        let (durable, wait) = match self.0.mode {
            Mode::Batched => (None, None),
            Mode::Required => {
                let (durable, wait) = oneshot::channel();
                (Some(durable), Some(wait))
            }
        };
        self.send(Message::Lines { lines, places, durable })?;
        Ok(wait)
    }

    pub(crate) async fn wait(durable: Option<oneshot::Receiver<()>>) -> Result<(), Fault> {
        match durable {
            Some(durable) => durable.await.map_err(|_| stopped()),
            None => Ok(()),
        }
    }

    fn send(&self, message: Message) -> Result<(), Fault> {
        let is_urgent = message.is_urgent();
        self.0.sender.send(message).map_err(|_| stopped())?;
        if is_urgent {
            self.0.writer.unpark();
        }
        Ok(())
    }
}

fn stopped() -> Fault {
    unavailable("the record is not written any more: the writer has failed, or the gateway is stopping")
}
