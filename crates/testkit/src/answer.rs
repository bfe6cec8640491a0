use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use serde_json::Value;
use tokio::time::{Interval, MissedTickBehavior};

use crate::upstream::Flight;

/// How often a stream of [`Answer::beats`] sends. Nobody waits for this time to pass: it is what keeps bytes coming.
const BEAT: Duration = Duration::from_millis(5);

pub(crate) type ReplyBody = UnsyncBoxBody<Bytes, Infallible>;

/// What an upstream answers.
#[derive(Debug, Clone)]
pub struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Content,
}

#[derive(Debug, Clone)]
enum Content {
    Whole(Bytes),
    Chunks(Vec<Bytes>),
    Late(Bytes),
    Beats(Beats),
}

/// What every beat of a stream looks like: its number stands between the two.
#[derive(Debug, Clone)]
pub(crate) struct Beats {
    pub(crate) before: String,
    pub(crate) after: String,
    pub(crate) last: String,
}

impl Answer {
    /// An answer with a status (100-599) and a body.
    #[must_use]
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self::with(status, Content::Whole(body.into()))
    }

    /// 200 with JSON.
    #[must_use]
    pub fn json(body: &Value) -> Self {
        Self::new(200, body.to_string()).header("content-type", "application/json")
    }

    /// 200 with a body that is streamed, chunk by chunk: each waits at the gate of [`crate::TestUpstream::hold`].
    #[must_use]
    pub fn stream(content_type: &str, chunks: impl IntoIterator<Item = impl Into<Bytes>>) -> Self {
        let chunks = chunks.into_iter().map(Into::into).collect();
        Self::with(200, Content::Chunks(chunks)).header("content-type", content_type)
    }

    /// 200 with a body that is given when the upstream is told to finish, see [`crate::TestUpstream::finish`].
    #[must_use]
    pub fn late(body: impl Into<Bytes>) -> Self {
        Self::with(200, Content::Late(body.into()))
    }

    /// 200 with lines `beat N`, one after the other and without end, until the upstream is told to finish; then `last`.
    /// The numbers count all the beats of the upstream, see [`crate::TestUpstream::beats`].
    #[must_use]
    pub fn beats(last: &str) -> Self {
        let (before, after) = ("beat ".to_owned(), "\n".to_owned());
        Self::beating("text/plain", Beats { before, after, last: format!("{last}\n") })
    }

    pub(crate) fn beating(content_type: &str, beats: Beats) -> Self {
        Self::with(200, Content::Beats(beats)).header("content-type", content_type)
    }

    fn with(status: u16, body: Content) -> Self {
        let status = StatusCode::from_u16(status).expect("the test's status is valid");
        Self { status, headers: HeaderMap::new(), body }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("the test's header name is valid");
        self.headers.append(name, HeaderValue::from_str(value).expect("the test's header value is valid"));
        self
    }

    /// The response, once the gate lets it through.
    pub(crate) async fn deliver(self, flight: Flight) -> Response<ReplyBody> {
        let body = match self.body {
            Content::Whole(body) => {
                flight.pass().await;
                flight.land();
                Full::new(body).boxed_unsync()
            }
            Content::Chunks(chunks) => streamed(chunks, flight),
            Content::Late(body) => {
                flight.until_finish().await;
                flight.land();
                Full::new(body).boxed_unsync()
            }
            Content::Beats(beats) => beating(beats, flight),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// A body whose chunks pass the gate one by one; the flight lands when all have.
fn streamed(chunks: Vec<Bytes>, flight: Flight) -> ReplyBody {
    let frames = stream::unfold((chunks.into_iter(), flight), |(mut chunks, flight)| async move {
        let Some(chunk) = chunks.next() else {
            flight.land();
            return None;
        };
        flight.pass().await;
        Some((Ok::<_, Infallible>(Frame::data(chunk)), (chunks, flight)))
    });
    StreamBody::new(frames).boxed_unsync()
}

/// A body that goes on until the upstream is told to finish.
fn beating(beats: Beats, flight: Flight) -> ReplyBody {
    let mut every = tokio::time::interval(BEAT);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let frames = stream::unfold(Some((beats, flight, every)), |state| async move {
        let (beats, flight, mut every) = state?;
        match next(&flight, &mut every).await {
            Some(number) => {
                let beat = format!("{}{number}{}", beats.before, beats.after);
                Some((Ok::<_, Infallible>(Frame::data(beat.into())), Some((beats, flight, every))))
            }
            None => {
                flight.land();
                Some((Ok(Frame::data(beats.last.into())), None))
            }
        }
    });
    StreamBody::new(frames).boxed_unsync()
}

/// The number of the next beat; none when it is time to finish.
async fn next(flight: &Flight, every: &mut Interval) -> Option<u64> {
    tokio::select! {
        biased;
        () = flight.until_finish() => None,
        _ = every.tick() => Some(flight.beat()),
    }
}
