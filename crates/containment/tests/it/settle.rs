use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, timeout};
use vestibule_containment::{DenyKey, Passage, Report, Stage, Wire};
use vestibule_model::Denial;
use vestibule_store::Store;

use crate::world::{Shelved, Token, World, agent, following, node, open, order};

const SETTLE_MAX: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

/// A connection that notes when it is severed.
#[derive(Debug, Default)]
struct Line(AtomicUsize);

impl Line {
    fn is_severed(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 0
    }
}

impl Wire for Line {
    fn sever(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn admit(world: &Shelved, n: u32, agent: &str) -> Passage {
    Token::of(n, &[agent]).admit(&world.containment).unwrap()
}

fn carried(passage: &Passage, is_shared: bool) -> Arc<Line> {
    let line = Arc::new(Line::default());
    passage.carried_by(line.clone(), is_shared);
    line
}

/// Orders, and says how long it took.
async fn ordered(world: &Shelved, name: &str) -> (Report, Duration) {
    let start = Instant::now();
    let report = world.containment.order(order(agent(name))).await.unwrap();
    (report, start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn an_order_with_nothing_to_cut_does_not_wait() {
    let world = Shelved::open().await;
    let (_running, start) = (admit(&world, 1, "b"), Instant::now());
    ordered(&world, "a").await;
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn an_order_returns_as_soon_as_all_that_was_cut_has_left() {
    let world = Shelved::open().await;
    let (first, second) = (admit(&world, 1, "a"), admit(&world, 2, "a"));
    let lines = [carried(&first, true), carried(&second, true)];
    for passage in [&first, &second] {
        passage.streaming().unwrap();
    }
    let mut order = Box::pin(ordered(&world, "a"));
    assert!(timeout(Duration::from_millis(300), &mut order).await.is_err());
    assert_eq!(second.cut(), Some(Denial::AgentRevoked));
    drop(second);
    assert!(timeout(Duration::from_millis(300), &mut order).await.is_err(), "the first is still there");
    drop(first);
    let (report, took) = order.await;
    assert_eq!((report.cut.streams, took), (2, Duration::from_millis(600)));
    assert!(!lines.iter().any(|line| line.is_severed()), "what leaves in time takes nobody else along");
}

#[tokio::test(start_paused = true)]
async fn what_does_not_leave_in_time_is_severed_before_the_acknowledgement() {
    let world = Shelved::open().await;
    let all = [Stage::Queued, Stage::Forwarded, Stage::Streaming, Stage::Completed];
    let running: Vec<_> = all
        .iter()
        .map(|stage| {
            let passage = admit(&world, *stage as u32, "a");
            let line = carried(&passage, true);
            match stage {
                Stage::Queued => {}
                Stage::Forwarded => passage.forwarded(),
                Stage::Streaming => passage.streaming().unwrap(),
                Stage::Completed => passage.complete(),
            }
            (passage, line)
        })
        .collect();
    let mut order = Box::pin(ordered(&world, "a"));
    assert!(timeout(SETTLE_MAX - MILLI, &mut order).await.is_err());
    assert!(!running.iter().any(|(_, line)| line.is_severed()));
    let (_, took) = order.await;
    assert_eq!(took, SETTLE_MAX);
    assert!(running.iter().all(|(_, line)| line.is_severed()));
}

#[tokio::test(start_paused = true)]
async fn a_wire_of_its_own_is_severed_at_once_while_the_reply_is_being_written() {
    let world = Shelved::open().await;
    let (queued, forwarded) = (admit(&world, 1, "a"), admit(&world, 2, "a"));
    let (streaming, completed) = (admit(&world, 3, "a"), admit(&world, 4, "a"));
    let lines = [&queued, &forwarded, &streaming, &completed].map(|passage| carried(passage, false));
    forwarded.forwarded();
    streaming.streaming().unwrap();
    completed.complete();
    let mut order = Box::pin(ordered(&world, "a"));
    assert!(timeout(Duration::ZERO, &mut order).await.is_err());
    let severed = lines.each_ref().map(|line| line.is_severed());
    assert_eq!(severed, [false, false, true, true], "the others are told why, and nothing else is written");
    drop([queued, forwarded, streaming, completed]);
    assert_eq!(order.await.1, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_wire_that_comes_too_late_is_severed_as_it_comes() {
    let world = Shelved::open().await;
    let (streaming, queued) = (admit(&world, 1, "a"), admit(&world, 2, "a"));
    streaming.streaming().unwrap();
    let mut order = Box::pin(ordered(&world, "a"));
    assert!(timeout(Duration::ZERO, &mut order).await.is_err());
    assert!(carried(&streaming, false).is_severed());
    assert!(!carried(&streaming, true).is_severed() && !carried(&queued, false).is_severed());
    order.await;
    assert!(carried(&queued, false).is_severed() && carried(&streaming, true).is_severed());
}

#[tokio::test(start_paused = true)]
async fn what_has_left_is_not_severed() {
    let world = Shelved::open().await;
    let passage = admit(&world, 1, "a");
    let line = carried(&passage, false);
    passage.complete();
    drop(passage);
    ordered(&world, "a").await;
    assert!(!line.is_severed(), "another reply may be on that wire by now");
}

#[tokio::test(start_paused = true)]
async fn what_was_severed_holds_up_no_later_order() {
    let world = Shelved::open().await;
    let stuck = admit(&world, 1, "a");
    assert_eq!(ordered(&world, "a").await.1, SETTLE_MAX);
    assert_eq!(ordered(&world, "b").await.1, Duration::ZERO);
    assert_eq!(ordered(&world, "a").await.1, Duration::ZERO);
    // Another of its names, so it is found again.
    let start = Instant::now();
    world.containment.order(order(DenyKey::Delegation(node("a")))).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert_eq!(stuck.cut(), Some(Denial::AgentRevoked));
}

#[tokio::test(start_paused = true)]
async fn an_order_waits_for_what_its_follower_has_cut() {
    let world = World::open().await;
    let elsewhere = open(world.folder.path(), &world.clock);
    let (other, _follower) = following(elsewhere.clone(), world.clock.clone()).await;
    let passage = Token::of(1, &["a"]).admit(&world.containment).unwrap();
    other.order(order(agent("a"))).await.unwrap();
    world.follower.caught_up(elsewhere.changes(0, 0).await.unwrap().head).await;
    assert_eq!(passage.cut(), Some(Denial::AgentRevoked));

    let mut order = Box::pin(world.containment.order(order(agent("a"))));
    assert!(timeout(SETTLE_MAX / 2, &mut order).await.is_err(), "the same order, repeated here");
    drop(passage);
    assert_eq!(order.await.unwrap().cut.attempts, 1);
}
