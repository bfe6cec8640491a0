//! Sockets: accept, TLS, HTTP framing, and the bounds that hold before there is a request.
//!
//! Nothing that a client does or leaves undone keeps a connection for ever: each phase of one has a timer, and no address
//! has more connections than its share. HTTP/2 is spoken only where TLS negotiated it: guessing the version from the first
//! bytes would be one more phase.

mod connection;
mod exchange;
mod paced;
mod peers;
mod streams;
#[cfg(test)]
mod tests;
mod wire;

use std::{future::Future, io, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{connection::Connection, peers::Peers};
pub(crate) use self::{
    exchange::{Peer, Ticket},
    wire::Wire,
};
use crate::{config::LimitsConfig, tls::Tls};

/// Wait after a failed accept. Trying again at once would keep a core busy for as long as descriptors are short.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Answers one request of one peer.
pub(crate) type Handler = Arc<
    dyn Fn(Request<Incoming>, Peer) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> + Send + Sync,
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
        let peers = Peers::new(limits.connections_per_peer_max);
        let kill = CancellationToken::new();
        loop {
            let next = async {
                let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
                Some((slot, self.accept().await))
            };
            let next = tokio::select! {
                next = next => next,
                () = stop.cancelled() => None,
            };
            let Some((slot, (stream, peer))) = next else { break };
            let Some(share) = peers.admit(peer.ip()) else {
                tracing::debug!(%peer, "closed: the address has its share of connections");
                continue;
            };
            let _ = stream.set_nodelay(true);
            let connection = Connection {
                tls: self.tls.clone(),
                limits: Arc::clone(&limits),
                handler: Arc::clone(&handler),
                // A token of its own: all connections polling one would contend for its lock.
                stop: stop.child_token(),
            };
            let kill = kill.child_token();
            tracker.spawn(async move {
                let _held = (slot, share);
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

    /// The next connection, however long there is none to be had.
    async fn accept(&self) -> (TcpStream, SocketAddr) {
        let mut is_failing = false;
        loop {
            match self.tcp.accept().await {
                Ok(accepted) => return accepted,
                // Out of file descriptors, most likely: running connections have to end first.
                Err(error) => {
                    if !is_failing {
                        tracing::error!(%error, address = %self.address, "no connection can be accepted");
                    }
                    is_failing = true;
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            }
        }
    }
}
