//! Protocol versions: what is not spoken here goes no further, and is told in the words of the era that asked.

use http::Method;
use serde_json::{Value, json};
use vestibule_testkit::{Call, Era, Http};

use super::{in_front_of, modern_message, seen, upstream};
use crate::gateway::call;

const UNKNOWN: &str = "1999-01-01";

#[tokio::test]
async fn an_unknown_protocol_version_is_refused_in_both_eras() {
    let upstream = upstream(Era::Modern).await;
    let gateway = in_front_of(&upstream).await;
    let (token, url) = (gateway.token("a", "app").await, gateway.resource("app"));
    let versioned = |call: Call| call.bearer(&token).header("mcp-protocol-version", UNKNOWN);

    let mut message = modern_message("tools/call", json!({ "name": "read", "arguments": {} }));
    message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!(UNKNOWN);
    let post = versioned(Http::post(&url)).header("mcp-method", "tools/call").header("mcp-name", "read");
    let modern = post.json(&message).send().await;
    assert_eq!(modern.status, 400);
    let error = &modern.json()["error"];
    assert_eq!((&error["code"], &error["data"]["requested"]), (&json!(-32022), &json!(UNKNOWN)));
    assert!(error["data"]["supported"].as_array().unwrap().contains(&json!("2026-07-28")));

    let legacy = versioned(Http::post(&url)).json(&call("read", json!({}))).send().await;
    let stream = versioned(Http::request(Method::GET, &url)).send().await;
    for (what, reply) in [("a call", legacy), ("a stream", stream)] {
        assert_eq!(reply.status, 400, "{what}");
        assert_ne!(
            reply.json()["error"]["code"],
            -32022,
            "{what}: a legacy client is told of the modern era"
        );
    }
    assert_eq!(seen(&upstream, "tools/call"), 0);
    let attempts: Vec<Value> = gateway.attempts("denial=protocol-version-unsupported").await;
    assert_eq!(attempts.len(), 3);
}
