//! When the application fails, the caller learns whose fault it is, and nothing of what the application said.

use serde_json::json;
use vestibule_testkit::{Answer, Era, Reply};

use super::{call_modern, in_front_of, in_front_of_answer, upstream};
use crate::gateway::{TestGateway, call, rpc};

/// The caller is told this, and the record has the outcome.
async fn assert_fault(gateway: &TestGateway, reply: &Reply, status: u16, code: &str, outcome: &str) {
    assert_eq!(reply.status, status, "{}", reply.text());
    assert_eq!(reply.json()["error"]["data"]["authorization"]["code"], code, "{}", reply.text());
    assert_eq!(reply.header("www-authenticate"), "");
    let attempt = gateway.attempt_of(reply).await;
    assert_eq!((&attempt["denial"], &attempt["outcome"]), (&json!(code), &json!(outcome)));
    assert_eq!(attempt["decision"], "permit");
}

#[tokio::test]
async fn a_401_of_the_application_is_about_the_gateway_and_not_about_the_caller() {
    let answer = Answer::new(401, "tenant-7 said no").header("www-authenticate", "Bearer realm=\"tenant-7\"");
    let (_upstream, gateway) = in_front_of_answer(answer).await;
    let (token, url) = (gateway.token("a", "app").await, gateway.resource("app"));
    let reply = rpc(&url, &token, &call("read", json!({}))).await;
    assert_fault(&gateway, &reply, 502, "access-unavailable", "failed").await;
    assert!(!reply.text().contains("tenant-7"), "{}", reply.text());
}

#[tokio::test]
async fn an_application_that_is_down_is_unreachable() {
    let upstream = upstream(Era::Modern).await;
    let gateway = in_front_of(&upstream).await;
    let (token, url) = (gateway.token("a", "app").await, gateway.resource("app"));
    drop(upstream);
    let reply = call_modern(&url, &token, "read", json!({})).await;
    assert_fault(&gateway, &reply, 502, "upstream-unreachable", "upstream-failed").await;
}

#[tokio::test]
async fn an_application_that_does_not_answer_in_time_is_given_up() {
    let upstream = upstream(Era::Modern).await;
    let config = format!("{}\nlimits: {{ upstream_head_seconds: 1 }}", super::config(&upstream));
    let gateway = TestGateway::start(&config, &[("mcp.cedar", super::POLICIES)]).await;
    let (token, url) = (gateway.token("a", "app").await, gateway.resource("app"));
    upstream.hold();
    let reply = call_modern(&url, &token, "read", json!({})).await;
    assert_fault(&gateway, &reply, 504, "upstream-timeout", "upstream-failed").await;
    upstream.wait_for_aborted(1).await;
}

#[tokio::test]
async fn a_list_that_cannot_be_read_is_not_passed_on() {
    let (upstream, gateway) = in_front_of_answer(Answer::new(200, "secret-tool")).await;
    let (token, url) = (gateway.token("a", "app").await, gateway.resource("app"));
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    let other_list =
        json!({ "jsonrpc": "2.0", "id": 1, "result": { "resources": [{ "uri": "secret-tool" }] } });
    let unreadable = [
        Answer::new(200, "secret-tool").header("content-type", "application/json"),
        Answer::new(200, "[{\"name\":\"secret-tool\"}]").header("content-type", "application/json"),
        Answer::json(&other_list),
        Answer::stream("text/event-stream", ["data: secret-tool\n\n"]),
    ];
    for answer in unreadable {
        upstream.answer(answer);
        let reply = rpc(&url, &token, &message).await;
        assert_fault(&gateway, &reply, 502, "upstream-invalid", "upstream-failed").await;
        assert!(!reply.text().contains("secret-tool"), "{}", reply.text());
    }
}
