use std::time::Duration;

use vestibule_containment::{Order, State};
use vestibule_model::Denial;
use vestibule_store::{By, Kind, Store, Subscriber};

use crate::world::{Shelved, Token, agent, at, following, order, suspend};

#[tokio::test]
async fn a_restored_database_does_not_let_the_revoked_in_and_is_told_again() {
    let world = Shelved::open().await;
    let token = Token::of(1, &["a"]);
    world.containment.order(order(agent("a"))).await.unwrap();
    world.containment.order(suspend(agent("b"))).await.unwrap();
    world.follower.caught_up(2).await;

    world.shelf.forget();
    assert_eq!(world.shelf.changes(0, 0).await.unwrap().head, 0);
    world.shelf.polled(3).await;
    assert_eq!(token.fate(&world.containment), Some(Denial::AgentRevoked));
    world.shelf.written(2).await;

    let (second, _follower) = following(world.shelf.clone(), world.clock.clone()).await;
    assert_eq!(token.fate(&second), Some(Denial::AgentRevoked), "another gateway knows it again");
    assert_eq!(second.list(), world.containment.list());
}

#[tokio::test]
async fn a_restored_database_is_told_what_was_widened_since_and_its_own_is_kept() {
    let world = Shelved::open().await;
    world.containment.order(Order { cutoff: Some(at(5)), ..order(agent("a")) }).await.unwrap();
    let backup = world.shelf.backup();
    world.containment.order(order(agent("a"))).await.unwrap();
    world.follower.caught_up(2).await;

    world.shelf.restore(backup);
    world.shelf.written(2).await;
    let (second, _follower) = following(world.shelf.clone(), world.clock.clone()).await;
    assert_eq!(second.list().iter().map(|entry| entry.cutoff).collect::<Vec<_>>(), [None]);
    let token = Token::of(1, &["a"]).since(&[at(60)]);
    assert_eq!(token.fate(&world.containment), Some(Denial::AgentRevoked));
}

#[tokio::test]
async fn a_restored_database_does_not_bring_a_suspension_back_and_is_told_of_its_end() {
    let world = Shelved::open().await;
    let token = Token::of(1, &["a"]);
    world.containment.order(suspend(agent("a"))).await.unwrap();
    let backup = world.shelf.backup();
    world.containment.resume(&agent("a"), "operator").await.unwrap();
    world.follower.caught_up(2).await;

    world.shelf.restore(backup);
    world.shelf.polled(3).await;
    assert_eq!(token.fate(&world.containment), None);
    world.shelf.written(2).await;
    let (second, _follower) = following(world.shelf.clone(), world.clock.clone()).await;
    assert_eq!(token.fate(&second), None, "another gateway knows it again");
    assert_eq!(world.shelf.body("suspended/agent/a")["turn"], 2);
}

#[tokio::test]
async fn what_is_suspended_again_after_a_restore_stays_so() {
    let world = Shelved::open().await;
    let token = Token::of(1, &["a"]);
    world.containment.order(suspend(agent("a"))).await.unwrap();
    let backup = world.shelf.backup();
    world.containment.resume(&agent("a"), "operator").await.unwrap();
    world.follower.caught_up(2).await;
    world.shelf.restore(backup);

    // The database says already that it is suspended, by the turn that was taken back.
    world.containment.order(suspend(agent("a"))).await.unwrap();
    world.shelf.polled(3).await;
    assert_eq!(token.fate(&world.containment), Some(Denial::AgentSuspended));
    assert_eq!(world.shelf.body("suspended/agent/a")["turn"], 3);
    assert_eq!(world.containment.list()[0].state, State::Suspended);
}

#[tokio::test]
async fn the_end_of_a_suspension_survives_a_restart() {
    let world = Shelved::open().await;
    let token = Token::of(1, &["a"]);
    world.containment.order(suspend(agent("a"))).await.unwrap();
    world.containment.resume(&agent("a"), "operator").await.unwrap();
    let (second, _follower) = following(world.shelf.clone(), world.clock.clone()).await;
    assert_eq!((token.fate(&second), second.list()), (None, vec![]));
}

#[tokio::test]
async fn a_short_suspension_that_took_the_place_of_a_long_one_leaves_nothing_of_it() {
    let world = Shelved::open().await;
    let token = Token::of(1, &["a"]);
    // A gateway that is away while the suspension ends and another one, a short one, comes and goes.
    let (away, follower) = following(world.shelf.clone(), world.clock.clone()).await;
    world.containment.order(suspend(agent("a"))).await.unwrap();
    follower.caught_up(1).await;
    drop(follower);
    world.containment.resume(&agent("a"), "operator").await.unwrap();
    world.containment.order(Order { expires_at: Some(at(60)), ..suspend(agent("a")) }).await.unwrap();
    world.pass(Duration::from_secs(60)).await;

    assert_eq!(away.list().len(), 1);
    let records = world.shelf.scan(Kind::Deny, By::All, None, 10).await;
    Subscriber::reset(away.as_ref(), records.unwrap()).unwrap();
    assert_eq!(away.list(), []);
    assert_eq!(token.fate(&world.containment), None);
}
