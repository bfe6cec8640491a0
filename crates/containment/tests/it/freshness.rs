use std::{sync::Arc, time::Duration};

use vestibule_containment::Containment;
use vestibule_model::Denial;
use vestibule_store::{Follower, Kind, Op, Put, Store, StoreError};

use crate::{
    shelf::Shelf,
    world::{LEASE, Token, clock, following},
};

#[tokio::test]
async fn nobody_is_admitted_before_a_follower_vouches() {
    let containment = Containment::new(Arc::new(Shelf::default()), clock());
    let token = Token::of(1, &["a"]);
    assert_eq!(token.admit(&containment).unwrap_err(), Denial::ContainmentStale);
    assert_eq!(containment.check(&token.path()), Err(Denial::ContainmentStale));
}

#[tokio::test]
async fn beyond_its_lease_a_gateway_refuses_until_it_has_caught_up() {
    let (shelf, clock, token) = (Arc::new(Shelf::default()), clock(), Token::of(1, &["a"]));
    let (containment, follower) = following(shelf.clone(), clock.clone()).await;
    shelf.fail(true);
    shelf.polled(2).await;
    clock.advance(LEASE);
    assert_eq!(containment.check(&token.path()), Ok(()), "the lease has not lapsed");
    clock.advance(Duration::from_millis(1));
    assert_eq!(containment.check(&token.path()), Err(Denial::ContainmentStale));
    assert_eq!(token.admit(&containment).unwrap_err(), Denial::ContainmentStale);

    shelf.fail(false);
    shelf.polled(2).await;
    assert_eq!(follower.state_age(), Duration::ZERO);
    assert_eq!(containment.check(&token.path()), Ok(()));
}

#[tokio::test]
async fn a_follower_that_is_gone_vouches_for_nothing() {
    let (containment, follower) = following(Arc::new(Shelf::default()), clock()).await;
    let token = Token::of(1, &["a"]);
    assert_eq!(containment.check(&token.path()), Ok(()));
    drop(follower);
    assert_eq!(containment.check(&token.path()), Err(Denial::ContainmentStale));
}

#[tokio::test]
async fn an_entry_that_cannot_be_read_stops_the_gateway_and_is_not_skipped() {
    let (shelf, clock, token) = (Arc::new(Shelf::default()), clock(), Token::of(1, &["a"]));
    let (containment, _follower) = following(shelf.clone(), clock.clone()).await;
    let unknown = Put::new(Kind::Deny, "agent/a", &"of a later version").unwrap();
    shelf.commit(vec![Op::Put(unknown)]).await.unwrap();
    shelf.polled(2).await;
    clock.advance(LEASE + Duration::from_millis(1));
    shelf.polled(2).await;
    assert_eq!(containment.check(&token.path()), Err(Denial::ContainmentStale));

    let containment = Containment::new(shelf.clone(), clock.clone());
    let start = Follower::start(shelf, clock, LEASE, vec![containment]).await;
    assert!(matches!(start, Err(StoreError::Unreadable { .. })), "nor does it start");
}
