//! Calls: what is forwarded, and how each kind of refusal is told.

use http::Method;
use serde_json::{Value, json};
use vestibule_model::{Digest, json::parse};
use vestibule_testkit::{Call, Era, Http};

use super::{
    call_modern, in_front_of, initialize, legacy, modern, modern_headers, modern_message, seen, upstream,
};
use crate::gateway::{TestGateway, call, rpc};

#[tokio::test]
async fn invariant_9_the_bytes_that_were_decided_are_forwarded_and_recorded() {
    let upstream = upstream(Era::Modern).await;
    let gateway = in_front_of(&upstream).await;
    let (token, url) = (gateway.token("a", "app").await, gateway.resource("app"));
    let body = "{ \"id\" : 7,\n  \"params\": {\"arguments\":{\"amount\": 1.00e2 }, \"name\":\"p\\u0061y\", \
        \"_meta\": {\"io.modelcontextprotocol/clientCapabilities\":{}, \"x\":[ ], \
        \"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\"}}, \"method\":\"tools/call\",\"jsonrpc\":\"2.0\" }";
    let sent = modern_headers(&url, &token).header("mcp-method", "tools/call").header("mcp-name", "pay");
    let reply = sent.body("application/json", body).send().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(upstream.requests().pop().unwrap().body, body);

    let arguments = parse(b"{\"amount\":100}", 4).unwrap().canonical();
    let attempt = &gateway.attempts("operation=pay").await[0];
    assert_eq!(attempt["args_digest"], Digest::of(arguments.as_bytes()).to_string());
    assert_eq!(attempt["bytes_in"], body.len());
}

#[tokio::test]
async fn a_header_that_contradicts_the_body_is_refused_in_both_eras() {
    let upstream = upstream(Era::Modern).await;
    let gateway = in_front_of(&upstream).await;
    let (token, url) = (gateway.token("a", "app").await, gateway.resource("app"));
    let message = modern_message("tools/call", json!({ "name": "read", "arguments": {} }));
    let bare = || modern_headers(&url, &token);
    let contradictions: [(&str, Call); 7] = [
        ("another method", bare().header("mcp-method", "tools/list").header("mcp-name", "read")),
        ("another name", bare().header("mcp-method", "tools/call").header("mcp-name", "wipe")),
        (
            "another name, encoded",
            bare().header("mcp-method", "tools/call").header("mcp-name", "=?base64?d2lwZQ==?="),
        ),
        ("no method", bare().header("mcp-name", "read")),
        ("no name", bare().header("mcp-method", "tools/call")),
        (
            "two names",
            bare().header("mcp-method", "tools/call").header("mcp-name", "read").header("mcp-name", "wipe"),
        ),
        (
            "another version",
            legacy(&url, &token).header("mcp-method", "tools/call").header("mcp-name", "read"),
        ),
    ];
    let count = contradictions.len();
    for (what, call) in contradictions {
        let reply = call.json(&message).send().await;
        assert_eq!(
            (reply.status.as_u16(), reply.json()["error"]["code"].clone()),
            (400, json!(-32020)),
            "{what}"
        );
        assert_eq!(reply.json()["id"], 7, "{what}");
    }
    let old = legacy(&url, &token).header("mcp-name", "read").json(&call("wipe", json!({}))).send().await;
    assert_eq!((old.status.as_u16(), old.json()["error"]["code"].clone()), (400, json!(-32020)));
    assert_eq!(seen(&upstream, "tools/call"), 0);
    assert_eq!(gateway.attempts("denial=header-mismatch").await.len(), count + 1);
}

#[tokio::test]
async fn what_is_not_one_message_is_refused() {
    let upstream = upstream(Era::Legacy).await;
    let gateway = in_front_of(&upstream).await;
    let (token, url) = (gateway.token("a", "app").await, gateway.resource("app"));
    let before = upstream.requests().len();
    let one = call("read", json!({})).to_string();
    let refused = [
        (400, "frame-invalid", "application/json", format!("[{one}]")),
        (400, "frame-invalid", "application/json", "[]".to_owned()),
        (400, "json-invalid", "application/json", format!("{one}{one}")),
        (400, "json-duplicate-key", "application/json", one.replace("\"id\":1", "\"id\":1,\"id\":2")),
        (
            400,
            "json-duplicate-key",
            "application/json",
            one.replace("\"name\"", "\"n\\u0061me\":\"wipe\",\"name\""),
        ),
        (400, "json-invalid", "application/json", one.replace("read", "\\ud800")),
        (
            400,
            "json-too-deep",
            "application/json",
            one.replace("{}", &format!("{}{}", "[".repeat(65), "]".repeat(65))),
        ),
        (415, "media-type-unsupported", "text/plain", one.clone()),
    ];
    for (status, code, media_type, body) in refused {
        let reply = legacy(&url, &token).body(media_type, body.clone()).send().await;
        assert_eq!(reply.status, status, "{body}");
        assert_eq!(gateway.attempt_of(&reply).await["denial"], code, "{body}");
    }
    for method in [Method::PUT, Method::OPTIONS, Method::TRACE, Method::CONNECT] {
        let reply = Http::request(method.clone(), &url).bearer(&token).send().await;
        assert_eq!(reply.status, 405, "{method}");
    }
    assert_eq!(upstream.requests().len(), before);
}

#[tokio::test]
async fn invariant_4_a_method_that_is_not_in_the_table_is_unknown() {
    let (one, two) = (upstream(Era::Legacy).await, upstream(Era::Modern).await);
    let config = format!(
        "apps: {{ app: {{ mcp: {{ url: '{}/mcp' }} }}, new: {{ mcp: {{ url: '{}/mcp' }} }} }}",
        one.url(),
        two.url()
    );
    let gateway = TestGateway::start(&config, &[("all.cedar", crate::gateway::PERMIT_TESTERS)]).await;
    let agent = gateway.agent("a", json!({})).await;
    let (old, new) = (gateway.resource("app"), gateway.resource("new"));
    let (old_token, new_token) = (agent.token(&old).await, agent.token(&new).await);
    let methods = ["tools/delete", "tasks/get", "sampling/createMessage", "TOOLS/CALL", "tools/call "];
    for method in methods {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": { "name": "read" } });
        let reply = rpc(&old, &old_token, &message).await;
        assert_eq!(
            (reply.status.as_u16(), reply.json()["error"]["code"].clone()),
            (200, json!(-32601)),
            "{method}"
        );
    }
    for method in &methods[..4] {
        let reply = modern(&new, &new_token, &modern_message(method, json!({}))).send().await;
        assert_eq!(
            (reply.status.as_u16(), reply.json()["error"]["code"].clone()),
            (404, json!(-32601)),
            "{method}"
        );
    }
    for (upstream, method) in
        [&one, &two].into_iter().flat_map(|upstream| methods.map(|method| (upstream, method)))
    {
        assert_eq!(seen(upstream, method), 0, "{method}");
    }
    assert_eq!(gateway.attempts("denial=method-refused").await.len(), 9);
}

/// The error of a reply, with one name for the tool that was asked for.
fn error(reply: &vestibule_testkit::Reply, tool: &str) -> Value {
    serde_json::from_str(&reply.json()["error"].to_string().replace(tool, "TOOL")).unwrap()
}

#[tokio::test]
async fn invariant_3_a_tool_that_is_not_permitted_answers_exactly_as_one_that_does_not_exist() {
    let upstream = upstream(Era::Modern).await;
    let gateway = in_front_of(&upstream).await;
    let (token, url) = (gateway.token("a", "app").await, gateway.resource("app"));
    let denied = call_modern(&url, &token, "wipe", json!({})).await;
    let absent = call_modern(&url, &token, "wings", json!({})).await;
    assert_eq!(error(&denied, "wipe"), json!({ "code": -32602, "message": "Unknown tool: TOOL" }));
    assert_eq!(error(&denied, "wipe"), error(&absent, "wings"));
    let names =
        |reply: &vestibule_testkit::Reply| reply.headers.keys().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!((denied.status, names(&denied)), (absent.status, names(&absent)));
    assert_eq!(seen(&upstream, "tools/call"), 0);

    let attempt = &gateway.attempts("operation=wipe").await[0];
    assert_eq!(attempt["denial"], "operation-not-permitted");
    assert_ne!(attempt["cause"], Value::Null, "the reason stays in the record");
}

#[tokio::test]
async fn a_visible_tool_with_other_arguments_tells_the_model_what_to_change() {
    let upstream = upstream(Era::Modern).await;
    let gateway = in_front_of(&upstream).await;
    let (token, url) = (gateway.token("a", "app").await, gateway.resource("app"));
    let reply = call_modern(&url, &token, "pay", json!({ "amount": 101 })).await;
    assert_eq!(reply.status, 200);
    let error = reply.json()["error"].clone();
    assert_eq!(error["code"], 4030);
    let authorization = &error["data"]["authorization"];
    assert_eq!(authorization["code"], "arguments-not-permitted");
    assert_eq!(authorization["retryable"], false);
    assert!(authorization["hints"][0].as_str().unwrap().contains("`amount`"), "{authorization}");
    assert!(
        !reply.text().contains("small"),
        "the policy's name is not the caller's business: {}",
        reply.text()
    );
    assert_eq!(authorization["decision_id"], reply.header("x-request-id"));
    let attempt = &gateway.attempts("denial=arguments-not-permitted").await[0];
    assert_eq!(attempt["attempt"], reply.header("x-request-id"));
    assert_eq!(seen(&upstream, "tools/call"), 0);

    let permitted = call_modern(&url, &token, "pay", json!({ "amount": 100 })).await;
    assert_eq!(permitted.json()["result"]["content"][0]["text"], "{\"amount\":100}");
    assert_eq!(seen(&upstream, "tools/call"), 1);
}

#[tokio::test]
async fn a_modern_server_gets_no_session_and_a_legacy_one_its_own() {
    let upstream = upstream(Era::Modern).await;
    let gateway = in_front_of(&upstream).await;
    let (token, url) = (gateway.token("a", "app").await, gateway.resource("app"));
    let message = modern_message("tools/call", json!({ "name": "read", "arguments": {} }));
    let reply = modern(&url, &token, &message).header("mcp-session-id", "anything").send().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(upstream.requests().pop().unwrap().header("mcp-session-id"), "");

    let legacy_upstream = super::upstream(Era::Legacy).await;
    let gateway = in_front_of(&legacy_upstream).await;
    let (token, url) = (gateway.token("a", "app").await, gateway.resource("app"));
    let session = initialize(&url, &token).await;
    let ended =
        Http::request(Method::DELETE, &url).bearer(&token).header("mcp-session-id", &session).send().await;
    assert_eq!(ended.status, 200);
    let ended = legacy_upstream.requests().pop().unwrap();
    assert_eq!(
        (ended.method, ended.headers["mcp-session-id"].to_str().unwrap().starts_with("upstream-")),
        (Method::DELETE, true)
    );
}
