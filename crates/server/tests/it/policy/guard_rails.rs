//! The guard rails that are shipped: each fires, and the broadest permit does not override it.

use http::Method;
use serde_json::{Value, json};

use super::Scene;

const GUARD_RAILS: &str = include_str!("../../../../../policies/guard-rails.cedar");
const EVERYTHING: &str = r#"@id("everything") permit (principal, action, resource);"#;

async fn guarded() -> Scene {
    Scene::new(&[("everything.cedar", EVERYTHING), ("guard-rails.cedar", GUARD_RAILS)]).await
}

#[tokio::test]
async fn a_token_without_a_scope_of_the_operation_is_told_which_one_it_needs() {
    let scene = guarded().await;
    let url = scene.gateway.resource("api");
    let agent = scene.gateway.agent("a", json!({ "scopes": ["repo:write", "other"] })).await;
    let narrow = agent.request_token(&[("resource", &url), ("scope", "other")]).await.json();
    let reply = scene.send(narrow["access_token"].as_str().unwrap(), Method::PUT, "/it").await;
    scene.assert_refused(&reply, 403, "scope-insufficient").await;
    let challenge = reply.header("www-authenticate");
    assert!(challenge.starts_with("Bearer resource_metadata=\"http://"), "{challenge}");
    assert!(challenge.contains("error=\"insufficient_scope\""), "{challenge}");
    assert!(challenge.contains("scope=\"repo:admin repo:write\""), "{challenge}");
    assert_eq!(scene.gateway.attempt_of(&reply).await["policies"], json!(["guard.scope"]));
    assert_eq!(scene.upstream.requests().len(), 0);

    let wide = agent.request_token(&[("resource", &url), ("scope", "repo:write")]).await.json();
    let reply = scene.send(wide["access_token"].as_str().unwrap(), Method::PUT, "/it").await;
    scene.assert_permitted(&reply, &["everything"]).await;
}

#[tokio::test]
async fn an_agent_that_nobody_vouches_for_destroys_nothing() {
    let scene = guarded().await;
    let nobody = scene.token("nobody", json!({ "trust": 0 })).await;
    scene.assert_permitted(&scene.look(&nobody).await, &["everything"]).await;
    let reply = scene.send(&nobody, Method::DELETE, "/it").await;
    scene.assert_refused(&reply, 404, "operation-not-permitted").await;
    assert_eq!(scene.gateway.attempt_of(&reply).await["policies"], json!(["guard.untrusted-destroy"]));
    assert_eq!(scene.upstream.requests().len(), 1);
    let vouched = scene.token("vouched", json!({ "trust": 1 })).await;
    scene.assert_permitted(&scene.send(&vouched, Method::DELETE, "/it").await, &["everything"]).await;
}

#[tokio::test]
async fn a_chain_of_nine_agents_is_too_deep_and_one_of_eight_is_not() {
    let scene = guarded().await;
    let case = |depth: usize, expect: &str, policies: Value| {
        let ancestor = |at: usize| json!({ "agent": format!("a{at}"), "groups": [] });
        let ancestors: Vec<Value> = (1..depth).map(ancestor).collect();
        json!({ "name": depth.to_string(), "agent": "a", "groups": [], "ancestors": ancestors,
            "operation": "api__look", "expect": expect, "policies": policies })
    };
    let cases =
        json!([case(8, "permit", json!(["everything"])), case(9, "deny", json!(["guard.chain-depth"]))]);
    let files = json!([
        { "name": "everything.cedar", "text": EVERYTHING },
        { "name": "guard-rails.cedar", "text": GUARD_RAILS },
        { "name": "depth.tests.json", "text": cases.to_string() },
    ]);
    let results = scene.gateway.post("/admin/v1/policies/test", &json!({ "files": files })).await;
    let passed: Vec<&Value> =
        results["items"].as_array().unwrap().iter().map(|item| &item["result"]["passed"]).collect();
    assert_eq!(passed, [true, true], "{results}");
}
