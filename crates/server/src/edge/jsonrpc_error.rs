use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;
use vestibule_mcp::{Asked, errors};
use vestibule_model::{Answer, AttemptId, Stop};

use super::{hints, status, told};

/// JSON-RPC 2.0 §5.1: the request is not valid.
const INVALID_REQUEST: i64 = -32600;
/// JSON-RPC 2.0 §5.1: internal error.
const INTERNAL_ERROR: i64 = -32603;

/// A JSON-RPC error with the request's id. What the status of each is, design decides per answer: a visible operation
/// refused for its arguments is HTTP 200, so that clients hand the error to the model instead of dropping it.
pub(super) fn answer(stop: &Stop, asked: &Asked, attempt: AttemptId) -> Response<Body> {
    if let Stop::Denied(refusal) = stop
        && let Some((status, body)) = errors::answer(refusal, asked, &attempt.to_string())
    {
        return respond(status, body);
    }
    let (code, sentence, retryable) = told(stop);
    let number = number(stop);
    let data = json!({
        "authorization": { "code": code, "decision_id": attempt, "retryable": retryable, "hints": hints(stop) }
    });
    let status = StatusCode::from_u16(status(stop)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    respond(status, errors::jsonrpc_error(Some(asked.id()), number, sentence, Some(&data)))
}

fn number(stop: &Stop) -> i64 {
    match stop {
        Stop::Failed(_) => INTERNAL_ERROR,
        Stop::Denied(refusal) => match refusal.denial.answer() {
            Answer::Status(400..=428) => INVALID_REQUEST,
            Answer::Status(_)
            | Answer::Challenge(_)
            | Answer::Proof(_)
            | Answer::StepUp
            | Answer::Unknown
            | Answer::Forbidden
            | Answer::HeaderMismatch => errors::DENIED,
        },
    }
}

fn respond(status: StatusCode, body: bytes::Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
