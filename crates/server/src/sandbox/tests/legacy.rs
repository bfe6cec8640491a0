use serde_json::{Value, json};

use super::*;

fn post(session: Option<&str>, message: &Value) -> Request<Body> {
    let mut request = Request::post("/mcp").header(header::CONTENT_TYPE, "application/json");
    if let Some(session) = session {
        request = request.header("mcp-session-id", session).header("mcp-protocol-version", "2025-11-25");
    }
    request.body(Body::from(message.to_string())).unwrap()
}

fn request(id: u32, method: &str, params: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

fn tool(id: u32, name: &str, arguments: Value) -> Value {
    request(id, "tools/call", json!({ "name": name, "arguments": arguments }))
}

fn bare(method: &str, session: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri("/mcp")
        .header("mcp-session-id", session)
        .body(Body::empty())
        .unwrap()
}

async fn initialize(sandbox: &Sandbox, version: &str) -> (String, Value) {
    let message = request(0, "initialize", json!({ "protocolVersion": version, "capabilities": {} }));
    let response = send(sandbox, post(None, &message)).await;
    assert_eq!(response.status(), StatusCode::OK);
    let session = response.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    (session, json(response).await["result"].take())
}

async fn session(sandbox: &Sandbox) -> String {
    initialize(sandbox, "2025-11-25").await.0
}

async fn ask(sandbox: &Sandbox, session: &str, message: &Value) -> Value {
    let response = send(sandbox, post(Some(session), message)).await;
    assert_eq!(response.status(), StatusCode::OK);
    json(response).await
}

#[tokio::test]
async fn supported_version_is_echoed_and_another_answered_with_the_latest() {
    let sandbox = sandbox();
    for (asked, answered) in [
        ("2025-03-26", "2025-03-26"),
        ("2025-06-18", "2025-06-18"),
        ("2025-11-25", "2025-11-25"),
        ("2024-11-05", "2025-11-25"),
        ("2026-07-28", "2025-11-25"),
    ] {
        let (_, result) = initialize(&sandbox, asked).await;
        assert_eq!(result["protocolVersion"], answered);
        assert_eq!(result["capabilities"]["tools"], json!({}));
    }
}

#[tokio::test]
async fn tools_are_listed_with_closed_schemas_and_hints() {
    let sandbox = sandbox();
    let session = session(&sandbox).await;
    let answer = ask(&sandbox, &session, &request(1, "tools/list", json!({}))).await;
    let tools = answer["result"]["tools"].as_array().unwrap();
    let hints: Vec<_> = tools
        .iter()
        .map(|tool| {
            assert_eq!(tool["inputSchema"]["additionalProperties"], false);
            assert!(tool["title"].is_string() && tool["description"].is_string());
            let hints = &tool["annotations"];
            (
                tool["name"].as_str().unwrap(),
                hints["readOnlyHint"] == true,
                hints["destructiveHint"].as_bool(),
            )
        })
        .collect();
    assert_eq!(
        hints,
        [
            ("list_repos", true, None),
            ("create_repo", false, Some(false)),
            ("delete_repo", false, Some(true)),
            ("stream_progress", true, None),
        ]
    );
}

#[tokio::test]
async fn tools_work_and_their_errors_are_results() {
    let sandbox = sandbox();
    let session = session(&sandbox).await;
    let created = ask(&sandbox, &session, &tool(1, "create_repo", json!({ "name": "new" }))).await;
    assert_eq!(created["result"]["structuredContent"]["created"]["private"], false);
    let deleted = ask(&sandbox, &session, &tool(2, "delete_repo", json!({ "name": "payroll" }))).await;
    assert_eq!(deleted["result"]["isError"], false);
    let listed = ask(&sandbox, &session, &tool(3, "list_repos", json!({}))).await;
    let repositories = &listed["result"]["structuredContent"]["repositories"];
    assert_eq!(repositories[1]["name"], "new");
    assert_eq!(repositories.as_array().unwrap().len(), 2);
    assert_eq!(listed["result"]["content"][0]["text"], listed["result"]["structuredContent"].to_string());

    let exists = ask(&sandbox, &session, &tool(4, "create_repo", json!({ "name": "new" }))).await;
    assert_eq!(exists["result"]["isError"], true);
    assert_eq!(exists["result"]["content"][0]["text"], "the repository `new` exists already");
    let unknown = ask(&sandbox, &session, &tool(5, "delete_repo", json!({ "name": "nope" }))).await;
    assert_eq!(unknown["result"]["isError"], true);
}

#[tokio::test]
async fn bad_requests_are_json_rpc_errors() {
    let sandbox = sandbox();
    let session = session(&sandbox).await;
    for (message, code) in [
        (tool(1, "list_repos", json!({ "page": 1 })), -32602),
        (tool(2, "create_repo", json!({})), -32602),
        (tool(3, "create_repo", json!({ "name": "No Good" })), -32602),
        (tool(4, "stream_progress", json!({ "seconds": 601 })), -32602),
        (tool(5, "stream_progress", json!({ "seconds": "5" })), -32602),
        (tool(6, "drop_database", json!({})), -32602),
        (request(7, "logging/setLevel", json!({ "level": "loud" })), -32602),
        (request(8, "resources/list", json!({})), -32601),
        (request(9, "initialize", json!({})), -32602),
    ] {
        let answer = ask(&sandbox, &session, &message).await;
        assert_eq!(answer["error"]["code"], code, "{message}");
        assert_eq!(answer["id"], message["id"]);
    }
    assert_eq!(seen(&sandbox), []);
}

#[tokio::test]
async fn body_that_is_not_one_message_is_a_bad_request() {
    let sandbox = sandbox();
    for (body, code) in [
        ("{", -32700),
        ("[]", -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#, -32600),
        (r#"{"jsonrpc":"2.0"}"#, -32600),
    ] {
        let response = send(&sandbox, Request::post("/mcp").body(Body::from(body)).unwrap()).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(json(response).await["error"]["code"], code, "{body}");
    }
}

#[tokio::test]
async fn session_is_required_until_it_is_ended() {
    let sandbox = sandbox();
    let ping = request(1, "ping", json!({}));
    assert_eq!(send(&sandbox, post(None, &ping)).await.status(), StatusCode::BAD_REQUEST);
    assert_eq!(send(&sandbox, post(Some("unknown"), &ping)).await.status(), StatusCode::NOT_FOUND);

    let session = session(&sandbox).await;
    assert_eq!(ask(&sandbox, &session, &ping).await["result"], json!({}));
    assert_eq!(send(&sandbox, bare("DELETE", &session)).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(send(&sandbox, post(Some(&session), &ping)).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(send(&sandbox, bare("GET", &session)).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(send(&sandbox, bare("DELETE", &session)).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn unsupported_version_in_the_header_is_a_bad_request() {
    let sandbox = sandbox();
    let session = session(&sandbox).await;
    let mut request = post(Some(&session), &request(1, "ping", json!({})));
    request.headers_mut().insert("mcp-protocol-version", "1999-01-01".parse().unwrap());
    assert_eq!(send(&sandbox, request).await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn notifications_and_responses_are_accepted_without_a_body() {
    let sandbox = sandbox();
    let session = session(&sandbox).await;
    for message in [
        json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }),
        json!({ "jsonrpc": "2.0", "id": 1, "result": {} }),
    ] {
        let response = send(&sandbox, post(Some(&session), &message)).await;
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        assert_eq!(text(response).await, "");
    }
}

#[tokio::test]
async fn origin_of_another_machine_is_forbidden() {
    let sandbox = sandbox();
    for (origin, status) in [
        ("http://evil.example", StatusCode::FORBIDDEN),
        ("http://localhost.evil.example", StatusCode::FORBIDDEN),
        ("null", StatusCode::FORBIDDEN),
        ("http://localhost:3000", StatusCode::OK),
        ("http://127.0.0.1", StatusCode::OK),
    ] {
        let mut request = post(None, &request(0, "initialize", json!({ "protocolVersion": "2025-11-25" })));
        request.headers_mut().insert(header::ORIGIN, origin.parse().unwrap());
        assert_eq!(send(&sandbox, request).await.status(), status, "{origin}");
    }
}

#[tokio::test(start_paused = true)]
async fn stream_of_a_session_stays_open_until_the_session_ends() {
    let sandbox = sandbox();
    let session = session(&sandbox).await;
    let mut stream = send(&sandbox, bare("GET", &session)).await;
    assert_eq!(stream.headers()[header::CONTENT_TYPE], "text/event-stream");
    assert_eq!(chunk(&mut stream).await, ": still here\n\n");
    assert_eq!(chunk(&mut stream).await, ": still here\n\n");
    send(&sandbox, bare("DELETE", &session)).await;
    assert_eq!(text(stream).await, "");
}

#[tokio::test(start_paused = true)]
async fn progress_is_reported_by_the_token_of_the_request() {
    let sandbox = sandbox();
    let session = session(&sandbox).await;
    let params = json!({
        "name": "stream_progress", "arguments": { "seconds": 2 }, "_meta": { "progressToken": "p" },
    });
    let messages =
        events(send(&sandbox, post(Some(&session), &request(1, "tools/call", params))).await).await;
    assert_eq!(messages.len(), 3);
    assert_eq!(messages[0]["method"], "notifications/progress");
    assert_eq!(messages[1]["params"]["progressToken"], "p");
    assert_eq!(messages[1]["params"]["progress"], 2);
    assert_eq!(messages[2]["id"], 1);
    assert_eq!(messages[2]["result"]["structuredContent"], json!({ "seconds": 2 }));
    assert_eq!(seen(&sandbox), [was("stream_progress", Outcome::Answered)]);
}

#[tokio::test(start_paused = true)]
async fn without_a_token_progress_is_logged_as_far_as_the_level_allows() {
    let sandbox = sandbox();
    let session = session(&sandbox).await;
    let progress = tool(1, "stream_progress", json!({ "seconds": 2 }));
    let set_level = |level| request(2, "logging/setLevel", json!({ "level": level }));
    ask(&sandbox, &session, &set_level("info")).await;
    let messages = events(send(&sandbox, post(Some(&session), &progress)).await).await;
    assert_eq!(messages.len(), 3);
    assert_eq!(messages[0]["method"], "notifications/message");
    assert_eq!(messages[0]["params"]["level"], "info");

    ask(&sandbox, &session, &set_level("error")).await;
    let stream = text(send(&sandbox, post(Some(&session), &progress)).await).await;
    assert_eq!(stream.matches("data:").count(), 1);
    assert_eq!(stream.matches(": second").count(), 2);
}

/// A call of 600 seconds whose client wants to hear of its progress.
fn watched(id: u32) -> Value {
    let params = json!({
        "name": "stream_progress", "arguments": { "seconds": 600 }, "_meta": { "progressToken": id },
    });
    request(id, "tools/call", params)
}

fn cancel(id: u32) -> Value {
    json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": id } })
}

#[tokio::test(start_paused = true)]
async fn client_that_asks_for_no_word_before_gets_one_plain_answer() {
    let sandbox = sandbox();
    let session = session(&sandbox).await;
    let start = tokio::time::Instant::now();
    let answer = ask(&sandbox, &session, &tool(1, "stream_progress", json!({ "seconds": 3 }))).await;
    assert_eq!(start.elapsed().as_secs(), 3);
    assert_eq!(answer["result"]["structuredContent"], json!({ "seconds": 3 }));
    assert_eq!(seen(&sandbox), [was("stream_progress", Outcome::Answered)]);
}

#[tokio::test(start_paused = true)]
async fn cancelled_plain_request_stops_without_an_answer() {
    let sandbox = sandbox();
    let session = session(&sandbox).await;
    let progress = tool(1, "stream_progress", json!({ "seconds": 600 }));
    let mut waiting = Box::pin(send(&sandbox, post(Some(&session), &progress)));
    started(&mut waiting).await;
    send(&sandbox, post(Some(&session), &cancel(2))).await;
    started(&mut waiting).await;
    assert_eq!(seen(&sandbox), [was("stream_progress", Outcome::Running)]);

    send(&sandbox, post(Some(&session), &cancel(1))).await;
    assert_eq!(text(waiting.await).await, "");
    assert_eq!(seen(&sandbox), [was("stream_progress", Outcome::Cancelled)]);
}

#[tokio::test(start_paused = true)]
async fn cancelled_request_stops_without_an_answer() {
    let sandbox = sandbox();
    let (session, other) = (session(&sandbox).await, session(&sandbox).await);
    let progress = watched(1);
    let mut stream = send(&sandbox, post(Some(&session), &progress)).await;
    chunk(&mut stream).await;

    send(&sandbox, post(Some(&other), &cancel(1))).await;
    chunk(&mut stream).await;
    assert_eq!(seen(&sandbox), [was("stream_progress", Outcome::Running)]);

    send(&sandbox, post(Some(&session), &cancel(1))).await;
    assert_eq!(text(stream).await, "");
    assert_eq!(seen(&sandbox), [was("stream_progress", Outcome::Cancelled)]);
}

/// What a gateway must not rely on: a server of this era goes on unless it is told otherwise.
#[tokio::test(start_paused = true)]
async fn request_goes_on_without_its_client_until_it_is_called_off() {
    let sandbox = sandbox();
    let session = session(&sandbox).await;
    let mut stream = send(&sandbox, post(Some(&session), &watched(1))).await;
    chunk(&mut stream).await;
    drop(stream);
    let plain = tool(2, "stream_progress", json!({ "seconds": 600 }));
    let mut waiting = Box::pin(send(&sandbox, post(Some(&session), &plain)));
    started(&mut waiting).await;
    drop(waiting);
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    assert_eq!(seen(&sandbox), vec![was("stream_progress", Outcome::Running); 2]);

    for id in [1, 2] {
        send(&sandbox, post(Some(&session), &cancel(id))).await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    assert_eq!(seen(&sandbox), vec![was("stream_progress", Outcome::Cancelled); 2]);
}

#[tokio::test(start_paused = true)]
async fn request_stops_with_its_session() {
    let sandbox = sandbox();
    let session = session(&sandbox).await;
    let stream = send(&sandbox, post(Some(&session), &watched(1))).await;
    send(&sandbox, bare("DELETE", &session)).await;
    assert_eq!(text(stream).await, "");
    assert_eq!(seen(&sandbox), [was("stream_progress", Outcome::Cancelled)]);
}

#[tokio::test(start_paused = true)]
async fn id_of_a_running_request_is_not_taken_twice() {
    let sandbox = sandbox();
    let session = session(&sandbox).await;
    let _running = send(&sandbox, post(Some(&session), &watched(1))).await;
    let again = ask(&sandbox, &session, &tool(1, "list_repos", json!({}))).await;
    assert_eq!(again["error"]["code"], -32600);
}
