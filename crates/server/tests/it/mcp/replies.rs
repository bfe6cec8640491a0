//! Replies stream, and however one ends, its record is closed.

use serde_json::json;
use vestibule_testkit::{CallReply, Era, OpenReply, TestUpstream};

use super::{in_front_of, modern, modern_message, upstream};
use crate::gateway::TestGateway;

async fn streaming(events: u32) -> (TestUpstream, TestGateway) {
    let upstream = upstream(Era::Modern).await;
    upstream.protocol().reply_with(CallReply::Stream(events));
    let gateway = in_front_of(&upstream).await;
    upstream.hold();
    (upstream, gateway)
}

/// A call of `work` whose first event has arrived.
async fn first_event(upstream: &TestUpstream, gateway: &TestGateway, token: &str) -> (OpenReply, String) {
    let message = modern_message("tools/call", json!({ "name": "work", "arguments": {} }));
    let opening = tokio::spawn(modern(&gateway.resource("app"), token, &message).open());
    upstream.step();
    let mut stream = opening.await.unwrap().unwrap();
    let read = stream.read_until("\"progress\":1").await;
    (stream, read)
}

#[tokio::test]
async fn a_reply_arrives_event_by_event_as_the_application_sends_it() {
    let (upstream, gateway) = streaming(3).await;
    let token = gateway.token("a", "app").await;
    let (mut stream, mut read) = first_event(&upstream, &gateway, &token).await;
    for progress in 2..=3 {
        let needle = format!("\"progress\":{progress}");
        assert!(!read.contains(&needle), "{read}");
        upstream.step();
        read += &stream.read_until(&needle).await;
    }
    upstream.step();
    read += &stream.read_until("\"result\"").await;
    while let Some(chunk) = stream.chunk().await.unwrap() {
        read += &String::from_utf8_lossy(&chunk);
    }
    let attempt = &gateway.attempts("operation=work").await[0];
    assert_eq!((&attempt["outcome"], &attempt["bytes_out"]), (&json!("completed"), &json!(read.len())));
}

/// The attempts that end from now on, as the live view shows them.
async fn live(gateway: &TestGateway) -> OpenReply {
    gateway.admin("GET", "/admin/v1/attempts/live?operation=work").open().await.unwrap()
}

#[tokio::test]
async fn invariant_5_a_client_that_leaves_in_the_middle_of_a_stream_leaves_a_closed_record() {
    let (upstream, gateway) = streaming(1000).await;
    let token = gateway.token("a", "app").await;
    let mut live = live(&gateway).await;
    let (stream, _) = first_event(&upstream, &gateway, &token).await;
    drop(stream);
    upstream.wait_for_aborted(1).await;
    live.read_until("\n").await;
    let attempt = &gateway.attempts("operation=work").await[0];
    assert_eq!((&attempt["state"], &attempt["outcome"]), (&json!("closed"), &json!("unknown")));
    assert_eq!(attempt["decision"], "permit");
}

#[tokio::test]
async fn invariant_5_a_client_that_leaves_before_the_reply_leaves_a_closed_record() {
    let upstream = upstream(Era::Modern).await;
    let gateway = in_front_of(&upstream).await;
    let token = gateway.token("a", "app").await;
    upstream.protocol().reply_with(CallReply::Hang);
    let mut live = live(&gateway).await;
    let before = upstream.requests().len();
    let message = modern_message("tools/call", json!({ "name": "work", "arguments": {} }));
    let waiting = tokio::spawn(modern(&gateway.resource("app"), &token, &message).open());
    upstream.wait_for(before + 1).await;
    waiting.abort();
    upstream.wait_for_aborted(1).await;
    live.read_until("\n").await;
    let attempt = &gateway.attempts("operation=work").await[0];
    assert_eq!((&attempt["state"], &attempt["outcome"]), (&json!("closed"), &json!("unknown")));
}
