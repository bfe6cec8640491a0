use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderMap;
use serde_json::json;
use tokio::sync::watch;
use vestibule_containment::Containment;
use vestibule_issuer::{Backing, Issuer, Judges, NewAgent, OAuthError, Reason};
use vestibule_model::{FixedClock, SeededEntropy, Timestamp};
use vestibule_store::{By, Changes, Counter, Kind, Op, Record, Seq, Store, StoreError};

use crate::support::{Ground, ISSUER, NOW, Signer, World, basic, config, owned, worker};

/// A store that nobody can reach.
#[derive(Debug)]
struct Gone;

#[async_trait]
impl Store for Gone {
    async fn commit(&self, _ops: Vec<Op>) -> Result<Seq, StoreError> {
        Err(StoreError::Stopped)
    }

    async fn get(&self, _kind: Kind, _key: &str) -> Result<Option<Record>, StoreError> {
        Err(StoreError::Stopped)
    }

    async fn scan(
        &self,
        _kind: Kind,
        _by: By<'_>,
        _after: Option<&str>,
        _limit: u32,
    ) -> Result<Vec<Record>, StoreError> {
        Err(StoreError::Stopped)
    }

    async fn counters(
        &self,
        _realm: &str,
        _after: Option<&str>,
        _limit: u32,
    ) -> Result<Vec<Counter>, StoreError> {
        Err(StoreError::Stopped)
    }

    async fn claim(&self, _realm: &str, _keys: Vec<(String, Timestamp)>) -> Result<Vec<bool>, StoreError> {
        Err(StoreError::Stopped)
    }

    async fn changes(&self, _after: Seq, _limit: u32) -> Result<Changes, StoreError> {
        Err(StoreError::Stopped)
    }

    fn hint(&self) -> watch::Receiver<Seq> {
        watch::Sender::new(0).subscribe()
    }

    async fn trim(&self, _now: Timestamp, _keep: Seq) -> Result<u64, StoreError> {
        Err(StoreError::Stopped)
    }

    async fn scrub(&self) -> Result<(), StoreError> {
        Err(StoreError::Stopped)
    }
}

/// The issuer of `world`, on another store or with another view of what is revoked.
fn issuer(world: &World, store: Arc<dyn Store>, containment: Arc<Containment>) -> Issuer {
    let clock = Arc::<FixedClock>::clone(&world.clock);
    let backing = Backing { store, clock, entropy: Arc::new(SeededEntropy::new(9)), user_tokens: None };
    let (registry, keys) = (Arc::clone(&world.registry), Arc::clone(&world.keys));
    let judges = Judges { containment, ..world.judges.clone() };
    Issuer::new(config(&["sandbox"]), backing, registry, keys, judges).unwrap()
}

async fn refusal(world: &World, issuer: &Issuer, headers: &HeaderMap, more: &[(&str, &str)]) -> OAuthError {
    let form = owned(&[&[("grant_type", "client_credentials")], more].concat());
    issuer.token(&world.request(headers, &form)).await.unwrap_err()
}

#[tokio::test]
async fn without_the_store_no_root_is_made_and_no_assertion_is_believed() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let signer = Signer::new("k1");
    let jwks = Some(json!({"keys": [signer.jwk]}));
    world.registry.add(NewAgent { id: "keyed".into(), jwks, ..worker() }).await.unwrap();
    let issuer = issuer(&world, Arc::new(Gone), Arc::clone(&world.judges.containment));

    let claims = json!({"iss": "keyed", "sub": "keyed", "aud": ISSUER, "exp": NOW + 60, "jti": "1"});
    let assertion = signer.sign(&json!({"alg": "ES256"}), &claims);
    let asserted = [
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", assertion.as_str()),
    ];
    for error in [
        refusal(&world, &issuer, &basic("worker", &secret), &[]).await,
        refusal(&world, &issuer, &HeaderMap::new(), &asserted).await,
    ] {
        assert_eq!((error.reason, error.status()), (Reason::StoreUnavailable, 503));
        assert_eq!(error.body()["error"], "temporarily_unavailable");
    }
}

#[tokio::test]
async fn who_cannot_tell_what_is_revoked_issues_nothing() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    // Nothing keeps this view up to date.
    let blind = Containment::new(Arc::clone(&world.store), Arc::<FixedClock>::clone(&world.clock));
    let issuer = issuer(&world, Arc::clone(&world.store), blind);
    let error = refusal(&world, &issuer, &basic("worker", &secret), &[]).await;
    assert_eq!((error.reason, error.status()), (Reason::ContainmentStale, 503));
}

#[tokio::test]
async fn without_the_store_nothing_is_handed_on() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let mut world = world;
    world.issuer = issuer(&world, Arc::new(Gone), Arc::clone(&world.judges.containment));
    for error in [
        world.exchange(&root, &[]).await.unwrap_err(),
        world.try_spawn(&root, &Signer::new("child"), &[]).await.unwrap_err(),
    ] {
        assert_eq!((error.reason, error.status()), (Reason::StoreUnavailable, 503));
    }
}

#[tokio::test]
async fn who_cannot_tell_what_is_revoked_says_neither_yes_nor_no_and_hands_nothing_on() {
    let ground = Ground::new();
    let mut world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let blind = Containment::new(Arc::clone(&world.store), Arc::<FixedClock>::clone(&world.clock));
    world.issuer = issuer(&world, Arc::clone(&world.store), blind);
    let (headers, form) = (basic("worker", &secret), owned(&[("token", &root.token)]));
    for error in [
        world.issuer.introspect(&world.request(&headers, &form)).await.unwrap_err(),
        world.exchange(&root, &[]).await.unwrap_err(),
        world.try_spawn(&root, &Signer::new("child"), &[]).await.unwrap_err(),
    ] {
        assert_eq!((error.reason, error.status()), (Reason::ContainmentStale, 503));
    }
}
