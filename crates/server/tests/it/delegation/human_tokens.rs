//! Tokens of humans that an agent must not have, or not use: each is refused with the same words, and recorded with its
//! own.

use serde_json::{Value, json};
use vestibule_testkit::{AgentKey, Holder, Reply, TestIssuer};

use super::{EXCHANGE, ID_TOKEN, PERMIT_ALL, Scene, key};

const NOT_VALID: &str = "the token of the user is not valid here";

async fn ask(scene: &Scene, agent: &vestibule_testkit::TestAgent, token: &str) -> Result<Holder, Box<Reply>> {
    let api = scene.api();
    let form = [
        ("grant_type", EXCHANGE),
        ("subject_token", token),
        ("subject_token_type", ID_TOKEN),
        ("resource", &*api),
    ];
    Holder::ask(agent, key(), &form).await
}

/// Refused for this reason, with these words, and nothing came of it.
async fn refuses(scene: &Scene, what: &str, token: &str, code: &str, words: &str) {
    let reply = ask(scene, &scene.planner, token).await.unwrap_err();
    let record = scene.refused(what, &reply, "invalid_request", code).await;
    assert_eq!(reply.json()["error_description"], words, "{what}");
    assert_eq!((&record["agent"], &record["user"]), (&json!("planner"), &Value::Null), "{what}");
    assert!(!record.to_string().contains(token), "{what}: the record has the token");
    assert_eq!(scene.nodes().await, 0, "{what}");
}

#[tokio::test]
async fn a_token_that_was_issued_to_another_client_is_a_stolen_one() {
    let scene = Scene::new().await;
    let now = scene.gateway.clock.now();
    let of = |client: &str, claims: Value| scene.users.id_token("alice", client, now, &claims);
    let own = scene.gateway.url("");
    for (what, token) in [
        ("of another client", of("somebody-else", json!({}))),
        ("of another agent's client", of("helper-client", json!({}))),
        ("of a client by the agent's own name", of("planner", json!({}))),
        (
            "with the agent beside its client in the audience",
            of("somebody-else", json!({ "aud": ["somebody-else", "planner-client"] })),
        ),
        ("that lets another agent act", of("console", json!({ "may_act": { "sub": "helper", "iss": own } }))),
        (
            "that lets somebody of that name elsewhere act",
            of("console", json!({ "may_act": { "sub": "planner", "iss": "https://elsewhere.example" } })),
        ),
    ] {
        refuses(&scene, what, &token, "user-token-not-for-client", NOT_VALID).await;
    }
    let mine = scene.id_token("alice", &[]);
    let reply = ask(&scene, &scene.helper, &mine).await.unwrap_err();
    let record = scene
        .refused("presented by another agent", &reply, "invalid_request", "user-token-not-for-client")
        .await;
    assert_eq!(record["agent"], "helper", "who presents what is not theirs is worth knowing");
    assert!(
        ask(&scene, &scene.planner, &mine).await.is_ok(),
        "it was good for the one that it was issued to"
    );
}

#[tokio::test]
async fn a_token_that_says_who_somebody_is_must_be_good_now_and_be_that_kind_of_token() {
    let scene = Scene::new().await;
    let (now, stranger) = (scene.gateway.clock.now().seconds(), TestIssuer::start().await);
    let with = |claims: Value| scene.id_token_with("alice", &claims);
    let signed = |header: Value, claims: Value| {
        let mut all = json!({
            "iss": scene.users.id(), "sub": "alice", "aud": "planner-client", "azp": "planner-client",
            "iat": now, "exp": now + 300,
        });
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        (header, all)
    };
    let by = |issuer: &TestIssuer, (header, claims): (Value, Value)| issuer.sign(&header, &claims);
    let header = |typ: &str, kid: &str| json!({ "alg": "ES256", "typ": typ, "kid": kid });
    let good = signed(header("JWT", "user-key"), json!({}));
    let of_kid = signed(header("JWT", "unknown"), json!({}));
    let logout = signed(header("logout+jwt", "user-key"), json!({}));
    let many: Vec<String> = (0..33).map(|number| format!("group-{number}")).collect();
    for (what, token, code) in [
        ("garbage", "garbage".to_owned(), "user-token-malformed"),
        (
            "of an issuer that nobody named",
            stranger.id_token("alice", "planner-client", scene.gateway.clock.now(), &json!({})),
            "user-token-issuer-unknown",
        ),
        ("signed by somebody else", by(&stranger, good.clone()), "user-token-signature-invalid"),
        ("of an unknown key", by(&scene.users, of_kid), "user-token-key-unknown"),
        (
            "not signed at all",
            AgentKey::generate("k").sign(r#"{"alg":"none","typ":"JWT"}"#, &good.1.to_string()),
            "user-token-algorithm-refused",
        ),
        ("issued in the future", with(json!({ "iat": now + 600 })), "user-token-not-yet-valid"),
        ("without an audience", with(json!({ "aud": null })), "user-token-malformed"),
        ("for a logout", by(&scene.users, logout), "user-token-wrong-type"),
        ("about an event", with(json!({ "events": {} })), "user-token-wrong-type"),
        ("with a scope", with(json!({ "scope": "openid" })), "user-token-wrong-type"),
        ("bound to a key", with(json!({ "cnf": { "jkt": "x" } })), "user-token-key-bound"),
        (
            "with which somebody acts already",
            with(json!({ "act": { "sub": "helper", "iss": scene.gateway.url("") } })),
            "user-token-delegated",
        ),
        ("of a client itself", with(json!({ "sub": "planner-client" })), "user-token-not-a-user"),
        ("with more groups than fit", with(json!({ "groups": many })), "user-token-too-many-groups"),
        ("with a long group", with(json!({ "groups": ["g".repeat(65)] })), "user-token-group-too-long"),
        (
            "without its groups",
            with(json!({ "_claim_names": { "groups": "elsewhere" } })),
            "user-token-groups-left-out",
        ),
    ] {
        refuses(&scene, what, &token, code, NOT_VALID).await;
    }
    let expired = with(json!({ "iat": now - 600, "exp": now - 31 }));
    refuses(&scene, "expired", &expired, "user-token-expired", "the token of the user has expired").await;
    assert!(ask(&scene, &scene.planner, &by(&scene.users, good)).await.is_ok(), "the forger is not at fault");
}

#[tokio::test]
async fn an_issuer_that_cannot_be_reached_vouches_for_nobody() {
    let gone = json!({ "idp": {
        "issuer": "http://127.0.0.1:1", "jwks_url": "http://127.0.0.1:1/jwks", "agents": { "planner": ["planner-client"] },
    } });
    let users = TestIssuer::start().await;
    let scene = Scene::trusting(users, &gone.to_string(), "{}", PERMIT_ALL).await;
    let token = scene.id_token_with("alice", &json!({ "iss": "http://127.0.0.1:1" }));
    let reply = ask(&scene, &scene.planner, &token).await.unwrap_err();
    let code = "user-token-keys-unavailable";
    let record = scene.refused("no keys", &reply, "temporarily_unavailable", code).await;
    assert_eq!((&record["agent"], scene.nodes().await), (&json!("planner"), 0));
}
