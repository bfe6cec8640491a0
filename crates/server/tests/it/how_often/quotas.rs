use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use vestibule_testkit::{Answer, TestUpstream};

use super::{Caller, limited, ok, passed, scene};
use crate::{
    delegation::key,
    gateway::{PERMIT_TESTERS, TestGateway, wednesday_noon},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_16_that_call_at_once_exactly_so_many_pass_over_two_restarts() {
    let upstream = TestUpstream::http(Answer::json(&json!([]))).await;
    let config = format!(
        "limits: {{ quotas: [ {{ name: daily, per: [app], calls: 50, per_period: day }} ] }}\napps: {{ api: {{ \
         http: {{ url: '{}', operations: {{ routes: {{ list: {{ route: GET /repos }} }} }} }} }} }}",
        upstream.url()
    );
    let clock = wednesday_noon();
    let mut gateway = TestGateway::start_at(&clock, &config, &[("all.cedar", PERMIT_TESTERS)]).await;
    let mut passes = Vec::new();
    for (agent, each) in [("first", 1), ("second", 1), ("third", 4)] {
        let (url, token) = (format!("{}/repos", gateway.resource("api")), gateway.token(agent, "api").await);
        passes.push(passed(&Arc::new(Caller { url, token }), each, "quota-exceeded").await);
        gateway = gateway.restart().await;
    }
    assert_eq!(passes, [16, 16, 18]);
    assert_eq!(upstream.requests().len(), 50);
    let shown = gateway.get("/admin/v1/limits/daily").await;
    assert_eq!((&shown["used"][0]["used"], &shown["used"][0]["app"]), (&json!(50), &json!("api")));
}

#[tokio::test]
async fn what_is_denied_costs_no_quota_and_nothing_is_charged_when_one_of_two_refuses() {
    let scene = scene(
        "{ quotas: [ { name: creations, per: [agent], only: { operations: [api__create] }, calls: 1, \
         per_period: hour }, { name: all, per: [agent], calls: 4, per_period: day } ] }",
    )
    .await;
    let caller = Caller::of(&scene).await;
    let used = async |name: &str| {
        let shown = scene.gateway.get(&format!("/admin/v1/limits/{name}?agent=planner")).await;
        shown["used"][0]["used"].as_u64().unwrap_or(0)
    };
    ok(caller.create()).await;
    for _ in 0..5 {
        let record = limited(&scene, &caller.create().send().await, "quota-exceeded").await;
        assert_eq!(record["cause"], "`creations` per agent is used up");
    }
    assert_eq!((used("creations").await, used("all").await), (1, 1), "the other one was not charged");
    let lacking = scene.planner.request_token(&[("resource", &scene.api()), ("scope", "read")]).await;
    let lacking = lacking.json()["access_token"].as_str().unwrap().to_owned();
    let publish = vestibule_testkit::Http::request(http::Method::PUT, &caller.url).bearer(&lacking);
    assert_eq!(publish.send().await.status, 403);
    assert_eq!(used("all").await, 1);
    // What is spawned draws on the same quota.
    let root = scene.root().await;
    let child = root.spawn(key(), &[]).await;
    for holder in [&root, &child, &child] {
        assert_eq!(scene.list(holder).await.status, 200);
    }
    limited(&scene, &scene.list(&child).await, "quota-exceeded").await;
    limited(&scene, &caller.list().send().await, "quota-exceeded").await;
    assert_eq!(used("all").await, 4);
    assert_eq!(scene.upstream.requests().len(), 4);
}

#[tokio::test]
async fn an_hour_is_one_of_utc_and_a_day_one_of_the_configured_time_zone() {
    // It is 12:00 UTC; in Kathmandu 17:45, so the day ends at 18:15 UTC.
    let scene = scene(
        "{ quotas: [ { name: hourly, per: [], only: { operations: [api__create] }, calls: 1, per_period: hour }, \
         { name: daily, per: [], only: { operations: [api__list] }, calls: 1, per_period: day } ] }\n\
         policies: { timezone: Asia/Kathmandu }",
    )
    .await;
    scene.advance(600).await;
    let (hourly, daily) =
        (async || Caller::of(&scene).await.create(), async || Caller::of(&scene).await.list());
    ok(hourly().await).await;
    ok(daily().await).await;
    let waits = async |call: vestibule_testkit::Call| {
        let reply = call.send().await;
        limited(&scene, &reply, "quota-exceeded").await;
        reply.header("retry-after").parse::<u64>().unwrap()
    };
    assert_eq!((waits(hourly().await).await, waits(daily().await).await), (3_000, 21_900));
    scene.advance(2_999).await;
    assert_eq!(waits(hourly().await).await, 1);
    scene.advance(1).await;
    ok(hourly().await).await;
    assert_eq!(waits(daily().await).await, 18_900);
    scene.advance(18_900).await;
    ok(daily().await).await;
    assert_eq!(waits(daily().await).await, 86_400);
}

#[tokio::test]
async fn without_the_store_a_quota_denies_and_a_rate_goes_on() {
    let scene = scene(
        "{ quotas: [ { name: creations, per: [agent], only: { operations: [api__create] }, calls: 9, \
         per_period: day } ], rates: [ { name: lists, per: [agent], only: { operations: [api__list] }, calls: 3, \
         seconds: 60 } ] }",
    )
    .await;
    let caller = Caller::of(&scene).await;
    ok(caller.create()).await;
    let store = rusqlite::Connection::open(scene.gateway.dir.path().join("state/state.db")).unwrap();
    store.busy_timeout(Duration::from_secs(5)).unwrap();
    store.execute_batch("ALTER TABLE counter RENAME TO gone").unwrap();
    let reply = caller.create().send().await;
    assert_eq!((reply.status.as_u16(), &reply.json()["code"]), (503, &json!("store-unavailable")));
    assert_eq!(reply.json()["retryable"], true);
    let record = scene.gateway.attempt_of(&reply).await;
    assert_eq!((&record["outcome"], &record["upstream_status"]), (&json!("failed"), &Value::Null));
    assert_eq!(scene.upstream.requests().len(), 1, "the application saw nothing");
    for _ in 0..3 {
        ok(caller.list()).await;
    }
    limited(&scene, &caller.list().send().await, "rate-exceeded").await;
    store.execute_batch("ALTER TABLE gone RENAME TO counter").unwrap();
    ok(caller.create()).await;
    let shown = scene.gateway.get("/admin/v1/limits/creations").await;
    assert_eq!(shown["used"][0]["used"], 2);
}
