use std::{
    sync::Arc,
    task::{Context, Waker},
};

use vestibule_containment::Passage;
use vestibule_model::Denial;

use crate::world::{Shelved, Token, agent, order};

fn admit(world: &Shelved) -> Passage {
    Token::of(1, &["a"]).admit(&world.containment).unwrap()
}

async fn revoke(world: &Shelved) {
    world.containment.order(order(agent("a"))).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn pending_work_is_dropped_when_it_is_cut() {
    let world = Shelved::open().await;
    let passage = admit(&world);
    let alive = Arc::new(());
    let held = Arc::clone(&alive);
    let mut guarded = Box::pin(passage.guard(async move {
        std::future::pending::<()>().await;
        drop(held);
    }));
    assert!(guarded.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(Arc::strong_count(&alive), 2);
    revoke(&world).await;
    assert_eq!(guarded.await, Err(Denial::AgentRevoked));
    assert_eq!(Arc::strong_count(&alive), 1);
    passage.cancelled().await;
}

#[tokio::test(start_paused = true)]
async fn work_that_never_began_never_begins_after_a_cut() {
    let world = Shelved::open().await;
    let passage = admit(&world);
    revoke(&world).await;
    let work = async { unreachable!("the attempt is cut") };
    assert_eq!(passage.guard(work).await, Err::<(), _>(Denial::AgentRevoked));
}

#[tokio::test(start_paused = true)]
async fn a_result_that_is_ready_when_the_cut_comes_is_withheld() {
    let world = Shelved::open().await;
    let passage = admit(&world);
    let work = async {
        revoke(&world).await;
        "secret"
    };
    // The order waits for the guard, and the guard for the order: the order gives up, and then its time is over.
    assert_eq!(passage.guard(work).await, Err(Denial::AgentRevoked));
}

#[tokio::test]
async fn what_is_not_cut_gives_its_result() {
    let world = Shelved::open().await;
    let passage = admit(&world);
    assert_eq!(passage.guard(async { 7 }).await, Ok(7));
    assert_eq!(passage.cut(), None);
}

#[tokio::test]
async fn a_passage_shows_which_attempt_it_is_of_and_nobodys_name() {
    let world = Shelved::open().await;
    let passage = admit(&world);
    assert_eq!(format!("{passage:?}"), format!("Passage {{ attempt: {}, .. }}", passage.attempt()));
}
