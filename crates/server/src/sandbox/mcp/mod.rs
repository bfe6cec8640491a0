//! The sandbox as an MCP server over streamable HTTP, in both eras: with sessions (2025-03-26 to 2025-11-25)
//! and without (2026-07-28). Batches, which only 2025-03-26 has, are not taken.

mod legacy;
mod message;
mod modern;
mod session;
mod stream;
mod tools;

use ::http::{HeaderMap, StatusCode, header};
use axum::{
    Json,
    body::Bytes,
    extract::State,
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream as streams};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use url::Url;

pub(super) use self::session::Sessions;
use self::{message::Message, stream::Notices, tools::Tool};
use super::{
    Sandbox,
    http::{Problem, wrong_method},
    journal::Call,
    progress, single_header,
};

const PROTOCOL_VERSION_HEADER: &str = "mcp-protocol-version";

/// `POST /mcp`: one message.
pub(super) async fn post(
    State(sandbox): State<Sandbox>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    check_origin(&headers)?;
    let message = match Message::parse(&body) {
        Ok(message) => message,
        Err(failure) => return Ok((StatusCode::BAD_REQUEST, failure.answer(None)).into_response()),
    };
    if is_modern(&headers, message.params()) {
        Ok(modern::handle(&sandbox, &headers, message).await)
    } else {
        legacy::handle(&sandbox, &headers, message).await
    }
}

/// `GET /mcp`: the stream of a session. There are no sessions in 2026-07-28.
pub(super) async fn get(State(sandbox): State<Sandbox>, headers: HeaderMap) -> Result<Response, Problem> {
    check_origin(&headers)?;
    if is_modern(&headers, &Value::Null) { Ok(only_post().await) } else { legacy::stream(&sandbox, &headers) }
}

/// `DELETE /mcp`: ends a session.
pub(super) async fn delete(State(sandbox): State<Sandbox>, headers: HeaderMap) -> Result<Response, Problem> {
    check_origin(&headers)?;
    if is_modern(&headers, &Value::Null) { Ok(only_post().await) } else { legacy::end(&sandbox, &headers) }
}

/// The era is told by the version that a message carries, never by its method: a modern `initialize` is an
/// unknown method, not a handshake.
fn is_modern(headers: &HeaderMap, params: &Value) -> bool {
    single_header(headers, PROTOCOL_VERSION_HEADER) == Some(modern::VERSION)
        || params.pointer(modern::VERSION_POINTER).is_some()
}

async fn only_post() -> Response {
    ([(header::ALLOW, "POST")], wrong_method().await).into_response()
}

/// A page of another site must not reach a server on loopback by DNS rebinding. Programs send no `Origin`.
fn check_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let is_local = origin.to_str().ok().and_then(|origin| Url::parse(origin).ok()).is_some_and(|origin| {
        origin.host_str().is_some_and(|host| ["localhost", "127.0.0.1", "[::1]"].contains(&host))
    });
    if is_local {
        Ok(())
    } else {
        Err(Problem::new(StatusCode::FORBIDDEN, "the origin is not on this machine"))
    }
}

/// Who this server is, in both eras.
fn server_info() -> Value {
    json!({ "name": "vestibule-sandbox", "title": "Vestibule sandbox", "version": env!("CARGO_PKG_VERSION") })
}

const INSTRUCTIONS: &str = "A sandbox with a few repositories in memory. Nothing here is real.";

/// What it means when the client of a request leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Leaving {
    /// 2026-07-28 cancellation: the request is called off.
    Cancels,
    /// 2025-11-25 transports: "Disconnection SHOULD NOT be interpreted as the client cancelling its request. To cancel, the
    /// client SHOULD explicitly send an MCP `CancelledNotification`." So the work goes on.
    SaysNothing,
}

/// A tool that runs, and what its client gets.
struct Delivery {
    call: Call,
    answer: Value,
    /// None for a client that asked for no word before the answer.
    notices: Option<Notices>,
    stop: CancellationToken,
    leaving: Leaving,
}

/// Gives the answer at once; of `stream_progress` when its seconds are over, at the end of a stream or alone.
async fn deliver(tool: &Tool, delivery: Delivery) -> Response {
    let Delivery { call, answer, notices, stop, leaving } = delivery;
    let Tool::StreamProgress { seconds } = tool else {
        call.answered();
        stop.cancel();
        return Json(answer).into_response();
    };
    let steps = progress::run(*seconds, call, stop);
    let steps = match leaving {
        Leaving::Cancels => steps.boxed(),
        Leaving::SaysNothing => progress::unheard(steps).boxed(),
    };
    match notices {
        Some(notices) => stream::respond(steps, *seconds, notices, answer),
        None if progress::is_finished(steps).await => Json(answer).into_response(),
        // 2025-11-25 cancellation: the receiver SHOULD "not send a response for the cancelled request". HTTP wants some
        // answer all the same, and one without a message is a stream that ends.
        None => stream::open(streams::empty()),
    }
}
