//! HTTP/1.1 over a blocking socket with as little work as possible: the generator shares the machine with what it
//! measures.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    time::Duration,
};

use crate::Failed;

/// Longest wait for bytes.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer, in bytes.
const ANSWER_MAX: usize = 16 << 20;

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// `HOST:PORT`.
    pub(crate) authority: String,
    /// With a slash at its start.
    pub(crate) path: String,
}

impl Target {
    /// From `http://HOST:PORT/PATH`.
    pub(crate) fn parse(url: &str) -> Result<Self, Failed> {
        let rest =
            url.strip_prefix("http://").ok_or_else(|| Failed::because(url, "must start with http://"))?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        Ok(Self { authority: authority.to_owned(), path: format!("/{path}") })
    }

    /// The same place, another path.
    pub(crate) fn at(&self, path: &str) -> Self {
        Self { authority: self.authority.clone(), path: path.to_owned() }
    }
}

/// A connection that is kept alive, with one request at a time.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer, whole.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(authority: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(authority)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        Ok(Self { stream, buffer: Vec::with_capacity(8 << 10) })
    }

    /// Sends the bytes of one request and reads its answer.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(request)?;
        self.buffer.clear();
        let mut chunk = [0u8; 8 << 10];
        loop {
            match self.stream.read(&mut chunk)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                read => self.buffer.extend_from_slice(chunk.get(..read).unwrap_or_default()),
            }
            if let Some(answer) = parse(&self.buffer)? {
                return Ok(answer);
            }
            if self.buffer.len() > ANSWER_MAX {
                return Err(io::Error::other("the answer is too large"));
            }
        }
    }
}

/// The answer, or nothing while more of it must come.
pub(crate) fn parse(bytes: &[u8]) -> io::Result<Option<Answer>> {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let invalid = || io::Error::other("the answer is not HTTP/1.1 with a length");
    let (head, rest) = bytes.split_at_checked(end + 4).ok_or_else(invalid)?;
    let head = std::str::from_utf8(head).map_err(|_| invalid())?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).ok_or_else(invalid)?;
    let mut length = (status == 204).then_some(0);
    let mut is_chunked = false;
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse().map_err(|_| invalid())?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            is_chunked = value.trim().eq_ignore_ascii_case("chunked");
        }
    }
    let body = match (is_chunked, length) {
        (true, _) => unchunk(rest)?,
        (false, Some(length)) => rest.get(..length).map(<[u8]>::to_vec),
        (false, None) => return Err(invalid()),
    };
    Ok(body.map(|body| Answer { status, body }))
}

/// The content of a chunked body (RFC 9112 §7.1), or nothing while more of it must come. Trailers are not expected.
fn unchunk(mut bytes: &[u8]) -> io::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    loop {
        let Some(end) = bytes.windows(2).position(|window| window == b"\r\n") else { return Ok(None) };
        let size = bytes
            .get(..end)
            .and_then(|line| std::str::from_utf8(line).ok())
            .and_then(|line| usize::from_str_radix(line.split(';').next()?.trim(), 16).ok())
            .filter(|size| *size <= ANSWER_MAX)
            .ok_or_else(|| io::Error::other("a chunk has no size"))?;
        let start = end + 2;
        let (Some(chunk), Some(rest)) = (bytes.get(start..start + size), bytes.get(start + size + 2..))
        else {
            return Ok(None);
        };
        if size == 0 {
            return Ok(Some(body));
        }
        body.extend_from_slice(chunk);
        bytes = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The answer must be there with the last byte and not before.
    fn whole(text: &str) -> Answer {
        for length in 0..text.len() {
            assert_eq!(parse(&text.as_bytes()[..length]).unwrap(), None, "after {length} bytes");
        }
        parse(text.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn answers_with_a_length_and_in_chunks_are_read_to_their_end() {
        let sized = whole("HTTP/1.1 201 Created\r\nContent-Length: 4\r\nx: y\r\n\r\nbody");
        assert_eq!(sized, Answer { status: 201, body: b"body".to_vec() });
        let chunked = whole(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nbo\r\n002;x=y\r\ndy\r\n0\r\n\r\n",
        );
        assert_eq!(chunked, Answer { status: 200, body: b"body".to_vec() });
        assert_eq!(whole("HTTP/1.1 204 No Content\r\n\r\n").status, 204);
    }

    #[test]
    fn an_answer_that_ends_with_its_connection_is_refused() {
        assert!(parse(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(parse(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nz\r\n").is_err());
    }

    #[test]
    fn a_target_is_taken_apart() {
        let target = Target::parse("http://127.0.0.1:80/a/b?c").unwrap();
        assert_eq!(target, Target { authority: "127.0.0.1:80".into(), path: "/a/b?c".into() });
        assert_eq!(target.at("/x").path, "/x");
        assert_eq!(Target::parse("http://h:1").unwrap().path, "/");
        assert!(Target::parse("https://h/").is_err());
    }
}
