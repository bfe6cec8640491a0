//! Who may spawn, and by which token a child proves that it wants to be spawned: by this agent, once, now.

use serde_json::{Value, json};
use vestibule_model::{Jti, OsEntropy};
use vestibule_testkit::{AgentKey, Http, token_hash};

use super::{ACCESS_TOKEN, EXCHANGE, JWT, Scene, key};

/// The actor token that `child` signs for whoever has the token `parent`, with header and claims changed; `null` removes.
pub(super) fn actor(scene: &Scene, parent: &str, child: &AgentKey, header: &Value, claims: &Value) -> String {
    let now = scene.gateway.clock.now().seconds();
    let mut head = json!({ "alg": "ES256", "typ": "vst-actor+jwt" });
    let mut all = json!({
        "iss": child.agent(), "sub": child.agent(), "aud": scene.gateway.url(""), "iat": now, "exp": now + 60,
        "jti": Jti::random(&OsEntropy), "cnf": { "jwk": child.public() }, "sth": token_hash(parent),
    });
    for (object, changes) in [(&mut head, header), (&mut all, claims)] {
        let members = object.as_object_mut().unwrap();
        members.extend(changes.as_object().unwrap().clone());
        members.retain(|_, value| !value.is_null());
    }
    child.sign(&head.to_string(), &all.to_string())
}

#[tokio::test]
async fn an_actor_token_is_signed_by_the_key_that_it_names_for_this_parent_at_this_gateway_and_now() {
    let scene = Scene::new().await;
    let (root, other, child, stranger) = (scene.root().await, scene.root().await, key(), key());
    let now = scene.gateway.clock.now().seconds();
    let with = |claims: Value| actor(&scene, root.token(), &child, &json!({}), &claims);
    let typed = |header: Value| actor(&scene, root.token(), &child, &header, &json!({}));
    let by_stranger = {
        let claims = json!({ "iss": child.agent(), "sub": child.agent(), "cnf": { "jwk": child.public() } });
        actor(&scene, root.token(), &stranger, &json!({}), &claims)
    };
    let other_name = json!({ "iss": stranger.agent(), "sub": stranger.agent() });
    for (what, token, code) in [
        ("signed by another key than it names", by_stranger, "actor-token-invalid"),
        ("that says it is another key", with(other_name), "actor-token-wrong-subject"),
        ("issued by somebody else", with(json!({ "iss": "planner" })), "actor-token-wrong-subject"),
        ("about nobody", with(json!({ "sub": null })), "actor-token-wrong-subject"),
        ("for another server", with(json!({ "aud": "https://evil.example" })), "actor-token-wrong-audience"),
        (
            "for this and another server",
            with(json!({ "aud": [scene.gateway.url(""), "https://evil.example"] })),
            "actor-token-wrong-audience",
        ),
        (
            "for another parent",
            with(json!({ "sth": token_hash(other.token()) })),
            "actor-token-other-subject",
        ),
        ("for no parent", with(json!({ "sth": null })), "actor-token-other-subject"),
        ("expired", with(json!({ "iat": now - 120, "exp": now - 60 })), "actor-token-expired"),
        (
            "issued in the future",
            with(json!({ "iat": now + 60, "exp": now + 120 })),
            "actor-token-not-yet-valid",
        ),
        ("for longer than a minute", with(json!({ "exp": now + 61 })), "actor-token-too-long"),
        ("without an end", with(json!({ "exp": null })), "actor-token-invalid"),
        ("without an identifier", with(json!({ "jti": null })), "actor-token-invalid"),
        ("without its key", with(json!({ "cnf": null })), "actor-token-invalid"),
        ("not signed", typed(json!({ "alg": "none" })), "actor-token-invalid"),
        ("without a type", typed(json!({ "typ": null })), "actor-token-invalid"),
        ("of an access token's type", typed(json!({ "typ": "at+jwt" })), "actor-token-invalid"),
        ("of an assertion's type", typed(json!({ "typ": "JWT" })), "actor-unknown"),
        ("garbage", "garbage".to_owned(), "actor-token-invalid"),
    ] {
        let reply = root.exchange(&token, &[]).await;
        let record = scene.refused(what, &reply, "invalid_request", code).await;
        assert_eq!(reply.json()["error_description"], "the actor token is not valid here", "{what}");
        assert_eq!(record["agent"], "planner", "{what}: who asked is proved");
        assert!(!record.to_string().contains(&token), "{what}: the record has the token");
    }
    assert_eq!(scene.nodes().await, 2, "two roots, and no child");
    let good = with(json!({}));
    assert_eq!(root.exchange(&good, &[]).await.status, 200, "the forger is not at fault");
    let reply = root.exchange(&good, &[]).await;
    scene.refused("a second time", &reply, "invalid_request", "actor-token-replayed").await;
    let reply = other.exchange(&good, &[]).await;
    scene.refused("by another parent", &reply, "invalid_request", "actor-token-other-subject").await;
    assert_eq!(scene.nodes().await, 3);
}

#[tokio::test]
async fn what_an_actor_token_says_beside_who_it_is_gives_the_child_nothing() {
    let scene = Scene::new().await;
    let root = scene.root_with(&[("scope", "read")]).await;
    let child = key();
    let claims = json!({
        "act": { "iss": scene.gateway.url(""), "sub": "helper" }, "scope": "read write admin", "client_id": "planner",
        "sub_id": { "format": "iss_sub", "iss": scene.users.id(), "sub": "alice" }, "vst": { "depth": 1 },
        "groups": ["testers"], "authorization_details": [], "may_act": { "sub": "planner" },
    });
    let reply = root.exchange(&actor(&scene, root.token(), &child, &json!({}), &claims), &[]).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.json()["scope"], "read");
    let minted = scene.gateway.attempt_of(&reply).await;
    let agents: Vec<&Value> = minted["chain"].as_array().unwrap().iter().map(|link| &link["agent"]).collect();
    assert_eq!(agents, [&json!("planner"), &json!(child.agent())]);
    assert_eq!((&minted["user"], &minted["scopes"]), (&Value::Null, &json!(["read"])));
}

#[tokio::test]
async fn only_the_key_of_the_parent_hands_on_what_its_token_allows() {
    let scene = Scene::new().await;
    let (root, child) = (scene.root().await, key());
    let actor_token = root.actor_token(&child, &child.agent());
    let form = |subject: &str, actor: &str| {
        scene.form(&[
            ("grant_type", EXCHANGE),
            ("subject_token", subject),
            ("subject_token_type", ACCESS_TOKEN),
            ("actor_token", actor),
            ("actor_token_type", JWT),
        ])
    };
    let url = scene.gateway.url("/oauth/token");
    let by = |key: &AgentKey, token: &str| {
        key.proof(&json!({
            "jti": Jti::random(&OsEntropy), "htm": "POST", "htu": url, "nonce": root.nonce(),
            "iat": scene.gateway.clock.now().seconds(), "ath": token_hash(token),
        }))
    };
    let reply = form(root.token(), &actor_token).send().await;
    scene.refused("without a proof", &reply, "invalid_dpop_proof", "proof-missing").await;
    assert!(!reply.header("dpop-nonce").is_empty(), "what it lacks needs a nonce");
    let reply = form(root.token(), &actor_token).header("dpop", &by(&child, root.token())).send().await;
    scene.refused("with the proof of the child", &reply, "invalid_dpop_proof", "proof-wrong-key").await;
    let reply = form(root.token(), &actor_token).header("dpop", &by(root.key(), &actor_token)).send().await;
    scene.refused("with a proof about another token", &reply, "invalid_dpop_proof", "proof-invalid").await;
    let reply = form(&actor_token, root.token()).header("dpop", &by(&child, &actor_token)).send().await;
    scene.refused("actor and subject swapped", &reply, "invalid_request", "actor-token-unexpected").await;
    let id_token = scene.id_token("alice", &[]);
    let both = [
        ("grant_type", EXCHANGE),
        ("subject_token", &*id_token),
        ("subject_token_type", super::ID_TOKEN),
        ("actor_token", &*actor_token),
        ("actor_token_type", JWT),
    ];
    let reply = scene.planner.form(&both).send().await;
    scene.refused("an actor for a human's token", &reply, "invalid_request", "actor-token-unexpected").await;
    let reply = root.exchange_form(&[("actor_token", &actor_token)]).await;
    scene.refused("without its type", &reply, "invalid_request", "actor-token-incomplete").await;
    let reply =
        root.exchange_form(&[("actor_token", &*actor_token), ("actor_token_type", ACCESS_TOKEN)]).await;
    scene.refused("of another type", &reply, "invalid_request", "actor-token-type-unsupported").await;
    assert_eq!(scene.nodes().await, 1);
    assert_eq!(root.exchange(&actor_token, &[]).await.status, 200, "nothing of this has used it up");
}

#[tokio::test]
async fn a_bearer_token_hands_nothing_on_and_neither_does_one_that_has_expired() {
    let scene = Scene::new().await;
    let bearer = scene.planner.token(&scene.api()).await;
    let (root, child) = (scene.root().await, key());
    let about = |sth: &str| actor(&scene, root.token(), &child, &json!({}), &json!({ "sth": sth }));
    let for_bearer = about(&token_hash(&bearer));
    let form = [
        ("grant_type", EXCHANGE),
        ("subject_token", &*bearer),
        ("subject_token_type", ACCESS_TOKEN),
        ("actor_token", &*for_bearer),
        ("actor_token_type", JWT),
    ];
    for (what, call) in
        [("without its client", scene.form(&form)), ("with its client", scene.planner.form(&form))]
    {
        let reply = call.send().await;
        scene.refused(what, &reply, "invalid_request", "spawn-needs-bound-token").await;
        assert_eq!(reply.json()["error_description"], "to spawn, ask for a DPoP-bound token first", "{what}");
    }
    scene.advance(120).await;
    let reply = root.try_spawn(key(), &[]).await.unwrap_err();
    scene.refused("expired", &reply, "invalid_request", "token-expired").await;
    assert_eq!(Http::get(&format!("{}/repos", scene.api())).bearer(&bearer).send().await.status, 401);
    assert!(root.again().await.try_spawn(key(), &[]).await.is_ok(), "with a fresh token it may");
}
