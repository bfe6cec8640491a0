//! The operation that takes its time: one step a second, for both doors. To whom wants to hear of them the steps are
//! told as they come; whom the answer alone interests gets one plain answer at the end.

use std::{future::ready, pin::pin, time::Duration};

use futures_util::{Stream, StreamExt, stream};
use serde::Deserialize;
use tokio::{
    sync::mpsc,
    time::{Instant, Interval, interval_at},
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::journal::Call;

/// How long it takes: 1 to 600 seconds.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "u32")]
pub(super) struct Seconds(u32);

impl Seconds {
    pub(super) const MAX: u32 = 600;

    pub(super) fn get(self) -> u32 {
        self.0
    }
}

impl TryFrom<u32> for Seconds {
    type Error = &'static str;

    fn try_from(seconds: u32) -> Result<Self, Self::Error> {
        if (1..=Self::MAX).contains(&seconds) {
            Ok(Self(seconds))
        } else {
            Err("seconds is a whole number from 1 to 600")
        }
    }
}

/// What happens in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// So many seconds have passed.
    Second(u32),
    /// All have.
    End,
}

struct Run {
    seconds: Seconds,
    passed: u32,
    clock: Interval,
    /// Taken at the end. Before that, it goes down with the run and counts as cancelled.
    call: Option<Call>,
    stop: CancellationToken,
    _over: DropGuard,
}

/// Runs for `seconds`, then ends; sooner and without [`Step::End`] when `stop` is cancelled. However it ends,
/// `stop` is cancelled afterwards: who keeps it sees that the run is over.
pub(super) fn run(
    seconds: Seconds,
    call: Call,
    stop: CancellationToken,
) -> impl Stream<Item = Step> + Send + 'static {
    const SECOND: Duration = Duration::from_secs(1);
    let clock = interval_at(Instant::now() + SECOND, SECOND);
    let over = stop.clone().drop_guard();
    let run = Run { seconds, passed: 0, clock, call: Some(call), stop, _over: over };
    stream::unfold(run, async |mut run| Some((run.step().await?, run)))
}

/// The same run, which nobody ends by not listening any more.
pub(super) fn unheard(steps: impl Stream<Item = Step> + Send + 'static) -> impl Stream<Item = Step> + Send {
    // Unbounded, but a run has no more steps than [`Seconds::MAX`] and its end.
    let (told, heard) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut steps = pin!(steps);
        while let Some(step) = steps.next().await {
            // Whether anybody hears it does not matter.
            let _ = told.send(step);
        }
    });
    UnboundedReceiverStream::new(heard)
}

/// Waits for the end; false when the run is stopped before.
pub(super) async fn is_finished(steps: impl Stream<Item = Step>) -> bool {
    pin!(steps.filter(|step| ready(*step == Step::End))).next().await.is_some()
}

impl Run {
    async fn step(&mut self) -> Option<Step> {
        if self.passed == self.seconds.0 {
            self.call.take()?.answered();
            return Some(Step::End);
        }
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            _ = self.clock.tick() => {
                self.passed += 1;
                Some(Step::Second(self.passed))
            }
        }
    }
}
