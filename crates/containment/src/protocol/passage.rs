use std::{fmt, sync::Arc};

use vestibule_model::{AttemptId, Denial};

use super::{
    super::sync::WaitForCancellationFutureOwned, flight::Flight, index::Index, off_switch::OffSwitch,
};
use crate::{Stage, Wire, breaker::Probe};

/// The right of one attempt to be under way, until it is cut.
///
/// INVARIANT for whoever holds it: kept until nothing of the attempt will be written any more, that is until the last
/// byte of its reply has been flushed to the socket or its wire is severed. Dropped, the attempt has left: no order
/// finds it or waits for it, and what is made within it is cut.
#[must_use = "an attempt whose passage is dropped cannot be cut"]
pub struct Passage {
    index: Arc<Index>,
    pub(crate) flight: Arc<Flight>,
    /// The breakers for which it is a probe.
    pub(super) probes: Box<[Probe]>,
}

impl Passage {
    pub(super) fn new(index: Arc<Index>, flight: Arc<Flight>) -> Self {
        Self { index, flight, probes: Box::default() }
    }

    /// Does the work, unless the attempt is cut first: then drops it, wherever it stands. A result that was ready
    /// when the cut came is withheld too.
    ///
    /// # Errors
    /// The denial for which the attempt was cut.
    pub async fn guard<F: Future>(&self, work: F) -> Result<F::Output, Denial> {
        tokio::select! {
            biased;
            denial = self.until_cut() => Err(denial),
            output = work => match self.cut() {
                None => Ok(output),
                Some(denial) => Err(denial),
            },
        }
    }

    async fn until_cut(&self) -> Denial {
        loop {
            self.flight.cancelled.cancelled().await;
            // Set before the cancellation: the loop turns once.
            if let Some(denial) = self.cut() {
                return denial;
            }
        }
    }

    /// Why the attempt was cut. One atomic load: ask before every chunk that is written.
    #[must_use]
    pub fn cut(&self) -> Option<Denial> {
        self.flight.cut()
    }

    /// Ends when the attempt is cut.
    pub fn cancelled(&self) -> WaitForCancellationFutureOwned {
        self.flight.cancelled.clone().cancelled_owned()
    }

    /// What its caller can call it off by.
    #[must_use]
    pub fn off_switch(&self) -> OffSwitch {
        OffSwitch::new(&self.index, &self.flight)
    }

    /// Whether it was let through to see whether a breaker may close.
    #[must_use]
    pub fn is_probe(&self) -> bool {
        !self.probes.is_empty()
    }

    pub(crate) fn probes(&self) -> &[Probe] {
        &self.probes
    }

    /// Which attempt it is.
    #[must_use]
    pub fn attempt(&self) -> AttemptId {
        self.flight.attempt
    }

    /// On which connection the reply goes out; say it before the first byte. One that is not shared with other attempts
    /// (HTTP/1) is severed at once when the attempt is cut while its reply is being written, a shared one (HTTP/2) only
    /// when the attempt does not leave in time.
    pub fn carried_by(&self, wire: Arc<dyn Wire>, is_shared: bool) {
        self.flight.carried_by(wire, is_shared);
    }

    /// From now on the upstream may have begun.
    pub fn forwarded(&self) {
        // What was cut stays where it was, and its work is being dropped.
        let _cut = self.flight.advance(Stage::Forwarded);
    }

    /// From now on its reply is being written.
    ///
    /// # Errors
    /// The denial for which it was cut: not a byte of the reply may be written then. When there is none, a cut that
    /// comes later finds the reply being written and severs its wire.
    pub fn streaming(&self) -> Result<(), Denial> {
        self.flight.advance(Stage::Streaming)
    }

    /// From now on its reply has been handed over as a whole.
    pub fn complete(&self) {
        // As for `forwarded`.
        let _cut = self.flight.advance(Stage::Completed);
    }
}

impl fmt::Debug for Passage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Passage").field("attempt", &self.attempt()).finish_non_exhaustive()
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.index.leave(&self.flight);
    }
}
