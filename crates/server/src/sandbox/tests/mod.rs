//! Through the router, as a client.

mod http;
mod legacy;
mod modern;

use std::sync::Arc;

use ::http::{Request, StatusCode, header};
use axum::{body::Body, response::Response};
use http_body_util::BodyExt;
use secrecy::SecretString;
use serde_json::Value;
use tower::ServiceExt;
use vestibule_model::SeededEntropy;

use super::{Outcome, Sandbox};

const SECRET: &str = "sandbox-secret";

fn sandbox() -> Sandbox {
    Sandbox::new(SecretString::from(SECRET), Arc::new(SeededEntropy::new(7)))
}

/// Sends `request` with the right credential.
async fn send(sandbox: &Sandbox, mut request: Request<Body>) -> Response {
    let credential = format!("Bearer {SECRET}").parse().unwrap();
    request.headers_mut().insert(header::AUTHORIZATION, credential);
    sandbox.router().oneshot(request).await.unwrap()
}

async fn text(response: Response) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

async fn json(response: Response) -> Value {
    serde_json::from_str(&text(response).await).unwrap()
}

/// The JSON-RPC messages of a stream.
async fn events(response: Response) -> Vec<Value> {
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    let text = text(response).await;
    text.lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

/// The next chunk of a body that goes on.
async fn chunk(response: &mut Response) -> String {
    let frame = response.body_mut().frame().await.unwrap().unwrap();
    String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap()
}

/// The journal, without the numbers.
fn seen(sandbox: &Sandbox) -> Vec<(String, Outcome)> {
    sandbox.seen().into_iter().map(|seen| (seen.operation, seen.outcome)).collect()
}

fn was(operation: &str, outcome: Outcome) -> (String, Outcome) {
    (operation.to_owned(), outcome)
}

/// Polls the future of a request until nothing moves any more without time passing.
async fn started(request: &mut (impl Future + Unpin)) {
    for _ in 0..20 {
        assert!(futures_util::poll!(&mut *request).is_pending(), "it is answered already");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn request_without_the_credential_is_refused_and_remembered() {
    let sandbox = sandbox();
    let wrong = ["", "Bearer", "Bearer wrong", "Basic sandbox-secret", "Bearer sandbox-secret2"];
    for (path, credential) in
        ["/mcp", "/repos", "/journal", "/nowhere"].iter().flat_map(|path| wrong.map(|w| (path, w)))
    {
        let request =
            Request::get(*path).header(header::AUTHORIZATION, credential).body(Body::empty()).unwrap();
        let response = sandbox.router().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{path} {credential}");
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer");
    }
    assert_eq!(sandbox.requests(), 20);
    assert_eq!(seen(&sandbox).first(), Some(&was("GET /mcp", Outcome::Refused)));
    assert!(sandbox.seen().iter().all(|seen| seen.outcome == Outcome::Refused));
}

#[tokio::test]
async fn second_credential_beside_the_right_one_is_refused() {
    let request = Request::get("/repos")
        .header(header::AUTHORIZATION, format!("Bearer {SECRET}"))
        .header(header::AUTHORIZATION, "Bearer another")
        .body(Body::empty())
        .unwrap();
    let response = sandbox().router().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn body_over_the_bound_is_not_read() {
    let sandbox = sandbox();
    let body = format!(r#"{{"name":"a","description":"{}"}}"#, "x".repeat(70_000));
    for path in ["/repos", "/mcp"] {
        let request = Request::post(path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.clone()))
            .unwrap();
        assert_eq!(send(&sandbox, request).await.status(), StatusCode::PAYLOAD_TOO_LARGE, "{path}");
    }
    assert_eq!(sandbox.seen(), []);
}

#[tokio::test]
async fn secret_is_not_in_the_debug_text() {
    assert!(!format!("{:?}", sandbox()).contains(SECRET));
}

#[tokio::test(start_paused = true)]
async fn journal_tells_what_was_seen_and_what_became_of_it() {
    let sandbox = sandbox();
    let get = |path| Request::get(path).body(Body::empty()).unwrap();
    send(&sandbox, get("/repos")).await;
    let _running = send(&sandbox, get("/progress?seconds=7")).await;
    let told = json(send(&sandbox, get("/journal")).await).await;
    let expected = serde_json::json!({ "seen": [
        { "number": 1, "operation": "list_repos", "seconds": null, "outcome": "answered" },
        { "number": 2, "operation": "stream_progress", "seconds": 7, "outcome": "running" },
    ] });
    assert_eq!(told, expected);
}
