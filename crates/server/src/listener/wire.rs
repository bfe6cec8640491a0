//! The socket of one connection, below TLS: where it is made true that nothing is written any more.
//!
//! What HTTP and TLS still buffer above cannot be taken back there, but all of it has to come through here. A write holds
//! the wire's lock, [`Wire::sever`] takes the same lock: from its return on, no byte reaches the socket, whatever task is
//! in the middle of whatever poll. What the kernel took before may still arrive, except for what it can be made to throw
//! away: a severed connection is reset, not closed in order, and TLS says no farewell.
//!
//! The wire also knows when a reply has *left*: [`Wire::park`] keeps a value until all that was buffered above has been
//! written and flushed. That rests on two habits of the layers above, which tests pin down: hyper, h2 and tokio-rustls flush
//! what is below only when they hold nothing back themselves, and every poll of a connection that writes what it has to
//! write ends with such a flush. hyper's HTTP/2 runs each request in a task of its own, which can queue frames at any moment of
//! the connection's poll; so what another task parks is let go at the end of a poll that *began* after it was parked.

use std::{
    future::Future,
    io, mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    task,
};

use super::Ticket;

/// What bytes are written to.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin {
    /// Throws away, when it is closed, what the other side does not have yet.
    fn reset_on_close(&self);
}

impl Transport for TcpStream {
    fn reset_on_close(&self) {
        let _ = self.set_zero_linger();
    }
}

/// One connection, from the side of those whose replies it carries.
#[derive(Default)]
pub(crate) struct Wire {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    is_severed: bool,
    /// The socket is gone.
    is_closed: bool,
    /// More than one request may be under way.
    is_shared: bool,
    /// All that was written in this poll of the connection, and was buffered above before, has been flushed.
    is_flushed: bool,
    connection: Option<Connection>,
    /// Let go at the end of this poll, if all is flushed then.
    parked: Vec<Arc<dyn Ticket>>,
    /// Parked from outside of the connection's poll: the next poll takes them over.
    aside: Vec<Arc<dyn Ticket>>,
}

/// The task that drives the connection.
struct Connection {
    task: Option<task::Id>,
    waker: Waker,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire").finish_non_exhaustive()
    }
}

impl Wire {
    /// Ends the connection at once: when this returns, nothing is being written to its socket, and nothing will be. May be
    /// called from anywhere, and waits for no more than one write that does not block.
    pub(crate) fn sever(&self) {
        let connection = {
            let mut state = self.lock();
            state.is_severed = true;
            state.connection.take()
        };
        // Nothing else: what is parked is let go by the connection's task. Letting go of it here would run its end inside
        // of whatever the caller is in the middle of.
        if let Some(connection) = connection {
            connection.waker.wake();
        }
    }

    /// Whether replies to several requests may be under way on this connection at once: HTTP/2.
    pub(crate) fn is_shared(&self) -> bool {
        self.lock().is_shared
    }

    pub(super) fn share(&self) {
        self.lock().is_shared = true;
    }

    /// Keeps `ticket` until everything of its reply has been handed to the socket, or the socket is closed. To be called
    /// once HTTP has all of the reply, or will never have more of it.
    pub(super) fn park(&self, ticket: Arc<dyn Ticket>) {
        let waker = {
            let mut state = self.lock();
            if state.is_closed {
                drop(state);
                return drop(ticket);
            }
            match &state.connection {
                Some(connection) if connection.task.is_some() && connection.task == task::try_id() => {
                    // HTTP/1 parks a reply as soon as it is buffered. HTTP/2 lets go of the last piece of one while it
                    // writes, or right after the flush: that flush counts.
                    state.is_flushed &= state.is_shared;
                    state.parked.push(ticket);
                    None
                }
                connection => {
                    let waker = connection.as_ref().map(|connection| connection.waker.clone());
                    state.aside.push(ticket);
                    waker
                }
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Polls `connection` to its end, or until the wire is severed: then there is no result.
    pub(super) fn drive<F: Future + Unpin>(&self, connection: F) -> Driven<'_, F> {
        Driven { wire: self, connection }
    }

    /// Whether the connection may be polled.
    fn begin(&self, waker: &Waker) -> bool {
        let mut state = self.lock();
        if state.is_severed {
            return false;
        }
        state.is_flushed = false;
        let State { parked, aside, connection, .. } = &mut *state;
        parked.append(aside);
        if connection.as_ref().is_none_or(|connection| !connection.waker.will_wake(waker)) {
            let before = connection.replace(Connection { task: task::try_id(), waker: waker.clone() });
            drop(state);
            drop(before);
        }
        true
    }

    fn end(&self) {
        let mut state = self.lock();
        let left = if state.is_flushed { mem::take(&mut state.parked) } else { Vec::new() };
        drop(state);
        // INVARIANT: no ticket is dropped under the lock. It may take others' locks, and sever wires.
        drop(left);
    }

    fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        let left = (mem::take(&mut state.parked), mem::take(&mut state.aside), state.connection.take());
        drop(state);
        drop(left);
    }

    /// The right to do something to the socket, for as long as it is held.
    fn hold(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.lock();
        if state.is_severed { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic half-way; and to give up here would be to stop revoking.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection being driven.
pub(super) struct Driven<'a, F> {
    wire: &'a Wire,
    connection: F,
}

impl<F: Future + Unpin> Future for Driven<'_, F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if !self.wire.begin(cx.waker()) {
            return Poll::Ready(None);
        }
        let polled = Pin::new(&mut self.connection).poll(cx);
        self.wire.end();
        polled.map(Some)
    }
}

/// The end of a wire that bytes go in at.
pub(super) struct Socket<S: Transport> {
    stream: S,
    // INVARIANT: behind the stream, so that the stream is closed before what is parked is let go.
    wire: Closing,
}

struct Closing(Arc<Wire>);

impl<S: Transport> Socket<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, wire: Closing(Arc::default()) }
    }

    pub(super) fn wire(&self) -> Arc<Wire> {
        Arc::clone(&self.wire.0)
    }
}

impl<S: Transport> Drop for Socket<S> {
    fn drop(&mut self) {
        if self.wire.0.lock().is_severed {
            self.stream.reset_on_close();
        }
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<S: Transport> AsyncRead for Socket<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        drop(this.wire.0.hold()?);
        Pin::new(&mut this.stream).poll_read(cx, buffer)
    }
}

impl<S: Transport> AsyncWrite for Socket<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut held = this.wire.0.hold()?;
        held.is_flushed = false;
        Pin::new(&mut this.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut held = this.wire.0.hold()?;
        held.is_flushed = false;
        Pin::new(&mut this.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut held = this.wire.0.hold()?;
        let flushed = Pin::new(&mut this.stream).poll_flush(cx);
        held.is_flushed = matches!(flushed, Poll::Ready(Ok(())));
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let _held = this.wire.0.hold()?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}
