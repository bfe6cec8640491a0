use serde_json::{Value, json};

use super::*;

const VERSION: &str = "2026-07-28";

/// A request as the revision wants it; `change` then spoils or adds.
fn request(
    method: &str,
    mut params: Value,
    change: impl FnOnce(&mut Value, &mut ::http::HeaderMap),
) -> Request<Body> {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": VERSION,
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let mut headers = ::http::HeaderMap::new();
    headers.insert("mcp-protocol-version", VERSION.parse().unwrap());
    headers.insert("mcp-method", method.parse().unwrap());
    if let Some(name) = params["name"].as_str() {
        headers.insert("mcp-name", name.parse().unwrap());
    }
    change(&mut params["_meta"], &mut headers);
    let message = json!({ "jsonrpc": "2.0", "id": "a", "method": method, "params": params });
    let mut request = Request::post("/mcp").body(Body::from(message.to_string())).unwrap();
    *request.headers_mut() = headers;
    request
}

fn tool(name: &str, arguments: Value) -> Request<Body> {
    request("tools/call", json!({ "name": name, "arguments": arguments }), |_, _| {})
}

async fn result(sandbox: &Sandbox, request: Request<Body>) -> Value {
    let response = send(sandbox, request).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(!response.headers().contains_key("mcp-session-id"));
    let result = json(response).await["result"].take();
    assert_eq!(result["resultType"], "complete");
    assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "vestibule-sandbox");
    result
}

#[tokio::test]
async fn discovery_and_list_say_how_long_they_may_be_kept() {
    let sandbox = sandbox();
    let discovered = result(&sandbox, request("server/discover", json!({}), |_, _| {})).await;
    assert_eq!(discovered["supportedVersions"], json!([VERSION]));
    assert_eq!(discovered["capabilities"]["tools"], json!({}));
    let listed = result(&sandbox, request("tools/list", json!({}), |_, _| {})).await;
    assert_eq!(listed["tools"].as_array().unwrap().len(), 4);
    for result in [discovered, listed] {
        assert_eq!((&result["ttlMs"], &result["cacheScope"]), (&json!(60_000), &json!("public")));
    }
}

#[tokio::test]
async fn tools_work_without_a_session() {
    let sandbox = sandbox();
    let deleted = result(&sandbox, tool("delete_repo", json!({ "name": "payroll" }))).await;
    assert_eq!(deleted["structuredContent"], json!({ "deleted": "payroll" }));
    let listed = result(&sandbox, tool("list_repos", json!({}))).await;
    assert_eq!(listed["structuredContent"]["repositories"].as_array().unwrap().len(), 1);
    assert_eq!(result(&sandbox, tool("delete_repo", json!({ "name": "payroll" }))).await["isError"], true);
}

#[tokio::test]
async fn header_that_does_not_match_the_body_is_refused() {
    let sandbox = sandbox();
    for (name, value) in [
        ("mcp-protocol-version", Some("2025-11-25")),
        ("mcp-protocol-version", None),
        ("mcp-method", Some("tools/list")),
        ("mcp-method", None),
        ("mcp-name", Some("list_repos")),
        ("mcp-name", Some("=?base64?!?=")),
        ("mcp-name", None),
    ] {
        let params = json!({ "name": "delete_repo", "arguments": { "name": "payroll" } });
        let request = request("tools/call", params, |_, headers| {
            headers.remove(name);
            if let Some(value) = value {
                headers.insert(name, value.parse().unwrap());
            }
        });
        let response = send(&sandbox, request).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{name} {value:?}");
        assert_eq!(json(response).await["error"]["code"], -32020, "{name} {value:?}");
    }
    assert_eq!(seen(&sandbox), []);
}

#[tokio::test]
async fn encoded_header_is_compared_after_decoding() {
    let params = json!({ "name": "list_repos" });
    let request = request("tools/call", params, |_, headers| {
        headers.insert("mcp-name", "=?base64?bGlzdF9yZXBvcw==?=".parse().unwrap());
    });
    assert!(result(&sandbox(), request).await["structuredContent"]["repositories"].is_array());
}

#[tokio::test]
async fn request_that_does_not_say_what_it_must_is_refused() {
    let sandbox = sandbox();
    for key in ["protocolVersion", "clientCapabilities"] {
        let request = request("tools/list", json!({}), |meta, _| {
            meta.as_object_mut().unwrap().remove(&format!("io.modelcontextprotocol/{key}"));
        });
        let response = send(&sandbox, request).await;
        assert_eq!(response.status(), StatusCode::BAD_REQUEST);
        assert_eq!(json(response).await["error"]["code"], -32602, "{key}");
    }
    let unsupported = request("tools/list", json!({}), |meta, headers| {
        meta["io.modelcontextprotocol/protocolVersion"] = json!("2099-01-01");
        headers.insert("mcp-protocol-version", "2099-01-01".parse().unwrap());
    });
    let response = send(&sandbox, unsupported).await;
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
    let error = json(response).await["error"].take();
    assert_eq!(error["code"], -32022);
    assert_eq!(error["data"], json!({ "supported": [VERSION], "requested": "2099-01-01" }));
}

#[tokio::test]
async fn methods_of_the_other_era_are_unknown() {
    let sandbox = sandbox();
    for method in ["initialize", "ping", "logging/setLevel", "resources/subscribe", "nonsense"] {
        let response = send(&sandbox, request(method, json!({}), |_, _| {})).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{method}");
        assert_eq!(json(response).await["error"]["code"], -32601, "{method}");
    }
    for method in ["GET", "DELETE"] {
        let request = Request::builder()
            .method(method)
            .uri("/mcp")
            .header("mcp-protocol-version", VERSION)
            .body(Body::empty())
            .unwrap();
        let response = send(&sandbox, request).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()[header::ALLOW], "POST");
    }
}

#[tokio::test]
async fn notification_is_accepted_and_a_response_is_not() {
    let sandbox = sandbox();
    for (message, status) in [
        (json!({ "jsonrpc": "2.0", "method": "notifications/whatever" }), StatusCode::ACCEPTED),
        (json!({ "jsonrpc": "2.0", "id": 1, "result": {} }), StatusCode::BAD_REQUEST),
    ] {
        let request = Request::post("/mcp")
            .header("mcp-protocol-version", VERSION)
            .body(Body::from(message.to_string()))
            .unwrap();
        assert_eq!(send(&sandbox, request).await.status(), status, "{message}");
    }
}

#[tokio::test(start_paused = true)]
async fn progress_is_reported_in_the_way_the_request_asks() {
    let sandbox = sandbox();
    let progress = |key: &'static str, value: &'static str| {
        let params = json!({ "name": "stream_progress", "arguments": { "seconds": 1 } });
        request("tools/call", params, move |meta, _| meta[key] = json!(value))
    };
    for (key, value, notice) in [
        ("progressToken", "p", Some("notifications/progress")),
        ("io.modelcontextprotocol/logLevel", "debug", Some("notifications/message")),
        ("io.modelcontextprotocol/logLevel", "warning", None),
    ] {
        let mut messages = events(send(&sandbox, progress(key, value)).await).await;
        let answer = messages.pop().unwrap();
        assert_eq!(answer["result"]["resultType"], "complete");
        let methods: Vec<_> = messages.iter().map(|message| message["method"].as_str()).collect();
        assert_eq!(methods, notice.map(Some).into_iter().collect::<Vec<_>>(), "{key} {value}");
    }
}

#[tokio::test(start_paused = true)]
async fn client_that_asks_for_no_word_before_gets_one_plain_answer() {
    let sandbox = sandbox();
    let start = tokio::time::Instant::now();
    let answer = result(&sandbox, tool("stream_progress", json!({ "seconds": 3 }))).await;
    assert_eq!(start.elapsed().as_secs(), 3);
    assert_eq!(answer["structuredContent"], json!({ "seconds": 3 }));
    assert_eq!(seen(&sandbox), [was("stream_progress", Outcome::Answered)]);
}

#[tokio::test(start_paused = true)]
async fn leaving_cancels_the_request_whether_it_streams_or_not() {
    let sandbox = sandbox();
    let mut waiting = Box::pin(send(&sandbox, tool("stream_progress", json!({ "seconds": 600 }))));
    started(&mut waiting).await;
    assert_eq!(seen(&sandbox), [was("stream_progress", Outcome::Running)]);
    drop(waiting);
    assert_eq!(seen(&sandbox), [was("stream_progress", Outcome::Cancelled)]);

    let params = json!({ "name": "stream_progress", "arguments": { "seconds": 600 } });
    let watched = request("tools/call", params, |meta, _| {
        meta["io.modelcontextprotocol/logLevel"] = json!("error");
    });
    let sandbox = self::sandbox();
    let mut stream = send(&sandbox, watched).await;
    assert_eq!(chunk(&mut stream).await, ": second 1 of 600\n\n");
    drop(stream);
    assert_eq!(seen(&sandbox), [was("stream_progress", Outcome::Cancelled)]);
}
