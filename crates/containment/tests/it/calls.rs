use std::time::Duration;

use tokio::time::timeout;
use vestibule_containment::{Passage, Stage};
use vestibule_model::{Denial, TokenId};

use crate::world::{Shelved, Token, agent, attempt, order, suspend};

/// A call of agent `a`.
fn outer(world: &Shelved) -> Passage {
    Token::of(1, &["a"]).admit(&world.containment).unwrap()
}

/// A call that agent `b` makes within others. Its path does not name `a`.
fn inner(n: u32, calls: &[&Passage]) -> Token {
    Token::of(n, &["b"]).within(calls)
}

#[tokio::test]
async fn a_call_within_a_call_ends_with_it() {
    let world = Shelved::open().await;
    let outer = outer(&world);
    let inner = inner(2, &[&outer]).admit(&world.containment).unwrap();
    let innermost = Token::of(3, &["c"]).within(&[&outer, &inner]).admit(&world.containment).unwrap();
    let deepest = Token::of(4, &["d"]).within(&[&innermost]).admit(&world.containment).unwrap();
    let beside = Token::of(5, &["b"]).admit(&world.containment).unwrap();
    drop(outer);
    for call in [&inner, &innermost, &deepest] {
        assert_eq!(call.cut(), Some(Denial::CallEnded));
        assert_eq!(call.guard(async {}).await, Err(Denial::CallEnded));
    }
    assert_eq!(beside.cut(), None);
}

#[tokio::test]
async fn a_call_is_made_only_within_calls_that_are_under_way() {
    let world = Shelved::open().await;
    let (outer, other) = (outer(&world), Token::of(9, &["z"]).admit(&world.containment).unwrap());
    let token = inner(2, &[&outer, &other]);
    assert!(world.containment.is_under_way(outer.attempt()));
    assert_eq!(world.containment.check(&token.path()), Ok(()));
    assert_eq!(token.fate(&world.containment), None);
    drop(other);
    assert_eq!(token.fate(&world.containment), Some(Denial::CallEnded), "one that has ended is enough");
    assert_eq!(world.containment.check(&token.path()), Err(Denial::CallEnded), "nothing is minted for it");
    assert_eq!(inner(3, &[&outer]).fate(&world.containment), None);
    assert!(!world.containment.is_under_way(attempt(9)) && !world.containment.is_under_way(attempt(77)));
}

#[tokio::test]
async fn a_call_that_has_left_takes_nothing_along_but_what_is_within_it() {
    let world = Shelved::open().await;
    let outer = outer(&world);
    let first = inner(2, &[&outer]).admit(&world.containment).unwrap();
    let second = inner(3, &[&outer]).admit(&world.containment).unwrap();
    drop(first);
    assert_eq!((outer.cut(), second.cut()), (None, None));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_cut_takes_along_what_is_within_it_before_the_acknowledgement() {
    let world = Shelved::open().await;
    for (n, order) in [order, suspend].into_iter().enumerate() {
        let token = Token { jti: TokenId::parse(&format!("{n:032}")).unwrap(), ..Token::of(1, &["a"]) };
        let outer = token.admit(&world.containment).unwrap();
        let inner = inner(2, &[&outer]).admit(&world.containment).unwrap();
        inner.streaming().unwrap();
        let mut order = Box::pin(world.containment.order(order(token.key())));
        assert!(timeout(Duration::from_millis(10), &mut order).await.is_err());
        assert_eq!(inner.cut(), Some(Denial::CallEnded));
        drop(outer);
        assert!(timeout(Duration::from_millis(10), &mut order).await.is_err(), "it waits for the inner one");
        drop(inner);
        let report = order.await.unwrap();
        assert_eq!((report.cut.attempts, report.cut.streams), (2, 1));
        let listed: Vec<_> = report.attempts.iter().map(|cut| (cut.agent.as_str(), cut.stage)).collect();
        assert_eq!(listed, [("a", Stage::Queued), ("b", Stage::Streaming)]);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_let_in_within_a_call_that_is_cut_and_has_not_left() {
    let world = Shelved::open().await;
    let outer = outer(&world);
    world.containment.order(order(agent("a"))).await.unwrap();
    assert_eq!(inner(2, &[&outer]).fate(&world.containment), Some(Denial::CallEnded));
    assert!(!world.containment.is_under_way(outer.attempt()));
}

#[tokio::test(start_paused = true)]
async fn what_is_within_is_told_its_own_denial_when_its_own_name_is_revoked() {
    let world = Shelved::open().await;
    let outer = Token::of(1, &["a"]).admit(&world.containment).unwrap();
    let inner = Token::of(2, &["a", "b"]).within(&[&outer]).admit(&world.containment).unwrap();
    let report = world.containment.order(order(agent("a"))).await.unwrap();
    assert_eq!((outer.cut(), inner.cut()), (Some(Denial::AgentRevoked), Some(Denial::AgentRevoked)));
    assert_eq!(report.cut.attempts, 2, "each once");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_called_off_ends_with_what_is_within_it() {
    let world = Shelved::open().await;
    let outer = outer(&world);
    let inner = inner(2, &[&outer]).admit(&world.containment).unwrap();
    let switch = outer.off_switch();
    switch.call_off();
    assert_eq!((outer.cut(), inner.cut()), (Some(Denial::CallCalledOff), Some(Denial::CallEnded)));
    assert_eq!(outer.guard(std::future::pending::<()>()).await, Err(Denial::CallCalledOff));
    // An order that comes now waits for it all the same.
    let mut order = Box::pin(world.containment.order(order(agent("a"))));
    assert!(timeout(Duration::from_millis(10), &mut order).await.is_err());
    drop((outer, inner));
    assert_eq!(order.await.unwrap().cut.attempts, 0, "it was cut before");
    switch.call_off();
}
