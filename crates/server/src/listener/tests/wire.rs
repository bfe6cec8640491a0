//! The wire by itself: what it refuses, what it keeps, and in which order it lets go.

use std::{
    future::poll_fn,
    io::{self, ErrorKind},
    mem,
    pin::{Pin, pin},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use futures_util::FutureExt;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::super::{
    Ticket, Wire,
    wire::{Socket, Transport},
};

/// What happened, in order.
type Journal = Arc<Mutex<Vec<&'static str>>>;

struct Pipe {
    stream: DuplexStream,
    journal: Journal,
}

impl Pipe {
    fn socket(journal: &Journal) -> (Socket<Self>, DuplexStream) {
        let (stream, far) = tokio::io::duplex(64);
        (Socket::new(Self { stream, journal: Arc::clone(journal) }), far)
    }
}

impl Transport for Pipe {
    fn reset_on_close(&self) {
        self.journal.lock().unwrap().push("reset");
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.journal.lock().unwrap().push("closed");
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.journal.lock().unwrap().push("write");
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.journal.lock().unwrap().push("shutdown");
        Poll::Ready(Ok(()))
    }
}

/// Severs the wire when it is let go, as the end of an attempt may.
struct Left(Journal, Arc<Wire>);

impl Ticket for Left {
    fn cancelled(&self) -> WaitForCancellationFutureOwned {
        CancellationToken::new().cancelled_owned()
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        self.1.sever();
        self.0.lock().unwrap().push("left");
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// One poll of a connection that does `work` in it.
fn poll(wire: &Wire, woken: &Arc<Woken>, mut work: impl FnMut(&mut Context<'_>)) -> Poll<Option<()>> {
    let waker = Waker::from(Arc::clone(woken));
    let connection = poll_fn(|cx| {
        work(cx);
        Poll::Pending
    });
    Pin::new(&mut wire.drive(connection)).poll(&mut Context::from_waker(&waker))
}

fn taken(journal: &Journal) -> Vec<&'static str> {
    mem::take(&mut journal.lock().unwrap())
}

#[test]
fn a_severed_wire_refuses_everything_and_is_reset_before_what_is_parked_is_let_go() {
    let journal = Journal::default();
    let (mut socket, _far) = Pipe::socket(&journal);
    let (wire, woken) = (socket.wire(), Arc::<Woken>::default());
    assert!(poll(&wire, &woken, |_| {}).is_pending());
    wire.park(Arc::new(Left(Arc::clone(&journal), Arc::clone(&wire))));
    wire.sever();
    assert!(woken.0.load(Ordering::SeqCst), "the connection does not learn of it");
    let cx = &mut Context::from_waker(Waker::noop());
    let mut pinned = Pin::new(&mut socket);
    let outcomes = [
        pinned.as_mut().poll_write(cx, b"x").map_ok(|_| ()),
        pinned.as_mut().poll_write_vectored(cx, &[io::IoSlice::new(b"x")]).map_ok(|_| ()),
        pinned.as_mut().poll_flush(cx),
        pinned.as_mut().poll_shutdown(cx),
        pinned.as_mut().poll_read(cx, &mut ReadBuf::new(&mut [0])),
    ];
    for outcome in outcomes {
        let Poll::Ready(Err(error)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(error.kind(), ErrorKind::ConnectionAborted);
    }
    assert_eq!(poll(&wire, &woken, |_| panic!("polled")), Poll::Ready(None));
    assert_eq!(taken(&journal), [""; 0]);
    drop(socket);
    assert_eq!(taken(&journal), ["reset", "closed", "left"]);
    wire.park(Arc::new(Left(Arc::clone(&journal), Arc::clone(&wire))));
    assert_eq!(taken(&journal), ["left"], "parked for ever on a wire that is closed");
}

#[test]
fn what_another_task_parks_is_let_go_by_a_poll_that_began_later_and_flushed() {
    let journal = Journal::default();
    let (mut socket, _far) = Pipe::socket(&journal);
    let (wire, woken) = (socket.wire(), Arc::<Woken>::default());
    let flush = |socket: &mut Socket<Pipe>, cx: &mut Context<'_>| {
        assert!(Pin::new(socket).poll_flush(cx).is_ready());
    };
    let in_the_middle = poll(&wire, &woken, |cx| {
        let ticket = Arc::new(Left(Arc::clone(&journal), Arc::clone(&wire)));
        std::thread::scope(|scope| scope.spawn(|| wire.park(ticket)).join()).unwrap();
        flush(&mut socket, cx);
    });
    assert!(in_the_middle.is_pending());
    assert_eq!(taken(&journal), [""; 0], "the flush may be of less than the reply");
    assert!(woken.0.swap(false, Ordering::SeqCst), "nothing would poll the connection");
    assert!(poll(&wire, &woken, |_| {}).is_pending());
    let stuck = poll(&wire, &woken, |cx| {
        flush(&mut socket, cx);
        assert!(Pin::new(&mut socket).poll_write(cx, &[0; 65]).is_ready());
        assert!(Pin::new(&mut socket).poll_write(cx, b"x").is_pending());
    });
    assert!(stuck.is_pending());
    assert_eq!(
        taken(&journal),
        ["write", "write"],
        "let go without a flush, or with something written after it"
    );
    assert!(poll(&wire, &woken, |cx| flush(&mut socket, cx)).is_pending());
    assert_eq!(taken(&journal), ["left"]);
}

#[tokio::test]
async fn what_the_connection_parks_needs_a_flush_after_it_unless_replies_are_interleaved() {
    for is_shared in [false, true] {
        let journal = Journal::default();
        let (mut socket, _far) = Pipe::socket(&journal);
        let wire = socket.wire();
        if is_shared {
            wire.share();
        }
        // In a task, as a connection is.
        let seen = tokio::spawn(async move {
            [true, false].map(|parks| {
                let connection = poll_fn(|cx| {
                    assert!(Pin::new(&mut socket).poll_flush(cx).is_ready());
                    if parks {
                        wire.park(Arc::new(Left(Arc::clone(&journal), Arc::default())));
                    }
                    Poll::Pending::<()>
                });
                assert!(wire.drive(pin!(connection)).now_or_never().is_none());
                taken(&journal)
            })
        });
        let expected = if is_shared { [vec!["left"], vec![]] } else { [vec![], vec!["left"]] };
        assert_eq!(seen.await.unwrap(), expected, "shared: {is_shared}");
    }
}
