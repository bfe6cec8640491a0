use tokio::sync::{OwnedSemaphorePermit, oneshot};
use vestibule_model::{AttemptId, Fault, FaultKind};

use crate::{
    Attempt, Evidence, Outcome, Record, State,
    error::unavailable,
    event::{self, EntryKind},
};

/// The proof that the record of an attempt is open. Made here only; forwarding demands it, so that nothing is forwarded
/// without a record.
///
/// ```compile_fail
/// let forged = vestibule_evidence::Opened { _private: () };
/// ```
#[derive(Debug)]
pub struct Opened {
    _private: (),
}

/// How far the record of an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing is submitted.
    Begun,
    /// `opened` is submitted, but nobody has the proof: nothing can have been forwarded.
    Submitted,
    /// The proof was handed out: the application may act.
    Opened,
    /// `closed` is submitted.
    Closed,
}

/// The record of one attempt while it is under way. It is always closed: dropped without [`close`](Self::close), it
/// closes as abandoned, or as unknown once the application may have acted. Its places in the queue are reserved from
/// the beginning, and closing needs no runtime, so that this holds while the gateway shuts down, too.
#[derive(Debug)]
pub struct Entry {
    evidence: Evidence,
    /// Boxed: an entry is handed on several times, and a record is large.
    record: Box<Record>,
    places: OwnedSemaphorePermit,
    stage: Stage,
}

impl Entry {
    pub(crate) fn new(evidence: Evidence, record: Record, places: OwnedSemaphorePermit) -> Self {
        Self { evidence, record: Box::new(record), places, stage: Stage::Begun }
    }

    /// The attempt's identifier.
    #[must_use]
    pub fn id(&self) -> AttemptId {
        self.record.attempt
    }

    /// Whether the application may have acted: the `opened` entry was submitted, so the attempt may have been forwarded.
    #[must_use]
    pub fn is_opened(&self) -> bool {
        matches!(self.stage, Stage::Submitted | Stage::Opened)
    }

    /// What is known so far, to be filled in.
    pub fn record(&mut self) -> &mut Record {
        &mut self.record
    }

    /// Submits the `opened` entry with what is known now. In mode `required` it is durable when this returns.
    ///
    /// # Errors
    /// When the record cannot be written: the attempt must not be forwarded.
    pub async fn opened(&mut self) -> Result<Opened, Fault> {
        if self.stage != Stage::Begun {
            return Err(Fault::new(FaultKind::Internal, "the record of one attempt was opened twice"));
        }
        let mut lines = Vec::with_capacity(LINE_BYTES);
        self.write(&mut lines, EntryKind::Opened, None)?;
        let durable = self.submit(lines, 1)?;
        self.stage = Stage::Submitted;
        Evidence::wait(durable).await?;
        self.stage = Stage::Opened;
        Ok(Opened { _private: () })
    }

    /// Submits the `closed` entry, and the `opened` one with it where there was none. In mode `required` both are
    /// durable when this returns.
    ///
    /// # Errors
    /// When the record cannot be written: the end of the reply must not be sent.
    pub async fn close(mut self, outcome: Outcome) -> Result<(), Fault> {
        let durable = self.finish(outcome)?;
        Evidence::wait(durable).await
    }

    fn finish(&mut self, outcome: Outcome) -> Result<Option<oneshot::Receiver<()>>, Fault> {
        let is_begun = self.stage == Stage::Begun;
        self.stage = Stage::Closed;
        let mut lines = Vec::with_capacity(2 * LINE_BYTES);
        if is_begun {
            self.write(&mut lines, EntryKind::Opened, None)?;
        }
        self.write(&mut lines, EntryKind::Closed, Some(outcome))?;
        let durable = self.submit(lines, if is_begun { 2 } else { 1 })?;
        self.evidence.show(|| Attempt {
            record: (*self.record).clone(),
            state: State::Closed,
            outcome: Some(outcome),
        });
        Ok(durable)
    }

    fn write(
        &mut self,
        lines: &mut Vec<u8>,
        entry: EntryKind,
        outcome: Option<Outcome>,
    ) -> Result<(), Fault> {
        self.record.bound();
        event::write_attempt(lines, entry, &self.record, outcome, self.evidence.now()).map_err(unavailable)
    }

    fn submit(&mut self, lines: Vec<u8>, entries: usize) -> Result<Option<oneshot::Receiver<()>>, Fault> {
        let places = self.places.split(entries).ok_or_else(|| unavailable("no place is reserved"))?;
        self.evidence.submit(lines, places)
    }
}

/// What an entry takes with some room; the buffer grows where it does not do.
pub(crate) const LINE_BYTES: usize = 2048;

impl Drop for Entry {
    fn drop(&mut self) {
        let outcome = match self.stage {
            Stage::Closed => return,
            Stage::Begun | Stage::Submitted => Outcome::Abandoned,
            Stage::Opened => Outcome::Unknown,
        };
        if let Err(fault) = self.finish(outcome) {
            tracing::error!(%fault, attempt = %self.id(), "the end of an attempt is not recorded");
        }
    }
}
