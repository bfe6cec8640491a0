//! A reply in HTTP/2: handed to hyper piece by piece, each piece known until h2 has written it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::{
    exchange::{Exchange, Piece},
    streams::{Pace, note, note_exchange},
};

/// Replies are handed to hyper in pieces of this size, the largest frame by default (RFC 9113 §4.2): it takes a piece once
/// the window has room for a byte of it, and buffers the rest.
const PIECE_MAX: usize = 16 << 10;

/// A reply that notes when the next piece is asked for.
///
/// Once h2 has the end of a stream it cannot be made to drop what waits before it: hyper has given its handle away. So the
/// end is held back until h2 has written all the rest, and a reply can be cut as long as some of it waits for a window. A
/// reply of one piece is given whole, lest every reply takes two writes.
pub(super) struct Paced {
    body: Body,
    rest: Bytes,
    exchange: Arc<Exchange>,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing has been given.
    New,
    /// A piece has been given.
    Begun,
    /// All but the end has been given.
    Leaving,
    Ended,
}

impl Paced {
    pub(super) fn new(body: Body, exchange: Arc<Exchange>) -> Self {
        note_exchange(&exchange);
        Self { body, rest: Bytes::new(), exchange, stage: Stage::New }
    }

    /// The next bytes that there are. No reply of ours has trailers.
    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, axum::Error>>> {
        loop {
            match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) if !bytes.is_empty() => return Poll::Ready(Some(Ok(bytes))),
                    Ok(_) | Err(_) => {}
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }

    fn give(&mut self) -> Frame<Piece> {
        let piece = self.rest.split_to(self.rest.len().min(PIECE_MAX));
        let is_all = self.stage == Stage::New && self.rest.is_empty() && self.body.is_end_stream();
        self.stage = if is_all { Stage::Ended } else { Stage::Begun };
        note(Pace::Given);
        Frame::data(Piece::new(piece, &self.exchange))
    }
}

impl HttpBody for Paced {
    type Data = Piece;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, axum::Error>>> {
        match self.stage {
            Stage::New | Stage::Begun => {
                note(Pace::Going);
                if self.rest.is_empty() {
                    match ready!(self.poll_bytes(cx)) {
                        Some(Ok(bytes)) => self.rest = bytes,
                        Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                        None => {
                            self.stage = Stage::Leaving;
                            note(Pace::Given);
                        }
                    }
                }
                if !self.rest.is_empty() {
                    return Poll::Ready(Some(Ok(self.give())));
                }
            }
            Stage::Leaving => {}
            Stage::Ended => return Poll::Ready(None),
        }
        ready!(self.exchange.poll_left(cx));
        self.stage = Stage::Ended;
        Poll::Ready(Some(Ok(Frame::data(Piece::new(Bytes::new(), &self.exchange)))))
    }

    fn is_end_stream(&self) -> bool {
        match self.stage {
            // The head says that nothing follows.
            Stage::New => self.rest.is_empty() && self.body.is_end_stream(),
            Stage::Begun | Stage::Leaving => false,
            Stage::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        if self.stage == Stage::New { self.body.size_hint() } else { SizeHint::default() }
    }
}
