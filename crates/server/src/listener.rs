//! Sockets: accept, TLS, HTTP framing, and the bounds that hold before there is a request.
//!
//! HTTP/2 is spoken only where TLS negotiated it, so that no byte is read without a timer: guessing the version from
//! the first bytes would let a client hold a connection by sending none.

use std::{future::Future, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use axum::body::Body;
use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{config::LimitsConfig, stall::StallGuard, tls::Tls};

/// Longest TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Answers one request of one peer.
pub(crate) type Handler = Arc<
    dyn Fn(Request<Incoming>, SocketAddr) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>>
        + Send
        + Sync,
>;

/// A bound socket that does not serve yet: its address is known, so URLs can be made from it.
#[derive(Debug)]
pub(crate) struct Listener {
    tcp: TcpListener,
    tls: Option<Arc<Tls>>,
    address: SocketAddr,
}

impl Listener {
    /// Binds `address`.
    pub(crate) async fn bind(address: SocketAddr, tls: Option<Arc<Tls>>) -> io::Result<Self> {
        let tcp = TcpListener::bind(address).await?;
        let address = tcp.local_addr()?;
        Ok(Self { tcp, tls, address })
    }

    /// The bound address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The origin of the bound address.
    pub(crate) fn origin(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Serves until `stop`, then lets running requests finish within `drain`, then ends.
    pub(crate) async fn serve(self, limits: Arc<LimitsConfig>, handler: Handler, stop: CancellationToken) {
        let tracker = TaskTracker::new();
        let slots = Arc::new(Semaphore::new(limits.connections_max));
        let kill = CancellationToken::new();
        loop {
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { break };
            let accepted = tokio::select! {
                accepted = self.tcp.accept() => accepted,
                () = stop.cancelled() => break,
            };
            let Ok((stream, peer)) = accepted else {
                // Out of file descriptors, most likely: let running connections end before trying again.
                tokio::task::yield_now().await;
                continue;
            };
            let connection = Connection {
                tls: self.tls.clone(),
                limits: Arc::clone(&limits),
                handler: Arc::clone(&handler),
                // A token of its own: all connections polling one would contend for its lock.
                stop: stop.child_token(),
            };
            let kill = kill.child_token();
            tracker.spawn(async move {
                let _slot = slot;
                tokio::select! {
                    () = connection.serve(stream, peer) => {}
                    () = kill.cancelled() => {}
                }
            });
        }
        tracker.close();
        drop(self.tcp);
        if tokio::time::timeout(Duration::from_secs(limits.drain_seconds), tracker.wait()).await.is_err() {
            tracing::warn!(
                limit = limits.drain_seconds,
                "requests still running after the drain time are cut"
            );
            kill.cancel();
            tracker.wait().await;
        }
    }
}

struct Connection {
    tls: Option<Arc<Tls>>,
    limits: Arc<LimitsConfig>,
    handler: Handler,
    stop: CancellationToken,
}

impl Connection {
    async fn serve(self, stream: TcpStream, peer: SocketAddr) {
        let _ = stream.set_nodelay(true);
        let stall = Duration::from_secs(self.limits.write_stall_seconds);
        let Some(tls) = self.tls.clone() else {
            return self.http1(StallGuard::new(stream, stall), peer).await;
        };
        match tokio::time::timeout(HANDSHAKE_MAX, tls.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => {
                let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let stream = StallGuard::new(stream, stall);
                if is_h2 { self.http2(stream, peer).await } else { self.http1(stream, peer).await }
            }
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake timed out"),
        }
    }

    async fn http1<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
        &self,
        stream: S,
        peer: SocketAddr,
    ) {
        let service = self.service(peer);
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(self.limits.headers_read_seconds))
            .max_buf_size(self.limits.headers_max_bytes)
            .max_headers(self.limits.headers_max_count)
            .half_close(false)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }

    async fn http2<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(
        &self,
        stream: S,
        peer: SocketAddr,
    ) {
        let service = self.service(peer);
        let header_list = u32::try_from(self.limits.headers_max_bytes).unwrap_or(u32::MAX);
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .max_header_list_size(header_list)
            .max_concurrent_streams(100)
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(self.limits.headers_read_seconds))
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "connection ended");
        }
    }

    fn service(
        &self,
        peer: SocketAddr,
    ) -> impl hyper::service::Service<
        Request<Incoming>,
        Response = Response<Body>,
        Error = std::convert::Infallible,
        Future: Send + 'static,
    > + use<> {
        let handler = Arc::clone(&self.handler);
        service_fn(move |request| {
            let answer = handler(request, peer);
            async move { Ok(answer.await) }
        })
    }
}
