//! The requests of one HTTP/2 connection: whether any is running, and whether each client takes its reply.
//!
//! HTTP/2 has a window for each stream. A client that keeps it shut, and answers PINGs, makes no write wait: neither the
//! socket nor hyper tells that a reply is stuck. [`Paced`] tells, and hyper's executor, which is ours, acts on it.
//!
//! What remains: a client that opens its window by a trickle is served, from 16 KiB per `limits.write_stall_seconds` on,
//! up to `limits.call_max_seconds`. The last 16 KiB that it does not take of each reply wait in hyper until the connection
//! ends: of 100 replies at most.

use std::{
    cell::Cell,
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Sleep;

/// Replies are handed to hyper in pieces of this size, the largest frame by default (RFC 9113 §4.2): it takes a piece once
/// the window has room for a byte of it, and buffers the rest.
const PIECE_MAX: usize = 16 << 10;

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
        let watched = Watched { stream, stall: self.stall, timer: None, _running: running };
        tokio::spawn(PACE.scope(Cell::new(Pace::Going), watched));
    }
}

struct Running(Arc<Counts>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Release);
    }
}

/// How a reply gets on.
#[derive(Debug, Clone, Copy)]
enum Pace {
    /// hyper has taken all that there was.
    Going,
    /// hyper was given a piece.
    Given,
    /// The piece was still there after hyper had done what it could: the window is shut.
    Stuck,
}

tokio::task_local! {
    /// INVARIANT: hyper polls a reply's body in the task that [`Streams`] spawned for its request, and nowhere else.
    static PACE: Cell<Pace>;
}

fn note(pace: Pace) {
    PACE.with(|noted| noted.set(pace));
}

pin_project_lite::pin_project! {
    /// A request and its reply. Given up when the reply is stuck for too long: dropping it resets the stream.
    struct Watched<F> {
        #[pin]
        stream: F,
        stall: Duration,
        // Made when a window is first found shut, so that the usual reply costs nothing.
        timer: Option<Pin<Box<Sleep>>>,
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
        let sleep = || Box::pin(tokio::time::sleep(*this.stall));
        let timer = match PACE.with(Cell::get) {
            Pace::Going => return Poll::Pending,
            Pace::Given => {
                note(Pace::Stuck);
                this.timer.insert(sleep())
            }
            Pace::Stuck => this.timer.get_or_insert_with(sleep),
        };
        ready!(timer.as_mut().poll(cx));
        tracing::debug!("a reply is cut: its client stopped reading");
        Poll::Ready(())
    }
}

/// A reply that is handed to hyper piece by piece, and notes when the next one is asked for.
pub(super) struct Paced {
    body: Body,
    rest: Bytes,
}

impl Paced {
    pub(super) fn new(body: Body) -> Self {
        Self { body, rest: Bytes::new() }
    }
}

impl HttpBody for Paced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        note(Pace::Going);
        if self.rest.is_empty() {
            let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
            match frame.map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(data))) => self.rest = data,
                Some(Ok(Err(trailers))) => return Poll::Ready(Some(Ok(trailers))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        note(Pace::Given);
        let size = self.rest.len().min(PIECE_MAX);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(size)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        if self.rest.is_empty() { self.body.size_hint() } else { SizeHint::default() }
    }
}
