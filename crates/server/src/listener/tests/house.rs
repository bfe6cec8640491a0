//! A connection with a handler at one end and a client at the other.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::{
    super::connection::Connection,
    book::{Book, handler},
    pipe::{Far, Gate, Log, Near},
};
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
