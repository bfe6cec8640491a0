//! The one thread that writes the log. Entries that arrive together become durable together.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use vestibule_model::{AttemptId, Clock, Entropy, Monotonic};

use crate::{
    EvidenceError,
    event::{self, Lifecycle},
    log::Log,
};

/// The longest that an entry waits for others, unless somebody waits for it.
const BATCH_WINDOW: Duration = Duration::from_millis(10);
/// The most messages of one batch.
const BATCH_MAX: usize = 1000;
/// How old a checkpoint may be while there are entries after it.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);

/// What the writer is told.
#[derive(Debug)]
pub(crate) enum Message {
    /// Whole lines, to be written together.
    Lines {
        lines: Vec<u8>,
        /// Their places in the queue, free again once they are written.
        places: OwnedSemaphorePermit,
        /// Told when they are durable.
        durable: Option<oneshot::Sender<()>>,
    },
    /// Write what came before.
    Flush(oneshot::Sender<()>),
    /// Write what came before, and sign it.
    Sign(oneshot::Sender<()>),
    /// Write what came before, sign, and end.
    Stop(oneshot::Sender<()>),
}

impl Message {
    /// Whether somebody waits for it: whoever sends it must unpark the writer.
    pub(crate) fn is_urgent(&self) -> bool {
        match self {
            Self::Lines { durable, .. } => durable.is_some(),
            Self::Flush(_) | Self::Sign(_) | Self::Stop(_) => true,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Writer {
    log: Log,
    receiver: Receiver<Message>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    signed_at: Monotonic,
    batch: Batch,
}

#[derive(Debug, Default)]
struct Batch {
    lines: Vec<u8>,
    messages: usize,
    places: Vec<OwnedSemaphorePermit>,
    waiting: Vec<oneshot::Sender<()>>,
    /// Told when what they wait for is signed.
    signing: Vec<oneshot::Sender<()>>,
    /// Somebody waits: write now.
    is_urgent: bool,
    stop: Option<oneshot::Sender<()>>,
}

/// Refuses new attempts once the writer has ended, however it ended.
struct CloseAtEnd([Arc<Semaphore>; 2]);

impl Drop for CloseAtEnd {
    fn drop(&mut self) {
        self.0.iter().for_each(|places| places.close());
    }
}

impl Writer {
    pub(crate) fn new(
        log: Log,
        receiver: Receiver<Message>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let signed_at = clock.monotonic();
        Self { log, receiver, clock, entropy, signed_at, batch: Batch::default() }
    }

    /// Runs until it is told to stop, until everybody who could send is gone, or until it fails. A writer that failed
    /// stays so: what is on disk after a failed sync is unknown, and only a start reads it again.
    pub(crate) fn run(mut self, places: [Arc<Semaphore>; 2]) {
        let close = CloseAtEnd(places);
        let ended = self.serve();
        // First nothing is accepted any more and the folder is free, then whoever waits for the stop is told.
        let stop = self.batch.stop.take();
        drop(close);
        drop(self);
        if let Err(error) = ended {
            tracing::error!(error = &error as &dyn std::error::Error, "the record cannot be written");
        } else if let Some(stop) = stop {
            // Nobody may be waiting any more.
            let _ = stop.send(());
        }
    }

    fn serve(&mut self) -> Result<(), EvidenceError> {
        loop {
            match self.receive() {
                Ok(first) => self.batch(first)?,
                Err(RecvTimeoutError::Timeout) => self.checkpoint()?,
                Err(RecvTimeoutError::Disconnected) => return self.stop(),
            }
            if self.batch.stop.is_some() {
                return self.stop();
            }
        }
    }

    /// Waits for the next message, or until a checkpoint is due.
    fn receive(&self) -> Result<Message, RecvTimeoutError> {
        if self.log.is_unsigned() {
            let age = self.clock.monotonic().since(self.signed_at);
            self.receiver.recv_timeout(CHECKPOINT_EVERY.saturating_sub(age))
        } else {
            self.receiver.recv().map_err(|_| RecvTimeoutError::Disconnected)
        }
    }

    /// Gathers what arrives with the first message and writes it.
    fn batch(&mut self, first: Message) -> Result<(), EvidenceError> {
        self.batch.take(first);
        self.gather();
        if !self.batch.is_urgent {
            // Parked and not receiving: then sending costs nobody a wake-up, unless somebody waits (`Message::is_urgent`).
            thread::park_timeout(BATCH_WINDOW);
            self.gather();
        }
        self.write()?;
        let is_due = !self.batch.signing.is_empty()
            || self.clock.monotonic().since(self.signed_at) >= CHECKPOINT_EVERY;
        if self.log.is_unsigned() && is_due {
            self.checkpoint()?;
        }
        self.signed();
        Ok(())
    }

    /// Takes what is there already.
    fn gather(&mut self) {
        while self.batch.messages < BATCH_MAX
            && let Ok(message) = self.receiver.try_recv()
        {
            self.batch.take(message);
        }
    }

    fn write(&mut self) -> Result<(), EvidenceError> {
        if !self.batch.lines.is_empty() {
            self.log.append(&self.batch.lines)?;
        }
        self.batch.lines.clear();
        self.batch.places.clear();
        for waiting in self.batch.waiting.drain(..) {
            // Whoever waited may have been cancelled.
            let _ = waiting.send(());
        }
        (self.batch.messages, self.batch.is_urgent) = (0, false);
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), EvidenceError> {
        self.log.checkpoint()?;
        self.signed_at = self.clock.monotonic();
        Ok(())
    }

    fn signed(&mut self) {
        for signing in self.batch.signing.drain(..) {
            // Whoever waited may have been cancelled.
            let _ = signing.send(());
        }
    }

    /// Writes what is still queued, says that the stop was in order, and signs.
    fn stop(&mut self) -> Result<(), EvidenceError> {
        while let Ok(message) = self.receiver.try_recv() {
            self.batch.take(message);
        }
        let now = self.clock.now();
        let id = AttemptId::new(now, &*self.entropy);
        event::write_lifecycle(&mut self.batch.lines, &Lifecycle::Stop, id, now)?;
        self.write()?;
        self.log.checkpoint()?;
        self.signed();
        Ok(())
    }
}

impl Batch {
    fn take(&mut self, message: Message) {
        self.messages += 1;
        self.is_urgent |= message.is_urgent();
        match message {
            Message::Lines { lines, places, durable } => {
                self.lines.extend_from_slice(&lines);
                self.places.push(places);
                self.waiting.extend(durable);
            }
            Message::Flush(flushed) => self.waiting.push(flushed),
            Message::Sign(signed) => self.signing.push(signed),
            Message::Stop(stop) => self.stop = Some(stop),
        }
    }
}
