//! The operation that takes its time: one step a second, for both doors.

use std::time::Duration;

use futures_util::{Stream, stream};
use serde::Deserialize;
use tokio::time::{Instant, Interval, interval_at};
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
