//! A connection with a handler at one end, a client at the other, and in between a transport with windows in it.

use std::{
    collections::HashMap,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use futures_util::{stream, task::AtomicWaker};
use http::{Method, Request, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tokio_util::sync::{CancellationToken, DropGuard, WaitForCancellationFutureOwned};

use super::super::{Handler, Peer, Ticket, Wire, connection::Connection, wire::Transport};
use crate::{
    config::{LimitsConfig, TlsConfig},
    tls::Tls,
};

const SOON: Duration = Duration::from_secs(10);

/// What is spoken on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Plain,
    Tls,
    H2,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Plain, Self::Tls, Self::H2];
}

/// What was written to the near end.
#[derive(Default)]
pub(super) struct Log {
    written: AtomicUsize,
    is_blocked: AtomicBool,
    was_reset: AtomicBool,
}

impl Log {
    pub(super) fn written(&self) -> usize {
        self.written.load(Ordering::SeqCst)
    }

    /// Whether the last write found no room.
    pub(super) fn is_blocked(&self) -> bool {
        self.is_blocked.load(Ordering::SeqCst)
    }

    pub(super) fn was_reset(&self) -> bool {
        self.was_reset.load(Ordering::SeqCst)
    }
}

struct Near {
    pipe: DuplexStream,
    log: Arc<Log>,
}

impl Transport for Near {
    fn reset_on_close(&self) {
        self.log.was_reset.store(true, Ordering::SeqCst);
    }
}

impl AsyncRead for Near {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Near {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.pipe).poll_write(cx, bytes);
        self.log.is_blocked.store(polled.is_pending(), Ordering::SeqCst);
        if let Poll::Ready(Ok(count)) = &polled {
            self.log.written.fetch_add(*count, Ordering::SeqCst);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

/// Whether the client reads.
#[derive(Default)]
pub(super) struct Gate {
    is_shut: AtomicBool,
    is_hung_up: AtomicBool,
    opened: AtomicWaker,
}

impl Gate {
    pub(super) fn shut(&self) {
        self.is_shut.store(true, Ordering::SeqCst);
    }

    pub(super) fn open(&self) {
        self.is_shut.store(false, Ordering::SeqCst);
        self.opened.wake();
    }

    fn hang_up(&self) {
        self.is_hung_up.store(true, Ordering::SeqCst);
        self.open();
    }
}

struct Far {
    pipe: DuplexStream,
    gate: Arc<Gate>,
}

impl AsyncRead for Far {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.gate.opened.register(cx.waker());
        if self.gate.is_hung_up.load(Ordering::SeqCst) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if self.gate.is_shut.load(Ordering::SeqCst) {
            return Poll::Pending;
        }
        Pin::new(&mut self.pipe).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Far {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.pipe).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.pipe).poll_shutdown(cx)
    }
}

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
        Poll::Ready(ready!(Pin::new(&mut self.body).poll_frame(cx)))
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

/// Goes on until it is revoked.
fn endless(cancelled: CancellationToken) -> impl stream::Stream<Item = Result<Bytes, &'static str>> {
    stream::unfold(cancelled, async |cancelled| {
        tokio::task::yield_now().await;
        let next = if cancelled.is_cancelled() { Err("revoked") } else { Ok(Bytes::from(vec![b'x'; 100])) };
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

/// TLS with a certificate for 127.0.0.1, and a client's side of it.
pub(super) fn tls(alpn: &[u8]) -> (Arc<Tls>, TlsConnector) {
    let dir = TempDir::new().unwrap();
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let files = TlsConfig { cert: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
    std::fs::write(&files.cert, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    (Tls::load(files).unwrap(), TlsConnector::from(Arc::new(config)))
}

/// The far end of a connection, before anything is said on it.
pub(super) struct Line {
    pub(super) book: Arc<Book>,
    pub(super) log: Arc<Log>,
    pub(super) served: JoinHandle<()>,
    pub(super) pipe: DuplexStream,
}

impl Line {
    /// `room` is how many bytes are under way before a write finds no room.
    pub(super) fn open(room: usize, tls: Option<Arc<Tls>>) -> Self {
        let (pipe, far) = tokio::io::duplex(room);
        let log = Arc::<Log>::default();
        let near = Near { pipe, log: Arc::clone(&log) };
        let (book, handler) = handler();
        let limits = Arc::new(LimitsConfig::default());
        let connection = Connection { tls, limits, handler, stop: CancellationToken::new() };
        let served = tokio::spawn(connection.serve(near, ([127, 0, 0, 1], 1).into()));
        Self { book, log, served, pipe: far }
    }
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// A connection and its client.
pub(super) struct House {
    pub(super) book: Arc<Book>,
    pub(super) log: Arc<Log>,
    pub(super) gate: Arc<Gate>,
    pub(super) served: JoinHandle<()>,
    sender: Sender,
}

impl House {
    pub(super) async fn open(kind: Kind, room: usize) -> Self {
        Self::with_window(kind, room, 1 << 20).await
    }

    /// `window` is how much of each reply the client takes before it reads, in HTTP/2.
    pub(super) async fn with_window(kind: Kind, room: usize, window: u32) -> Self {
        let (tls, connector) = match kind {
            Kind::Plain => (None, None),
            Kind::Tls => Some(tls(b"http/1.1")).unzip(),
            Kind::H2 => Some(tls(b"h2")).unzip(),
        };
        let line = Line::open(room, tls);
        let gate = Arc::<Gate>::default();
        let far = Far { pipe: line.pipe, gate: Arc::clone(&gate) };
        let sender = match connector {
            None => http1(far).await,
            Some(connector) => {
                let name = std::net::IpAddr::from([127, 0, 0, 1]).into();
                let stream = connector.connect(name, far).await.unwrap();
                if kind == Kind::H2 { http2(stream, window).await } else { http1(stream).await }
            }
        };
        Self { book: line.book, log: line.log, gate, served: line.served, sender }
    }

    /// Asks for `path`; the reply is one of those in [`Book::answer`].
    pub(super) fn ask(
        &mut self,
        method: Method,
        path: &str,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + Send + use<> {
        let request = |uri: String| {
            Request::builder().method(&method).uri(uri).header("host", "test").body(Full::default()).unwrap()
        };
        let asked = match &mut self.sender {
            Sender::Http1(sender) => Asked::Http1(sender.send_request(request(path.to_owned()))),
            Sender::Http2(sender) => {
                Asked::Http2(sender.send_request(request(format!("https://test{path}"))))
            }
        };
        async move {
            match asked {
                Asked::Http1(reply) => reply.await,
                Asked::Http2(reply) => reply.await,
            }
        }
    }

    pub(super) fn get(
        &mut self,
        path: &str,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + Send + use<> {
        self.ask(Method::GET, path)
    }

    /// How many bytes the body of the reply has.
    pub(super) async fn size(&mut self, path: &str) -> usize {
        soon(async { size(self.get(path).await.unwrap()).await.unwrap() }).await
    }

    /// The client goes away, without a word; the connection ends.
    pub(super) async fn hang_up(self) -> Arc<Book> {
        self.gate.hang_up();
        soon(self.served).await.unwrap();
        self.book
    }
}

enum Asked<A, B> {
    Http1(A),
    Http2(B),
}

async fn http1(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Sender {
    let (sender, connection) = http1::handshake(TokioIo::new(io)).await.unwrap();
    // However it ends.
    tokio::spawn(async move { drop(connection.await) });
    Sender::Http1(sender)
}

async fn http2(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, window: u32) -> Sender {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(window).initial_connection_window_size(1 << 20);
    let (sender, connection) = builder.handshake(TokioIo::new(io)).await.unwrap();
    // However it ends.
    tokio::spawn(async move { drop(connection.await) });
    Sender::Http2(sender)
}

/// How many bytes the body of `reply` has, if it comes to its end.
pub(super) async fn size(reply: Response<Incoming>) -> hyper::Result<usize> {
    Ok(reply.into_body().collect().await?.to_bytes().len())
}

/// What has to happen.
pub(super) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.expect("it does not happen")
}

/// Waits for what has to become true.
pub(super) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let become_so = async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, become_so).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// Lets every task do what it can.
pub(super) async fn settle() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}
