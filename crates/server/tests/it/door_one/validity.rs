//! Tokens that were good once.

use std::time::Duration;

use serde_json::{Value, json};
use vestibule_testkit::Http;

use super::{Door, config, list, parts, upstream};
use crate::gateway::{PERMIT_TESTERS, TestGateway, wednesday_noon};

#[tokio::test]
async fn a_token_that_was_accepted_a_moment_ago_is_not_accepted_beyond_its_expiry() {
    let (upstream, clock) = (upstream().await, wednesday_noon());
    let gateway = TestGateway::start_at(&clock, &config(&upstream), &[("all.cedar", PERMIT_TESTERS)]).await;
    let agent = gateway.agent("a", json!({ "scopes": ["read"] })).await;
    let (web, token) = (gateway.resource("web"), agent.token(&gateway.resource("web")).await);
    assert_eq!(list(&web, &token).await.status, 200);
    gateway.advance(&clock, Duration::from_millis(119_999)).await;
    assert_eq!(list(&web, &token).await.status, 200);
    clock.advance(Duration::from_millis(1));
    let refused = list(&web, &token).await;
    assert_eq!(refused.status, 401);
    assert!(refused.header("www-authenticate").contains("error=\"invalid_token\""));
    assert_eq!(gateway.attempt_of(&refused).await["denial"], "token-expired");
    assert_eq!(upstream.requests().len(), 2);
    assert_eq!(list(&web, &agent.token(&web).await).await.status, 200);
}

#[tokio::test]
async fn a_rotated_key_signs_at_once_and_the_old_one_verifies_what_it_has_signed() {
    let upstream = upstream().await;
    let gateway = TestGateway::start(&config(&upstream), &[("all.cedar", PERMIT_TESTERS)]).await;
    let agent = gateway.agent("a", json!({ "scopes": ["read"] })).await;
    let web = gateway.resource("web");
    let old = agent.token(&web).await;
    let status = gateway.post("/admin/v1/keys/rotate", &json!({})).await;
    let new = agent.token(&web).await;
    let (old_kid, new_kid) = (parts(&old).0["kid"].clone(), parts(&new).0["kid"].clone());
    assert_ne!(old_kid, new_kid);
    assert_eq!(status["signing"], new_kid);
    assert!(status["retiring"].get(old_kid.as_str().unwrap()).is_some());
    assert_eq!(list(&web, &old).await.status, 200);
    assert_eq!(list(&web, &new).await.status, 200);
    let keys = Http::get(&gateway.url("/oauth/jwks")).send().await.json();
    let mut kids: Vec<&Value> = keys["keys"].as_array().unwrap().iter().map(|key| &key["kid"]).collect();
    kids.sort_by_key(|kid| **kid == new_kid);
    assert_eq!(kids, [&old_kid, &new_kid]);
    assert!(!keys.to_string().contains("\"d\""), "the key set has a private part");
    let gateway = gateway.restart().await;
    let keys = gateway.get("/admin/v1/keys").await;
    assert_eq!(keys["signing"], new_kid);
}

#[tokio::test]
async fn a_revoked_token_or_delegation_is_no_credential_any_more() {
    let mut door = Door::new().await;
    let (web, other) = (door.token.clone(), door.other.clone());
    let jti = parts(&web).1["jti"].as_str().unwrap().to_owned();
    door.gateway.revoke("token", &jti).await;
    door.refuses_token("the revoked token", &web, "token-revoked").await;
    let node = parts(&other).1["vst"]["node"].as_str().unwrap().to_owned();
    assert_eq!(
        list(&door.gateway.resource("other"), &other).await.status,
        200,
        "another token of the same agent"
    );
    door.gateway.revoke("delegation", &node).await;
    let refused = list(&door.gateway.resource("other"), &other).await;
    assert_eq!(refused.status, 401);
    assert_eq!(door.gateway.attempt_of(&refused).await["denial"], "delegation-revoked");
    assert_eq!(door.upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_gateway_that_cannot_tell_what_is_revoked_lets_nobody_in() {
    let (upstream, clock) = (upstream().await, wednesday_noon());
    let gateway = TestGateway::start_at(&clock, &config(&upstream), &[("all.cedar", PERMIT_TESTERS)]).await;
    let agent = gateway.agent("a", json!({ "scopes": ["read"] })).await;
    let (web, token) = (gateway.resource("web"), agent.token(&gateway.resource("web")).await);
    // The view is refreshed every 50 ms of real time: the clock jumps until a request comes before that.
    let refused = loop {
        let seen = upstream.requests().len();
        clock.advance(Duration::from_millis(2_001));
        let reply = list(&web, &token).await;
        if reply.status != 200 {
            assert_eq!(upstream.requests().len(), seen);
            break reply;
        }
    };
    assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (503, &json!("containment-stale")));
    assert_eq!(gateway.attempt_of(&refused).await["denial"], "containment-stale");
    gateway.advance(&clock, Duration::ZERO).await;
    assert_eq!(list(&web, &token).await.status, 200);
}
