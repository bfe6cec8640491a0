//! A transport with windows in it: what is written at the near end, and whether anybody reads at the far end.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use super::super::wire::Transport;

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

/// The server's end.
pub(super) struct Near {
    pub(super) pipe: DuplexStream,
    pub(super) log: Arc<Log>,
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

impl Near {
    fn note(&self, polled: &Poll<io::Result<usize>>) {
        self.log.is_blocked.store(polled.is_pending(), Ordering::SeqCst);
        if let Poll::Ready(Ok(count)) = polled {
            self.log.written.fetch_add(*count, Ordering::SeqCst);
        }
    }
}

impl AsyncWrite for Near {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.pipe).poll_write(cx, bytes);
        self.note(&polled);
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.pipe).poll_write_vectored(cx, slices);
        self.note(&polled);
        polled
    }

    fn is_write_vectored(&self) -> bool {
        true
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

    pub(super) fn hang_up(&self) {
        self.is_hung_up.store(true, Ordering::SeqCst);
        self.open();
    }
}

/// The client's end.
pub(super) struct Far {
    pub(super) pipe: DuplexStream,
    pub(super) gate: Arc<Gate>,
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
