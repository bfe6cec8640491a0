//! An MCP server behind the gateway, in both eras. `wipe` is never permitted, `pay` up to 100, the rest always.

mod bodies;
mod calls;
mod faults;
mod lists;
mod replies;
mod sessions;
mod versions;

use std::sync::Arc;

use serde_json::{Value, json};
use vestibule_model::SystemClock;
use vestibule_testkit::{Answer, Call, Era, Http, Mcp, Reply, TestUpstream};

use crate::gateway::{TestGateway, folder};

const POLICIES: &str = r#"
@id("plain")
permit (principal in AgentGroup::"testers", action in [Action::"app__read", Action::"app__work"], resource);
@id("small")
permit (principal in AgentGroup::"testers", action == Action::"app__pay", resource)
when { context.input.amount <= 100 };
@id("public.resources")
permit (principal in AgentGroup::"testers", action == Action::"app__resources/read", resource)
when { context.input.uri like "file:///public/*" };
@id("greetings")
permit (principal in AgentGroup::"testers", action == Action::"app__prompts/get", resource)
when { context.input.name == "greet" };
"#;

fn tools() -> Vec<Value> {
    let tool = |name: &str, properties: Value| json!({ "name": name, "inputSchema": { "type": "object", "properties": properties } });
    vec![
        tool("read", json!({})),
        tool("work", json!({})),
        tool("wipe", json!({})),
        json!({ "name": "pay", "inputSchema": {
            "type": "object", "properties": { "amount": { "type": "integer" } }, "required": ["amount"] } }),
    ]
}

async fn upstream(era: Era) -> TestUpstream {
    TestUpstream::mcp(Mcp::new(era, tools())).await
}

fn config(upstream: &TestUpstream) -> String {
    format!("apps: {{ app: {{ mcp: {{ url: '{}/mcp' }} }} }}", upstream.url())
}

async fn in_front_of(upstream: &TestUpstream) -> TestGateway {
    TestGateway::start(&config(upstream), &[("mcp.cedar", POLICIES)]).await
}

/// A gateway that knows the tools of an application which now gives `answer` to everything.
async fn in_front_of_answer(answer: Answer) -> (TestUpstream, TestGateway) {
    let dir = folder(&[("mcp.cedar", POLICIES)]);
    let clock = || Arc::new(SystemClock::default());
    let before = upstream(Era::Legacy).await;
    TestGateway::start_in(Arc::clone(&dir), &config(&before), clock()).await.stop().await;
    let after = TestUpstream::http(answer).await;
    let gateway = TestGateway::start_in(dir, &config(&after), clock()).await;
    (after, gateway)
}

/// A request of a client of 2025-11-25, without its message.
fn legacy(url: &str, token: &str) -> Call {
    Http::post(url)
        .bearer(token)
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2025-11-25")
}

/// The session that the gateway gave to this client.
async fn initialize(url: &str, token: &str) -> String {
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "test", "version": "1" } });
    let message = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params });
    let reply = legacy(url, token).json(&message).send().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.header("mcp-session-id").to_owned()
}

/// A message of a client of 2026-07-28.
fn modern_message(method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params })
}

/// A request of a client of 2026-07-28 whose headers say what its message says.
fn modern(url: &str, token: &str, message: &Value) -> Call {
    let call =
        modern_headers(url, token).header("mcp-method", message["method"].as_str().unwrap()).json(message);
    match message["params"]["name"].as_str() {
        Some(name) => call.header("mcp-name", name),
        None => call,
    }
}

fn modern_headers(url: &str, token: &str) -> Call {
    Http::post(url)
        .bearer(token)
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
}

pub(crate) async fn call_modern(url: &str, token: &str, tool: &str, arguments: Value) -> Reply {
    let message = modern_message("tools/call", json!({ "name": tool, "arguments": arguments }));
    modern(url, token, &message).send().await
}

/// How many messages of this method have reached the upstream. The gateway itself reads tools, and nothing else.
fn seen(upstream: &TestUpstream, method: &str) -> usize {
    upstream.requests().iter().filter(|seen| seen.json()["method"] == method).count()
}
