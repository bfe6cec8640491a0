use std::sync::{Arc, atomic::Ordering};

use tokio_util::sync::WaitForCancellationFutureOwned;
use vestibule_model::Denial;

use crate::in_flight::{Flight, Index};

/// The right of one attempt to be under way, until it is cut. Keep it as long as anything of the attempt is: the
/// attempt leaves the index when this is dropped, and a revocation no longer finds it.
#[derive(Debug)]
#[must_use = "an attempt whose passage is dropped cannot be cut"]
pub struct Passage {
    index: Arc<Index>,
    flight: Arc<Flight>,
}

impl Passage {
    pub(crate) fn new(index: Arc<Index>, flight: Arc<Flight>) -> Self {
        Self { index, flight }
    }

    /// Does the work, unless the attempt is cut first: then drops it, wherever it stands. A result that was ready
    /// when the cut came is withheld too.
    ///
    /// # Errors
    /// The denial for which the attempt was cut.
    pub async fn guard<F: Future>(&self, work: F) -> Result<F::Output, Denial> {
        tokio::select! {
            biased;
            denial = self.flight.until_cut() => Err(denial),
            output = work => match self.cut() {
                None => Ok(output),
                Some(denial) => Err(denial),
            },
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

    /// From now on it counts as a stream.
    pub fn streaming(&self) {
        self.flight.is_streaming.store(true, Ordering::Release);
    }

    /// From now on it counts as completed: its reply is out as a whole.
    pub fn complete(&self) {
        self.flight.is_completed.store(true, Ordering::Release);
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.index.leave(&self.flight);
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use vestibule_model::Timestamp;

    use super::*;
    use crate::{DenyEntry, DenyKey, KeyKind, Order, Reason};

    fn entry() -> DenyEntry {
        let key = DenyKey::new(KeyKind::Agent, "a").unwrap();
        let order = Order {
            key,
            reason: Reason::Compromise,
            cutoff: None,
            by: "operator".to_owned(),
            dry_run: false,
        };
        DenyEntry::new(&order, now())
    }

    fn now() -> Timestamp {
        Timestamp::from_seconds(1_800_000_000)
    }

    fn passage(index: &Arc<Index>) -> Passage {
        let flight = index.enter(vec![entry().key], now());
        Passage::new(Arc::clone(index), flight)
    }

    #[tokio::test]
    async fn pending_work_is_dropped_when_it_is_cut() {
        let index = Arc::new(Index::new());
        let passage = passage(&index);
        let alive = Arc::new(());
        let held = Arc::clone(&alive);
        let mut guarded = Box::pin(passage.guard(async move {
            std::future::pending::<()>().await;
            drop(held);
        }));
        assert!(guarded.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(Arc::strong_count(&alive), 2);
        index.cut(&entry());
        assert_eq!(guarded.await, Err(Denial::AgentRevoked));
        assert_eq!(Arc::strong_count(&alive), 1);
        passage.cancelled().await;
    }

    #[tokio::test]
    async fn work_that_never_began_never_begins_after_a_cut() {
        let index = Arc::new(Index::new());
        let passage = passage(&index);
        index.cut(&entry());
        let work = async { unreachable!("the attempt is cut") };
        assert_eq!(passage.guard(work).await, Err::<(), _>(Denial::AgentRevoked));
    }

    #[tokio::test]
    async fn a_result_that_is_ready_when_the_cut_comes_is_withheld() {
        let index = Arc::new(Index::new());
        let passage = passage(&index);
        let work = async {
            index.cut(&entry());
            "secret"
        };
        assert_eq!(passage.guard(work).await, Err(Denial::AgentRevoked));
    }

    #[tokio::test]
    async fn what_is_not_cut_gives_its_result() {
        let index = Arc::new(Index::new());
        let passage = passage(&index);
        assert_eq!(passage.guard(async { 7 }).await, Ok(7));
        assert_eq!(passage.cut(), None);
    }

    #[test]
    fn dropped_passages_leave_the_index_empty() {
        let index = Arc::new(Index::new());
        let passages: Vec<_> = (0..1000).map(|_| passage(&index)).collect();
        assert_eq!(index.len(), 1000);
        index.cut(&entry());
        drop(passages);
        assert_eq!(index.len(), 0, "cut or not, nothing stays");
    }

    #[test]
    fn a_walk_counts_each_attempt_once_and_by_what_it_was() {
        let index = Arc::new(Index::new());
        let (plain, stream, done) = (passage(&index), passage(&index), passage(&index));
        stream.streaming();
        done.streaming();
        done.complete();
        let counted = index.count(&entry());
        assert_eq!((counted.attempts, counted.streams, counted.completed), (2, 1, 1));
        assert_eq!(plain.cut(), None, "counting cuts nothing");
        assert_eq!(index.cut(&entry()), counted);
        assert!([plain, stream, done].iter().all(|passage| passage.cut() == Some(Denial::AgentRevoked)));
        assert_eq!(index.cut(&entry()).attempts, 0);
    }
}
