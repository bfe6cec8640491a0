//! The reply as it streams back: every chunk re-checked against containment, counted, and followed by the record.
//!
//! INVARIANT: the record is closed before the last byte is handed to the HTTP layer. Where a chunk completes the body,
//! it is held until the record is closed; where only the end of the stream tells, the end is held.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::FutureExt;
use http::Response;
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;
use tokio_util::sync::WaitForCancellationFutureOwned;
use vestibule_containment::Passage;
use vestibule_evidence::{Entry, Outcome};
use vestibule_model::{Denial, Fault, Monotonic, Stop};

use crate::{
    body::StreamedDigest,
    breakers::{self, Metered},
    edge::{self, Surface},
    forward::{Reply, ReplyBody},
    gateway::Gateway,
    mcp_reply::EventFilter,
    notes,
    outer_calls::OuterCall,
    slots::{Held, Slot},
    withdrawal::Withdrawing,
};

/// Largest piece of a reply that was read whole, in bytes.
const PIECE_MAX_BYTES: usize = 16 << 10;

const REVOKED: &str = "revoked";

type Closing = Pin<Box<dyn Future<Output = Result<(), Fault>> + Send>>;
/// What is given back when the reply ends.
type With = (Slot, Held, Option<OuterCall>);
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Turns the application's reply into ours.
pub(crate) async fn stream(
    gw: &Arc<Gateway>,
    reply: Reply,
    mut entry: Entry,
    surface: &Surface,
    started: Monotonic,
) -> Response<Body> {
    let id = entry.id();
    let record = entry.record();
    record.upstream_status = Some(reply.status.as_u16());
    record.bytes_in = reply.bytes_in;
    let (status, headers) = (reply.status, reply.headers);
    let ends = Ends {
        gw: Arc::clone(gw),
        entry: Some(entry),
        passage: reply.passage,
        withdrawing: reply.withdrawing,
        started,
        forwarded: reply.forwarded,
        bytes_out: 0,
        streamed: reply.streamed,
        metered: reply.metered,
    };
    let body = match reply.body {
        ReplyBody::Streamed(body) if !body.is_end_stream() => Guarded::new(Source::Streamed(body), ends),
        ReplyBody::Filtered(body, filter) => Guarded::new(Source::Filtered(body, filter), ends),
        ReplyBody::Streamed(_) => Guarded::new(Source::Whole(Bytes::new()), ends),
        ReplyBody::Whole(bytes) => Guarded::new(Source::Whole(bytes), ends),
    };
    let settled = body.until(reply.deadline).with((reply.slot, reply.held, reply.outer)).settled().await;
    let mut response = match settled {
        Ok(body) => Response::new(body),
        Err(stop) => return edge::answer(&stop, surface, id),
    };
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    edge::request_id(&mut response, id);
    response
}

/// What has to happen when the reply ends, however it ends.
struct Ends {
    gw: Arc<Gateway>,
    entry: Option<Entry>,
    passage: Option<Arc<Passage>>,
    withdrawing: Withdrawing,
    /// When the request arrived.
    started: Monotonic,
    /// When it was forwarded.
    forwarded: Monotonic,
    bytes_out: u64,
    streamed: Option<StreamedDigest>,
    metered: Option<Metered>,
}

impl Ends {
    fn count(&mut self, bytes: u64) {
        self.bytes_out += bytes;
        if let Some(metered) = &mut self.metered {
            metered.count(&self.gw, bytes);
        }
    }

    fn close(&mut self, outcome: Outcome) -> Option<Closing> {
        let mut entry = self.entry.take()?;
        if let Some(metered) = &mut self.metered {
            metered.end(&self.gw);
        }
        let record = entry.record();
        record.bytes_out = self.bytes_out;
        if let Some((digest, size)) = self.streamed.as_ref().and_then(StreamedDigest::get) {
            record.args_digest = Some(digest);
            record.bytes_in = size;
        }
        let now = self.gw.clock.monotonic();
        record.durations.upstream_us = notes::micros(now.since(self.forwarded));
        record.durations.total_us = notes::micros(now.since(self.started));
        self.gw.metrics.ended(outcome);
        Some(Box::pin(entry.close(outcome)))
    }

    /// Nobody waits for the rest any more, whether the caller is cut or time is up: tells the application.
    fn withdraw(&mut self) {
        let denial = self.cut();
        if let Some(entry) = &mut self.entry {
            let record = entry.record();
            record.cause = denial
                .zip(self.passage.as_ref())
                .and_then(|(denial, passage)| breakers::cause_of(&self.gw, passage, denial));
            record.cancelled = self.withdrawing.fire(&self.gw, denial);
            record.denial = denial.map(|denial| denial.code().to_owned());
        }
    }

    /// All of the reply is there.
    ///
    /// INVARIANT: before the record says so. A cut that comes while the record is being written finds the reply complete,
    /// and its report tells the same as the record.
    fn complete(&self) -> Result<(), Denial> {
        if let Some(passage) = &self.passage {
            passage.complete();
        }
        self.cut().map_or(Ok(()), Err)
    }

    /// What a caller is told that was cut before its reply began.
    fn stop(&self, denial: Denial) -> Stop {
        self.passage
            .as_ref()
            .map_or_else(|| denial.into(), |passage| breakers::cut(&self.gw, passage, denial))
    }

    fn cut(&self) -> Option<Denial> {
        self.passage.as_ref().and_then(|passage| passage.cut())
    }
}

impl Drop for Ends {
    /// The socket is gone in the middle. Either the caller was cut, and its connection with it; or it left: the
    /// application may have acted.
    fn drop(&mut self) {
        let outcome = if self.cut().is_some() { Outcome::Cut } else { Outcome::Unknown };
        if outcome == Outcome::Cut {
            self.withdraw();
        }
        if let Some(closing) = self.close(outcome) {
            submit(closing);
        }
    }
}

/// Hands the end to the record without waiting until it is durable. The first poll submits it: a task of its own might
/// never run where the gateway is stopping.
fn submit(closing: Closing) {
    if let Some(Err(fault)) = closing.now_or_never() {
        tracing::error!(%fault, "the end of a reply cannot be recorded");
    }
}

enum Source {
    Streamed(Incoming),
    Filtered(Incoming, Box<EventFilter>),
    /// Read whole; handed on in pieces, so that the request's share of memory is held until nearly all is sent.
    Whole(Bytes),
}

impl Source {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self {
            // Trailers go no further: they would follow the last byte, after the record's end.
            Self::Streamed(body) => loop {
                match ready!(Pin::new(&mut *body).poll_frame(cx)) {
                    Some(Ok(frame)) if !frame.is_data() => {}
                    other => return Poll::Ready(other.map(|frame| frame.map_err(Into::into))),
                }
            },
            Self::Filtered(body, filter) => Pin::new(body).poll_frame(cx).map(|frame| {
                let frame = match frame? {
                    Ok(frame) => frame,
                    Err(error) => return Some(Err(error.into())),
                };
                let Ok(data) = frame.into_data() else { return Some(Ok(Frame::data(Bytes::new()))) };
                Some(filter.push(&data).map(Frame::data).map_err(Into::into))
            }),
            Self::Whole(rest) if rest.is_empty() => Poll::Ready(None),
            Self::Whole(rest) => {
                let piece = rest.split_to(rest.len().min(PIECE_MAX_BYTES));
                Poll::Ready(Some(Ok(Frame::data(piece))))
            }
        }
    }

    fn is_end(&self) -> bool {
        match self {
            Self::Streamed(body) | Self::Filtered(body, _) => body.is_end_stream(),
            Self::Whole(rest) => rest.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Streamed(body) => body.size_hint(),
            // What is filtered gets shorter.
            Self::Filtered(_, _) => SizeHint::default(),
            Self::Whole(rest) => SizeHint::with_exact(rest.len() as u64),
        }
    }
}

/// A reply body under containment.
struct Guarded {
    source: Source,
    /// How long the body may take.
    limit: Duration,
    /// Made when the body first has to be waited for: the usual reply is there at once and needs no timer.
    waiting: Option<Pin<Box<Waiting>>>,
    ends: Ends,
    closing: Option<Closing>,
    /// The frame that completes the body, while the record is being closed.
    last: Option<Frame<Bytes>>,
    /// Given back when the body is dropped.
    _with: Option<With>,
}

impl Guarded {
    fn new(source: Source, ends: Ends) -> Self {
        Self { source, limit: Duration::MAX, waiting: None, ends, closing: None, last: None, _with: None }
    }

    fn until(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    fn with(mut self, held: With) -> Self {
        self._with = Some(held);
        self
    }

    /// From here on something is written, unless the caller was revoked meanwhile: then it is told so. A reply without a
    /// body is recorded before its head is sent, for the head is all there is.
    async fn settled(mut self) -> Result<Body, Stop> {
        if let Some(Err(denial)) = self.ends.passage.as_ref().map(|passage| passage.streaming()) {
            self.ends.withdraw();
            if let Some(closing) = self.ends.close(Outcome::Unknown) {
                closing.await?;
            }
            return Err(self.ends.stop(denial));
        }
        if self.source.is_end() {
            self.ends.complete()?;
            if let Some(closing) = self.ends.close(Outcome::Completed) {
                closing.await?;
            }
        }
        Ok(Body::new(self))
    }

    /// Ends the stream with an error: HTTP/1 connections are aborted, HTTP/2 streams reset, so that nobody takes a part
    /// for the whole.
    fn abort(&mut self, outcome: Outcome, why: &'static str) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.source = Source::Whole(Bytes::new());
        if let Some(closing) = self.ends.close(outcome) {
            submit(closing);
        }
        Poll::Ready(Some(Err(why.into())))
    }

    /// As [`abort`](Self::abort), and tells the application that nobody waits for the rest.
    fn interrupt(
        &mut self,
        outcome: Outcome,
        why: &'static str,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.last = None;
        self.closing = None;
        self.ends.withdraw();
        self.abort(outcome, why)
    }

    /// Why the body must not go on, whether or not there is something to send: every chunk is checked.
    fn interrupted(&self) -> Option<(Outcome, &'static str)> {
        if self.ends.cut().is_some() {
            return Some((Outcome::Cut, REVOKED));
        }
        let taken = self.ends.gw.clock.monotonic().since(self.ends.forwarded);
        (taken >= self.limit).then_some((Outcome::Failed, "longer than `limits.call_max_seconds`"))
    }

    /// Wakes when there is something to send, when the caller is revoked, or when time is up.
    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = self.source.poll(cx);
        if polled.is_pending()
            && let Some(passage) = &self.ends.passage
        {
            let limit = self.limit;
            let waiting = self.waiting.get_or_insert_with(|| {
                Box::pin(Waiting { cancelled: passage.cancelled(), time_is_up: tokio::time::sleep(limit) })
            });
            ready!(waiting.as_mut().poll(cx));
            // Revoked, or time is up: the next poll says so.
            self.limit = Duration::ZERO;
            cx.waker().wake_by_ref();
        }
        polled
    }
}

pin_project_lite::pin_project! {
    /// Ready when the caller is revoked or time is up.
    struct Waiting {
        #[pin]
        cancelled: WaitForCancellationFutureOwned,
        #[pin]
        time_is_up: Sleep,
    }
}

impl Future for Waiting {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.cancelled.poll(cx).is_ready() { Poll::Ready(()) } else { this.time_is_up.poll(cx) }
    }
}

impl HttpBody for Guarded {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Some((outcome, why)) = this.interrupted() {
            return this.interrupt(outcome, why);
        }
        if this.closing.is_none() {
            match ready!(this.poll_source(cx)) {
                Some(Ok(frame)) => {
                    this.ends.count(frame.data_ref().map_or(0, |data| data.len() as u64));
                    if !this.source.is_end() {
                        return Poll::Ready(Some(Ok(frame)));
                    }
                    this.last = Some(frame);
                }
                Some(Err(error)) => {
                    tracing::warn!(%error, "the application's reply broke off");
                    return this.abort(Outcome::UpstreamFailed, "the application's reply broke off");
                }
                None => {}
            }
            if this.ends.complete().is_err() {
                return this.interrupt(Outcome::Cut, REVOKED);
            }
            this.closing = this.ends.close(Outcome::Completed);
        }
        if let Some(closing) = this.closing.as_mut() {
            let closed = ready!(closing.as_mut().poll(cx));
            this.closing = None;
            if let Err(fault) = closed {
                tracing::error!(%fault, "a reply whose end cannot be recorded is not completed");
                return this.abort(Outcome::Failed, "the end cannot be recorded");
            }
        }
        Poll::Ready(this.last.take().map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.ends.entry.is_none() && self.closing.is_none() && self.last.is_none() && self.source.is_end()
    }

    fn size_hint(&self) -> SizeHint {
        self.source.size_hint()
    }
}
