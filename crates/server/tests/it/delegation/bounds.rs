//! How deep a tree may become, how wide, and for how long: never beyond what is above.

use serde_json::json;
use vestibule_testkit::Holder;

use super::{PERMIT_ALL, Scene, key};

#[tokio::test]
async fn invariant_12_a_chain_ends_where_the_configuration_ends_it() {
    for max_depth in [1, 2] {
        let scene = Scene::with(&format!("{{ max_depth: {max_depth} }}"), PERMIT_ALL).await;
        let mut last = scene.root().await;
        for _ in 1..max_depth {
            last = last.spawn(key(), &[]).await;
        }
        let reply = last.try_spawn(key(), &[]).await.unwrap_err();
        let record = scene.refused("too deep", &reply, "invalid_request", "depth-exceeded").await;
        assert_eq!(record["agent"], last.claims()["client_id"]);
        assert_eq!(scene.nodes().await, max_depth);
        scene.served(&scene.list(&last).await).await;
    }
}

#[tokio::test]
async fn invariant_12_an_agent_has_so_many_living_children_and_no_more() {
    let scene = Scene::with("{ max_children: 2 }", PERMIT_ALL).await;
    let root = scene.root().await;
    let brief = root.spawn(key(), &[("expires_in", "60")]).await;
    root.spawn(key(), &[]).await;
    let reply = root.try_spawn(key(), &[]).await.unwrap_err();
    let record = scene.refused("a third", &reply, "invalid_request", "fan-out-exceeded").await;
    assert_eq!((&record["agent"], scene.nodes().await), (&json!("planner"), 3));
    assert!(brief.try_spawn(key(), &[]).await.is_ok(), "each agent has its own");
    scene.advance(60).await;
    root.spawn(key(), &[]).await;
    let reply = root.try_spawn(key(), &[]).await.unwrap_err();
    scene.refused("one more than has ended", &reply, "invalid_request", "fan-out-exceeded").await;
}

#[tokio::test]
async fn invariant_12_a_tree_has_so_many_living_nodes_and_an_agent_so_many_roots() {
    let scene = Scene::with("{ max_tree_nodes: 2, max_roots: 2 }", PERMIT_ALL).await;
    let root = scene.root().await;
    let child = root.spawn(key(), &[]).await;
    for (what, parent) in [("at the root", &root), ("below it", &child)] {
        let reply = parent.try_spawn(key(), &[]).await.unwrap_err();
        scene.refused(what, &reply, "invalid_request", "tree-nodes-exceeded").await;
    }
    scene.root().await;
    let reply = scene.planner.request_token(&[("resource", &scene.api()), ("scope", "read")]).await;
    let record = scene.refused("a third root", &reply, "invalid_request", "roots-exceeded").await;
    assert_eq!((&record["agent"], scene.nodes().await), (&json!("planner"), 3));
    assert_eq!(record["cause"], "agent `planner`");
}

#[tokio::test]
async fn of_many_that_are_spawned_at_once_so_many_live_as_may() {
    let scene = Scene::with("{ max_children: 3 }", PERMIT_ALL).await;
    let root = std::sync::Arc::new(scene.root().await);
    let spawning = (0..12).map(|_| {
        let root = std::sync::Arc::clone(&root);
        tokio::spawn(async move { root.try_spawn(key(), &[]).await.is_ok() })
    });
    let mut spawned = 0;
    for one in spawning.collect::<Vec<_>>() {
        spawned += usize::from(one.await.unwrap());
    }
    assert_eq!((spawned, scene.nodes().await), (3, 4));
    assert_eq!(scene.gateway.attempts("denial=fan-out-exceeded").await.len(), 9);
}

#[tokio::test]
async fn invariant_7_a_child_never_outlives_its_parent_however_it_asks() {
    let scene = Scene::with("{ ttl_seconds: 60, delegation_ttl_seconds: 300 }", PERMIT_ALL).await;
    let end = |agent: &Holder| agent.claims()["vst"]["node_exp"].as_i64().unwrap();
    let mut root = scene.root().await;
    for _ in 0..5 {
        scene.advance(50).await;
        root = root.again().await;
    }
    let now = scene.gateway.clock.now().seconds();
    assert_eq!(end(&root), now + 50);
    let longer = root.spawn(key(), &[("expires_in", "86400")]).await;
    assert_eq!(end(&longer), end(&root));
    assert_eq!(longer.claims()["exp"], json!(end(&root)), "nor does its token");
    assert_eq!(longer.answer["expires_in"], 50);
    let brief = root.spawn(key(), &[("expires_in", "20")]).await;
    assert_eq!(end(&brief), now + 20);
    let below = brief.spawn(key(), &[("expires_in", "40")]).await;
    assert_eq!(end(&below), now + 20);

    scene.advance(20).await;
    for (what, agent) in [("a child that was to live briefly", brief), ("what is below it", below)] {
        let reply = scene.list(&agent).await;
        scene.denied(what, &reply, 401, "token-expired").await;
        let reply = agent.exchange_form(&[]).await;
        scene.refused(what, &reply, "invalid_request", "token-expired").await;
    }
    scene.served(&scene.list(&longer).await).await;
    scene.advance(30).await;
    for (what, agent) in [("the root", root), ("its child", longer)] {
        let reply = scene.list(&agent).await;
        scene.denied(what, &reply, 401, "token-expired").await;
        let reply = agent.exchange_form(&[]).await;
        scene.refused(what, &reply, "invalid_request", "token-expired").await;
    }
    assert_eq!(scene.nodes().await, 0);
}

#[tokio::test]
async fn a_lifetime_that_is_no_number_of_seconds_is_refused() {
    let scene = Scene::new().await;
    let root = scene.root().await;
    for life in ["0", "-1", "1.5", "1h", " 60", "+60", "0x10", "99999999999999999999"] {
        let reply = root.try_spawn(key(), &[("expires_in", life)]).await.unwrap_err();
        scene.refused(life, &reply, "invalid_request", "lifetime-malformed").await;
    }
    assert_eq!(scene.nodes().await, 1);
}

#[tokio::test]
async fn scopes_only_become_fewer_on_the_way_down() {
    let scene = Scene::new().await;
    let url = format!("{}/repos", scene.api());
    let publish = async |agent: &Holder| {
        let put = || vestibule_testkit::Http::request(http::Method::PUT, &url);
        agent.send("PUT", &url, put).await
    };
    let root = scene.root().await;
    assert_eq!(root.answer["scope"], "read write");
    let all = root.spawn(key(), &[]).await;
    assert_eq!(all.answer["scope"], "read write", "without a word it is what the parent has");
    scene.served(&publish(&all).await).await;
    let reader = root.spawn(key(), &[("scope", "read")]).await;
    assert_eq!((&reader.answer["scope"], &reader.claims()["scope"]), (&json!("read"), &json!("read")));
    let reply = publish(&reader).await;
    let record = scene.denied("a scope that it lacks", &reply, 403, "scope-insufficient").await;
    assert_eq!(record["scopes"], json!(["read"]));
    assert!(reply.header("www-authenticate").contains("error=\"insufficient_scope\""));
    let narrowed = scene.root_with(&[("scope", "read")]).await;
    for (what, parent, scope) in [
        ("back what was left out", &reader, "read write"),
        ("another one", &reader, "write"),
        ("one that nobody has", &root, "admin"),
        ("more than the token of the parent has, though its agent may", &narrowed, "write"),
        ("a malformed one", &root, "read  write"),
    ] {
        let reply = parent.try_spawn(key(), &[("scope", scope)]).await.unwrap_err();
        scene.refused(what, &reply, "invalid_scope", "scope-not-allowed").await;
    }
    let inherited = narrowed.spawn(key(), &[]).await;
    assert_eq!(inherited.answer["scope"], "read");
}

#[tokio::test]
async fn a_child_is_for_the_resource_of_its_parent_and_for_no_other() {
    let scene = Scene::new().await;
    let (root, api, other) = (scene.root().await, scene.api(), scene.gateway.resource("other"));
    let child = root.spawn(key(), &[("resource", &api)]).await;
    assert_eq!(child.claims()["aud"], json!(api));
    for (what, fields, error, code) in [
        ("another application", &[("resource", &*other)][..], "invalid_target", "target-not-of-subject"),
        (
            "one that is not there",
            &[("resource", "https://evil.example")],
            "invalid_target",
            "target-not-of-subject",
        ),
        ("two", &[("resource", &*api), ("resource", &*other)], "invalid_target", "target-repeated"),
        ("an audience", &[("audience", &*api)], "invalid_target", "audience-refused"),
        (
            "another type of token",
            &[("requested_token_type", super::ID_TOKEN)],
            "invalid_request",
            "requested-token-type-unsupported",
        ),
    ] {
        let reply = root.try_spawn(key(), fields).await.unwrap_err();
        scene.refused(what, &reply, error, code).await;
    }
    let url = format!("{other}/repos");
    let reply = child.send("GET", &url, || vestibule_testkit::Http::get(&url)).await;
    scene.denied("at another application", &reply, 401, "token-wrong-audience").await;
}
