use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::Value;

/// An error of the token endpoint (RFC 6749 §5.2), with the challenge that a 401 has.
pub(crate) fn challenging(status: u16, body: &Value, challenge: Option<&'static str>) -> Response<Body> {
    let mut response = json(status, body);
    if let Some(challenge) = challenge {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    response
}

/// An answer without a body, never cached either.
pub(crate) fn empty(status: u16) -> Response<Body> {
    let mut response = json(status, &Value::Null);
    response.headers_mut().remove(header::CONTENT_TYPE);
    *response.body_mut() = Body::empty();
    response
}

/// A JSON answer of the token endpoint, never cached (RFC 6749 §5.1).
pub(crate) fn json(status: u16, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}
