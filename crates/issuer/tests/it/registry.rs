use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use serde_json::{Value, json};
use vestibule_issuer::{NewAgent, RegistryError};
use vestibule_model::AgentId;

use crate::support::{Ground, Signer, World, b64, set, worker};

fn named(id: &str) -> NewAgent {
    NewAgent { id: id.into(), ..worker() }
}

#[tokio::test]
async fn an_id_is_given_once() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    world.add(worker()).await;
    assert!(matches!(world.registry.add(worker()).await, Err(RegistryError::Exists)));
    assert_eq!(world.registry.list(None, 10).len(), 1);
}

#[tokio::test]
async fn what_breaks_a_rule_is_not_registered() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let scopes = |texts: &[&str]| NewAgent { scopes: set(texts), ..worker() };
    let claims = |name: &str, values: BTreeSet<String>| NewAgent {
        claims: [(name.to_owned(), values)].into(),
        ..worker()
    };
    let long = "x".repeat(2048);
    let mut bad: Vec<NewAgent> =
        ["", "-a", "A", "a b", "a/b", "a\n", "ä", &"a".repeat(65)].into_iter().map(named).collect();
    bad.push(NewAgent { trust: 4, ..worker() });
    bad.push(NewAgent { groups: (0..65).map(|n| n.to_string()).collect(), ..worker() });
    bad.push(NewAgent { groups: set(&[""]), ..worker() });
    bad.extend([scopes(&["a b"]), scopes(&[""]), scopes(&["a\"b"]), scopes(&[&long])]);
    bad.extend(
        ["sub", "vst", "act", "scope", "client_id", "Role", "", "a.b"].map(|name| claims(name, set(&["x"]))),
    );
    bad.extend([claims("role", set(&[&long])), claims("role", set(&["a\nb"]))]);
    for agent in bad {
        let shown = format!("{agent:?}");
        assert!(matches!(world.registry.add(agent).await, Err(RegistryError::Malformed(_))), "{shown}");
    }
    assert!(world.registry.directory().is_empty());
}

#[tokio::test]
async fn only_public_signature_keys_are_registered() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let good = Signer::new("k1").jwk;
    let mut private = good.clone();
    private["d"] = json!(b64([1; 32]));
    let many: Vec<Value> = (0..11).map(|n| Signer::new(&n.to_string()).jwk).collect();
    for jwks in [
        json!({"keys": [private]}),
        json!({"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}),
        json!({"keys": [good, good]}),
        json!({"keys": []}),
        json!({"keys": many}),
        json!([good]),
        good.clone(),
    ] {
        let added = world.registry.add(NewAgent { jwks: Some(jwks.clone()), ..worker() }).await;
        assert!(matches!(added, Err(RegistryError::Malformed(_))), "{jwks}");
    }
    let jwks = Some(json!({"keys": [good, Signer::new("k2").jwk]}));
    assert!(world.registry.add(NewAgent { jwks, ..worker() }).await.is_ok());
}

#[tokio::test]
async fn a_secret_is_rotated_only_where_there_is_one() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let jwks = Some(json!({"keys": [Signer::new("k1").jwk]}));
    world.registry.add(NewAgent { jwks, ..worker() }).await.unwrap();
    let id = |text| AgentId::new(text).unwrap();
    assert!(matches!(world.registry.rotate(&id("worker")).await, Err(RegistryError::HasKeys)));
    assert!(matches!(world.registry.rotate(&id("nobody")).await, Err(RegistryError::Unknown)));
}

#[tokio::test]
async fn agents_are_listed_in_pages_in_the_order_of_their_ids() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    for id in ["c", "a", "e", "b", "d"] {
        world.add(named(id)).await;
    }
    let page = |after: Option<&str>| {
        let after = after.map(|id| AgentId::new(id).unwrap());
        let found = world.registry.list(after.as_ref(), 2);
        found.iter().map(|one| one.agent.id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(page(None), ["a", "b"]);
    assert_eq!(page(Some("b")), ["c", "d"]);
    assert_eq!(page(Some("d")), ["e"]);
    assert!(page(Some("e")).is_empty());
}

#[tokio::test]
async fn a_listener_knows_an_agent_before_its_registration_is_acknowledged() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let sizes = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&sizes);
    world.registry.on_change(move |directory| told.lock().unwrap().push(directory.len()));
    world.add(named("a")).await;
    assert_eq!(*sizes.lock().unwrap(), [0, 1]);
    world.add(named("b")).await;
    world.caught_up().await;
    // What the change log brings back is not news.
    assert_eq!(*sizes.lock().unwrap(), [0, 1, 2]);
}

#[tokio::test]
async fn agents_survive_a_restart_and_reach_a_gateway_beside_this_one() {
    let ground = Ground::new();
    let (here, there) = (World::on(&ground).await, World::with(&ground, &["sandbox"], 2).await);
    let secret = here.add(worker()).await;
    there.caught_up().await;
    assert!(there.ask(&secret, &[]).await.is_ok());
    drop((here, there));
    let later = World::with(&ground, &["sandbox"], 3).await;
    assert!(later.ask(&secret, &[]).await.is_ok());
    let id = AgentId::new("worker").unwrap();
    assert_eq!(later.registry.get(&id).unwrap().version, 1);
    assert_eq!(later.registry.directory().get(&id).unwrap().scopes, worker().scopes);
}
