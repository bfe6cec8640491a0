//! Revocation: an outside token still verifies, and is dead all the same, with what runs under it.

use serde_json::json;
use vestibule_testkit::{AgentKey, Holder, Http};

use super::Town;

#[tokio::test]
async fn each_name_of_the_token_cuts_what_runs_and_refuses_what_comes() {
    for (kind, id, code) in [
        ("token", "{idp}#onrtac:1", "token-revoked"),
        ("user", "{idp}#alice", "user-revoked"),
        ("session", "{idp}#session-of-alice", "session-revoked"),
        ("client", "{idp}#planner-client", "client-revoked"),
        ("agent", "planner", "agent-revoked"),
        ("app", "api", "app-revoked"),
    ] {
        let town = Town::new().await;
        let token = town.alice(json!({ "jti": "onrtac:1" }));
        let running = town.stream(&token).await;
        let id = id.replace("{idp}", &town.idp.id());
        let report = town.gateway.revoke(kind, &id).await;
        assert_eq!((&report["cut"]["attempts"], &report["cut"]["streams"]), (&json!(1), &json!(1)), "{kind}");
        running.ended().await;
        assert!(!running.is_whole(), "{kind}");
        town.upstream.wait_for_aborted(1).await;
        let status = if kind == "app" { 403 } else { 401 };
        town.denied(kind, &town.list(&token).await, status, code).await;
        let cut = town.gateway.attempts("outcome=cut").await;
        assert_eq!((cut.len(), &cut[0]["denial"]), (1, &json!(code)), "{kind}");
    }
}

#[tokio::test]
async fn of_two_tokens_one_is_revoked_and_the_other_lives() {
    let town = Town::new().await;
    let (one, two) = (town.alice(json!({ "jti": "1" })), town.alice(json!({ "jti": "2" })));
    let running = town.stream(&two).await;
    town.gateway.revoke("token", &format!("{}#1", town.idp.id())).await;
    town.denied("revoked", &town.list(&one).await, 401, "token-revoked").await;
    assert!(running.is_open());
    town.served(&town.list(&two).await, &two).await;
    // The same `jti` of another issuer is another token.
    town.gateway.revoke("token", &format!("{}#2", town.entra.id())).await;
    town.served(&town.list(&two).await, &two).await;
}

#[tokio::test]
async fn an_order_about_a_token_is_kept_over_a_restart() {
    let mut town = Town::new().await;
    let token = town.alice(json!({ "jti": "1" }));
    town.served(&town.list(&token).await, &token).await;
    town.gateway.revoke("token", &format!("{}#1", town.idp.id())).await;
    town.gateway = town.gateway.restart().await;
    // The port is another one, and so is the resource; `aud` says both in this test only.
    let token = town.alice(json!({ "jti": "1" }));
    town.denied("revoked", &town.list(&token).await, 401, "token-revoked").await;
}

#[tokio::test]
async fn a_suspended_agent_waits_and_goes_on() {
    let town = Town::new().await;
    let token = town.alice(json!({}));
    let body = json!({ "kind": "agent", "id": "planner", "state": "suspended" });
    town.gateway.post("/admin/v1/revocations", &body).await;
    town.denied("suspended", &town.list(&token).await, 403, "agent-suspended").await;
    town.gateway.post("/admin/v1/revocations/resume", &json!({ "kind": "agent", "id": "planner" })).await;
    town.served(&town.list(&token).await, &token).await;
}

#[tokio::test]
async fn a_stream_ends_with_its_token() {
    let town = Town::new().await;
    let token = town.alice(json!({ "exp": town.now().seconds() + 60 }));
    let running = town.stream(&token).await;
    town.advance(61).await;
    running.ended().await;
    town.denied("expired", &town.list(&token).await, 401, "token-expired").await;
}

#[tokio::test]
async fn a_token_that_calls_can_be_exchanged_too_until_it_is_revoked() {
    let town = Town::new().await;
    let token = town.alice(json!({ "jti": "1" }));
    let reply = town.exchange(&token).await;
    let record = town.gateway.attempt_of(&reply).await;
    assert_eq!((&record["user"]["subject"], &record["agent"]), (&json!("alice"), &json!("planner")));
    assert_eq!(record["rests_on"], json!(format!("{}#1", town.idp.id())));
    let ours = reply.json()["access_token"].as_str().unwrap().to_owned();
    town.served(&town.list(&ours).await, &token).await;
    town.gateway.revoke("token", &format!("{}#1", town.idp.id())).await;
    let reply = town.exchange(&token).await;
    town.no_token("revoked", &reply, "invalid_request", "token-revoked").await;
    // What was exchanged before is a delegation of its own.
    town.served(&town.list(&ours).await, &token).await;
    town.gateway.revoke("user", &format!("{}#alice", town.idp.id())).await;
    town.denied("the user", &town.list(&ours).await, 401, "user-revoked").await;
}

#[tokio::test]
async fn who_is_called_with_it_learns_who_calls_and_gets_no_delegation() {
    let town = Town::new().await;
    let called = town.gateway.agent("called", json!({})).await;
    let resource = town.gateway.resource("called");
    let token = town.idp.keycloak(
        "alice",
        "planner-client",
        town.now(),
        &json!({ "aud": resource, "groups": ["developers"], "jti": "1" }),
    );
    town.upstream.hold();
    let call = Http::get(&format!("{resource}/repos")).bearer(&token);
    let call = tokio::spawn(call.send());
    town.upstream.wait_for(1).await;
    let seen = town.upstream.requests().pop().unwrap();
    let ours = seen.header("authorization").strip_prefix("Bearer ").unwrap().to_owned();
    assert_ne!(ours, token);
    let introspect = || called.form_at(&town.gateway.url("/oauth/introspect"), &[("token", &ours)]).send();
    let told = introspect().await.json();
    assert_eq!((&told["active"], &told["sub"]), (&json!(true), &json!("alice")));
    assert_eq!(told["act"]["sub"], "planner");
    // Below a token that stands in no tree, nothing can be made.
    let fields = [("resource", &*town.api())];
    let refused = Holder::invoked(&called, AgentKey::generate("k"), &ours, &fields).await.unwrap_err();
    town.no_token("below it", &refused, "invalid_request", "delegation-ended").await;
    town.gateway.revoke("token", &format!("{}#1", town.idp.id())).await;
    assert_eq!(call.await.unwrap().status, 401);
    assert_eq!(introspect().await.json()["active"], false);
}
