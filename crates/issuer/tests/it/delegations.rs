//! The tree as operators see it.

use std::sync::Arc;

use vestibule_containment::{DenyKey, Reason as OrderReason, State};
use vestibule_issuer::{Delegations, NewAgent, Node, Reason};
use vestibule_model::{AgentId, NodeId, Timestamp};
use vestibule_store::{Kind, Op, Put};

use crate::{
    holder::Holder,
    support::{BILLING, Ground, NOW, SANDBOX, Signer, World, worker},
};

fn tree(world: &World) -> Delegations {
    Delegations::new(Arc::clone(&world.store))
}

fn node(holder: &Holder) -> NodeId {
    holder.minted.delegation.id.clone()
}

fn ids(nodes: &[Node]) -> Vec<NodeId> {
    nodes.iter().map(|node| node.delegation.id.clone()).collect()
}

fn sorted(mut ids: Vec<NodeId>) -> Vec<NodeId> {
    ids.sort();
    ids
}

#[tokio::test]
async fn a_node_is_found_with_what_was_made_below_it() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let (left, right) = (world.spawn(&root, &[]).await, world.spawn(&root, &[]).await);
    let below = world.spawn(&left, &[("expires_in", "60")]).await;
    let tree = tree(&world);
    let found = tree.get(&node(&root)).await.unwrap().unwrap();
    assert_eq!((found.delegation.children, found.version), (2, 3));
    let children = tree.children(&node(&root), None, 10).await.unwrap();
    assert_eq!(ids(&children.items), sorted(vec![node(&left), node(&right)]));
    assert_eq!(children.next, None);
    let first = tree.children(&node(&root), None, 1).await.unwrap();
    let second = tree.children(&node(&root), first.next.as_ref(), 1).await.unwrap();
    assert_eq!([ids(&first.items), ids(&second.items)].concat(), ids(&children.items));

    let all = tree.subtree(&node(&root), 100).await.unwrap().unwrap();
    assert!(all.is_complete);
    let order = ids(&all.nodes);
    assert_eq!(order.first(), Some(&node(&root)));
    assert_eq!(sorted(order.clone()), sorted(vec![node(&root), node(&left), node(&right), node(&below)]));
    let place = |id: &NodeId| order.iter().position(|one| one == id);
    assert!(place(&node(&left)) < place(&node(&below)));
    for (bound, found, is_complete) in [(1, 1, false), (2, 2, false), (3, 3, false), (4, 4, true)] {
        let some = tree.subtree(&node(&root), bound).await.unwrap().unwrap();
        assert_eq!((some.nodes.len(), some.is_complete), (found, is_complete), "{bound}");
    }
    // What has ended is not there any more.
    world.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(tree.get(&node(&below)).await.unwrap(), None);
    assert_eq!(tree.subtree(&node(&below), 10).await.unwrap(), None);
    assert_eq!(tree.subtree(&node(&root), 100).await.unwrap().unwrap().nodes.len(), 3);
}

#[tokio::test]
async fn roots_and_the_nodes_of_an_agent_are_listed_by_page() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let other = world.add(NewAgent { id: "other".into(), ..worker() }).await;
    let mut roots = vec![
        node(&world.root(&secret, &[]).await),
        node(&world.root_of("worker", &secret, &[("resource", BILLING)]).await),
    ];
    let last = world.root_of("other", &other, &[("resource", SANDBOX)]).await;
    roots.push(node(&last));
    for _ in 0..5 {
        world.spawn(&last, &[]).await;
    }
    let tree = tree(&world);
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = tree.roots(after.as_ref(), 2).await.unwrap();
        assert!(page.items.len() <= 2);
        found.extend(ids(&page.items));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, sorted(roots.clone()));
    let worker = AgentId::new("worker").unwrap();
    let own = tree.of_agent(&worker, None, 10).await.unwrap();
    assert_eq!(ids(&own.items), sorted(roots[..2].to_vec()));
}

#[tokio::test]
async fn a_record_that_contradicts_itself_is_no_node() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let child = world.spawn(&root, &[]).await;
    let record = world.store.get(Kind::Delegation, node(&child).as_str()).await.unwrap().unwrap();
    let mut broken = child.minted.delegation.clone();
    // Without its parent on the path, the parent's revocation would not reach it.
    broken.path.remove(0);
    broken.chain.remove(0);
    let put = Put::new(Kind::Delegation, record.key.as_str(), &broken).unwrap();
    world.store.commit(vec![Op::Put(put)]).await.unwrap();
    assert!(tree(&world).get(&node(&child)).await.is_err());
    let error = world.exchange(&child, &[]).await.unwrap_err();
    assert_eq!((error.reason, error.status()), (Reason::StoreUnavailable, 503));
}

#[tokio::test]
async fn a_node_that_stands_elsewhere_than_its_token_says_mints_nothing() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let (root, other) = (world.root(&secret, &[]).await, world.root(&secret, &[]).await);
    let child = world.spawn(&root, &[]).await;
    let mut moved = child.minted.delegation.clone();
    moved.parent = Some(node(&other));
    moved.path[0] = other.minted.delegation.path[0].clone();
    assert!(moved.is_consistent());
    let put = Put::new(Kind::Delegation, moved.id.as_str(), &moved).unwrap();
    world.store.commit(vec![Op::Put(put)]).await.unwrap();
    assert_eq!(world.exchange(&child, &[]).await.unwrap_err().reason, Reason::TokenInvalid);
    assert_eq!(world.not_spawned(&child, &[]).await, Reason::TokenInvalid);
}

/// A token says its times in whole seconds, so what is minted and what the door lets in must not differ within one.
#[tokio::test]
async fn a_cutoff_within_the_second_of_a_node_reaches_it_where_tokens_are_minted() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    world.clock.advance(std::time::Duration::from_millis(1700));
    let cutoff = Some(Timestamp::from_millis(NOW * 1000 + 1500));
    let order = async |agent: AgentId| {
        world.order(DenyKey::Agent(agent), State::Revoked, OrderReason::Compromise, cutoff).await;
    };
    let key = Signer::new("child");
    order(key.id()).await;
    assert_eq!(world.try_spawn(&root, &key, &[]).await.unwrap_err().reason, Reason::AgentRevoked);
    let child = world.spawn(&root, &[]).await.minted.delegation;
    let second = Timestamp::from_seconds(NOW + 1);
    assert_eq!((child.created_at, child.path[1].since), (second, second));
    order(AgentId::new("worker").unwrap()).await;
    let asked = [("resource", BILLING)];
    assert_eq!(world.refused(&secret, &asked).await, Reason::AgentRevoked);
    // What is made in the next one is new.
    world.clock.advance(std::time::Duration::from_millis(300));
    let response = world.ask(&secret, &asked).await.unwrap();
    assert!(world.present(&response, BILLING).is_ok());
}
