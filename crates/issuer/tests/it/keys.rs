use std::{sync::Arc, time::Duration};

use vestibule_issuer::{Keys, TokenResponse};
use vestibule_model::{Clock as _, Denial};
use vestibule_store::Kind;

use crate::support::{Ground, SANDBOX, World, access_token, worker};

async fn token(world: &World, secret: &str) -> TokenResponse {
    world.ask(secret, &[("resource", SANDBOX)]).await.unwrap()
}

#[tokio::test]
async fn a_key_is_made_once_and_found_again() {
    let ground = Ground::new();
    let open = || Keys::open(ground.open(), Arc::clone(&ground.clock) as _, Duration::from_secs(120));
    let first = open().await.unwrap().status();
    assert!(first.signing.is_some() && first.retiring.is_empty());
    assert_eq!(open().await.unwrap().status(), first);
}

#[tokio::test]
async fn a_new_key_signs_at_once_and_the_old_one_verifies_until_its_tokens_are_dead() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let before = token(&world, &secret).await;
    let old = world.keys.status().signing.unwrap();
    world.keys.rotate().await.unwrap();

    let status = world.keys.status();
    assert_ne!(status.signing.as_deref(), Some(old.as_str()));
    assert_eq!(status.retiring[&old].seconds(), world.now() + 180);
    assert_eq!(world.keys.jwks()["keys"].as_array().unwrap().len(), 2);
    assert!(world.present(&before, SANDBOX).is_ok());
    assert!(world.present(&token(&world, &secret).await, SANDBOX).is_ok());

    world.clock.advance(Duration::from_millis(179_999));
    world.keys.retire(world.clock.now());
    assert_eq!(world.present(&before, SANDBOX).unwrap_err(), Denial::TokenExpired);
    world.clock.advance(Duration::from_millis(1));
    world.keys.retire(world.clock.now());
    assert_eq!(world.present(&before, SANDBOX).unwrap_err(), Denial::TokenKeyUnknown);
    assert_eq!(world.keys.jwks()["keys"].as_array().unwrap().len(), 1);
    assert!(world.present(&token(&world, &secret).await, SANDBOX).is_ok());
}

#[tokio::test]
async fn a_gateway_beside_this_one_signs_and_verifies_with_the_new_key_too() {
    let ground = Ground::new();
    let (here, there) = (World::on(&ground).await, World::with(&ground, &["sandbox"], 2).await);
    let secret = here.add(worker()).await;
    let before = token(&here, &secret).await;
    assert_eq!(here.keys.status(), there.keys.status());
    here.keys.rotate().await.unwrap();
    there.caught_up().await;
    assert_eq!(here.keys.status(), there.keys.status());
    assert!(there.present(&before, SANDBOX).is_ok());
    assert!(there.present(&token(&here, &secret).await, SANDBOX).is_ok());
    assert!(here.present(&token(&there, &secret).await, SANDBOX).is_ok());
}

#[tokio::test]
async fn what_is_published_is_public() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let kid = world.keys.status().signing.unwrap();
    let stored = world.store.get(Kind::SigningKey, &kid).await.unwrap().unwrap();
    let private = stored.decode::<serde_json::Value>().unwrap()["pkcs8"].as_str().unwrap().to_owned();
    let jwks = world.issuer.jwks();
    let jwk = jwks["keys"][0].as_object().unwrap();
    assert_eq!(jwk.keys().collect::<Vec<_>>(), ["kty", "crv", "x", "y", "kid", "use", "alg"]);
    assert_eq!(jwk["kid"], kid);
    let shown = format!("{:?}{jwks}", world.keys);
    // The private scalar is in the first third of the PKCS #8 document.
    assert!(!shown.contains(&private[..60]), "{shown}");
}

#[tokio::test]
async fn the_header_of_a_token_names_the_key_that_signed_it() {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let token = access_token(&token(&world, &secret).await);
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
    let expected = serde_json::json!({"typ": "at+jwt", "alg": "ES256", "kid": world.keys.status().signing});
    assert_eq!(header, expected);
}
