//! Breakers of applications.

use std::{sync::Arc, time::Duration};

use vestibule_containment::breaker::{
    Cause, Phase, Rest, Share, Signal, Trying, UpstreamThresholds, Upstreams,
};
use vestibule_model::{AppId, FixedClock};
use vestibule_store::Follower;

use crate::{
    shelf::Shelf,
    world::{at, clock},
};

const BY: UpstreamThresholds = UpstreamThresholds {
    window: Duration::from_secs(30),
    failures: Share { percent: 50, calls_min: 4 },
    rest: Rest { open: Duration::from_secs(10), open_max: Duration::from_secs(40), probes: 2 },
};

fn app(id: &str) -> AppId {
    AppId::new(id).unwrap()
}

fn cause() -> Cause {
    Cause::order("operator", "maintenance")
}

async fn gateway(shelf: &Arc<Shelf>, clock: &Arc<FixedClock>) -> (Arc<Upstreams>, Arc<Follower>) {
    let apps = [(app("a"), BY), (app("b"), BY)];
    let upstreams = Upstreams::new(shelf.clone(), clock.clone(), apps);
    let poll = Duration::from_millis(5);
    let follower =
        Follower::start(shelf.clone(), clock.clone(), poll, vec![upstreams.clone()]).await.unwrap();
    (upstreams, follower)
}

fn try_it(upstreams: &Arc<Upstreams>, id: &str) -> Option<Trying> {
    upstreams.enter(&app(id)).ok().flatten().map(|(trying, _)| trying)
}

fn phase(upstreams: &Upstreams, id: &str) -> Phase {
    upstreams.list().into_iter().find(|one| one.app == app(id)).unwrap().breaker.phase
}

#[tokio::test]
async fn an_application_that_fails_is_left_alone_and_probed_and_another_does_not_notice() {
    let (shelf, clock) = (Arc::new(Shelf::default()), clock());
    let (upstreams, _follower) = gateway(&shelf, &clock).await;
    for is_good in [true, true, false] {
        assert!(try_it(&upstreams, "a").unwrap().ended(is_good).is_none());
    }
    let before = try_it(&upstreams, "a").unwrap();
    let change = try_it(&upstreams, "a").unwrap().ended(false).unwrap();
    assert_eq!(
        (change.cause.signal, &*change.cause.detail),
        (Signal::Failures, "2 of 4 calls failed within 30 s")
    );
    let resting = upstreams.enter(&app("a")).unwrap_err();
    assert_eq!(resting.retry_after.as_secs(), 10);
    assert!(before.ended(true).is_none(), "it began before");
    assert!(try_it(&upstreams, "b").unwrap().ended(true).is_none());
    clock.advance(BY.rest.open);
    let (first, change) = upstreams.enter(&app("a")).unwrap().unwrap();
    assert!(matches!(change.unwrap().breaker.phase, Phase::Probing { .. }));
    let second = try_it(&upstreams, "a").unwrap();
    assert!(try_it(&upstreams, "a").is_none(), "as many as there may be");
    drop(second);
    let again = try_it(&upstreams, "a").unwrap();
    assert_eq!(first.ended(false).unwrap().breaker.phase, Phase::Open { until: Some(at(10 + 20)) });
    assert!(again.ended(true).is_none(), "the first word decides");
    clock.advance(Duration::from_secs(20));
    assert_eq!(try_it(&upstreams, "a").unwrap().ended(true).unwrap().breaker.phase, Phase::Closed);
    for _ in 0..3 {
        assert!(try_it(&upstreams, "a").unwrap().ended(false).is_none(), "it begins anew");
    }
}

#[tokio::test]
async fn what_an_operator_orders_is_all_gateways_and_survives_a_restart() {
    let (shelf, clock) = (Arc::new(Shelf::default()), clock());
    let (upstreams, _one) = gateway(&shelf, &clock).await;
    let (other, _two) = gateway(&shelf, &clock).await;
    upstreams.open(&app("a"), None, cause()).await.unwrap().unwrap();
    shelf.polled(4).await;
    for gateway in [&upstreams, &other, &gateway(&shelf, &clock).await.0] {
        let resting = gateway.enter(&app("a")).unwrap_err();
        assert_eq!(resting.cause, cause());
        assert!(try_it(gateway, "b").is_some());
    }
    other.close(&app("a"), cause()).await.unwrap().unwrap();
    shelf.polled(4).await;
    assert!(try_it(&upstreams, "a").is_some() && try_it(&other, "a").is_some());
    assert!(other.close(&app("a"), cause()).await.unwrap().is_none());
    // For a time, and again for another.
    other.open(&app("a"), Some(at(100)), cause()).await.unwrap();
    other.open(&app("a"), Some(at(50)), cause()).await.unwrap();
    clock.advance(Duration::from_secs(50));
    assert!(try_it(&other, "a").is_some());
    assert!(other.open(&app("c"), None, cause()).await.unwrap().is_none(), "no such application");
}

#[tokio::test]
async fn an_operator_closes_what_a_gateway_has_opened_by_itself() {
    let (shelf, clock) = (Arc::new(Shelf::default()), clock());
    let (upstreams, _follower) = gateway(&shelf, &clock).await;
    (0..4).for_each(|_| drop(try_it(&upstreams, "a").unwrap().ended(false)));
    assert!(matches!(phase(&upstreams, "a"), Phase::Open { .. }));
    upstreams.close(&app("a"), cause()).await.unwrap().unwrap();
    assert_eq!(phase(&upstreams, "a"), Phase::Closed);
    assert!(try_it(&upstreams, "a").unwrap().ended(true).is_none());
}
