use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use serde_json::Value;

use crate::upstream::Flight;

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
