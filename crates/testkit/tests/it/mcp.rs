use serde_json::{Value, json};
use vestibule_testkit::{Call, CallReply, Era, Http, Mcp, TestUpstream};

async fn upstream(era: Era) -> TestUpstream {
    let tool = json!({ "name": "list_repos", "inputSchema": { "type": "object" } });
    TestUpstream::mcp(Mcp::new(era, vec![tool])).await
}

fn request(method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params })
}

fn post(upstream: &TestUpstream, body: &Value) -> Call {
    Http::post(&format!("{}/mcp", upstream.url())).json(body)
}

async fn session(upstream: &TestUpstream) -> String {
    let reply =
        post(upstream, &request("initialize", &json!({ "protocolVersion": "2025-11-25" }))).send().await;
    assert_eq!(reply.json()["result"]["protocolVersion"], "2025-11-25");
    reply.header("mcp-session-id").to_owned()
}

fn modern(upstream: &TestUpstream, method: &str, name: &str) -> Call {
    let version = json!({ "io.modelcontextprotocol/protocolVersion": "2026-07-28" });
    let params = json!({ "name": name, "arguments": { "org": "acme" }, "_meta": version });
    let call = post(upstream, &request(method, &params));
    call.header("mcp-protocol-version", "2026-07-28").header("mcp-method", method)
}

#[tokio::test]
async fn a_legacy_server_demands_its_own_live_session() {
    let upstream = upstream(Era::Legacy).await;
    let list = request("tools/list", &json!({}));
    assert_eq!(post(&upstream, &list).send().await.status, 400);
    assert_eq!(post(&upstream, &list).header("mcp-session-id", "guessed").send().await.status, 404);

    let id = session(&upstream).await;
    let reply = post(&upstream, &list).header("mcp-session-id", &id).send().await;
    assert_eq!(reply.json()["result"]["tools"][0]["name"], "list_repos");

    upstream.protocol().forget_sessions();
    assert_eq!(post(&upstream, &list).header("mcp-session-id", &id).send().await.status, 404);
}

#[tokio::test]
async fn a_call_is_answered_with_its_arguments_and_an_unknown_tool_is_refused() {
    let upstream = upstream(Era::Legacy).await;
    let id = session(&upstream).await;
    let call = request("tools/call", &json!({ "name": "list_repos", "arguments": { "org": "acme" } }));
    let reply = post(&upstream, &call).header("mcp-session-id", &id).send().await;
    assert_eq!(reply.json()["result"]["content"][0]["text"], r#"{"org":"acme"}"#);

    upstream.protocol().replace_tools(Vec::new());
    let reply = post(&upstream, &call).header("mcp-session-id", &id).send().await;
    assert_eq!(reply.json()["error"]["code"], -32602);
}

#[tokio::test]
async fn a_streamed_call_sends_its_events_one_by_one_and_then_its_result() {
    let upstream = upstream(Era::Legacy).await;
    upstream.protocol().reply_with(CallReply::Stream(2));
    let id = session(&upstream).await;
    upstream.hold();
    let call = request("tools/call", &json!({ "name": "list_repos", "_meta": { "progressToken": "p" } }));
    let mut reply = post(&upstream, &call).header("mcp-session-id", &id).open().await.unwrap();

    assert_eq!(reply.headers["content-type"], "text/event-stream");
    upstream.step();
    let first = reply.read_until("\n\n").await;
    assert!(first.contains(r#""progressToken":"p","progress":1"#), "{first}");
    upstream.release();
    let rest = reply.read_until(r#""result""#).await;
    assert!(rest.contains(r#""progress":2"#), "{rest}");
}

#[tokio::test]
async fn a_hanging_call_ends_without_a_response_when_it_is_cancelled_by_its_id() {
    let upstream = upstream(Era::Legacy).await;
    upstream.protocol().reply_with(CallReply::Hang);
    let id = session(&upstream).await;
    let call = request("tools/call", &json!({ "name": "list_repos" }));
    let waiting = tokio::spawn(post(&upstream, &call).header("mcp-session-id", &id).send());
    upstream.wait_for(2).await;

    for other in [json!("7"), json!(8)] {
        let params = json!({ "requestId": other });
        let notice = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": params });
        assert_eq!(post(&upstream, &notice).header("mcp-session-id", &id).send().await.status, 202);
    }
    assert!(!waiting.is_finished());
    let notice =
        json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 7 } });
    post(&upstream, &notice).header("mcp-session-id", &id).send().await;
    assert_eq!(waiting.await.unwrap().text(), "");
    upstream.protocol().wait_for_cancelled(3).await;
    assert_eq!(upstream.protocol().cancelled(), [json!("7"), json!(8), json!(7)]);
}

#[tokio::test]
async fn a_modern_server_answers_only_when_headers_and_body_agree() {
    let upstream = upstream(Era::Modern).await;
    let reply = modern(&upstream, "tools/call", "list_repos").header("mcp-name", "list_repos").send().await;
    assert_eq!(reply.json()["result"]["resultType"], "complete");
    assert_eq!(reply.json()["result"]["content"][0]["text"], r#"{"org":"acme"}"#);

    let reply = modern(&upstream, "tools/call", "list_repos").header("mcp-name", "other").send().await;
    assert_eq!((reply.status.as_u16(), reply.json()["error"]["code"].clone()), (400, json!(-32020)));
}

#[tokio::test]
async fn a_modern_server_knows_no_handshake_and_no_session() {
    let upstream = upstream(Era::Modern).await;
    let reply = modern(&upstream, "initialize", "").send().await;
    assert_eq!((reply.status.as_u16(), reply.json()["error"]["code"].clone()), (404, json!(-32601)));
    assert_eq!(Http::get(&format!("{}/mcp", upstream.url())).send().await.status, 405);

    let reply = modern(&upstream, "server/discover", "").send().await;
    assert_eq!(reply.json()["result"]["supportedVersions"], json!(["2026-07-28"]));
    let reply = modern(&upstream, "tools/list", "").send().await;
    assert_eq!(reply.json()["result"]["tools"][0]["name"], "list_repos");
    assert_eq!(reply.header("mcp-session-id"), "");
}
