//! Minting against revoking.

use std::sync::{Arc, atomic::Ordering};

use vestibule_containment::DenyKey;
use vestibule_issuer::{Backing, Delegations, Issuer, Reason};
use vestibule_model::{FixedClock, SeededEntropy};

use crate::{
    holder::{Holder, JWT},
    meddler::Meddler,
    support::{Ground, Plan, SANDBOX, Signer, World, config, worker},
};

/// The issuer of `world`, on a store that something meddles with.
fn meddled(mut world: World) -> (World, Arc<Meddler>) {
    let meddler = Meddler::on(&world.store);
    let backing = Backing {
        store: Arc::<Meddler>::clone(&meddler),
        clock: Arc::<FixedClock>::clone(&world.clock),
        entropy: Arc::new(SeededEntropy::new(77)),
        user_tokens: None,
    };
    let (registry, keys) = (Arc::clone(&world.registry), Arc::clone(&world.keys));
    let issuer = Issuer::new(config(&["sandbox"]), backing, registry, keys, world.judges.clone());
    world.issuer = issuer.unwrap();
    (world, meddler)
}

/// The check before the commit has passed, and the order is acknowledged before the commit is.
#[tokio::test]
async fn what_is_revoked_while_the_node_is_written_is_not_minted() {
    let ground = Ground::new();
    let (world, meddler) = meddled(World::on(&ground).await);
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let containment = || Arc::clone(&world.judges.containment);
    let key = DenyKey::Credential(root.key.thumbprint());
    *meddler.revokes.lock().unwrap() = Some((containment(), key));
    let error = world.try_spawn(&root, &Signer::new("child"), &[]).await.unwrap_err();
    assert_eq!(
        (error.reason, error.body()["error"].as_str()),
        (Reason::CredentialRevoked, Some("invalid_request"))
    );
    // A root too.
    let agent = vestibule_model::AgentId::new("worker").unwrap();
    *meddler.revokes.lock().unwrap() = Some((containment(), DenyKey::Agent(agent)));
    let form = [("grant_type", "client_credentials"), ("resource", SANDBOX)];
    let headers = world.proven("worker", &secret, &Signer::new("new"));
    assert_eq!(world.token(&headers, &form).await.unwrap_err().reason, Reason::AgentRevoked);
}

#[tokio::test]
async fn a_gateway_that_others_get_ahead_of_tries_again_and_not_for_ever() {
    let ground = Ground::new();
    let (world, meddler) = meddled(World::on(&ground).await);
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    meddler.conflicts.store(7, Ordering::SeqCst);
    world.spawn(&root, &[]).await;
    meddler.conflicts.store(8, Ordering::SeqCst);
    let child = Signer::new("child");
    let actor = child.actor_token(&child.actor_claims(&root.token, world.now()));
    let form = [("actor_token", actor.as_str()), ("actor_token_type", JWT)];
    let error = world.exchange(&root, &form).await.unwrap_err();
    assert_eq!((error.reason, error.status()), (Reason::DelegationContended, 503));
    let tree = Delegations::new(Arc::clone(&world.store));
    let node = tree.get(&root.minted.delegation.id).await.unwrap().unwrap();
    assert_eq!(node.delegation.children, 1);
}

/// Whatever comes out of a spawn that races with the revocation of its parent is dead once that is acknowledged.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_child_of_a_revoked_parent_survives_however_the_two_meet() {
    let ground = Ground::new();
    let world = Arc::new(World::on(&ground).await);
    let secret = world.add(worker()).await;
    let (mut made, mut refused) = (0, 0);
    for round in 0..12_usize {
        let root = Arc::new(world.root(&secret, &[]).await);
        let spawns: Vec<_> = (0..6)
            .map(|_| {
                let (world, root) = (Arc::clone(&world), Arc::clone(&root));
                tokio::spawn(async move {
                    let key = Signer::new("child");
                    let response = world.try_spawn(&root, &key, &[]).await.ok()?;
                    Some(Holder::of(key, &response))
                })
            })
            .collect();
        // Another moment in each round.
        for _ in 0..round * 3 {
            tokio::task::yield_now().await;
        }
        world.revoke(DenyKey::Delegation(root.minted.delegation.id.clone())).await;
        let mut children = Vec::new();
        for spawn in spawns {
            match spawn.await.unwrap() {
                Some(child) => children.push(child),
                None => refused += 1,
            }
        }
        made += children.len();
        for child in &children {
            assert!(world.call(child).is_err(), "round {round}");
            assert!(world.exchange(child, &[]).await.is_err());
            assert!(world.try_spawn(child, &Signer::new("x"), &[]).await.is_err());
        }
        assert!(world.try_spawn(&root, &Signer::new("late"), &[]).await.is_err());
    }
    assert_eq!(made + refused, 12 * 6);
}

/// Two gateways on one database count one parent's children together.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_gateways_do_not_make_more_children_than_may_be() {
    let ground = Ground::new();
    let plan = |seed| {
        let mut config = config(&["sandbox"]);
        config.max_children = 8;
        Plan { config, seed, ..Plan::default() }
    };
    let here = Arc::new(World::planned(&ground, plan(1)).await);
    let there = Arc::new(World::planned(&ground, plan(2)).await);
    let secret = here.add(worker()).await;
    there.caught_up().await;
    let root = Arc::new(here.root(&secret, &[]).await);
    let spawns: Vec<_> = (0..24)
        .map(|number| {
            let world = Arc::clone(if number % 2 == 0 { &here } else { &there });
            let root = Arc::clone(&root);
            tokio::spawn(async move { world.try_spawn(&root, &Signer::new("c"), &[]).await.is_ok() })
        })
        .collect();
    let mut made = 0;
    for spawn in spawns {
        made += u32::from(spawn.await.unwrap());
    }
    assert!((1..=8).contains(&made), "{made}");
    let below = Delegations::new(Arc::clone(&here.store));
    let children = below.children(&root.minted.delegation.id, None, 100).await.unwrap().items;
    assert_eq!(children.len(), made as usize);
}
