//! Whoever is revoked, suspended or called off is stopped at once, and what it has under way with it.

mod breakers;
mod drill;
mod family;
mod incident;
mod invoked;
mod member;
mod orders;
mod races;
mod subtrees;
mod wood;

use std::time::Duration;

use serde_json::json;
use vestibule_testkit::{Call, CallReply, Era, Http, Mcp, TestUpstream};

use crate::gateway::{PERMIT_TESTERS, TestGateway, call, rpc, wednesday_noon};

fn tools() -> Vec<serde_json::Value> {
    vec![json!({ "name": "work", "inputSchema": { "type": "object", "properties": {} } })]
}

async fn modern(upstream: &TestUpstream) -> TestGateway {
    let config = format!("apps: {{ app: {{ mcp: {{ url: '{}/mcp' }} }} }}", upstream.url());
    TestGateway::start(&config, &[("all.cedar", PERMIT_TESTERS)]).await
}

/// A call of `work`, or another request of that method, as a modern client sends it.
fn modern_call(url: &str, token: &str, method: &str) -> Call {
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": {
        "name": "work", "arguments": {}, "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {} } } });
    let call = Http::post(url)
        .bearer(token)
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", method);
    if method == "tools/call" { call.header("mcp-name", "work").json(&request) } else { call.json(&request) }
}

#[tokio::test]
async fn after_a_revocation_the_next_call_is_refused_and_the_upstream_sees_nothing() {
    let upstream = TestUpstream::mcp(Mcp::new(Era::Legacy, tools())).await;
    let gateway = modern(&upstream).await;
    let token = gateway.token("a", "app").await;
    let url = gateway.resource("app");
    let opened = rpc(&url, &token, &json!({ "jsonrpc": "2.0", "id": 0, "method": "ping" })).await;
    assert_ne!(opened.status, 401);
    let before = upstream.requests().len();
    gateway.revoke("agent", "a").await;
    let refused = rpc(&url, &token, &call("work", json!({}))).await;
    assert_eq!(refused.status, 401);
    assert!(refused.header("www-authenticate").contains("invalid_token"));
    assert_eq!(upstream.requests().len(), before);
    let denied = gateway.attempts("denial=agent-revoked").await;
    assert_eq!(denied.len(), 1);
    assert_eq!(denied[0]["agent"], "a");
    assert_eq!(denied[0]["outcome"], "refused");
}

#[tokio::test]
async fn a_revocation_cuts_a_stream_that_is_running_and_survives_a_restart() {
    let mcp = Mcp::new(Era::Modern, tools());
    mcp.reply_with(CallReply::Stream(1000));
    let upstream = TestUpstream::mcp(mcp).await;
    let gateway = modern(&upstream).await;
    let token = gateway.token("a", "app").await;
    let url = gateway.resource("app");
    upstream.hold();
    let opening = tokio::spawn(modern_call(&url, &token, "tools/call").open());
    upstream.step();
    let mut stream = opening.await.unwrap().unwrap();
    assert!(stream.chunk().await.unwrap().is_some());
    let report = gateway.revoke("agent", "a").await;
    assert_eq!(report["cut"]["streams"], 1);
    let end = loop {
        match stream.chunk().await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    assert!(end.is_err(), "the stream was completed instead of cut");
    upstream.wait_for_aborted(1).await;
    let act = gateway.attempts("kind=administration").await.into_iter().find(|act| act["action"] == "revoke");
    let detail: serde_json::Value = serde_json::from_str(act.unwrap()["detail"].as_str().unwrap()).unwrap();
    assert_eq!((&detail["reason"], &detail["cut"]["streams"]), (&json!("compromise"), &json!(1)));
    let gateway = gateway.restart().await;
    let resource = gateway.resource("app");
    let again = rpc(&resource, &token, &call("work", json!({}))).await;
    assert_eq!(again.status, 401);
    assert_eq!(gateway.attempts("outcome=cut").await.len(), 1);
    gateway.stop().await;
}

#[tokio::test]
async fn a_list_that_was_read_whole_is_cut_too_and_the_record_says_so() {
    let many = (0..4000).map(|number| {
        json!({ "name": format!("tool-{number}"), "description": "x".repeat(1000), "inputSchema": { "type": "object" } })
    });
    let upstream = TestUpstream::mcp(Mcp::new(Era::Modern, many.collect())).await;
    let gateway = modern(&upstream).await;
    let token = gateway.token("a", "app").await;
    // Larger than what sockets buffer, so that most of it waits for the reader.
    let mut list = modern_call(&gateway.resource("app"), &token, "tools/list").open().await.unwrap();
    assert!(list.chunk().await.unwrap().is_some());
    gateway.revoke("agent", "a").await;
    let end = loop {
        match list.chunk().await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    assert!(end.is_err(), "the list was completed instead of cut");
    assert_eq!(gateway.attempts("outcome=cut").await.len(), 1);
}

#[tokio::test]
async fn a_stream_outlives_its_token_and_ends_with_its_delegation() {
    let mcp = Mcp::new(Era::Modern, tools());
    mcp.reply_with(CallReply::Stream(1000));
    let upstream = TestUpstream::mcp(mcp).await;
    let config = format!(
        "{{ tokens: {{ ttl_seconds: 60, delegation_ttl_seconds: 300 }}, apps: {{ app: {{ mcp: {{ url: '{}/mcp' }} }} }} }}",
        upstream.url()
    );
    let clock = wednesday_noon();
    let gateway = TestGateway::start_at(&clock, &config, &[("all.cedar", PERMIT_TESTERS)]).await;
    let token = gateway.token("a", "app").await;
    upstream.hold();
    let opening = tokio::spawn(modern_call(&gateway.resource("app"), &token, "tools/call").open());
    upstream.step();
    let mut stream = opening.await.unwrap().unwrap();
    assert!(stream.chunk().await.unwrap().is_some());
    clock.advance(Duration::from_secs(200));
    upstream.step();
    assert!(stream.chunk().await.unwrap().is_some(), "the token has expired, the delegation has not");
    clock.advance(Duration::from_secs(101));
    upstream.step();
    assert!(stream.chunk().await.is_err(), "the delegation has expired");
    upstream.wait_for_aborted(1).await;
}
