use serde_json::{Value, json};
use vestibule_testkit::{Era, Http, Mcp, TestUpstream};

use super::{Caller, limited, ok, scene};
use crate::gateway::{PERMIT_TESTERS, TestGateway, call, rpc, wednesday_noon};

#[tokio::test]
async fn an_answer_says_which_limit_when_to_come_again_and_so_to_a_model_too() {
    let scene = scene(
        "{ rates: [ { name: two-a-minute, per: [agent], calls: 2, seconds: 60, burst: 1 }, \
         { name: one-an-hour, per: [], only: { operations: [api__list] }, calls: 1, seconds: 3600 } ] }",
    )
    .await;
    let caller = Caller::of(&scene).await;
    ok(caller.list()).await;
    let reply = caller.create().send().await;
    limited(&scene, &reply, "rate-exceeded").await;
    assert_eq!(reply.header("retry-after"), "30");
    assert_eq!(reply.header("ratelimit-policy"), "\"two-a-minute\";q=2;w=60");
    assert_eq!(reply.header("ratelimit"), "\"two-a-minute\";r=0;t=30");
    assert_eq!(reply.header("content-type"), "application/problem+json");
    let problem = reply.json();
    assert_eq!((&problem["code"], &problem["retryable"]), (&json!("rate-exceeded"), &json!(true)));
    let hint = "limit `two-a-minute`: at most 2 calls in 60 seconds per agent; try again in 30 seconds";
    assert_eq!(problem["hints"], json!([hint]));
    // Two at once: the wait is that of the longer one.
    let reply = caller.list().send().await;
    limited(&scene, &reply, "rate-exceeded").await;
    assert_eq!(reply.header("retry-after"), "3600");
    assert_eq!(reply.header("ratelimit-policy"), "\"two-a-minute\";q=2;w=60, \"one-an-hour\";q=1;w=3600");
    assert_eq!(reply.header("ratelimit"), "\"two-a-minute\";r=0;t=30, \"one-an-hour\";r=0;t=3600");
    let metrics = scene.gateway.admin("GET", "/metrics").send().await;
    for line in [
        "vestibule_limited_total{rule=\"two-a-minute\"} 2",
        "vestibule_limited_total{rule=\"one-an-hour\"} 1",
        "vestibule_stops_total{code=\"rate-exceeded\"} 2",
    ] {
        assert!(metrics.text().contains(line), "{line}\n{}", metrics.text());
    }
}

#[tokio::test]
async fn an_mcp_client_gets_a_json_rpc_error_and_what_is_under_way_can_still_be_ended() {
    let tool = |name: &str| json!({ "name": name, "inputSchema": { "type": "object" } });
    let upstream = TestUpstream::mcp(Mcp::new(Era::Legacy, vec![tool("work"), tool("rest")])).await;
    let config = format!(
        "limits: {{ rates: [ {{ name: calm, per: [agent], only: {{ apps: [app] }}, calls: 3, seconds: 60 }} ], \
         quotas: [ {{ name: works, per: [user, app], calls: 1, per_period: day }}, {{ name: rests, per: [app], only: {{ \
         operations: [app__rest] }}, calls: 1, per_period: hour }} ] }}\napps: {{ app: {{ mcp: {{ url: '{}/mcp' }} }} }}",
        upstream.url()
    );
    let clock = wednesday_noon();
    let gateway = TestGateway::start_at(&clock, &config, &[("all.cedar", PERMIT_TESTERS)]).await;
    let (url, token) = (gateway.resource("app"), gateway.token("a", "app").await);
    let client = json!({ "name": "test", "version": "1" });
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client });
    let begin = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params });
    let session = rpc(&url, &token, &begin).await.header("mcp-session-id").to_owned();
    let send = async |message: &Value| {
        let call = Http::post(&url).bearer(&token).header("mcp-session-id", &session);
        let call = call.header("accept", "application/json, text/event-stream");
        call.header("mcp-protocol-version", "2025-11-25").json(message).send().await
    };
    let seen = |method: &str| upstream.requests().iter().filter(|it| it.json()["method"] == method).count();
    assert_eq!(send(&call("rest", json!({}))).await.status, 200);
    for (message, code, name, wait) in [
        (call("rest", json!({})), "quota-exceeded", "rests", "3600"),
        (call("work", json!({})), "rate-exceeded", "calm", "20"),
        (json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" }), "rate-exceeded", "calm", "20"),
    ] {
        let reply = send(&message).await;
        assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (429, wait), "{}", reply.text());
        assert!(reply.header("ratelimit").starts_with(&format!("\"{name}\";r=0;t={wait}")));
        let answer = reply.json();
        assert_eq!(
            (&answer["jsonrpc"], &answer["id"], &answer["error"]["code"]),
            (&json!("2.0"), &json!(1), &json!(4030))
        );
        let told = &answer["error"]["data"]["authorization"];
        assert_eq!((&told["code"], &told["retryable"]), (&json!(code), &json!(true)));
        assert!(told["hints"][0].as_str().unwrap().contains(&format!("try again in {wait} seconds")));
        assert_eq!(gateway.attempt_of(&reply).await["denial"], code);
    }
    assert_eq!(seen("tools/call"), 1);
    let cancelled =
        json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 9 } });
    assert!(send(&cancelled).await.status.is_success());
    assert_eq!(seen("notifications/cancelled"), 1);
}
