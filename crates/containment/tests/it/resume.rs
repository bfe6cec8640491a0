use vestibule_containment::{Containment, Order, OrderError, State};
use vestibule_model::Denial;
use vestibule_store::{Change, Kind, Op, Put, Store, Subscriber};

use crate::world::{Shelved, Token, World, agent, at, following, open, order, suspend};

#[tokio::test]
async fn only_what_is_suspended_is_resumed() {
    let world = Shelved::open().await;
    let resume = async || world.containment.resume(&agent("a"), "operator").await;
    assert!(matches!(resume().await, Err(OrderError::NotSuspended)));
    world.containment.order(suspend(agent("a"))).await.unwrap();
    let lifted = resume().await.unwrap();
    assert_eq!((lifted.state, lifted.version, lifted.by.as_str()), (State::Suspended, 2, "operator"));
    assert!(matches!(resume().await, Err(OrderError::NotSuspended)));
    world.containment.order(order(agent("a"))).await.unwrap();
    assert!(matches!(resume().await, Err(OrderError::Revoked)));
}

#[tokio::test]
async fn what_is_suspended_can_be_revoked_and_then_does_not_come_back() {
    let world = Shelved::open().await;
    let token = Token::of(1, &["a"]);
    world.containment.order(suspend(agent("a"))).await.unwrap();
    assert_eq!(world.containment.order(order(agent("a"))).await.unwrap().state, State::Revoked);
    assert_eq!(token.fate(&world.containment), Some(Denial::AgentRevoked));
    let resumed = world.containment.resume(&agent("a"), "operator").await;
    assert!(matches!(resumed, Err(OrderError::Revoked)));
    let states: Vec<_> = world.containment.list().iter().map(|entry| entry.state).collect();
    assert_eq!(states, [State::Revoked]);
}

#[tokio::test]
async fn what_is_revoked_is_not_suspended() {
    let world = Shelved::open().await;
    world.containment.order(order(agent("a"))).await.unwrap();
    let version = world.containment.version();
    let report = world.containment.order(suspend(agent("a"))).await.unwrap();
    assert_eq!((report.state, report.version), (State::Revoked, 1));
    assert_eq!(world.containment.version(), version);
}

#[tokio::test]
async fn a_suspension_beyond_the_cutoff_of_a_revocation_is_taken_back_alone() {
    let world = Shelved::open().await;
    let containment = &world.containment;
    let old = Token::of(1, &["a"]).since(&[at(10)]);
    let new = Token::of(2, &["a"]).since(&[at(11)]);
    let fates = || [&old, &new].map(|token| token.fate(containment));
    containment.order(Order { cutoff: Some(at(10)), ..order(agent("a")) }).await.unwrap();
    assert_eq!(fates(), [Some(Denial::AgentRevoked), None]);
    containment.order(suspend(agent("a"))).await.unwrap();
    assert_eq!(fates(), [Some(Denial::AgentRevoked), Some(Denial::AgentSuspended)]);
    let states = |containment: &Containment| -> Vec<_> {
        containment.list().iter().map(|entry| entry.state).collect()
    };
    assert_eq!(states(containment), [State::Revoked, State::Suspended]);
    containment.resume(&agent("a"), "operator").await.unwrap();
    assert_eq!(fates(), [Some(Denial::AgentRevoked), None]);
    assert_eq!(states(containment), [State::Revoked]);
}

#[tokio::test]
async fn a_name_is_suspended_again_after_it_was_resumed_and_narrower_if_so_ordered() {
    let world = Shelved::open().await;
    let containment = &world.containment;
    let token = Token::of(1, &["a"]).since(&[at(11)]);
    for _ in 0..3 {
        containment.order(suspend(agent("a"))).await.unwrap();
        assert_eq!(token.fate(containment), Some(Denial::AgentSuspended));
        containment.resume(&agent("a"), "operator").await.unwrap();
        assert_eq!(token.fate(containment), None);
    }
    containment.order(Order { cutoff: Some(at(10)), ..suspend(agent("a")) }).await.unwrap();
    assert_eq!(token.fate(containment), None, "it came to be after the cutoff");
    containment.order(suspend(agent("a"))).await.unwrap();
    assert_eq!(token.fate(containment), Some(Denial::AgentSuspended));
}

#[tokio::test]
async fn another_gateway_follows_a_suspension_and_its_end() {
    let world = World::open().await;
    let elsewhere = open(world.folder.path(), &world.clock);
    let (other, _follower) = following(elsewhere.clone(), world.clock.clone()).await;
    let token = Token::of(1, &["a"]);
    let caught_up = async || {
        let head = elsewhere.changes(0, 0).await.unwrap().head;
        world.follower.caught_up(head).await;
    };
    other.order(suspend(agent("a"))).await.unwrap();
    caught_up().await;
    assert_eq!(token.fate(&world.containment), Some(Denial::AgentSuspended));
    other.resume(&agent("a"), "operator").await.unwrap();
    caught_up().await;
    assert_eq!(token.fate(&world.containment), None);
    // And the other way round: what one has ended, the other can end no more.
    let again = world.containment.resume(&agent("a"), "operator").await;
    assert!(matches!(again, Err(OrderError::NotSuspended)));
}

#[tokio::test]
async fn a_page_that_was_read_before_the_end_of_a_suspension_does_not_bring_it_back() {
    let world = Shelved::open().await;
    let token = Token::of(1, &["a"]);
    world.containment.order(suspend(agent("a"))).await.unwrap();
    let record = world.shelf.get(Kind::Deny, "suspended/agent/a").await.unwrap().unwrap();
    world.containment.resume(&agent("a"), "operator").await.unwrap();
    let change = Change { seq: 1, kind: Kind::Deny, key: record.key.clone(), record: Some(record) };
    Subscriber::apply(world.containment.as_ref(), &change).unwrap();
    assert_eq!(token.fate(&world.containment), None);
    assert_eq!(world.shelf.body("suspended/agent/a")["state"], "resumed");
}

#[tokio::test]
async fn a_record_that_is_deleted_takes_nothing_back() {
    let world = World::open().await;
    let token = Token::of(1, &["a"]);
    world.containment.order(order(agent("a"))).await.unwrap();
    let delete = Op::Delete { kind: Kind::Deny, key: agent("a").to_string() };
    world.follower.caught_up(world.store.commit(vec![delete]).await.unwrap()).await;
    assert_eq!(token.fate(&world.containment), Some(Denial::AgentRevoked));
    // Nor does what is written about something else disturb it.
    let other = Put::new(Kind::Agent, "a", &"x").unwrap();
    world.follower.caught_up(world.store.commit(vec![Op::Put(other)]).await.unwrap()).await;
    assert_eq!(token.fate(&world.containment), Some(Denial::AgentRevoked));
}
