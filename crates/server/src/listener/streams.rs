//! The requests of one HTTP/2 connection: whether any is running, and whether each client takes its reply.
//!
//! HTTP/2 has a window for each stream. A client that keeps it shut, and answers PINGs, makes no write wait: neither the
//! socket nor hyper tells that a reply is stuck. [`Paced`](super::paced::Paced) tells, and hyper's executor, which is ours,
//! acts on it. So it does when such a reply is revoked: hyper does not ask its body for anything while the window is shut.
//!
//! What remains: a client that opens its window by a trickle is served, from 16 KiB per `limits.write_stall_seconds` on,
//! up to `limits.call_max_seconds`. A reply of one piece that it does not take waits in h2 until the connection ends: 16 KiB
//! each, of 100 replies at most. When one of these is revoked, it takes the connection with it.

use std::{
    cell::{Cell, OnceCell},
    future::Future,
    pin::Pin,
    sync::{
        Arc, Weak,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use super::exchange::Exchange;

/// Runs the requests of a connection and counts them.
#[derive(Clone)]
pub(super) struct Streams {
    stall: Duration,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    begun: AtomicUsize,
    ended: AtomicUsize,
}

impl Streams {
    /// A reply of which no piece is taken for `stall` is cut.
    pub(super) fn new(stall: Duration) -> Self {
        Self { stall, counts: Arc::default() }
    }

    /// Ready when there has been no request within `limit`; never, if there has.
    pub(super) async fn unused(&self, limit: Duration) {
        tokio::time::sleep(limit).await;
        if self.counts().0 > 0 {
            std::future::pending().await
        }
    }

    /// Ready when no request has been running for `limit`, and before twice that.
    pub(super) async fn idle(&self, limit: Duration) {
        let mut before = self.counts();
        loop {
            tokio::time::sleep(limit).await;
            let now = self.counts();
            let (begun, ended) = now;
            if begun == ended && now == before {
                return;
            }
            before = now;
        }
    }

    /// How many requests have begun, and how many have ended.
    fn counts(&self) -> (usize, usize) {
        (self.counts.begun.load(Ordering::Acquire), self.counts.ended.load(Ordering::Acquire))
    }
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        self.counts.begun.fetch_add(1, Ordering::Release);
        let running = Running(Arc::clone(&self.counts));
        let watched = Watched { stream, stall: self.stall, stuck: None, _running: running };
        tokio::spawn(LANE.scope(Lane::default(), watched));
    }
}

struct Running(Arc<Counts>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Release);
    }
}

/// How a reply gets on.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Pace {
    /// hyper has taken all that there was.
    #[default]
    Going,
    /// hyper was given a piece, or told to wait until h2 has written all of them.
    Given,
    /// That was still to be done after hyper had done what it could: the window is shut.
    Stuck,
}

#[derive(Default)]
struct Lane {
    pace: Cell<Pace>,
    exchange: OnceCell<Weak<Exchange>>,
}

tokio::task_local! {
    /// INVARIANT: hyper polls a reply's body in the task that [`Streams`] spawned for its request, and nowhere else.
    static LANE: Lane;
}

pub(super) fn note(pace: Pace) {
    LANE.with(|lane| lane.pace.set(pace));
}

/// Notes which reply it is.
pub(super) fn note_exchange(exchange: &Arc<Exchange>) {
    LANE.with(|lane| {
        // INVARIANT: a request has one reply.
        let _ = lane.exchange.set(Arc::downgrade(exchange));
    });
}

fn exchange() -> Option<Arc<Exchange>> {
    LANE.with(|lane| lane.exchange.get().and_then(Weak::upgrade))
}

pin_project_lite::pin_project! {
    /// A request and its reply. Given up when the reply is stuck for too long, or is stuck and revoked: dropping it resets
    /// the stream, and h2 drops what waits for the window.
    struct Watched<F> {
        #[pin]
        stream: F,
        stall: Duration,
        // Made when a window is first found shut, so that the usual reply costs nothing.
        stuck: Option<Pin<Box<dyn Future<Output = &'static str> + Send>>>,
        _running: Running,
    }
}

impl<F: Future<Output = ()>> Future for Watched<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.stream.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let stuck = || Box::pin(stuck(*this.stall, exchange())) as _;
        let why = match LANE.with(|lane| lane.pace.get()) {
            Pace::Going => return Poll::Pending,
            Pace::Given => {
                note(Pace::Stuck);
                this.stuck.insert(stuck())
            }
            Pace::Stuck => this.stuck.get_or_insert_with(stuck),
        };
        let why = ready!(why.as_mut().poll(cx));
        tracing::debug!(why, "a reply is cut");
        Poll::Ready(())
    }
}

/// Ready when a reply that is stuck has to be given up.
async fn stuck(stall: Duration, exchange: Option<Arc<Exchange>>) -> &'static str {
    let cancelled = exchange.map(|exchange| exchange.cancelled());
    let cancelled = async {
        match cancelled {
            Some(cancelled) => cancelled.await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = cancelled => "revoked",
        () = tokio::time::sleep(stall) => "the client stopped reading",
    }
}
