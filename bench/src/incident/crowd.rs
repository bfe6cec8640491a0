use std::{
    fmt,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use vestibule_testkit::Holder;

use super::pause;
use crate::{
    Failed,
    wire::{self, Answer, Target},
};

/// So many connections are opened at once, and so long is waited before the next: a listener of which more are waiting
/// than its queue takes lets them wait for a second.
const BURST: usize = 32;
const BURST_EVERY: Duration = Duration::from_millis(10);

/// With this status whoever was revoked is told so.
const REVOKED: u16 = 401;

/// Connections with a request on each, none of which waits for the others.
#[derive(Debug)]
pub(super) struct Crowd(Vec<Member>);

#[derive(Debug)]
struct Member {
    stream: TcpStream,
    received: Vec<u8>,
    is_closed: bool,
}

/// What all connections had when they were looked at, one after the other.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sweep {
    /// Not a byte so far, and open.
    pub(super) silent: usize,
    /// Told as a whole that the agent is revoked.
    pub(super) told: usize,
    /// Closed before they were.
    pub(super) closed: usize,
    /// Anything else.
    pub(super) strange: usize,
    /// What came since the sweep before.
    pub(super) bytes: usize,
}

impl Crowd {
    /// Sends `each` requests for each agent, on as many connections.
    pub(super) fn open(target: &Target, agents: &[Holder], each: usize) -> Result<Self, Failed> {
        let url = format!("http://{}{}", target.authority, target.path);
        let requests = agents.iter().flat_map(|agent| (0..each).map(|_| request(target, &url, agent)));
        let opened: Result<_, std::io::Error> = requests
            .enumerate()
            .map(|(number, request)| {
                if number % BURST == 0 {
                    pause(BURST_EVERY);
                }
                Member::open(target, &request)
            })
            .collect();
        opened.map(Self).map_err(|error| Failed::because(&target.authority, error))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Reads from all of them what is there.
    pub(super) fn sweep(&mut self) -> Sweep {
        let mut sweep = Sweep::default();
        for member in &mut self.0 {
            sweep.bytes += member.read();
            let answer = wire::parse(&member.received);
            match (member.received.is_empty(), answer, member.is_closed) {
                (true, _, false) => sweep.silent += 1,
                (false, Ok(Some(Answer { status: REVOKED, .. })), _) => sweep.told += 1,
                (true, _, true) | (false, Ok(None), true) => sweep.closed += 1,
                (false, Ok(Some(_) | None) | Err(_), _) => sweep.strange += 1,
            }
        }
        sweep
    }
}

impl fmt::Display for Sweep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { silent, told, closed, strange, bytes } = self;
        write!(
            f,
            "of all connections {silent} are silent, {told} were told of a revocation, {closed} closed, "
        )?;
        write!(f, "{strange} answered in another way; {bytes} bytes came")
    }
}

impl Member {
    fn open(target: &Target, request: &str) -> std::io::Result<Self> {
        let mut stream = TcpStream::connect(&target.authority)?;
        stream.set_nodelay(true)?;
        stream.write_all(request.as_bytes())?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, received: Vec::new(), is_closed: false })
    }

    /// How much it was.
    fn read(&mut self) -> usize {
        let mut chunk = [0u8; 4 << 10];
        let before = self.received.len();
        while !self.is_closed {
            match self.stream.read(&mut chunk) {
                Ok(0) => self.is_closed = true,
                Ok(read) => self.received.extend_from_slice(chunk.get(..read).unwrap_or_default()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.is_closed = true,
            }
        }
        self.received.len() - before
    }
}

fn request(target: &Target, url: &str, agent: &Holder) -> String {
    format!(
        "GET {} HTTP/1.1\r\nhost: {}\r\nauthorization: DPoP {}\r\ndpop: {}\r\n\r\n",
        target.path,
        target.authority,
        agent.token(),
        agent.proof("GET", url)
    )
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_sweep_tells_the_silent_the_told_and_the_closed_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target { authority: listener.local_addr().unwrap().to_string(), path: "/".to_owned() };
        let connect = || {
            let member = Member::open(&target, "x").unwrap();
            (member, listener.accept().unwrap().0)
        };
        let (silent, _kept) = connect();
        let (told, mut tells) = connect();
        tells.write_all(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 2\r\n\r\nno").unwrap();
        let (closed, closes) = connect();
        drop(closes);
        let (strange, mut answers) = connect();
        answers.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        // What is written to a local socket and read there in blocking mode once has arrived.
        for member in [&told, &closed, &strange] {
            member.stream.set_nonblocking(false).unwrap();
            let _read = member.stream.peek(&mut [0]);
            member.stream.set_nonblocking(true).unwrap();
        }
        let mut crowd = Crowd(vec![silent, told, closed, strange]);
        let first = crowd.sweep();
        assert_eq!((first.silent, first.told, first.closed, first.strange), (1, 1, 1, 1), "{first:?}");
        assert!(first.bytes > 50);
        assert_eq!(crowd.sweep(), Sweep { bytes: 0, ..first });
    }
}
