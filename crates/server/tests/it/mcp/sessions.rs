//! Sessions of the legacy era: opened by their owner only, whatever token the owner presents.

use std::time::Duration;

use serde_json::json;
use vestibule_testkit::{CallReply, Era, Mcp, TestUpstream};

use super::{POLICIES, config, in_front_of, initialize, legacy, seen, tools, upstream};
use crate::gateway::{PERMIT_TESTERS, TestGateway, call, wednesday_noon};

#[tokio::test]
async fn invariant_11_a_session_outlives_the_token_that_opened_it() {
    let upstream = upstream(Era::Legacy).await;
    let gateway = in_front_of(&upstream).await;
    let agent = gateway.agent("a", json!({})).await;
    let url = gateway.resource("app");
    let session = initialize(&url, &agent.token(&url).await).await;
    assert!(!session.contains("upstream-session"), "the upstream's own identifier was handed out: {session}");

    let another_token = agent.token(&url).await;
    let reply = legacy(&url, &another_token)
        .header("mcp-session-id", &session)
        .json(&call("read", json!({})))
        .send()
        .await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.json()["result"]["content"][0]["text"], "{}");
    let called = upstream.requests().pop().unwrap();
    assert!(called.header("mcp-session-id").starts_with("upstream-session-"), "{:?}", called.headers);
}

#[tokio::test]
async fn invariant_11_nobody_else_can_use_a_session_not_even_its_owner_at_another_application() {
    let (one, two) = (upstream(Era::Legacy).await, upstream(Era::Legacy).await);
    let config = format!(
        "apps: {{ app: {{ mcp: {{ url: '{}/mcp' }} }}, other: {{ mcp: {{ url: '{}/mcp' }} }} }}",
        one.url(),
        two.url()
    );
    let gateway = TestGateway::start(&config, &[("all.cedar", PERMIT_TESTERS)]).await;
    let (app, other) = (gateway.resource("app"), gateway.resource("other"));
    let owner = gateway.agent("a", json!({})).await;
    let token = owner.token(&app).await;
    let session = initialize(&app, &token).await;

    let (id, tag) = session.split_once('.').unwrap();
    let (stranger, elsewhere) = (gateway.token("b", "app").await, owner.token(&other).await);
    let attacks = [
        (&app, &stranger, session.clone()),
        (&other, &elsewhere, session.clone()),
        (&app, &token, format!("{}.{tag}", flipped(id))),
        (&app, &token, format!("{id}.{}", flipped(tag))),
        (&app, &token, id.to_owned()),
        (&app, &token, "upstream-session-2".to_owned()),
    ];
    for (url, token, session) in attacks {
        let reply =
            legacy(url, token).header("mcp-session-id", &session).json(&call("read", json!({}))).send().await;
        assert_eq!(reply.status, 404, "{session}");
    }
    let twice = legacy(&app, &token).header("mcp-session-id", &session).header("mcp-session-id", &session);
    assert_eq!(twice.json(&call("read", json!({}))).send().await.status, 404);
    assert_eq!(seen(&one, "tools/call") + seen(&two, "tools/call"), 0);
    assert_eq!(gateway.attempts("denial=session-unknown").await.len(), 7);
}

fn flipped(text: &str) -> String {
    let first = if text.starts_with('A') { "B" } else { "A" };
    format!("{first}{}", &text[1..])
}

#[tokio::test]
async fn a_session_that_the_application_forgot_is_its_404_and_the_client_opens_a_new_one() {
    let upstream = upstream(Era::Legacy).await;
    let gateway = in_front_of(&upstream).await;
    let (token, url) = (gateway.token("a", "app").await, gateway.resource("app"));
    let session = initialize(&url, &token).await;
    upstream.protocol().forget_sessions();
    let reply =
        legacy(&url, &token).header("mcp-session-id", &session).json(&call("read", json!({}))).send().await;
    assert_eq!(reply.status, 404);
    let attempt = &gateway.attempts("operation=read").await[0];
    assert_eq!((&attempt["decision"], &attempt["upstream_status"]), (&json!("permit"), &json!(404)));

    let session = initialize(&url, &token).await;
    let reply =
        legacy(&url, &token).header("mcp-session-id", &session).json(&call("read", json!({}))).send().await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn a_session_and_a_stream_outlive_many_tokens_without_losing_a_request() {
    let clock = wednesday_noon();
    let mcp = Mcp::new(Era::Legacy, tools());
    let upstream = TestUpstream::mcp(mcp).await;
    let config = format!("{}\ntokens: {{ ttl_seconds: 60 }}", config(&upstream));
    let gateway = TestGateway::start_at(&clock, &config, &[("mcp.cedar", POLICIES)]).await;
    let agent = gateway.agent("a", json!({})).await;
    let url = gateway.resource("app");
    let first = agent.token(&url).await;
    let session = initialize(&url, &first).await;

    upstream.protocol().reply_with(CallReply::Stream(9));
    upstream.hold();
    let work = legacy(&url, &first).header("mcp-session-id", &session).json(&call("work", json!({})));
    let opening = tokio::spawn(work.open());
    upstream.step();
    let mut stream = opening.await.unwrap().unwrap();
    stream.read_until("\"progress\":1").await;

    let mut token = first;
    for minute in 2..=9 {
        gateway.advance(&clock, Duration::from_secs(61)).await;
        let ping = json!({ "jsonrpc": "2.0", "id": minute, "method": "ping" });
        let late = legacy(&url, &token).header("mcp-session-id", &session).json(&ping).send().await;
        assert_eq!(late.status, 401);
        assert!(late.header("www-authenticate").contains("invalid_token"), "{:?}", late.headers);
        token = agent.token(&url).await;
        let fresh = legacy(&url, &token).header("mcp-session-id", &session).json(&ping).send().await;
        assert_eq!((fresh.status.as_u16(), fresh.json()["id"].clone()), (200, json!(minute)));
        upstream.step();
        stream.read_until(&format!("\"progress\":{minute}")).await;
    }
    upstream.release();
    stream.read_until("\"result\"").await;
    assert!(stream.chunk().await.unwrap().is_none(), "the stream came to its end");
    assert_eq!(gateway.attempts("operation=work").await[0]["outcome"], "completed");
}
