//! Introspection (RFC 7662): whether a token would be let in now, told to those who act by it and to nobody else.

use serde_json::{Value, json};
use vestibule_testkit::{Call, Holder, Http, Reply, TestAgent};

use super::{Scene, key};

fn asked(scene: &Scene, agent: &TestAgent, token: &str) -> Call {
    agent.form_at(&scene.gateway.url("/oauth/introspect"), &[("token", token)])
}

/// As an agent that is known by its key alone asks about its token.
fn asked_by_key(scene: &Scene, agent: &Holder, token: &str) -> Call {
    let url = scene.gateway.url("/oauth/introspect");
    Http::post(&url).form(&[("token", token)]).header("dpop", &agent.proof("POST", &url))
}

/// Not active, without another word; the record says why.
async fn inactive(scene: &Scene, what: &str, reply: &Reply, code: &str) {
    assert_eq!((reply.status.as_u16(), reply.json()), (200, json!({ "active": false })), "{what}");
    let record = scene.gateway.attempt_of(reply).await;
    assert_eq!((&record["kind"], &record["denial"]), (&json!("token-introspection"), &json!(code)), "{what}");
}

fn active(what: &str, reply: &Reply) -> Value {
    assert_eq!(
        (reply.status.as_u16(), &reply.json()["active"]),
        (200, &json!(true)),
        "{what}: {}",
        reply.text()
    );
    reply.json()
}

#[tokio::test]
async fn those_who_act_by_a_token_learn_what_it_is_good_for() {
    let scene = Scene::new().await;
    let root = scene.root_for("alice", &["developers"]).await;
    let child = root
        .spawn(
            key(),
            &[("scope", "read"), ("authorization_details", &super::details(&json!({ "list": {} })))],
        )
        .await;
    let claims = child.claims();
    let told = active("the root agent", &asked(&scene, &scene.planner, child.token()).send().await);
    for name in [
        "iss",
        "aud",
        "jti",
        "iat",
        "exp",
        "sub",
        "sub_id",
        "act",
        "client_id",
        "scope",
        "cnf",
        "authorization_details",
    ] {
        assert_eq!(told[name], claims[name], "{name}");
    }
    assert_eq!(told["token_type"], "DPoP");
    for hidden in ["vst", "acti"] {
        assert_eq!(told.get(hidden), None, "{hidden} is nobody's business");
    }
    let own = asked_by_key(&scene, &child, child.token()).send().await;
    assert_eq!(active("the child itself", &own), told);
    assert!(!own.header("dpop-nonce").is_empty());
    let record = scene.gateway.attempt_of(&own).await;
    assert_eq!((&record["agent"], &record["token"]), (&json!(child.id()), &claims["jti"]));
    assert_eq!((&record["decision"], &record["outcome"]), (&json!("permit"), &json!("completed")));
    assert!(!record.to_string().contains(child.token()), "the record has the token");
}

#[tokio::test]
async fn strangers_learn_nothing_and_nobody_is_not_even_answered() {
    let scene = Scene::new().await;
    let root = scene.root().await;
    let child = root.spawn(key(), &[]).await;
    for token in [root.token(), child.token()] {
        let reply = asked(&scene, &scene.helper, token).send().await;
        inactive(&scene, "a stranger", &reply, "client-not-of-token").await;
    }
    let reply = asked(&scene, &scene.planner, "garbage").send().await;
    inactive(&scene, "no token", &reply, "token-invalid").await;
    let url = scene.gateway.url("/oauth/introspect");
    let bare = |token: &str| Http::post(&url).form(&[("token", token)]);
    let missing = ("invalid_client", "client-missing");
    let about_root = root.proof("POST", &url);
    let (another, unproven) =
        (root.proof("POST", &url), root.proof("POST", &scene.gateway.url("/oauth/token")));
    for (what, call, (error, code)) in [
        ("nobody", bare(root.token()), missing),
        (
            "the token as the credential",
            bare(root.token()).bearer(root.token()),
            ("invalid_client", "client-malformed"),
        ),
        ("a proof beside garbage", bare("garbage").header("dpop", &about_root), missing),
        (
            "the proof of the parent about its child",
            bare(child.token()).header("dpop", &another),
            ("invalid_dpop_proof", "proof-invalid"),
        ),
        (
            "a proof for another endpoint",
            bare(root.token()).header("dpop", &unproven),
            ("invalid_dpop_proof", "proof-invalid"),
        ),
    ] {
        let reply = call.send().await;
        scene.refused(what, &reply, error, code).await;
        assert_eq!(reply.json().get("active"), None, "{what}");
    }
    let reply = scene.planner.form_at(&url, &[]).send().await;
    scene.refused("no question", &reply, "invalid_request", "token-request-malformed").await;
    active("it is good all the while", &asked(&scene, &scene.planner, child.token()).send().await);
}

#[tokio::test]
async fn a_child_does_not_learn_about_the_tokens_of_those_above_it() {
    let scene = Scene::new().await;
    let own = key();
    let worker = scene.gateway.agent("worker", json!({})).await;
    let root = scene.root().await;
    let child = root.spawn(own, &[]).await;
    let reply = asked(&scene, &worker, child.token()).send().await;
    inactive(&scene, "a stranger", &reply, "client-not-of-token").await;
    let url = scene.gateway.url("/oauth/introspect");
    let reply = Http::post(&url)
        .form(&[("token", root.token())])
        .header("dpop", &child.proof("POST", &url))
        .send()
        .await;
    scene.refused("a child about its parent", &reply, "invalid_dpop_proof", "proof-invalid").await;
}

#[tokio::test]
async fn a_token_below_whatever_is_revoked_is_not_active() {
    let orders = async |kind: &str, name: &dyn Fn(&Scene, &Holder, &Holder) -> String, code: &str| {
        let scene = Scene::new().await;
        let root = scene.root_for("alice", &["developers"]).await;
        let child = root.spawn(key(), &[]).await;
        let below = child.spawn(key(), &[]).await;
        let id = name(&scene, &root, &child);
        active(kind, &asked_by_key(&scene, &below, below.token()).send().await);
        let order = json!({ "kind": kind, "id": id, "reason": "compromise" });
        scene.gateway.post("/admin/v1/revocations", &order).await;
        let by_key = asked_by_key(&scene, &below, below.token()).send().await;
        if matches!(kind, "agent" | "all") {
            // Who asks is below it as well.
            assert_ne!(by_key.json()["active"], json!(true), "{kind}: {}", by_key.text());
        } else {
            inactive(&scene, kind, &by_key, code).await;
        }
        let reply = scene.list(&below).await;
        assert_eq!(scene.gateway.attempt_of(&reply).await["denial"], code, "{kind}: the door says the same");
        assert_eq!(scene.upstream.requests().len(), 0, "{kind}");
    };
    orders("delegation", &|_, root, _| root.node(), "delegation-revoked").await;
    orders("delegation", &|_, _, child| child.node(), "delegation-revoked").await;
    orders("agent", &|_, _, _| "planner".to_owned(), "agent-revoked").await;
    orders("agent", &|_, _, child| child.id(), "agent-revoked").await;
    orders("credential", &|_, root, _| root.key().thumbprint().to_string(), "credential-revoked").await;
    orders("user", &|scene, _, _| format!("{}#alice", scene.users.id()), "user-revoked").await;
    orders("session", &|scene, _, _| format!("{}#session-of-alice", scene.users.id()), "session-revoked")
        .await;
    orders("client", &|scene, _, _| format!("{}#planner-client", scene.users.id()), "client-revoked").await;
    orders("app", &|_, _, _| "api".to_owned(), "app-revoked").await;
    orders("all", &|_, _, _| "*".to_owned(), "all-revoked").await;
}

#[tokio::test]
async fn a_token_that_has_expired_or_is_suspended_or_whose_call_is_over_is_not_active() {
    let scene = Scene::new().await;
    let root = scene.root().await;
    let child = root.spawn(key(), &[]).await;
    let suspend = json!({ "kind": "delegation", "id": root.node(), "state": "suspended" });
    scene.gateway.post("/admin/v1/revocations", &suspend).await;
    let reply = asked(&scene, &scene.planner, child.token()).send().await;
    inactive(&scene, "suspended", &reply, "agent-suspended").await;
    let resume = json!({ "kind": "delegation", "id": root.node() });
    scene.gateway.post("/admin/v1/revocations/resume", &resume).await;
    active("resumed", &asked(&scene, &scene.planner, child.token()).send().await);

    let (call, call_token) = scene.calling(scene.caller().await).await;
    let inner =
        Holder::invoked(&scene.helper, key(), &call_token, &[("resource", &scene.api())]).await.unwrap();
    let told = active("what it was called with", &asked(&scene, &scene.helper, &call_token).send().await);
    assert_eq!((&told["aud"], &told["sub"]), (&json!("helper"), &json!("planner")));
    active("the caller asks about it too", &asked(&scene, &scene.planner, inner.token()).send().await);
    scene.called.release();
    assert_eq!(call.await.unwrap().status, 200);
    for (what, token) in [("the call", &*call_token), ("what it did within", inner.token())] {
        let reply = asked(&scene, &scene.helper, token).send().await;
        inactive(&scene, what, &reply, "call-ended").await;
    }
    scene.advance(120).await;
    let reply = asked(&scene, &scene.planner, child.token()).send().await;
    inactive(&scene, "expired", &reply, "token-expired").await;
}
