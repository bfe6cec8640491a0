//! Proof of possession at the token endpoint (RFC 9449).

use http::HeaderMap;
use serde_json::json;
use vestibule_containment::DenyKey;
use vestibule_issuer::{NewAgent, OAuthError, Reason, TokenResponse};
use vestibule_model::Denial;

use crate::{
    holder::Holder,
    support::{
        Ground, ISSUER, NOW, SANDBOX, Signer, TOKEN_ENDPOINT, World, access_token, basic, payload, worker,
    },
};

const FORM: &[(&str, &str)] = &[("grant_type", "client_credentials"), ("resource", SANDBOX)];

async fn send(world: &World, secret: &str, proof: &str) -> Result<TokenResponse, OAuthError> {
    let mut headers = basic("worker", secret);
    headers.insert("dpop", proof.parse().unwrap());
    world.token(&headers, FORM).await
}

#[tokio::test]
async fn a_proof_binds_the_token_to_its_key() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let key = Signer::new("k");
    let response = world.token(&world.proven("worker", &secret, &key), FORM).await.unwrap();
    assert_eq!(response.body()["token_type"], "DPoP");
    assert_eq!(response.minted.bound_to, Some(key.thumbprint()));
    let claims = payload(&access_token(&response));
    assert_eq!(claims["cnf"], json!({"jkt": key.thumbprint()}));
    assert_eq!(claims["vst"]["keys"], json!([[key.thumbprint()]]));
    // RFC 9449 §7.2: it is no bearer token.
    assert_eq!(world.present(&response, SANDBOX).unwrap_err(), Denial::ProofMissing);
    let mut holder = Holder::of(key, &response);
    assert_eq!(world.call(&holder), Ok(()));
    holder.key = Signer::new("other");
    assert_eq!(world.call(&holder), Err(Denial::ProofWrongKey));
}

#[tokio::test]
async fn without_a_proof_the_token_is_a_bearer_token_and_there_is_no_nonce() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let response = world.ask(&secret, &[("resource", SANDBOX)]).await.unwrap();
    assert_eq!((response.body()["token_type"].as_str(), response.nonce.as_ref()), (Some("Bearer"), None));
    assert_eq!(response.minted.bound_to, None);
    assert_eq!(payload(&access_token(&response)).get("cnf"), None);
}

#[tokio::test]
async fn a_proof_needs_a_nonce_of_this_gateway_which_the_refusal_gives() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let key = Signer::new("k");
    let claims = json!({"jti": "1", "htm": "POST", "htu": TOKEN_ENDPOINT, "iat": NOW});
    let error = send(&world, &secret, &key.proof(&claims)).await.unwrap_err();
    assert_eq!((error.reason, error.status()), (Reason::ProofNonceNeeded, 400));
    assert_eq!(error.body()["error"], "use_dpop_nonce");
    let mut claims = claims;
    claims["nonce"] = json!(error.nonce.unwrap());
    // Nothing of the first attempt is used up.
    assert!(send(&world, &secret, &key.proof(&claims)).await.is_ok());

    // RFC 9449 §8.2: a nonce that is about to end is still good, and the answer has the next one.
    world.clock.advance(std::time::Duration::from_secs(60));
    claims["jti"] = json!("2");
    let response = send(&world, &secret, &key.proof(&claims)).await.unwrap();
    let next = response.nonce.unwrap();
    assert_ne!(json!(next), claims["nonce"]);
    world.clock.advance(std::time::Duration::from_secs(60));
    claims["jti"] = json!("3");
    let error = send(&world, &secret, &key.proof(&claims)).await.unwrap_err();
    assert_eq!(error.reason, Reason::ProofNonceNeeded);
    claims["nonce"] = json!(next);
    assert!(send(&world, &secret, &key.proof(&claims)).await.is_ok());
}

#[tokio::test]
async fn a_proof_for_something_else_or_used_before_is_refused() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let key = Signer::new("k");
    let good = json!({
        "jti": "1", "htm": "POST", "htu": TOKEN_ENDPOINT, "iat": NOW, "nonce": world.judges.proofs.nonce(),
    });
    for (name, value) in [
        ("htu", json!("https://gw.test/oauth/revoke")),
        ("htu", json!(SANDBOX)),
        ("htm", json!("GET")),
        ("iat", json!(NOW - 301)),
        ("jti", json!("")),
    ] {
        let mut bad = good.clone();
        bad[name] = value;
        let error = send(&world, &secret, &key.proof(&bad)).await.unwrap_err();
        assert_eq!(
            (error.reason, error.body()["error"].as_str()),
            (Reason::ProofInvalid, Some("invalid_dpop_proof")),
            "{bad}"
        );
        assert!(error.nonce.is_some());
    }
    let forged =
        Signer::new("x").sign(&json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": key.public()}), &good);
    assert_eq!(send(&world, &secret, &forged).await.unwrap_err().reason, Reason::ProofInvalid);
    let proof = key.proof(&good);
    assert!(send(&world, &secret, &proof).await.is_ok());
    let error = send(&world, &secret, &proof).await.unwrap_err();
    assert_eq!(
        (error.reason, error.body()["error"].as_str()),
        (Reason::ProofReplayed, Some("invalid_dpop_proof"))
    );
    let mut twice = world.proven("worker", &secret, &key);
    twice.append("dpop", twice["dpop"].clone());
    assert_eq!(world.token(&twice, FORM).await.unwrap_err().reason, Reason::ProofInvalid);
}

#[tokio::test]
async fn a_stranger_uses_up_no_proof() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let proof = world.proof(&Signer::new("k"), None);
    let mut stranger = basic("worker", "vst_wrong");
    stranger.extend(proof.clone());
    assert_eq!(world.token(&stranger, FORM).await.unwrap_err().reason, Reason::ClientSecretWrong);
    let mut agent = basic("worker", &secret);
    agent.extend(proof);
    assert!(world.token(&agent, FORM).await.is_ok());
}

#[tokio::test]
async fn an_assertion_is_not_used_up_by_a_proof_that_lacks_its_nonce() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let (client, dpop) = (Signer::new("client"), Signer::new("dpop"));
    let jwks = Some(json!({"keys": [client.jwk]}));
    world.registry.add(NewAgent { jwks, ..worker() }).await.unwrap();
    let claims = json!({"iss": "worker", "sub": "worker", "aud": ISSUER, "exp": NOW + 60, "jti": "1"});
    let assertion = client.sign(&json!({"alg": "ES256"}), &claims);
    let assertion = [
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", assertion.as_str()),
    ];
    let form = [FORM, &assertion].concat();
    let mut headers = HeaderMap::new();
    let claims = json!({"jti": "1", "htm": "POST", "htu": TOKEN_ENDPOINT, "iat": NOW});
    headers.insert("dpop", dpop.proof(&claims).parse().unwrap());
    assert_eq!(world.token(&headers, &form).await.unwrap_err().reason, Reason::ProofNonceNeeded);
    let response = world.token(&world.proof(&dpop, None), &form).await.unwrap();
    // Both keys stand on the path: revoking either ends what is under the node.
    let keys = payload(&access_token(&response))["vst"]["keys"].clone();
    assert_eq!(keys, json!([[dpop.thumbprint(), client.thumbprint()]]));
    let error = world.token(&world.proof(&dpop, None), &form).await.unwrap_err();
    assert_eq!(error.reason, Reason::AssertionReplayed);
}

#[tokio::test]
async fn another_key_makes_another_root_and_the_tree_below_the_old_one_lives_on() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let old = world.root(&secret, &[]).await;
    let child = world.spawn(&old, &[]).await;
    let new = world.root(&secret, &[]).await;
    assert_ne!(new.minted.delegation.id, old.minted.delegation.id);
    let unbound = world.ask(&secret, &[("resource", SANDBOX)]).await.unwrap().minted.delegation;
    assert!(unbound.id != old.minted.delegation.id && unbound.id != new.minted.delegation.id);
    assert_eq!(world.call(&child), Ok(()));
    let same = world.token(&world.proven("worker", &secret, &old.key), FORM).await.unwrap();
    assert_eq!((same.minted.delegation.id, same.minted.made), (old.minted.delegation.id.clone(), false));
}

#[tokio::test]
async fn a_revoked_key_gets_no_token_and_its_agent_gets_one_with_another_key() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let key = Signer::new("k");
    world.token(&world.proven("worker", &secret, &key), FORM).await.unwrap();
    world.revoke(DenyKey::Credential(key.thumbprint())).await;
    let error = world.token(&world.proven("worker", &secret, &key), FORM).await.unwrap_err();
    assert_eq!((error.reason, error.status()), (Reason::CredentialRevoked, 401));
    assert!(world.token(&world.proven("worker", &secret, &Signer::new("other")), FORM).await.is_ok());
}
