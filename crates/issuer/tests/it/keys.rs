use std::{sync::Arc, time::Duration};

use vestibule_issuer::{Keys, KeysError, TokenResponse};
use vestibule_model::{Clock as _, Denial};
use vestibule_store::{Kind, Op, Put, vault::VaultError};

use crate::support::{Ground, SANDBOX, World, access_token, worker};

async fn token(world: &World, secret: &str) -> TokenResponse {
    world.ask(secret, &[("resource", SANDBOX)]).await.unwrap()
}

async fn open(ground: &Ground) -> Result<Arc<Keys>, KeysError> {
    let vault = ground.vault().await;
    Keys::open(ground.open(), vault, Arc::clone(&ground.clock) as _, Duration::from_secs(120)).await
}

#[tokio::test]
async fn a_key_is_made_once_and_found_again() {
    let ground = Ground::new();
    let open = || open(&ground);
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
    let private = private(&ground.vault().await.open_record(&stored).unwrap());
    let jwks = world.issuer.jwks();
    let jwk = jwks["keys"][0].as_object().unwrap();
    assert_eq!(jwk.keys().collect::<Vec<_>>(), ["kty", "crv", "x", "y", "kid", "use", "alg"]);
    assert_eq!(jwk["kid"], kid);
    let shown = format!("{:?}{jwks}", world.keys);
    assert!(!shown.contains(scalar(&private)), "{shown}");
}

/// The private key in what was sealed.
fn private(plain: &[u8]) -> String {
    serde_json::from_slice::<serde_json::Value>(plain).unwrap()["pkcs8"].as_str().unwrap().to_owned()
}

/// The part of it that is secret: what comes before is the same for all keys.
fn scalar(private: &str) -> &str {
    &private[50..90]
}

/// Which files of the state hold this text.
fn holding(ground: &Ground, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(ground.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        // The log of a store that has just been closed goes away by itself.
        let bytes = std::fs::read(&path).unwrap_or_default();
        if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
            found.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    found
}

#[tokio::test]
async fn a_copy_of_the_state_mints_no_tokens() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    world.keys.rotate().await.unwrap();
    let vault = ground.vault().await;
    let status = world.keys.status();
    for kid in status.retiring.keys().chain(&status.signing) {
        let record = world.store.get(Kind::SigningKey, kid).await.unwrap().unwrap();
        let private = private(&vault.open_record(&record).unwrap());
        assert_eq!(holding(&ground, scalar(&private)), Vec::<String>::new());
        assert!(!holding(&ground, &format!("\"kek\":\"{}\"", vault.key_ids()[0])).is_empty());
    }
}

/// Makes the keys of a state what they were before they were sealed.
async fn unseal(ground: &Ground) -> Vec<String> {
    let (store, vault) = (ground.open(), ground.vault().await);
    let mut found = Vec::new();
    for record in store.scan(Kind::SigningKey, vestibule_store::By::All, None, 10).await.unwrap() {
        let plain = vault.open_record(&record).unwrap();
        let body: serde_json::Value = serde_json::from_slice(&plain).unwrap();
        let put = Put::new(Kind::SigningKey, record.key.as_str(), &body).unwrap();
        store.commit(vec![Op::Put(Put { expires_at: record.expires_at, ..put })]).await.unwrap();
        found.push(private(&plain));
    }
    found
}

#[tokio::test]
async fn keys_of_an_earlier_version_are_sealed_and_their_tokens_live_on() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let before = token(&world, &secret).await;
    world.keys.rotate().await.unwrap();
    let status = world.keys.status();
    drop(world);
    let privates = unseal(&ground).await;
    assert_eq!(privates.len(), 2);
    for private in &privates {
        assert!(!holding(&ground, scalar(private)).is_empty(), "they lay there as they are");
    }
    let world = World::on(&ground).await;
    assert_eq!(world.keys.status(), status, "the same keys, and retiring at the same time");
    assert!(world.present(&before, SANDBOX).is_ok());
    for private in &privates {
        assert_eq!(holding(&ground, scalar(private)), Vec::<String>::new());
    }
}

#[tokio::test]
async fn an_unsealed_key_beside_sealed_ones_is_refused() {
    let (ground, other) = (Ground::new(), Ground::new());
    open(&ground).await.unwrap();
    let kid = open(&other).await.unwrap().status().signing.unwrap();
    unseal(&other).await;
    // Somebody who can write the state, but has no key of the vault, plants a key of their own.
    let planted = other.open().get(Kind::SigningKey, &kid).await.unwrap().unwrap();
    let body: serde_json::Value = planted.decode().unwrap();
    let put = Put::new(Kind::SigningKey, kid.as_str(), &body).unwrap();
    ground.open().commit(vec![Op::Put(put)]).await.unwrap();
    let error = open(&ground).await.unwrap_err();
    assert!(matches!(error, KeysError::Sealed(VaultError::NotSealed { .. })));
    assert!(error.to_string().contains(&kid), "{error}");
}

#[tokio::test]
async fn keys_that_were_swapped_do_not_open_and_the_error_names_one() {
    let ground = Ground::new();
    open(&ground).await.unwrap().rotate().await.unwrap();
    let store = ground.open();
    let mut records = store.scan(Kind::SigningKey, vestibule_store::By::All, None, 10).await.unwrap();
    let (two, one) = (records.pop().unwrap(), records.pop().unwrap());
    for (key, body) in [(&one.key, &two.body), (&two.key, &one.body)] {
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        store.commit(vec![Op::Put(Put::new(Kind::SigningKey, key.as_str(), &body).unwrap())]).await.unwrap();
    }
    let error = open(&ground).await.unwrap_err();
    assert!(matches!(error, KeysError::Sealed(VaultError::Altered { .. })), "{error}");
    assert!(error.to_string().contains(&one.key), "{error}");
    assert!(error.to_string().contains("backup"), "{error}");
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
