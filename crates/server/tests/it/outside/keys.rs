//! The keys of an outside issuer: when they change, and when they cannot be had.

use serde_json::json;

use super::Town;

#[tokio::test]
async fn a_new_key_is_asked_for_and_a_withdrawn_one_is_not_believed() {
    let mut town = Town::new().await;
    let old = town.alice(json!({ "exp": town.now().seconds() + 7_200 }));
    town.served(&town.list(&old).await, &old).await;
    town.advance(11).await;
    town.idp.rotate("second");
    let new = town.alice(json!({}));
    town.served(&town.list(&new).await, &new).await;
    assert_eq!(town.idp.fetches(), 2);
    // It verified, and it is remembered; but the key that did is the issuer's no more.
    town.denied("the old key", &town.list(&old).await, 401, "token-key-unknown").await;
}

#[tokio::test]
async fn what_cannot_be_checked_is_refused_for_now_and_nobody_else_notices() {
    let town = Town::new().await;
    town.idp.fail();
    town.forget_keys().await;
    let token = town.alice(json!({}));
    let reply = town.list(&token).await;
    let record = town.denied("no keys", &reply, 503, "token-keys-unavailable").await;
    assert!(!reply.header("retry-after").is_empty());
    assert!(record["cause"].as_str().unwrap().contains("`idp`"), "{record}");
    let with = json!({ "groups": ["developers"] });
    let other = town.entra.entra("o", super::ENTRA_CLIENT, town.now(), &with);
    town.served(&town.list(&other).await, &other).await;
    town.idp.serve();
    town.advance(11).await;
    town.served(&town.list(&token).await, &token).await;
}

#[tokio::test]
async fn a_storm_of_unknown_keys_makes_one_fetch() {
    let town = Town::new().await;
    for n in 0..20 {
        let claims = json!({ "iss": town.idp.id() });
        let token = town.idp.sign(&json!({ "alg": "ES256", "typ": "JWT", "kid": format!("k{n}") }), &claims);
        town.denied("unknown", &town.list(&token).await, 401, "token-key-unknown").await;
    }
    assert_eq!(town.idp.fetches(), 1);
}
