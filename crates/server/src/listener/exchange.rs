//! One request and its reply on a connection, and what is kept until the reply has left.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::{Buf, Bytes};
use futures_util::task::AtomicWaker;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::Wire;

/// What a reply goes out under. It is dropped when nothing of the reply will be written any more: its last byte is with
/// the kernel, or the connection is no more.
pub(crate) trait Ticket: Send + Sync {
    /// Ready when the reply must go no further.
    fn cancelled(&self) -> WaitForCancellationFutureOwned;
}

/// Who sent a request, and what the reply goes back on.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    exchange: Arc<Exchange>,
}

impl Peer {
    /// The connection.
    pub(crate) fn wire(&self) -> Arc<Wire> {
        Arc::clone(&self.exchange.wire)
    }

    /// Keeps `ticket` until the reply to this request has left, whatever reply it will be.
    pub(crate) fn keep(self, ticket: Arc<impl Ticket + 'static>) {
        // INVARIANT: a request has one peer, and this consumes it: there was no ticket before.
        let _ = self.exchange.ticket.set(ticket);
    }
}

/// A request and its reply. Shared by the handler, the reply's body and each piece of it that HTTP/2 has not written yet:
/// when the last of them lets go, HTTP has done with the reply, and the ticket goes to the wire.
pub(super) struct Exchange {
    wire: Arc<Wire>,
    ticket: OnceLock<Arc<dyn Ticket>>,
    /// How many pieces HTTP/2 has.
    pieces: AtomicUsize,
    leaving: AtomicWaker,
}

impl Exchange {
    pub(super) fn on(wire: &Arc<Wire>) -> Arc<Self> {
        Arc::new(Self {
            wire: Arc::clone(wire),
            ticket: OnceLock::new(),
            pieces: AtomicUsize::new(0),
            leaving: AtomicWaker::new(),
        })
    }

    pub(super) fn peer(self: &Arc<Self>, address: SocketAddr) -> Peer {
        Peer { address, exchange: Arc::clone(self) }
    }

    /// Ready when the reply must go no further; never, if there is nothing that could tell.
    pub(super) fn cancelled(&self) -> impl Future<Output = ()> + Send + use<> {
        let cancelled = self.ticket.get().map(|ticket| ticket.cancelled());
        async move {
            match cancelled {
                Some(cancelled) => cancelled.await,
                None => std::future::pending().await,
            }
        }
    }

    /// Ready when HTTP/2 has written every piece that it was given, or thrown it away.
    pub(super) fn poll_left(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.pieces.load(Ordering::Acquire) > 0 {
            self.leaving.register(cx.waker());
            if self.pieces.load(Ordering::Acquire) > 0 {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.wire.park(ticket);
        }
    }
}

/// A piece of a reply in the queues of HTTP/2.
pub(super) struct Piece {
    bytes: Bytes,
    of: Arc<Exchange>,
}

impl Piece {
    pub(super) fn new(bytes: Bytes, of: &Arc<Exchange>) -> Self {
        of.pieces.fetch_add(1, Ordering::AcqRel);
        Self { bytes, of: Arc::clone(of) }
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if self.of.pieces.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.of.leaving.wake();
        }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }
}

/// A reply in HTTP/1: hyper drops its body when it has buffered the last of it.
pub(super) struct Carried {
    body: Body,
    _exchange: Arc<Exchange>,
}

impl Carried {
    pub(super) fn new(body: Body, exchange: Arc<Exchange>) -> Self {
        Self { body, _exchange: exchange }
    }
}

impl HttpBody for Carried {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
