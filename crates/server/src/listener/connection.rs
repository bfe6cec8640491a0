//! One connection, from the handshake to its end.

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::body::Body;
use http::{Request, Response};
use hyper::{body::Incoming, server::conn, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::{
    Handler, Wire,
    exchange::{Carried, Exchange},
    paced::Paced,
    streams::Streams,
    wire::{Socket, Transport},
};
use crate::{config::LimitsConfig, stall::StallGuard, tls::Tls};

/// Longest TLS handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// How long a client that was told that its HTTP/2 connection ends may go on without a request.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// Most bytes of request bodies that a client may send before they are read: of a stream, of a connection.
const WINDOWS: (u32, u32) = (256 << 10, 1 << 20);

/// Most bytes of a reply that wait in HTTP/2 for the socket.
const SEND_BUFFER_MAX: usize = 64 << 10;

pub(super) struct Connection {
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) limits: Arc<LimitsConfig>,
    pub(super) handler: Handler,
    pub(super) stop: CancellationToken,
}

impl Connection {
    pub(super) async fn serve(self, stream: impl Transport, peer: SocketAddr) {
        let stall = self.write_stall();
        let socket = Socket::new(stream);
        let wire = socket.wire();
        let Some(tls) = self.tls.clone() else {
            return self.http1(StallGuard::new(socket, stall), &wire, peer).await;
        };
        match tokio::time::timeout(HANDSHAKE_MAX, tls.acceptor().accept(socket)).await {
            Ok(Ok(stream)) => {
                let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                let stream = StallGuard::new(stream, stall);
                if is_h2 {
                    self.http2(stream, &wire, peer).await;
                } else {
                    self.http1(stream, &wire, peer).await;
                }
            }
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_) => tracing::debug!(%peer, "TLS handshake timed out"),
        }
    }

    async fn http1<S>(&self, stream: S, wire: &Arc<Wire>, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let service = service_fn(|request| {
            let answer = self.answer(request, wire, peer);
            async move {
                let (response, exchange) = answer.await;
                Ok::<_, Infallible>(response.map(|body| Carried::new(body, exchange)))
            }
        });
        let connection = conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.headers_read())
            .max_buf_size(self.limits.headers_max_bytes)
            .max_headers(self.limits.headers_max_count)
            .half_close(false)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = wire.drive(connection.as_mut()) => ended,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                wire.drive(connection).await
            }
        };
        note(peer, ended);
    }

    /// hyper has no timer before the first request, nor between requests while its PINGs are answered: `streams` tells
    /// when nothing is running.
    async fn http2<S>(&self, stream: S, wire: &Arc<Wire>, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        wire.share();
        let streams = Streams::new(self.write_stall());
        let service = service_fn(|request| {
            let answer = self.answer(request, wire, peer);
            async move {
                let (response, exchange) = answer.await;
                Ok::<_, Infallible>(response.map(|body| Paced::new(body, exchange)))
            }
        });
        let header_list = u32::try_from(self.limits.headers_max_bytes).unwrap_or(u32::MAX);
        let connection = conn::http2::Builder::new(streams.clone())
            .timer(TokioTimer::new())
            .max_header_list_size(header_list)
            .max_concurrent_streams(100)
            .initial_stream_window_size(WINDOWS.0)
            .initial_connection_window_size(WINDOWS.1)
            .max_send_buf_size(SEND_BUFFER_MAX)
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(self.headers_read())
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        tokio::select! {
            ended = wire.drive(connection.as_mut()) => return note(peer, ended),
            () = streams.unused(self.headers_read()) => {}
            () = streams.idle(Duration::from_secs(self.limits.connection_idle_seconds)) => {}
            () = self.stop.cancelled() => {}
        }
        connection.as_mut().graceful_shutdown();
        tokio::select! {
            ended = wire.drive(connection) => note(peer, ended),
            () = streams.idle(FAREWELL_MAX) => tracing::debug!(%peer, "closed without a farewell"),
        }
    }

    fn answer(
        &self,
        request: Request<Incoming>,
        wire: &Arc<Wire>,
        peer: SocketAddr,
    ) -> impl Future<Output = (Response<Body>, Arc<Exchange>)> + Send + use<> {
        let exchange = Exchange::on(wire);
        let answer = (self.handler)(request, exchange.peer(peer));
        async move { (answer.await, exchange) }
    }

    fn headers_read(&self) -> Duration {
        Duration::from_secs(self.limits.headers_read_seconds)
    }

    fn write_stall(&self) -> Duration {
        Duration::from_secs(self.limits.write_stall_seconds)
    }
}

fn note(peer: SocketAddr, ended: Option<hyper::Result<()>>) {
    match ended {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::debug!(%peer, %error, "connection ended"),
        None => tracing::debug!(%peer, "connection severed"),
    }
}
