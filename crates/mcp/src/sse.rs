//! Server-sent events (WHATWG HTML §9.2.6), read incrementally and without losing a byte.
//!
//! The attacker is an upstream that never ends an event: an event is bounded, and a stream is never buffered whole.

use bytes::{Bytes, BytesMut};

/// An event longer than the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {max} bytes")]
pub struct EventTooLong {
    /// The limit.
    pub max: usize,
}

/// One event: the bytes up to and with its blank line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    raw: Bytes,
    data: Option<Vec<u8>>,
    rest: Vec<u8>,
}

impl Event {
    /// The bytes as they came. All events' bytes in order are the stream.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The data, lines joined by LF. None for an event without any: a comment, a lone id.
    #[must_use]
    pub fn data(&self) -> Option<&[u8]> {
        self.data.as_deref()
    }

    /// The same event (id, type, retry, comments) with other data.
    #[must_use]
    pub fn with_data(&self, data: &[u8]) -> Bytes {
        let mut out = self.rest.clone();
        // A raw CR would end the line, so it is written as the line break that it is.
        for line in data.split(|byte| matches!(byte, b'\n' | b'\r')) {
            out.extend_from_slice(b"data: ");
            out.extend_from_slice(line);
            out.push(b'\n');
        }
        out.push(b'\n');
        out.into()
    }
}

/// Splits a stream into events. Lines end with CR, LF or CRLF, mixed as they like, split at any byte.
#[derive(Debug)]
pub struct Parser {
    max_bytes: usize,
    pending: BytesMut,
    /// Where in `pending` the line begins that is being read.
    line_start: usize,
    /// Whether the last byte was a CR: an LF that follows belongs to it.
    after_cr: bool,
    at_start: bool,
    data: Option<Vec<u8>>,
    rest: Vec<u8>,
}

impl Parser {
    /// A parser that accepts events of at most `max_bytes`.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self {
            max_bytes,
            pending: BytesMut::new(),
            line_start: 0,
            after_cr: false,
            at_start: true,
            data: None,
            rest: Vec::new(),
        }
    }

    /// Takes the next bytes and gives the events that they complete.
    ///
    /// # Errors
    /// [`EventTooLong`]; the stream is then to be ended.
    pub fn push(&mut self, mut chunk: &[u8]) -> Result<Vec<Event>, EventTooLong> {
        let mut events = Vec::new();
        while let Some((&first, rest)) = chunk.split_first() {
            if std::mem::take(&mut self.after_cr) && first == b'\n' {
                self.pending.extend_from_slice(b"\n");
                self.line_start = self.pending.len();
                chunk = rest;
                continue;
            }
            let end = chunk.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (taken, after) = chunk.split_at(end.map_or(chunk.len(), |end| end + 1));
            if self.pending.len() + taken.len() > self.max_bytes {
                return Err(EventTooLong { max: self.max_bytes });
            }
            self.pending.extend_from_slice(taken);
            self.after_cr = taken.last() == Some(&b'\r');
            chunk = after;
            if end.is_some() {
                events.extend(self.end_line());
            }
        }
        Ok(events)
    }

    fn end_line(&mut self) -> Option<Event> {
        let end = self.pending.len() - 1;
        let mut line = self.pending.get(self.line_start..end).unwrap_or_default();
        if std::mem::take(&mut self.at_start) {
            line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        }
        if line.is_empty() {
            self.line_start = 0;
            return Some(Event {
                raw: self.pending.split().freeze(),
                data: self.data.take(),
                rest: std::mem::take(&mut self.rest),
            });
        }
        match value_of_data(line) {
            Some(value) => match &mut self.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => self.data = Some(value.to_vec()),
            },
            None => {
                self.rest.extend_from_slice(line);
                self.rest.push(b'\n');
            }
        }
        self.line_start = self.pending.len();
        None
    }
}

/// The value of a `data` line: after the colon and one space, or empty when there is no colon.
fn value_of_data(line: &[u8]) -> Option<&[u8]> {
    let after = line.strip_prefix(b"data")?;
    match after.split_first() {
        None => Some(after),
        Some((b':', value)) => Some(value.strip_prefix(b" ").unwrap_or(value)),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(chunks: &[&[u8]]) -> Vec<Event> {
        let mut parser = Parser::new(1024);
        chunks.iter().flat_map(|chunk| parser.push(chunk).unwrap()).collect()
    }

    fn data(text: &str) -> Vec<Option<String>> {
        let text_of = |data: &[u8]| String::from_utf8(data.to_vec()).unwrap();
        read(&[text.as_bytes()]).iter().map(|event| event.data().map(text_of)).collect()
    }

    #[test]
    fn every_line_ending_ends_lines_and_events() {
        for end in ["\n", "\r", "\r\n"] {
            let stream = ["id: 1", "data: a", "data:b", "", ": keep-alive", "", "data", "", ""].join(end);
            assert_eq!(data(&stream)[..3], [Some("a\nb".into()), None, Some(String::new())], "{end:?}");
        }
    }

    #[test]
    fn only_the_field_named_data_is_data() {
        assert_eq!(data("dataset: x\ndata :y\n data: z\n\n"), [None]);
        assert_eq!(data("\u{feff}data:  x\n\n"), [Some(" x".into())]);
    }

    #[test]
    fn an_event_that_is_not_ended_is_no_event() {
        assert_eq!(data("data: x\n"), []);
    }

    #[test]
    fn an_event_that_never_ends_is_an_error() {
        let mut parser = Parser::new(16);
        assert_eq!(parser.push(b"data: 123456789\n\n"), Err(EventTooLong { max: 16 }));
        let mut parser = Parser::new(16);
        assert!((0..3).try_for_each(|_| parser.push(b": 1234\n").map(drop)).is_err());
    }

    #[test]
    fn replaced_data_keeps_the_other_fields() {
        let events = read(&[b"event: message\r\nid: 7\r\ndata: old\r\n\r\n"]);
        assert_eq!(events[0].with_data(b"new\nline"), "event: message\nid: 7\ndata: new\ndata: line\n\n");
    }

    proptest! {
        #[test]
        fn a_stream_reads_the_same_however_it_is_split(
            stream in "(data: ?[ab]{0,3}|id: 1|:c|)(\n|\r|\r\n)((data: ?[ab]{0,3}|)(\n|\r|\r\n)){0,8}",
            at in any::<prop::sample::Index>(),
        ) {
            let whole = read(&[stream.as_bytes()]);
            let (head, tail) = stream.as_bytes().split_at(at.index(stream.len()));
            let halves = read(&[head, tail]);
            let bytes: Vec<[u8; 1]> = stream.bytes().map(|byte| [byte]).collect();
            let single: Vec<&[u8]> = bytes.iter().map(<[u8; 1]>::as_slice).collect();
            prop_assert_eq!(&whole, &halves);
            prop_assert_eq!(&whole, &read(&single));
            let raw: Vec<u8> = whole.iter().flat_map(|event| event.raw().to_vec()).collect();
            prop_assert!(stream.as_bytes().starts_with(&raw), "no byte is lost or made up");
        }

        #[test]
        fn what_is_written_reads_back(text in "[ -~\n]{0,60}") {
            let written = read(&[b"data: x\n\n"])[0].with_data(text.as_bytes());
            let again = read(&[&written]);
            prop_assert_eq!(again[0].data(), Some(text.as_bytes()));
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Parser::new(64).push(&bytes);
        }
    }
}
