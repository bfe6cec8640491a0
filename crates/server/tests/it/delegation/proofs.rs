//! Proof of possession at door one (RFC 9449 §7): a token that is bound to a key is nothing without that key, and a proof
//! is for one request, once.

use serde_json::{Value, json};
use vestibule_model::{Jti, OsEntropy};
use vestibule_testkit::{Holder, Http, Reply, token_hash};

use super::{Scene, key, keys};

/// Everything a proof has to say for a list by `agent`.
fn claims(scene: &Scene, agent: &Holder) -> Value {
    json!({
        "jti": Jti::random(&OsEntropy), "htm": "GET", "htu": format!("{}/repos", scene.api()),
        "iat": scene.gateway.clock.now().seconds(), "nonce": agent.nonce(), "ath": token_hash(agent.token()),
    })
}

/// A list with this credential and these proofs.
async fn knock(scene: &Scene, authorization: &str, proofs: &[&str]) -> Reply {
    let call = Http::get(&format!("{}/repos", scene.api())).header("authorization", authorization);
    proofs.iter().fold(call, |call, proof| call.header("dpop", proof)).send().await
}

#[tokio::test]
async fn a_proof_without_a_nonce_is_told_one_and_with_it_passes() {
    let scene = Scene::new().await;
    let root = scene.root().await;
    let bound = format!("DPoP {}", root.token());
    let mut bare = claims(&scene, &root);
    bare.as_object_mut().unwrap().shift_remove("nonce");
    let reply = knock(&scene, &bound, &[&root.key().proof(&bare)]).await;
    scene.denied("no nonce", &reply, 401, "proof-nonce-needed").await;
    let challenge = reply.header("www-authenticate");
    assert!(challenge.starts_with("DPoP resource_metadata="), "{challenge}");
    assert!(challenge.contains("error=\"use_dpop_nonce\""), "{challenge}");
    // RFC 9449 §7.1: the algorithms that may sign a proof.
    assert!(challenge.contains("algs=\"ES256 ES384 EdDSA Ed25519 PS256 RS256\""), "{challenge}");

    bare["nonce"] = json!(reply.header("dpop-nonce"));
    let reply = knock(&scene, &bound, &[&root.key().proof(&bare)]).await;
    let record = scene.served(&reply).await;
    assert_eq!(record["key"], json!(root.key().thumbprint()), "the record names the key that was proved");
    // RFC 9449 §8.2: the next proof needs no further round.
    assert_eq!(reply.header("dpop-nonce"), bare["nonce"]);
    let reply = scene.remove(&root, "../x").await;
    assert!(!reply.header("dpop-nonce").is_empty(), "{}: a refusal has it too", reply.status);
}

#[tokio::test]
async fn a_proof_that_is_malformed_or_for_another_request_is_refused() {
    let scene = Scene::new().await;
    let (root, stranger) = (scene.root().await, key());
    let api = scene.api();
    let bound = format!("DPoP {}", root.token());
    let now = scene.gateway.clock.now().seconds();
    let with = |name: &str, value: Value| {
        let mut claims = claims(&scene, &root);
        claims[name] = value;
        claims
    };
    let header = |name: &str, value: Value| {
        let mut header = json!({ "alg": "ES256", "typ": "dpop+jwt", "jwk": root.key().public() });
        header[name] = value;
        root.key().sign(&header.to_string(), &claims(&scene, &root).to_string())
    };
    let mut private = root.key().public();
    private["d"] = json!("AAAA");
    let foreign = json!({ "alg": "ES256", "typ": "dpop+jwt", "jwk": root.key().public() }).to_string();
    let invalid = "proof-invalid";
    for (what, proof, code) in [
        ("another method", root.key().proof(&with("htm", json!("POST"))), invalid),
        ("the method in lower case", root.key().proof(&with("htm", json!("get"))), invalid),
        ("another path", root.key().proof(&with("htu", json!(format!("{api}/repos/x")))), invalid),
        ("the whole application", root.key().proof(&with("htu", json!(api))), invalid),
        (
            "another application",
            root.key().proof(&with("htu", json!(scene.gateway.url("/apps/other/repos")))),
            invalid,
        ),
        (
            "another server",
            root.key().proof(&with("htu", json!("https://evil.example/apps/api/repos"))),
            invalid,
        ),
        ("another token", root.key().proof(&with("ath", json!(token_hash("another")))), invalid),
        ("no token", root.key().proof(&with("ath", Value::Null)), invalid),
        ("six minutes ago", root.key().proof(&with("iat", json!(now - 360))), invalid),
        ("in six minutes", root.key().proof(&with("iat", json!(now + 360))), invalid),
        ("no time", root.key().proof(&with("iat", Value::Null)), invalid),
        ("no identifier", root.key().proof(&with("jti", json!(""))), invalid),
        ("a huge identifier", root.key().proof(&with("jti", json!("x".repeat(257)))), invalid),
        ("a made-up nonce", root.key().proof(&with("nonce", json!("x".repeat(54)))), "proof-nonce-needed"),
        ("of another type", header("typ", json!("JWT")), invalid),
        ("of an actor token's type", header("typ", json!("vst-actor+jwt")), invalid),
        ("a MAC", header("alg", json!("HS256")), invalid),
        ("no signature", header("alg", json!("none")), invalid),
        ("another algorithm than the key's", header("alg", json!("EdDSA")), invalid),
        ("with a private key", header("jwk", private), invalid),
        ("without a key", header("jwk", Value::Null), invalid),
        (
            "signed by another key than it names",
            stranger.sign(&foreign, &claims(&scene, &root).to_string()),
            invalid,
        ),
        ("by another key", stranger.proof(&claims(&scene, &root)), "proof-wrong-key"),
        ("garbage", "garbage".to_owned(), invalid),
        ("the token itself", root.token().to_owned(), invalid),
    ] {
        let reply = knock(&scene, &bound, &[&proof]).await;
        scene.denied(what, &reply, 401, code).await;
        let challenge = reply.header("www-authenticate");
        assert!(challenge.starts_with("DPoP "), "{what}: {challenge}");
        assert!(!reply.header("dpop-nonce").is_empty(), "{what}");
    }
    let (one, two) = (root.proof("GET", &format!("{api}/repos")), root.proof("GET", &format!("{api}/repos")));
    let reply = knock(&scene, &bound, &[&one, &two]).await;
    scene.denied("two proofs", &reply, 401, invalid).await;
    scene.served(&knock(&scene, &bound, &[&one]).await).await;
}

#[tokio::test]
async fn a_bound_token_without_a_proof_of_its_key_is_refused() {
    let scene = Scene::new().await;
    let (root, other) = (scene.root().await, scene.root().await);
    let (bearer, bound) = (format!("Bearer {}", root.token()), format!("DPoP {}", root.token()));
    let own = || root.proof("GET", &format!("{}/repos", scene.api()));
    for (what, authorization, proofs, code) in [
        ("as a bearer token", &bearer, vec![], "proof-missing"),
        ("as a bearer token, with a good proof beside it", &bearer, vec![own()], "proof-missing"),
        ("without a proof", &bound, vec![], "proof-missing"),
        (
            "with the proof of another agent for the same token",
            &bound,
            vec![other.key().proof(&claims(&scene, &root))],
            "proof-wrong-key",
        ),
    ] {
        let proofs: Vec<&str> = proofs.iter().map(String::as_str).collect();
        let reply = knock(&scene, authorization, &proofs).await;
        scene.denied(what, &reply, 401, code).await;
        assert!(reply.header("www-authenticate").starts_with("DPoP "), "{what}");
        assert!(reply.header("www-authenticate").contains("error=\"invalid_token\""), "{what}");
    }
    scene.served(&knock(&scene, &bound, &[&own()]).await).await;
}

#[tokio::test]
async fn a_token_that_is_bound_to_nothing_gains_nothing_from_a_proof() {
    let scene = Scene::new().await;
    let root = scene.root().await;
    let token = scene.planner.token(&scene.api()).await;
    let mut about = claims(&scene, &root);
    about["ath"] = json!(token_hash(&token));
    let proof = root.key().proof(&about);
    let reply = knock(&scene, &format!("DPoP {token}"), &[&proof]).await;
    scene.denied("as if it were bound", &reply, 401, "proof-wrong-key").await;
    let reply = knock(&scene, &format!("Bearer {token}"), &[&proof]).await;
    scene.denied("a proof of what?", &reply, 400, "credential-malformed").await;
    scene.served(&knock(&scene, &format!("Bearer {token}"), &[]).await).await;
}

#[tokio::test]
async fn a_proof_is_good_once_and_only_a_request_that_it_was_for_uses_it_up() {
    let scene = Scene::new().await;
    let root = scene.root().await;
    let bound = format!("DPoP {}", root.token());
    let proof = root.proof("GET", &format!("{}/repos", scene.api()));
    let elsewhere = Http::request(http::Method::DELETE, &format!("{}/repos/x", scene.api()));
    let reply = elsewhere.header("authorization", &bound).header("dpop", &proof).send().await;
    scene.denied("at another operation", &reply, 401, "proof-invalid").await;
    scene.served(&knock(&scene, &bound, &[&proof]).await).await;
    for what in ["again", "and again"] {
        let reply = knock(&scene, &bound, &[&proof]).await;
        scene.denied(what, &reply, 401, "proof-replayed").await;
        assert!(reply.header("www-authenticate").contains("error=\"invalid_dpop_proof\""), "{what}");
    }
    scene.advance(61).await;
    let reply = knock(&scene, &bound, &[&proof]).await;
    scene.denied("as long as its nonce is taken", &reply, 401, "proof-replayed").await;
}

#[tokio::test]
async fn a_proof_is_for_one_of_several_tokens_of_the_same_key() {
    let scene = Scene::new().await;
    let (api, [one, two]) = (scene.api(), keys());
    let wide = Holder::root(&scene.planner, one, &[("resource", &api)]).await;
    let narrow = super::details(&json!({ "list": {} }));
    let other = [("resource", &*api), ("authorization_details", &*narrow)];
    let narrow = Holder::root(&scene.planner, two, &other).await;
    let again = wide.exchange_form(&[]).await.json()["access_token"].as_str().unwrap().to_owned();
    assert_ne!(wide.node(), narrow.node());
    let url = format!("{api}/repos");
    for (what, token) in [("of another node", narrow.token()), ("of the same node", &*again)] {
        let reply = knock(&scene, &format!("DPoP {token}"), &[&wide.proof("GET", &url)]).await;
        scene.denied(what, &reply, 401, "proof-invalid").await;
    }
    scene.served(&scene.list(&narrow).await).await;
}
