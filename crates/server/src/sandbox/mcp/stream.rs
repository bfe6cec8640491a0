//! An answer that takes its time, as server-sent events.

use std::convert::Infallible;

use axum::response::{
    IntoResponse, Response,
    sse::{Event, Sse},
};
use futures_util::{Stream, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    super::progress::{Seconds, Step},
    message::Id,
};

/// RFC 5424 severities, in the words of MCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum LogLevel {
    Debug,
    Info,
    Notice,
    Warning,
    Error,
    Critical,
    Alert,
    Emergency,
}

/// What the client hears each second before the answer.
#[derive(Debug)]
pub(super) enum Notices {
    /// It sent a progress token.
    Progress(Id),
    /// It takes log messages of level `info`.
    Log,
    /// It takes log messages of severer levels only: a comment keeps the connection alive.
    Comments,
}

impl Notices {
    /// By the client's progress token and the lowest level at which it takes log messages. None for a client that has
    /// said neither.
    pub(super) fn new(progress_token: Option<Id>, log_level: Option<LogLevel>) -> Option<Self> {
        match (progress_token, log_level) {
            (Some(token), _) => Some(Self::Progress(token)),
            (None, Some(LogLevel::Debug | LogLevel::Info)) => Some(Self::Log),
            (None, Some(_)) => Some(Self::Comments),
            (None, None) => None,
        }
    }

    fn event(&self, second: u32, total: u32) -> Event {
        let message = format!("second {second} of {total}");
        let (method, params) = match self {
            Self::Progress(token) => (
                "notifications/progress",
                json!({ "progressToken": token, "progress": second, "total": total, "message": message }),
            ),
            Self::Log => (
                "notifications/message",
                json!({ "level": "info", "logger": "stream_progress", "data": message }),
            ),
            Self::Comments => return Event::default().comment(message),
        };
        event(&json!({ "jsonrpc": "2.0", "method": method, "params": params }))
    }
}

/// `steps` as notices and then the `answer`.
pub(super) fn respond(
    steps: impl Stream<Item = Step> + Send + 'static,
    total: Seconds,
    notices: Notices,
    answer: Value,
) -> Response {
    open(steps.map(move |step| match step {
        Step::Second(second) => notices.event(second, total.get()),
        Step::End => event(&answer),
    }))
}

/// A stream of events, each sent as soon as it is there.
pub(super) fn open(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    // Tells a reverse proxy not to collect events before it passes them on.
    ([("x-accel-buffering", "no")], Sse::new(events.map(Ok::<_, Infallible>))).into_response()
}

fn event(message: &Value) -> Event {
    Event::default().event("message").data(message.to_string())
}
