use std::sync::Arc;

use super::{Caller, limited, ok, passed, scene};
use crate::delegation::key;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_16_that_call_at_once_exactly_so_many_pass_and_time_brings_back_as_many_as_it_should() {
    let scene = scene("{ rates: [ { name: calm, per: [agent], calls: 10, seconds: 60, burst: 20 } ] }").await;
    let caller = Arc::new(Caller::of(&scene).await);
    assert_eq!(passed(&caller, 4, "rate-exceeded").await, 20);
    assert_eq!(scene.upstream.requests().len(), 20, "what is refused never gets to the application");
    scene.advance(30).await;
    assert_eq!(passed(&caller, 2, "rate-exceeded").await, 5);
    assert_eq!(scene.gateway.attempts("denial=rate-exceeded").await.len(), 64 + 32 - 25);
}

#[tokio::test]
async fn agents_users_applications_and_operations_are_counted_apart() {
    let two = |per: &str| format!("{{ rates: [ {{ name: two, per: [{per}], calls: 2, seconds: 60 }} ] }}");
    // Two operations.
    let by_operation = scene(&two("operation")).await;
    let caller = Caller::of(&by_operation).await;
    for _ in 0..2 {
        ok(caller.list()).await;
        ok(caller.create()).await;
    }
    limited(&by_operation, &caller.list().send().await, "rate-exceeded").await;
    limited(&by_operation, &caller.create().send().await, "rate-exceeded").await;
    // Two applications, of which one has an operation of the same name.
    let by_app = scene(&two("app")).await;
    let caller = Caller::of(&by_app).await;
    let other = by_app.gateway.resource("other");
    let other = Caller { url: format!("{other}/repos"), token: by_app.planner.token(&other).await };
    for caller in [&caller, &other] {
        ok(caller.list()).await;
        ok(caller.list()).await;
        limited(&by_app, &caller.list().send().await, "rate-exceeded").await;
    }
    limited(&by_app, &caller.create().send().await, "rate-exceeded").await;
    // Two agents.
    let by_agent = scene(&two("agent")).await;
    let caller = Caller::of(&by_agent).await;
    let helper = Caller { url: caller.url.clone(), token: by_agent.helper.token(&by_agent.api()).await };
    for caller in [&caller, &helper] {
        ok(caller.list()).await;
        ok(caller.create()).await;
        limited(&by_agent, &caller.list().send().await, "rate-exceeded").await;
    }
}

#[tokio::test]
async fn users_are_counted_apart_whoever_calls_for_them_and_calls_for_nobody_are_not_counted() {
    let scene = scene("{ rates: [ { name: humans, per: [user], calls: 2, seconds: 60 } ] }").await;
    let (alice, again, bob) = (
        scene.root_for("alice", &["developers"]).await,
        scene.root_for("alice", &["developers"]).await,
        scene.root_for("bob", &["developers"]).await,
    );
    let child = again.spawn(key(), &[]).await;
    assert_eq!(scene.list(&alice).await.status, 200);
    assert_eq!(scene.list(&child).await.status, 200);
    for holder in [&alice, &again, &child] {
        limited(&scene, &scene.list(holder).await, "rate-exceeded").await;
    }
    assert_eq!(scene.list(&bob).await.status, 200);
    let nobody = Caller::of(&scene).await;
    for _ in 0..5 {
        ok(nobody.list()).await;
    }
}

#[tokio::test]
async fn whatever_an_agent_spawns_is_counted_as_itself_however_deep() {
    let scene = scene("{ rates: [ { name: calm, per: [agent, operation], calls: 4, seconds: 60 } ] }").await;
    let root = scene.root().await;
    let child = root.spawn(key(), &[]).await;
    let grandchild = child.spawn(key(), &[]).await;
    for holder in [&root, &child, &grandchild, &child] {
        assert_eq!(scene.list(holder).await.status, 200);
    }
    let another = root.spawn(key(), &[]).await;
    for holder in [&another, &grandchild, &root] {
        let record = limited(&scene, &scene.list(holder).await, "rate-exceeded").await;
        assert_eq!(record["cause"], "`calm` per agent, operation is used up");
    }
    // A registered agent has its own.
    ok(Caller { url: format!("{}/repos", scene.api()), token: scene.helper.token(&scene.api()).await }
        .list())
    .await;
    let shown = scene.gateway.get("/admin/v1/limits/calm").await;
    let agents: Vec<_> = shown["used"].as_array().unwrap().iter().map(|used| &used["agent"]).collect();
    assert_eq!(agents, ["planner", "helper"], "there is nothing to remember of what was spawned");
}

#[tokio::test]
async fn an_attempt_counts_for_every_rate_also_where_another_one_or_policy_refuses_it() {
    let scene = scene(
        "{ rates: [ { name: all, per: [], calls: 5, seconds: 60 }, \
         { name: lists, per: [agent], only: { operations: [api__list] }, calls: 1, seconds: 60 } ] }",
    )
    .await;
    let caller = Caller::of(&scene).await;
    ok(caller.list()).await;
    let record = limited(&scene, &caller.list().send().await, "rate-exceeded").await;
    assert_eq!(record["cause"], "`lists` per agent is used up");
    // Nobody may publish without the scope: policy says no, and keeps saying so.
    let lacking = scene.planner.request_token(&[("resource", &scene.api()), ("scope", "read")]).await;
    let lacking = lacking.json()["access_token"].as_str().unwrap().to_owned();
    let publish = || {
        let call = vestibule_testkit::Http::request(http::Method::PUT, &caller.url);
        call.bearer(&lacking).send()
    };
    for _ in 0..3 {
        assert_eq!(scene.gateway.attempt_of(&publish().await).await["denial"], "scope-insufficient");
    }
    let record = limited(&scene, &caller.create().send().await, "rate-exceeded").await;
    assert_eq!(record["cause"], "`all` for all callers together is used up");
    assert_eq!(scene.gateway.attempt_of(&publish().await).await["denial"], "scope-insufficient");
    let both = limited(&scene, &caller.list().send().await, "rate-exceeded").await;
    assert_eq!(both["cause"], "`all` for all callers together is used up, `lists` per agent is used up");
    assert_eq!(scene.upstream.requests().len(), 1);
}
