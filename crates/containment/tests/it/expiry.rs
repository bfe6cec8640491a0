use std::time::Duration;

use vestibule_containment::{DenyEntry, DenyKey, KeyKind, Order, OrderError};
use vestibule_model::{Clock, Denial, Timestamp};
use vestibule_store::Store;

use crate::world::{Shelved, Token, World, agent, at, node, now, order, suspend};

const MILLI: Duration = Duration::from_millis(1);
const HOUR: Duration = Duration::from_secs(60 * 60);

#[tokio::test]
async fn an_order_that_has_ended_denies_nothing_though_nobody_has_swept_it() {
    let world = Shelved::open().await;
    let containment = &world.containment;
    let token = Token::of(1, &["a", "b"]);
    containment.order(Order { expires_at: Some(at(60)), ..order(agent("a")) }).await.unwrap();
    containment.order(Order { expires_at: Some(at(120)), ..suspend(agent("b")) }).await.unwrap();
    let version = containment.version();

    world.pass(Duration::from_secs(60) - MILLI).await;
    assert_eq!(token.fate(containment), Some(Denial::AgentRevoked));
    world.pass(MILLI).await;
    assert_eq!(token.fate(containment), Some(Denial::AgentSuspended), "the other goes on");
    assert_eq!(containment.list().iter().map(|entry| entry.key.clone()).collect::<Vec<_>>(), [agent("b")]);
    world.pass(Duration::from_secs(60)).await;
    assert_eq!((token.fate(containment), containment.list()), (None, vec![]));
    assert_eq!(containment.version(), version, "nobody has touched the set");
}

#[tokio::test]
async fn an_order_can_be_given_anew_when_it_has_ended() {
    let world = Shelved::open().await;
    let token = Token::of(1, &["a"]);
    for order in [order, suspend] {
        let short = |seconds| Order { expires_at: Some(at(seconds)), ..order(agent("a")) };
        let since = world.clock.now().since(now()).as_secs();
        world.containment.order(short(since + 60)).await.unwrap();
        world.pass(Duration::from_secs(60)).await;
        assert_eq!(token.fate(&world.containment), None);
        world.containment.order(short(since + 120)).await.unwrap();
        assert!(token.fate(&world.containment).is_some());
        world.pass(Duration::from_secs(60)).await;
    }
    assert_eq!(token.fate(&world.containment), None);
}

#[tokio::test]
async fn an_order_is_made_longer_and_never_shorter() {
    for order in [order, suspend] {
        let world = Shelved::open().await;
        let until = |seconds| Order { expires_at: Some(at(seconds)), ..order(agent("a")) };
        let listed = || world.containment.list()[0].expires_at;
        world.containment.order(until(60)).await.unwrap();
        world.containment.order(until(120)).await.unwrap();
        assert_eq!(listed(), Some(at(120)));
        world.containment.order(until(90)).await.unwrap();
        assert_eq!(listed(), Some(at(120)));
        world.containment.order(order(agent("a"))).await.unwrap();
        world.containment.order(until(180)).await.unwrap();
        assert_eq!(listed(), None);
    }
}

#[tokio::test]
async fn an_order_that_would_have_ended_before_it_began_is_none() {
    let world = Shelved::open().await;
    for order in [order, suspend] {
        let late = Order { expires_at: Some(now()), ..order(agent("a")) };
        assert!(matches!(world.containment.order(late).await, Err(OrderError::Expired)));
    }
    assert_eq!(world.containment.list(), []);
}

#[tokio::test]
async fn entries_about_tokens_and_nodes_end_when_none_can_live_any_more() {
    let world = World::open().await;
    let token = Token::of(1, &["a"]);
    let keys = [token.key(), DenyKey::Delegation(node("a")), agent("a")];
    for key in &keys {
        world.containment.order(order(key.clone())).await.unwrap();
        world.containment.order(order(key.clone())).await.unwrap();
    }
    let kinds = |list: Vec<DenyEntry>| list.iter().map(|entry| entry.key.kind()).collect::<Vec<_>>();
    world.clock.advance(25 * HOUR - MILLI);
    assert_eq!(
        kinds(world.containment.list()),
        [KeyKind::Token, KeyKind::Agent, KeyKind::Delegation],
        "a day is the longest life of a token and of a node"
    );
    assert_eq!(world.store.trim(world.clock.now(), 0).await.unwrap(), 0);
    world.clock.advance(MILLI);
    assert_eq!(kinds(world.containment.list()), [KeyKind::Agent]);
    assert_eq!(world.store.trim(world.clock.now(), 0).await.unwrap(), 2);
}

#[tokio::test]
async fn what_has_ended_goes_when_its_part_of_the_set_is_touched() {
    let world = Shelved::open().await;
    let soon: Option<Timestamp> = Some(at(60));
    for n in 0..50 {
        let order = Order { expires_at: soon, ..order(agent(&format!("a-{n}"))) };
        world.containment.order(order).await.unwrap();
    }
    world.pass(Duration::from_secs(60)).await;
    // The same names are in the same parts.
    for n in 0..50 {
        world.containment.order(order(agent(&format!("a-{n}")))).await.unwrap();
    }
    let list = world.containment.list();
    assert_eq!(list.len(), 50);
    assert!(list.iter().all(|entry| entry.expires_at.is_none()));
}
