//! Refusals as JSON-RPC errors, once the identifier of the request is known. What has no place in JSON-RPC (a missing
//! credential, a rate) is HTTP's and not answered here.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};
use vestibule_model::{Answer, Denial, Refusal, json::Json};

use crate::{
    era::{Era, Version, requested},
    frame::{Frame, Id},
};

/// JSON-RPC 2.0 §5.1: the method does not exist.
pub const METHOD_NOT_FOUND: i64 = -32601;
/// JSON-RPC 2.0 §5.1: invalid parameters; also an unknown tool or prompt and, from 2026-07-28 on, resource.
pub const INVALID_PARAMS: i64 = -32602;
/// 2025-11-25 and before: an unknown resource.
pub const RESOURCE_NOT_FOUND: i64 = -32002;
/// MCP 2026-07-28: a header contradicts the body.
pub const HEADER_MISMATCH: i64 = -32020;
/// MCP 2026-07-28: the protocol version is not supported.
pub const UNSUPPORTED_VERSION: i64 = -32022;
/// Ours: known, visible, and not permitted in this way. Own codes stand outside of -32768 to -32000.
pub const DENIED: i64 = 4030;

/// The longest text of the caller that is repeated in an answer, in characters.
const ECHO_MAX_CHARS: usize = 128;

/// The body of an error. Without an identifier the member is left out, as every revision allows.
#[must_use]
pub fn jsonrpc_error(id: Option<&Id>, code: i64, message: &str, data: Option<&Value>) -> Bytes {
    let id = id.map(|id| format!("\"id\":{},", id.as_json())).unwrap_or_default();
    let mut error = json!({ "code": code, "message": message });
    if let (Some(error), Some(data)) = (error.as_object_mut(), data) {
        error.insert("data".into(), data.clone());
    }
    format!("{{\"jsonrpc\":\"2.0\",{id}\"error\":{error}}}").into()
}

/// What the answer to a request needs to know of it. Small, so that it outlives the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    era: Era,
    id: Id,
    method: String,
    /// The name of the tool or prompt, or the URI of the resource.
    name: String,
    /// The protocol version that a modern request names.
    version: Option<String>,
}

impl Asked {
    /// None for a message that gets no answer.
    #[must_use]
    pub fn of(era: Era, frame: &Frame) -> Option<Self> {
        let method = frame.method()?;
        let name = if method.starts_with("resources/") { "uri" } else { "name" };
        Some(Self {
            era,
            id: frame.request_id()?.clone(),
            method: echo(method),
            name: frame.param(name).and_then(Json::as_str).map(echo).unwrap_or_default(),
            version: requested(frame).map(echo),
        })
    }

    /// The identifier of the request.
    #[must_use]
    pub fn id(&self) -> &Id {
        &self.id
    }

    pub(crate) fn era(&self) -> Era {
        self.era
    }

    pub(crate) fn method(&self) -> &str {
        &self.method
    }
}

/// The answer to a refused request, if it is one that the protocol has words for. None for what HTTP says: a challenge,
/// or a status of its own.
#[must_use]
pub fn answer(refusal: &Refusal, asked: &Asked, decision_id: &str) -> Option<(StatusCode, Bytes)> {
    let error = |status, code, message: &str, data: Option<Value>| {
        Some((status, jsonrpc_error(Some(&asked.id), code, message, data.as_ref())))
    };
    match refusal.denial.answer() {
        Answer::Unknown if refusal.denial == Denial::MethodRefused => {
            // MCP 2026-07-28: an unknown method is 404.
            let status = if asked.era == Era::Modern { StatusCode::NOT_FOUND } else { StatusCode::OK };
            error(status, METHOD_NOT_FOUND, &format!("Method not found: {}", asked.method), None)
        }
        Answer::Unknown => {
            let (code, message, data) = unknown(asked);
            error(StatusCode::OK, code, &message, data)
        }
        Answer::Forbidden => {
            let authorization = json!({
                "code": refusal.denial.code(),
                "decision_id": decision_id,
                "retryable": refusal.retry_after.is_some(),
                "hints": refusal.hints,
            });
            let data = json!({ "authorization": authorization });
            error(StatusCode::OK, DENIED, refusal.denial.sentence(), Some(data))
        }
        Answer::HeaderMismatch => {
            error(StatusCode::BAD_REQUEST, HEADER_MISMATCH, refusal.denial.sentence(), None)
        }
        Answer::Status(_) if refusal.denial == Denial::FrameInvalid => {
            let hints = (!refusal.hints.is_empty()).then(|| json!({ "hints": refusal.hints }));
            error(StatusCode::BAD_REQUEST, INVALID_PARAMS, "Invalid params", hints)
        }
        Answer::Status(_) if refusal.denial == Denial::ProtocolVersionUnsupported => {
            // A legacy client would take -32022 for a sign that the server is modern: it gets the bare 400.
            let version = asked.version.as_ref()?;
            let supported: Vec<&str> = Version::ALL.iter().map(|version| version.as_str()).collect();
            let data = json!({ "supported": supported, "requested": version });
            error(StatusCode::BAD_REQUEST, UNSUPPORTED_VERSION, "Unsupported protocol version", Some(data))
        }
        Answer::Status(_) | Answer::Challenge(_) | Answer::Proof(_) | Answer::StepUp => None,
    }
}

/// What an upstream says of something that it does not have.
fn unknown(asked: &Asked) -> (i64, String, Option<Value>) {
    let name = &asked.name;
    match asked.method.as_str() {
        "tools/call" => (INVALID_PARAMS, format!("Unknown tool: {name}"), None),
        "prompts/get" => (INVALID_PARAMS, format!("Unknown prompt: {name}"), None),
        method if method.starts_with("resources/") => {
            let code = if asked.era == Era::Modern { INVALID_PARAMS } else { RESOURCE_NOT_FOUND };
            (code, "Resource not found".into(), Some(json!({ "uri": name })))
        }
        _ => (INVALID_PARAMS, "Invalid params".into(), None),
    }
}

fn echo(text: &str) -> String {
    text.chars().take(ECHO_MAX_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::era::META_VERSION;

    fn frame(method: &str, params: &Value) -> Frame {
        let body = json!({ "jsonrpc": "2.0", "id": "a\u{1}", "method": method, "params": params });
        Frame::parse(&body.to_string().into(), 16).unwrap()
    }

    fn shown(denial: Denial, era: Era, frame: &Frame) -> Option<(u16, Value)> {
        let mut refusal = Refusal::new(denial, "secret cause");
        refusal.hints.push("ask for less".into());
        let (status, body) = answer(&refusal, &Asked::of(era, frame)?, "d1")?;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["id"], "a\u{1}");
        assert!(!body.to_string().contains("secret cause"));
        Some((status.as_u16(), body["error"].clone()))
    }

    #[test]
    fn what_is_not_visible_answers_like_the_upstreams_unknown() {
        let call = frame("tools/call", &json!({ "name": "wipe\"" }));
        let unknown = Some((200, json!({ "code": -32602, "message": "Unknown tool: wipe\"" })));
        for era in [Era::Legacy, Era::Modern] {
            assert_eq!(shown(Denial::OperationUnknown, era, &call), unknown);
            assert_eq!(shown(Denial::OperationNotPermitted, era, &call), unknown);
        }
        let read = frame("resources/read", &json!({ "uri": "a:b" }));
        let error = |code| json!({ "code": code, "message": "Resource not found", "data": { "uri": "a:b" } });
        assert_eq!(shown(Denial::OperationNotPermitted, Era::Legacy, &read), Some((200, error(-32002))));
        assert_eq!(shown(Denial::OperationNotPermitted, Era::Modern, &read), Some((200, error(-32602))));
    }

    #[test]
    fn a_refused_method_is_not_found_in_the_words_of_its_era() {
        let frame = frame("tasks/get", &json!({}));
        let error = json!({ "code": -32601, "message": "Method not found: tasks/get" });
        assert_eq!(shown(Denial::MethodRefused, Era::Legacy, &frame), Some((200, error.clone())));
        assert_eq!(shown(Denial::MethodRefused, Era::Modern, &frame), Some((404, error)));
    }

    #[test]
    fn a_visible_operation_tells_what_to_do() {
        let (status, error) =
            shown(Denial::ArgumentsNotPermitted, Era::Legacy, &frame("tools/call", &json!({ "name": "t" })))
                .unwrap();
        assert_eq!((status, &error["code"]), (200, &json!(4030)));
        assert_eq!(
            error["data"]["authorization"],
            json!({ "code": "arguments-not-permitted", "decision_id": "d1", "retryable": false, "hints": ["ask for less"] })
        );
    }

    #[test]
    fn protocol_violations_have_the_codes_of_the_protocol() {
        let modern = frame("tools/list", &json!({ "_meta": { META_VERSION: "1999-01-01" } }));
        let code = |denial| {
            shown(denial, Era::Modern, &modern).map(|(status, error)| (status, error["code"].clone()))
        };
        assert_eq!(code(Denial::HeaderMismatch), Some((400, json!(-32020))));
        assert_eq!(code(Denial::FrameInvalid), Some((400, json!(-32602))));
        let (_, error) = shown(Denial::ProtocolVersionUnsupported, Era::Modern, &modern).unwrap();
        assert_eq!(error["code"], -32022);
        assert_eq!(error["data"]["requested"], "1999-01-01");
        assert_eq!(error["data"]["supported"][3], "2026-07-28");
        let legacy = frame("tools/list", &json!({}));
        assert_eq!(shown(Denial::ProtocolVersionUnsupported, Era::Legacy, &legacy), None);
    }

    #[test]
    fn every_denial_that_hides_or_explains_an_operation_has_an_answer_and_credentials_have_none() {
        let frame = frame("tools/call", &json!({ "name": "t" }));
        for denial in Denial::ALL {
            let is_answered = shown(*denial, Era::Modern, &frame).is_some();
            match denial.answer() {
                Answer::Unknown | Answer::Forbidden | Answer::HeaderMismatch => {
                    assert!(is_answered, "{denial}")
                }
                Answer::Status(_) => assert_eq!(is_answered, *denial == Denial::FrameInvalid, "{denial}"),
                Answer::Challenge(_) | Answer::Proof(_) | Answer::StepUp => assert!(!is_answered, "{denial}"),
            }
        }
    }

    #[test]
    fn a_notification_gets_no_answer() {
        let body = json!({ "jsonrpc": "2.0", "method": "notifications/x" }).to_string();
        let frame = Frame::parse(&body.into(), 8).unwrap();
        assert_eq!(Asked::of(Era::Legacy, &frame), None);
    }

    #[test]
    fn an_error_without_a_request_has_no_id() {
        assert_eq!(
            jsonrpc_error(None, 1, "no", None),
            r#"{"jsonrpc":"2.0","error":{"code":1,"message":"no"}}"#
        );
    }
}
