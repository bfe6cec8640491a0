use std::{sync::Arc, time::Duration};

use vestibule_containment::DenyKey;
use vestibule_model::NodeId;
use vestibule_store::{By, Kind, Op, Put};

use crate::support::{BILLING, Ground, Plan, SANDBOX, World, config, set, worker};

async fn root(world: &World, secret: &str, resource: &str) -> NodeId {
    world.ask(secret, &[("resource", resource)]).await.unwrap().minted.delegation.id
}

async fn stored(world: &World) -> usize {
    world.store.scan(Kind::Delegation, By::Subject("worker"), None, 100).await.unwrap().len()
}

#[tokio::test]
async fn tokens_for_one_resource_are_minted_under_one_root_until_it_ends() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let first = root(&world, &secret, SANDBOX).await;
    assert_ne!(root(&world, &secret, BILLING).await, first);
    world.clock.advance(Duration::from_secs(3600 - 121));
    assert_eq!(root(&world, &secret, SANDBOX).await, first);
    assert_eq!(stored(&world).await, 2);
    // A token under it would outlive it now.
    world.clock.advance(Duration::from_secs(1));
    let response = world.ask(&secret, &[("resource", SANDBOX)]).await.unwrap();
    assert_ne!(response.minted.delegation.id, first);
    assert_eq!(response.minted.expires_at.seconds(), world.now() + 120);
}

#[tokio::test]
async fn each_token_under_a_root_has_its_own_identifier() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let one = world.ask(&secret, &[("resource", SANDBOX)]).await.unwrap().minted;
    let two = world.ask(&secret, &[("resource", SANDBOX)]).await.unwrap().minted;
    assert_ne!(one.jti, two.jti);
    assert_eq!((one.made, two.made), (true, false));
    assert_eq!(one.delegation, two.delegation);
}

#[tokio::test]
async fn a_root_survives_a_restart() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let before = root(&world, &secret, SANDBOX).await;
    drop(world);
    let world = World::with(&ground, &["sandbox", "billing"], 2).await;
    assert_eq!(root(&world, &secret, SANDBOX).await, before);
    assert_ne!(root(&world, &secret, BILLING).await, before);
}

#[tokio::test]
async fn a_revoked_root_is_not_used_again_and_the_agent_gets_a_new_one() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let revoked = root(&world, &secret, SANDBOX).await;
    world.revoke(DenyKey::Delegation(revoked.clone())).await;
    let fresh = root(&world, &secret, SANDBOX).await;
    assert_ne!(fresh, revoked);
    assert_eq!(root(&world, &secret, SANDBOX).await, fresh);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_requests_at_once_one_makes_the_root() {
    let ground = Ground::new();
    let world = Arc::new(World::on(&ground).await);
    let secret: Arc<str> = world.add(worker()).await.into();
    let requests: Vec<_> = (0..32)
        .map(|_| {
            let (world, secret) = (Arc::clone(&world), Arc::clone(&secret));
            tokio::spawn(async move { root(&world, &secret, SANDBOX).await })
        })
        .collect();
    let mut roots = Vec::new();
    for request in requests {
        roots.push(request.await.unwrap());
    }
    roots.dedup();
    assert_eq!(roots.len(), 1);
    assert_eq!(stored(&world).await, 1);
}

#[tokio::test]
async fn a_root_made_on_other_terms_is_not_used_again() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let before = root(&world, &secret, SANDBOX).await;
    drop(world);
    // A tree may not become deeper than it may now.
    let mut config = config(&["sandbox"]);
    config.max_depth = 2;
    let world = World::planned(&ground, Plan { config, seed: 2, ..Plan::default() }).await;
    let shallow = root(&world, &secret, SANDBOX).await;
    assert_ne!(shallow, before);
    // Nor have scopes that the agent may not have any more.
    let record = world.store.get(Kind::Agent, "worker").await.unwrap().unwrap();
    let mut agent = record.decode::<serde_json::Value>().unwrap();
    agent["scopes"] = serde_json::json!(["repo:read"]);
    world.store.commit(vec![Op::Put(Put::new(Kind::Agent, "worker", &agent).unwrap())]).await.unwrap();
    world.caught_up().await;
    let minted = world.ask(&secret, &[("resource", SANDBOX)]).await.unwrap().minted;
    assert_ne!(minted.delegation.id, shallow);
    assert_eq!((minted.scopes, minted.delegation.scopes), (set(&["repo:read"]), set(&["repo:read"])));
}
