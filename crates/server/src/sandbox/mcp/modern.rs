//! The era without sessions, 2026-07-28: each request says in `_meta` and in its headers all that it needs.

use ::http::{HeaderMap, StatusCode};
use axum::{
    Json,
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    super::{Sandbox, single_header},
    Delivery, INSTRUCTIONS, Leaving, PROTOCOL_VERSION_HEADER, deliver,
    message::{Failure, Handled, INVALID_PARAMS, INVALID_REQUEST, Id, METHOD_NOT_FOUND, Message, success},
    server_info,
    stream::{LogLevel, Notices},
    tools::{self, Tool},
};

pub(super) const VERSION: &str = "2026-07-28";
/// Where a request's params name their protocol version (`~1` is a slash, RFC 6901).
pub(super) const VERSION_POINTER: &str = "/_meta/io.modelcontextprotocol~1protocolVersion";

const HEADER_MISMATCH: i32 = -32020;
const UNSUPPORTED_VERSION: i32 = -32022;
/// The tools never change while the sandbox runs, and all who may call it see the same.
const TTL_MILLISECONDS: u32 = 60_000;

/// One message.
pub(super) async fn handle(sandbox: &Sandbox, headers: &HeaderMap, message: Message) -> Response {
    match message {
        Message::Request { id, method, params } => request(sandbox, headers, &id, &method, &params)
            .await
            .unwrap_or_else(|failure| (failure.status(), failure.answer(Some(&id))).into_response()),
        Message::Notification { .. } => StatusCode::ACCEPTED.into_response(),
        Message::Response => {
            let failure = Failure::new(INVALID_REQUEST, "clients send no responses in this protocol version");
            (StatusCode::BAD_REQUEST, failure.answer(None)).into_response()
        }
    }
}

/// What a request says about itself.
#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "io.modelcontextprotocol/protocolVersion")]
    version: String,
    /// REQUIRED, though no tool here asks anything of its client.
    #[serde(rename = "io.modelcontextprotocol/clientCapabilities")]
    _capabilities: Map<String, Value>,
    #[serde(rename = "io.modelcontextprotocol/logLevel")]
    log_level: Option<LogLevel>,
    #[serde(rename = "progressToken")]
    progress_token: Option<Id>,
}

async fn request(sandbox: &Sandbox, headers: &HeaderMap, id: &Id, method: &str, params: &Value) -> Handled {
    let meta = Meta::deserialize(params.get("_meta").unwrap_or(&Value::Null))
        .map_err(|error| Failure::new(INVALID_PARAMS, format!("`_meta`: {error}")))?;
    check_headers(headers, &meta.version, method, params)?;
    if meta.version != VERSION {
        let data = json!({ "supported": [VERSION], "requested": meta.version });
        return Err(Failure::new(UNSUPPORTED_VERSION, "unsupported protocol version").with_data(data));
    }
    let result = match method {
        "server/discover" => cacheable(json!({
            "supportedVersions": [VERSION],
            "capabilities": { "tools": {}, "logging": {} },
            "instructions": INSTRUCTIONS,
        })),
        "tools/list" => cacheable(json!({ "tools": tools::definitions() })),
        "tools/call" => return call(sandbox, id, params, meta).await,
        _ => return Err(Failure::new(METHOD_NOT_FOUND, "unknown method")),
    };
    Ok(Json(success(id, complete(result))).into_response())
}

async fn call(sandbox: &Sandbox, id: &Id, params: &Value, meta: Meta) -> Handled {
    let tool = Tool::parse(params)?;
    let delivery = Delivery {
        call: tool.noted(&sandbox.journal),
        answer: success(id, complete(tool.run(&sandbox.repositories))),
        notices: Notices::new(meta.progress_token, meta.log_level),
        stop: sandbox.closing.child_token(),
        leaving: Leaving::Cancels,
    };
    Ok(deliver(&tool, delivery).await)
}

/// Who processes the body compares it with the headers, lest an intermediary that trusts these be deceived.
fn check_headers(headers: &HeaderMap, version: &str, method: &str, params: &Value) -> Result<(), Failure> {
    let is = |name, expected: &str| {
        let value = single_header(headers, name).and_then(decode);
        if value.as_deref() == Some(expected) {
            Ok(())
        } else {
            Err(Failure::new(HEADER_MISMATCH, format!("the header `{name}` does not match the body")))
        }
    };
    is(PROTOCOL_VERSION_HEADER, version)?;
    is("mcp-method", method)?;
    match (method, params.get("name").and_then(Value::as_str)) {
        ("tools/call", Some(tool)) => is("mcp-name", tool),
        _ => Ok(()),
    }
}

/// A header's value, plain or as `=?base64?…?=`. None if that is malformed.
fn decode(value: &str) -> Option<String> {
    let value = value.trim();
    let Some(encoded) = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) else {
        return Some(value.to_owned());
    };
    String::from_utf8(STANDARD.decode(encoded).ok()?).ok()
}

fn complete(result: Value) -> Value {
    let marks = json!({
        "resultType": "complete",
        "_meta": { "io.modelcontextprotocol/serverInfo": server_info() },
    });
    merged(result, marks)
}

fn cacheable(result: Value) -> Value {
    merged(result, json!({ "ttlMs": TTL_MILLISECONDS, "cacheScope": "public" }))
}

fn merged(mut object: Value, more: Value) -> Value {
    if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
        object.extend(more);
    }
    object
}
