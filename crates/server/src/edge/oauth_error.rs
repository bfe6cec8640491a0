use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

/// RFC 6749 §5.2: `{error, error_description}`, 400, and 401 for `invalid_client` only; RFC 6749 §5.1: never cached.
pub(crate) fn respond(status: u16, error: &str, description: &str, challenge: bool) -> Response<Body> {
    let mut response = json(status, &json!({ "error": error, "error_description": description }));
    if challenge {
        // RFC 6749 §5.2: a client that used the Authorization header is told the scheme it used.
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"vestibule\""));
    }
    response
}

/// A JSON answer of the token endpoint.
pub(crate) fn json(status: u16, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}
