use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::json;
use vestibule_model::{AttemptId, Stop};

use super::{hints, status, told};

/// RFC 9457. An operation that the caller may not see is an unknown one, with no reason.
pub(super) fn answer(stop: &Stop, attempt: AttemptId) -> Response<Body> {
    let status = status(stop);
    let (code, sentence, retryable) = told(stop);
    let (code, sentence) =
        if status == 404 { ("not-found", "nothing is served at this path") } else { (code, sentence) };
    let mut problem = json!({
        "type": format!("urn:vestibule:problem:{code}"),
        "title": sentence,
        "status": status,
        "code": code,
        "request_id": attempt,
        "retryable": retryable,
    });
    let hints = hints(stop);
    if status != 404
        && !hints.is_empty()
        && let Some(members) = problem.as_object_mut()
    {
        members.insert("hints".to_owned(), json!(hints));
    }
    respond(status, problem.to_string())
}

/// A `problem+json` answer.
pub(crate) fn respond(status: u16, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}
