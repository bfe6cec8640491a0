//! The era with a handshake: `initialize` opens a session, and every later request names it.

use std::{sync::Arc, time::Duration};

use ::http::{HeaderMap, StatusCode};
use axum::{
    Json,
    response::{IntoResponse, Response, sse::Event},
};
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    super::{Sandbox, http::Problem, single_header},
    Delivery, INSTRUCTIONS, Leaving, PROTOCOL_VERSION_HEADER, deliver,
    message::{Failure, Handled, INVALID_PARAMS, INVALID_REQUEST, Id, METHOD_NOT_FOUND, Message, success},
    server_info,
    session::Session,
    stream::{LogLevel, Notices},
    tools::{self, Tool},
};

const LATEST_VERSION: &str = "2025-11-25";
const VERSIONS: [&str; 3] = ["2025-03-26", "2025-06-18", LATEST_VERSION];
const SESSION_HEADER: &str = "mcp-session-id";
const COMMENT_EVERY: Duration = Duration::from_secs(15);

/// One message.
pub(super) async fn handle(
    sandbox: &Sandbox,
    headers: &HeaderMap,
    message: Message,
) -> Result<Response, Problem> {
    if let Message::Request { id, method, params } = &message
        && method == "initialize"
    {
        return Ok(or_failure(id, initialize(sandbox, id, params)));
    }
    let (_, session) = find_session(sandbox, headers)?;
    match message {
        Message::Request { id, method, params } => {
            return Ok(or_failure(&id, request(sandbox, &session, &id, &method, &params).await));
        }
        Message::Notification { method, params } => {
            if method == "notifications/cancelled"
                && let Ok(Cancelled { request_id }) = Cancelled::deserialize(params)
            {
                session.cancel(&request_id);
            }
        }
        Message::Response => {}
    }
    Ok(StatusCode::ACCEPTED.into_response())
}

/// The stream for messages that answer no request. There are none: it stays open, with a comment now and
/// then, until the session ends.
pub(super) fn stream(sandbox: &Sandbox, headers: &HeaderMap) -> Result<Response, Problem> {
    let (_, session) = find_session(sandbox, headers)?;
    let silence = stream::unfold(session, async |session| {
        tokio::select! {
            () = session.ended().cancelled() => None,
            () = tokio::time::sleep(COMMENT_EVERY) => Some((Event::default().comment("still here"), session)),
        }
    });
    Ok(super::stream::open(silence))
}

/// Ends the session.
pub(super) fn end(sandbox: &Sandbox, headers: &HeaderMap) -> Result<Response, Problem> {
    let (id, _) = find_session(sandbox, headers)?;
    sandbox.sessions.end(id);
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// An error of a request goes with HTTP status 200 in this era.
fn or_failure(id: &Id, handled: Handled) -> Response {
    handled.unwrap_or_else(|failure| failure.answer(Some(id)).into_response())
}

fn initialize(sandbox: &Sandbox, id: &Id, params: &Value) -> Handled {
    let requested = params
        .get("protocolVersion")
        .and_then(Value::as_str)
        .ok_or_else(|| Failure::new(INVALID_PARAMS, "`protocolVersion` is missing"))?;
    let version = if VERSIONS.contains(&requested) { requested } else { LATEST_VERSION };
    let result = json!({
        "protocolVersion": version,
        "capabilities": { "tools": {}, "logging": {} },
        "serverInfo": server_info(),
        "instructions": INSTRUCTIONS,
    });
    Ok(([(SESSION_HEADER, sandbox.sessions.open())], Json(success(id, result))).into_response())
}

/// The session that a request names, with its id.
fn find_session<'a>(sandbox: &Sandbox, headers: &'a HeaderMap) -> Result<(&'a str, Arc<Session>), Problem> {
    let bad = |detail| Problem::new(StatusCode::BAD_REQUEST, detail);
    // Absent, the version is the one of the handshake.
    if headers.contains_key(PROTOCOL_VERSION_HEADER)
        && !single_header(headers, PROTOCOL_VERSION_HEADER).is_some_and(|version| VERSIONS.contains(&version))
    {
        return Err(bad("this protocol version is not supported"));
    }
    let id = single_header(headers, SESSION_HEADER)
        .ok_or_else(|| bad("the header `Mcp-Session-Id` is missing"))?;
    let session = sandbox
        .sessions
        .get(id)
        .ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "there is no such session: initialize again"))?;
    Ok((id, session))
}

async fn request(sandbox: &Sandbox, session: &Session, id: &Id, method: &str, params: &Value) -> Handled {
    let result = match method {
        "ping" => json!({}),
        "tools/list" => json!({ "tools": tools::definitions() }),
        "logging/setLevel" => {
            let SetLevel { level } = SetLevel::deserialize(params)
                .map_err(|error| Failure::new(INVALID_PARAMS, error.to_string()))?;
            session.set_log_level(level);
            json!({})
        }
        "tools/call" => return call(sandbox, session, id, params).await,
        _ => return Err(Failure::new(METHOD_NOT_FOUND, "unknown method")),
    };
    Ok(Json(success(id, result)).into_response())
}

async fn call(sandbox: &Sandbox, session: &Session, id: &Id, params: &Value) -> Handled {
    let tool = Tool::parse(params)?;
    let stop = session.start(id).ok_or_else(|| {
        Failure::new(INVALID_REQUEST, "a request with this id is running, or too many requests are")
    })?;
    let token = params.pointer("/_meta/progressToken").and_then(|token| Id::deserialize(token).ok());
    let delivery = Delivery {
        call: tool.noted(&sandbox.journal),
        answer: success(id, tool.run(&sandbox.repositories)),
        notices: Notices::new(token, session.log_level()),
        stop,
        leaving: Leaving::SaysNothing,
    };
    Ok(deliver(&tool, delivery).await)
}

#[derive(Deserialize)]
struct SetLevel {
    level: LogLevel,
}

#[derive(Deserialize)]
struct Cancelled {
    #[serde(rename = "requestId")]
    request_id: Id,
}
