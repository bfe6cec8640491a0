//! Tokens of what is revoked.

use std::sync::atomic::{AtomicBool, Ordering};

use vestibule_model::{FaultKind, Stop};
use vestibule_outbound::{EndpointsConfig, MintedFor};

use super::{
    world::{World, caller},
    *,
};

const EXCHANGE: &str = "token-exchange: { server: corp, subject: assertion, actor: chain }";

/// Whether an agent of that name stands behind a token.
fn is_of(name: &str) -> impl Fn(&MintedFor) -> bool {
    move |minted_for| minted_for.agents.iter().any(|actor| actor.agent.as_str() == name)
}

#[tokio::test]
async fn every_token_of_a_subtree_is_dropped_and_given_back_and_no_other() {
    let world = World::new(EXCHANGE).await;
    let mut of_b = Vec::new();
    for agents in [&["a"][..], &["a", "b"], &["a", "b", "c"], &["a", "d"]] {
        let token = world.token(caller(Some("u"), agents)).await;
        if agents.contains(&"b") {
            of_b.push(token);
        }
    }
    for token in world.outbound.sweep(is_of("b")) {
        assert_eq!((token.server(), token.app()), ("corp", &app()));
        assert_eq!(token.minted_for().nodes.len(), token.minted_for().agents.len());
        world.outbound.give_back(token).await.unwrap();
    }
    let mut revoked = world.server.revoked();
    revoked.sort_unstable();
    of_b.sort_unstable();
    assert_eq!(revoked, of_b);

    let before = world.asked();
    world.token(caller(Some("u"), &["a", "d"])).await;
    assert_eq!(world.asked(), before, "it is kept");
    world.token(caller(Some("u"), &["a", "b"])).await;
    assert_eq!(world.asked(), before + 1, "it is gone");
}

#[tokio::test]
async fn a_token_that_is_on_its_way_when_its_holder_is_revoked_is_dead_when_it_arrives() {
    let world = World::new(EXCHANGE).await;
    world.server.served().hold();
    let is_swept = AtomicBool::new(false);
    let (stop, ()) = tokio::join!(world.obtain(caller(Some("u"), &["a"])), async {
        world.server.served().wait_for(1).await;
        assert!(world.outbound.sweep(is_of("a")).is_empty(), "there is nothing to give back yet");
        is_swept.store(true, Ordering::SeqCst);
        world.server.served().release();
    });
    assert!(matches!(stop, Err(Stop::Failed(fault)) if fault.kind == FaultKind::AccessUnavailable));
    world.outbound.has_strays().await;
    let strays = world.outbound.sweep(|_| false);
    assert_eq!(strays.len(), 1);
    for token in strays {
        world.outbound.give_back(token).await.unwrap();
    }
    assert_eq!(world.server.revoked().len(), 1);
}

#[tokio::test]
async fn the_gateways_own_token_is_no_agents() {
    let world = World::new("client-credentials: { server: corp }").await;
    world.token(caller(Some("u"), &["a"])).await;
    assert!(world.outbound.sweep(is_of("a")).is_empty());
    let per_agent = World::new("client-credentials: { server: corp, per: agent }").await;
    per_agent.token(caller(Some("u"), &["a"])).await;
    assert_eq!(per_agent.outbound.sweep(is_of("a")).len(), 1);
}

#[tokio::test]
async fn a_token_survives_a_restart_and_can_be_revoked_after_it() {
    let world = World::new(EXCHANGE).await;
    let token = world.token(caller(Some("u"), &["a"])).await;
    while world.shelf.kept().is_empty() {
        tokio::task::yield_now().await;
    }
    let [(name, _)] = world.shelf.kept().try_into().unwrap();
    assert!(name.bytes().all(|b| b.is_ascii_hexdigit()), "its name tells nothing: {name}");

    let world = world.restarted().await;
    assert_eq!(world.token(caller(Some("u"), &["a"])).await, token);
    assert_eq!(world.asked(), 1);
    for token in world.outbound.sweep(is_of("a")) {
        world.outbound.give_back(token).await.unwrap();
    }
    assert_eq!(world.server.revoked(), [token]);
    assert!(world.shelf.kept().is_empty());
}

#[tokio::test]
async fn a_token_of_another_configuration_is_not_used_after_a_restart() {
    let world = World::new(EXCHANGE).await;
    world.token(caller(Some("u"), &["a"])).await;
    while world.shelf.kept().is_empty() {
        tokio::task::yield_now().await;
    }
    let other = World::new(EXCHANGE).await;
    for (name, secret) in world.shelf.kept() {
        other.shelf.put_now(&name, &secret);
    }
    other.shelf.put_now("garbage", "garbage");
    // The same strategy, but its server is another one.
    let other = other.restarted().await;
    assert!(other.shelf.kept().is_empty());
    other.token(caller(Some("u"), &["a"])).await;
    assert_eq!(other.asked(), 1);
}

#[tokio::test]
async fn what_cannot_be_given_back_is_neither_kept_over_a_restart_nor_given_back() {
    let world = World::with(EXCHANGE, |config| {
        if let EndpointsConfig::Given { revocation, .. } = &mut config.endpoints {
            *revocation = None;
        }
    })
    .await;
    world.token(caller(Some("u"), &["a"])).await;
    assert!(world.outbound.sweep(is_of("a")).is_empty());
    assert!(world.shelf.kept().is_empty());
    // But it is gone here.
    world.token(caller(Some("u"), &["a"])).await;
    assert_eq!(world.asked(), 2);
}
