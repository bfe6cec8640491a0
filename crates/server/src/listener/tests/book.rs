//! A handler whose replies can be watched.

use std::{
    collections::HashMap,
    io,
    pin::Pin,
    sync::{Arc, Mutex, Weak},
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

use super::super::{Handler, Peer, Ticket, Wire};

/// A ticket that can be watched from outside.
struct Watched {
    cancelled: CancellationToken,
    _gone: DropGuard,
}

impl Ticket for Watched {
    fn cancelled(&self) -> WaitForCancellationFutureOwned {
        self.cancelled.clone().cancelled_owned()
    }
}

/// The reply to one request, seen from outside.
#[derive(Debug, Clone, Default)]
pub(super) struct Sight {
    /// Revokes it.
    pub(super) cancelled: CancellationToken,
    ticket_gone: CancellationToken,
    body_gone: CancellationToken,
}

impl Sight {
    /// Whether the ticket has been let go.
    pub(super) fn has_left(&self) -> bool {
        self.ticket_gone.is_cancelled()
    }

    /// Whether hyper has all of the body, or gave it up.
    pub(super) fn is_given(&self) -> bool {
        self.body_gone.is_cancelled()
    }
}

/// A body that tells when it is dropped.
struct Seen {
    body: Body,
    _gone: DropGuard,
}

impl HttpBody for Seen {
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

/// What the handler saw.
#[derive(Default)]
pub(super) struct Book {
    sights: Mutex<HashMap<String, Sight>>,
    wire: Mutex<Weak<Wire>>,
}

impl Book {
    /// What became of the reply to the request for `path`.
    pub(super) fn sight(&self, path: &str) -> Sight {
        self.sights.lock().unwrap().entry(path.to_owned()).or_default().clone()
    }

    /// The wire, while there is one.
    pub(super) fn wire(&self) -> Option<Arc<Wire>> {
        self.wire.lock().unwrap().upgrade()
    }

    async fn answer(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let sight = self.sight(&path);
        *self.wire.lock().unwrap() = Arc::downgrade(&peer.wire());
        peer.keep(Arc::new(Watched {
            cancelled: sight.cancelled.clone(),
            _gone: sight.ticket_gone.drop_guard(),
        }));
        let mut parts = path.trim_start_matches('/').split('/');
        let what = parts.next().unwrap();
        let mut number = || parts.next().unwrap().parse::<usize>().unwrap();
        let body = match what {
            "empty" => Body::empty(),
            "whole" => Body::from(vec![b'x'; number()]),
            "chunks" => {
                let (count, size) = (number(), number());
                let chunk = move |_| Ok::<_, io::Error>(Bytes::from(vec![b'x'; size]));
                Body::from_stream(stream::iter((0..count).map(chunk)))
            }
            "endless" => Body::from_stream(endless(sight.cancelled.clone())),
            "never" => std::future::pending().await,
            "read" => {
                let read = request.into_body().collect().await.unwrap().to_bytes();
                Body::from(read)
            }
            other => panic!("no reply is called {other}"),
        };
        Response::new(Body::new(Seen { body, _gone: sight.body_gone.drop_guard() }))
    }
}

/// Goes on until it is revoked. The chunks are not small: clients end a connection with too many small frames to keep.
fn endless(cancelled: CancellationToken) -> impl stream::Stream<Item = Result<Bytes, &'static str>> {
    stream::unfold(cancelled, async |cancelled| {
        tokio::task::yield_now().await;
        let next = if cancelled.is_cancelled() { Err("revoked") } else { Ok(Bytes::from(vec![b'x'; 4000])) };
        Some((next, cancelled))
    })
}

/// A handler for a listener, and what it sees.
pub(super) fn handler() -> (Arc<Book>, Handler) {
    let book = Arc::new(Book::default());
    let handler: Handler = Arc::new({
        let book = Arc::clone(&book);
        move |request, peer| Box::pin(Arc::clone(&book).answer(request, peer))
    });
    (book, handler)
}
