//! Proof of possession at the token endpoint (RFC 9449 §5, §8), and how long a nonce lives.

use serde_json::{Value, json};
use vestibule_model::{Jti, OsEntropy};
use vestibule_testkit::{AgentKey, Call, Credential, Http, Reply, TestAgent};

use super::{EXCHANGE, Scene, key};

/// A proof for the token endpoint with these claims changed, or removed by `null`.
fn proof(scene: &Scene, key: &AgentKey, nonce: Option<&str>, with: &Value) -> String {
    let mut claims = json!({
        "jti": Jti::random(&OsEntropy), "htm": "POST", "htu": scene.gateway.url("/oauth/token"),
        "iat": scene.gateway.clock.now().seconds(), "nonce": nonce,
    });
    let members = claims.as_object_mut().unwrap();
    members.extend(with.as_object().unwrap().clone());
    members.retain(|_, value| !value.is_null());
    key.proof(&claims)
}

fn ask(scene: &Scene) -> Call {
    let api = scene.api();
    scene.planner.form(&[("grant_type", "client_credentials"), ("resource", &api)])
}

async fn nonce(scene: &Scene) -> String {
    let reply = ask(scene).header("dpop", &proof(scene, &key(), None, &json!({}))).send().await;
    reply.header("dpop-nonce").to_owned()
}

fn is_bound(reply: &Reply) -> bool {
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()["token_type"] == "DPoP"
}

#[tokio::test]
async fn a_client_is_told_the_nonce_before_anything_that_it_sent_is_used_up() {
    let scene = Scene::new().await;
    let (registered, own) = (AgentKey::generate("k1"), key());
    scene.gateway.post("/admin/v1/agents", &json!({ "id": "keyed", "jwks": registered.jwks() })).await;
    let clock = std::sync::Arc::clone(&scene.gateway.clock);
    let keyed =
        TestAgent::connect(&scene.gateway.url(""), "keyed", Credential::PrivateKey(registered), clock).await;
    let api = scene.api();
    // One assertion, which is good once, for both requests.
    let call = keyed.form(&[("grant_type", "client_credentials"), ("resource", &api)]);
    let reply = call.clone().header("dpop", &proof(&scene, &own, None, &json!({}))).send().await;
    scene.refused("no nonce", &reply, "use_dpop_nonce", "proof-nonce-needed").await;
    let nonce = reply.header("dpop-nonce").to_owned();
    let reply = call.clone().header("dpop", &proof(&scene, &own, Some(&nonce), &json!({}))).send().await;
    assert!(is_bound(&reply));
    assert_eq!(reply.header("dpop-nonce"), nonce, "RFC 9449 §8.2");
    let record = scene.gateway.attempt_of(&reply).await;
    assert_eq!(record["key"], json!(own.thumbprint()));
    let reply = call.header("dpop", &proof(&scene, &own, Some(&nonce), &json!({}))).send().await;
    scene.refused("the assertion again", &reply, "invalid_client", "assertion-replayed").await;
}

#[tokio::test]
async fn who_asks_without_a_proof_gets_a_bearer_token_and_no_nonce() {
    let scene = Scene::new().await;
    let reply = ask(&scene).send().await;
    assert!(!is_bound(&reply));
    assert_eq!(reply.header("dpop-nonce"), "");
}

#[tokio::test]
async fn a_proof_for_something_else_gets_no_token() {
    let scene = Scene::new().await;
    let (key, nonce) = (key(), nonce(&scene).await);
    let url = |path: &str| json!({ "htu": scene.gateway.url(path) });
    let now = scene.gateway.clock.now().seconds();
    for (what, with) in [
        ("of another method", json!({ "htm": "GET" })),
        ("at the introspection endpoint", url("/oauth/introspect")),
        ("at an application", url("/apps/api/repos")),
        ("at the issuer", url("")),
        ("at another name of the gateway", json!({ "htu": "http://agents.example/oauth/token" })),
        ("long ago", json!({ "iat": now - 360 })),
        ("without an identifier", json!({ "jti": null })),
    ] {
        let reply = ask(&scene).header("dpop", &proof(&scene, &key, Some(&nonce), &with)).send().await;
        let record = scene.refused(what, &reply, "invalid_dpop_proof", "proof-invalid").await;
        assert_eq!(record["token"], Value::Null, "{what}");
        assert_eq!(reply.json()["error_description"], "the proof of possession is not valid", "{what}");
        assert_eq!(reply.header("dpop-nonce"), nonce, "{what}");
    }
    let [one, two] =
        [proof(&scene, &key, Some(&nonce), &json!({})), proof(&scene, &key, Some(&nonce), &json!({}))];
    let reply = ask(&scene).header("dpop", &one).header("dpop", &two).send().await;
    scene.refused("two proofs", &reply, "invalid_dpop_proof", "proof-invalid").await;
    assert!(is_bound(&ask(&scene).header("dpop", &one).send().await));
    let reply = ask(&scene).header("dpop", &one).send().await;
    scene.refused("replayed", &reply, "invalid_dpop_proof", "proof-replayed").await;
    let reply = scene.helper.form(&[("grant_type", "client_credentials")]).header("dpop", &one).send().await;
    scene.refused("replayed by another agent", &reply, "invalid_dpop_proof", "proof-replayed").await;
}

#[tokio::test]
async fn a_stranger_is_refused_before_a_proof_of_theirs_is_remembered() {
    let scene = Scene::new().await;
    let (key, nonce) = (key(), nonce(&scene).await);
    let proof = proof(&scene, &key, Some(&nonce), &json!({}));
    let reply = scene.form(&[("grant_type", "client_credentials")]).header("dpop", &proof).send().await;
    scene.refused("nobody", &reply, "invalid_client", "client-missing").await;
    assert!(is_bound(&ask(&scene).header("dpop", &proof).send().await), "it was not used up");
}

#[tokio::test]
async fn a_nonce_is_good_for_one_minute_and_one_more() {
    let scene = Scene::new().await;
    let (key, old) = (key(), nonce(&scene).await);
    let with = |nonce: &str| ask(&scene).header("dpop", &proof(&scene, &key, Some(nonce), &json!({})));
    scene.advance(60).await;
    let reply = with(&old).send().await;
    assert!(is_bound(&reply));
    let fresh = reply.header("dpop-nonce").to_owned();
    assert_ne!(fresh, old, "the next proof is to have the new one");
    scene.advance(60).await;
    let reply = with(&old).send().await;
    scene.refused("two minutes later", &reply, "use_dpop_nonce", "proof-nonce-needed").await;
    assert!(is_bound(&with(&fresh).send().await));
    scene.advance(3600).await;
    let root = scene.root().await;
    let url = format!("{}/repos", scene.api());
    let stale = json!({
        "jti": Jti::random(&OsEntropy), "htm": "GET", "htu": url, "iat": scene.gateway.clock.now().seconds(),
        "nonce": fresh, "ath": vestibule_testkit::token_hash(root.token()),
    });
    let call = Http::get(&url).header("authorization", &format!("DPoP {}", root.token()));
    let reply = call.header("dpop", &root.key().proof(&stale)).send().await;
    scene.denied("at door one an hour later", &reply, 401, "proof-nonce-needed").await;
    assert_ne!(reply.header("dpop-nonce"), fresh);
}

#[tokio::test]
async fn the_metadata_say_what_is_served() {
    let scene = Scene::new().await;
    let url = scene.gateway.url("/.well-known/oauth-authorization-server");
    let metadata = Http::get(&url).send().await.json();
    let algorithms = json!(["ES256", "ES384", "EdDSA", "Ed25519", "PS256", "RS256"]);
    assert_eq!(metadata["dpop_signing_alg_values_supported"], algorithms);
    assert_eq!(metadata["grant_types_supported"], json!(["client_credentials", EXCHANGE]));
    assert_eq!(metadata["authorization_details_types_supported"], json!(["vestibule_operations"]));
    for (name, path) in
        [("token", "/oauth/token"), ("introspection", "/oauth/introspect"), ("revocation", "/oauth/revoke")]
    {
        assert_eq!(metadata[format!("{name}_endpoint")], scene.gateway.url(path));
        let reply = Http::post(&scene.gateway.url(path)).form(&[]).send().await;
        assert_eq!(reply.status, 401, "{path}");
    }
    let resource =
        Http::get(&scene.gateway.url("/.well-known/oauth-protected-resource/apps/api")).send().await.json();
    assert_eq!(resource["dpop_signing_alg_values_supported"], algorithms);
    assert_eq!(resource["authorization_details_types_supported"], json!(["vestibule_operations"]));
}
