use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
    sync::Arc,
    thread,
};

use tokio::sync::watch;
use vestibule_model::{Clock, Monotonic};

/// A request whose reply is read by a thread of its own, byte by byte as the kernel hands them over. Dropping it closes
/// the connection, as an agent that leaves.
#[derive(Debug)]
pub struct Watched {
    log: watch::Receiver<Log>,
    socket: TcpStream,
}

/// How a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// In order: the other side has nothing more to say.
    Closed,
    /// It broke.
    Reset,
}

#[derive(Debug, Default)]
struct Log {
    bytes: Vec<u8>,
    /// When bytes were read, and how many there were then.
    reads: Vec<(Monotonic, usize)>,
    end: Option<End>,
}

impl Watched {
    pub(crate) fn start(authority: &str, request: &[u8], clock: &Arc<dyn Clock>) -> Self {
        let mut socket = TcpStream::connect(authority).expect("somebody listens");
        socket.write_all(request).expect("a request that fits into the socket's buffer");
        let (sender, log) = watch::channel(Log::default());
        let (reader, clock) = (socket.try_clone().expect("a second handle"), Arc::clone(clock));
        thread::spawn(move || read(reader, &sender, clock.as_ref()));
        Self { log, socket }
    }

    /// All that has come so far.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.log.borrow().bytes).into_owned()
    }

    /// Waits until what has come fits. `fits` looks at nothing else of this reply: it runs while that is locked.
    ///
    /// # Panics
    /// When the connection ends before.
    pub async fn until(&self, fits: impl Fn(&str) -> bool) {
        let fits = |log: &Log| fits(&String::from_utf8_lossy(&log.bytes));
        let mut log = self.log.clone();
        let log = log.wait_for(|log| fits(log) || log.end.is_some()).await.expect("the reader has not ended");
        assert!(fits(&log), "ended before: `{}`", String::from_utf8_lossy(&log.bytes));
    }

    /// Waits until the connection ends.
    ///
    /// # Panics
    /// Never: the reader tells before it ends.
    pub async fn ended(&self) -> End {
        let mut log = self.log.clone();
        let log = log.wait_for(|log| log.end.is_some()).await.expect("the reader tells the end");
        log.end.expect("just seen")
    }

    /// Closes the connection, as an agent that leaves.
    pub fn leave(&self) {
        // Wakes the reader, which ends; an error says that the connection has ended already.
        let _ = self.socket.shutdown(Shutdown::Both);
    }

    /// Whether the connection has not ended.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.log.borrow().end.is_none()
    }

    /// The status of the reply; none before its head is there.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        let text = self.text();
        text.contains("\r\n\r\n").then(|| text.split(' ').nth(1)?.parse().ok()).flatten()
    }

    /// A header of the reply; empty when it is absent.
    #[must_use]
    pub fn header(&self, name: &str) -> String {
        let text = self.text();
        let (head, _) = text.split_once("\r\n\r\n").unwrap_or_default();
        let mut fields = head.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).unwrap_or_default().1.to_owned()
    }

    /// Whether the reply is there to its last byte, as its framing says.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let (text, length) = (self.text(), self.header("content-length"));
        let Some((_, body)) = text.split_once("\r\n\r\n") else { return false };
        match length.parse::<usize>() {
            Ok(length) => body.len() == length,
            Err(_) => body == "0\r\n\r\n" || body.ends_with("\r\n0\r\n\r\n"),
        }
    }

    /// How many bytes were read by then, and when the last one was read at all.
    #[must_use]
    pub fn read_by(&self, moment: Monotonic) -> (usize, Option<Monotonic>) {
        let log = self.log.borrow();
        let by = log.reads.iter().rev().find(|(at, _)| *at <= moment);
        (by.map_or(0, |(_, count)| *count), log.reads.last().map(|(at, _)| *at))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.leave();
    }
}

fn read(mut socket: TcpStream, log: &watch::Sender<Log>, clock: &dyn Clock) {
    let mut buffer = vec![0; 64 << 10];
    let end = loop {
        match socket.read(&mut buffer) {
            Ok(0) => break End::Closed,
            Ok(count) => {
                let at = clock.monotonic();
                log.send_modify(|log| {
                    log.bytes.extend_from_slice(buffer.get(..count).unwrap_or_default());
                    log.reads.push((at, log.bytes.len()));
                });
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break End::Reset,
        }
    };
    log.send_modify(|log| log.end = Some(end));
}
