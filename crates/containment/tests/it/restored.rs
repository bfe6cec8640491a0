use std::sync::Arc;

use vestibule_model::Denial;
use vestibule_store::Store;

use crate::{
    shelf::Shelf,
    world::{Token, agent, clock, following, order},
};

#[tokio::test]
async fn a_restored_database_does_not_let_the_revoked_in_and_is_told_again() {
    let (shelf, token) = (Arc::new(Shelf::default()), Token::of(1, &["a"]));
    let (containment, follower) = following(shelf.clone(), clock()).await;
    containment.revoke(order(agent("a"))).await.unwrap();
    containment.revoke(order(agent("b"))).await.unwrap();
    follower.caught_up(2).await;

    shelf.forget();
    assert_eq!(shelf.changes(0, 0).await.unwrap().head, 0);
    shelf.polled(3).await;
    assert_eq!(containment.check(&token.path()), Err(Denial::AgentRevoked));
    shelf.written(2).await;

    let (second, _follower) = following(shelf, clock()).await;
    assert_eq!(second.check(&token.path()), Err(Denial::AgentRevoked), "another gateway knows it again");
    assert_eq!(second.list(), containment.list());
}
