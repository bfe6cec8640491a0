//! Breakers through the doors of containment: what passes, what is cut, who probes, what survives.

use std::{sync::Arc, time::Duration};

use vestibule_containment::{
    Containment, Passage,
    breaker::{Cause, Change, Charge, End, Phase, Rest, Share, Thresholds},
};
use vestibule_model::{AgentId, Denial, Thumbprint};

use crate::world::{Shelved, Token, World, agent, at, attempt, following, suspend};

const REST: Rest = Rest { open: Duration::from_secs(60), open_max: Duration::from_secs(240), probes: 3 };
const BY: Thresholds = Thresholds {
    window: Duration::from_secs(60),
    denials: Some(Share { percent: 50, calls_min: 5 }),
    errors: None,
    calls: None,
    operations: None,
    bytes: None,
    rest: REST,
};

fn id(name: &str) -> AgentId {
    AgentId::new(name).unwrap()
}

fn cause() -> Cause {
    Cause::order("operator", "drill")
}

/// So many denials of the last agent of the token, and what changes.
fn denied(containment: &Containment, token: &Token, times: usize) -> Vec<Change> {
    let charge = Charge { end: Some(End::Denied), ..Charge::default() };
    let one = || containment.breakers().charge(&token.agents, Some(attempt(token.n)), &charge, |_| BY);
    (0..times).flat_map(|_| one()).collect()
}

async fn tripped(containment: &Containment, token: &Token) -> Change {
    let change = denied(containment, token, 5).remove(0);
    containment.breakers().keep(&change).await.unwrap();
    change
}

/// As the gateway does it: a call that is refused asks to be a probe.
async fn call(containment: &Containment, token: &Token) -> Result<Passage, Denial> {
    match token.admit(containment) {
        Err(Denial::AgentSuspended) => {
            containment.breakers().probe(&token.agents).await.unwrap();
            token.admit(containment)
        }
        other => other,
    }
}

fn phase(containment: &Containment) -> Phase {
    containment.breakers().list().first().map_or(Phase::Closed, |tripped| tripped.breaker.phase)
}

#[tokio::test]
async fn an_agent_that_trips_is_cut_and_refused_with_all_below_it_and_others_are_not() {
    let world = Shelved::open().await;
    let running =
        [&["a"][..], &["a", "b"], &["z"]].map(|chain| Token::of(1, chain).admit(&world.containment).unwrap());
    let own = Token::of(7, &["a"]).admit(&world.containment).unwrap();
    assert!(denied(&world.containment, &Token::of(7, &["a"]), 4).is_empty());
    let change = denied(&world.containment, &Token::of(7, &["a"]), 1).remove(0);
    assert_eq!((change.agent, change.cut.attempts), (id("a"), 2));
    assert_eq!(change.cause.detail, "5 of 5 operations were denied within 60 s");
    let cut = running.each_ref().map(Passage::cut);
    assert_eq!(cut, [Some(Denial::AgentSuspended), Some(Denial::AgentSuspended), None]);
    assert_eq!(own.cut(), None, "the attempt that tripped it has its answer");
    let fate = |chain: &[&str]| Token::of(2, chain).fate(&world.containment);
    assert_eq!(fate(&["a"]), Some(Denial::AgentSuspended));
    assert_eq!(fate(&["z", "a", "b"]), Some(Denial::AgentSuspended));
    assert_eq!((fate(&["z"]), fate(&["b"])), (None, None));
    let token = Token::of(3, &["a", "b"]);
    assert_eq!(world.containment.check(&token.path()), Err(Denial::AgentSuspended), "nothing is minted");
    assert_eq!(world.containment.tripped(&token.path()).unwrap().agent, id("a"));
}

#[tokio::test]
async fn an_order_is_told_from_a_breaker() {
    let world = Shelved::open().await;
    let token = Token::of(1, &["a"]);
    world.containment.breakers().open(&id("a"), None, REST, cause()).await.unwrap();
    assert!(world.containment.tripped(&token.path()).is_some());
    world.containment.order(suspend(agent("b"))).await.unwrap();
    let both = Token::of(1, &["a", "b"]);
    assert_eq!(both.fate(&world.containment), Some(Denial::AgentSuspended));
    assert!(world.containment.tripped(&both.path()).is_none(), "the order comes first");
}

#[tokio::test]
async fn of_all_gateways_one_lets_as_many_probes_through_as_there_may_be() {
    let world = World::open().await;
    let (second, follower) = following(world.store.clone(), world.clock.clone()).await;
    let token = Token::of(1, &["a"]);
    tripped(&world.containment, &token).await;
    let head = follower_head(&world).await;
    follower.caught_up(head).await;
    assert_eq!(token.fate(&second), Some(Denial::AgentSuspended), "the other gateway has heard of it");
    world.clock.advance(REST.open);
    fresh(&world.follower).await;
    fresh(&follower).await;
    assert_eq!(token.fate(&world.containment), Some(Denial::AgentSuspended), "nobody has asked to probe");
    assert_eq!(world.containment.check(&token.path()), Ok(()), "who may be probed needs a token");
    let calls: Vec<_> = (0..16)
        .map(|n| {
            let containment = Arc::clone(if n % 2 == 0 { &world.containment } else { &second });
            tokio::spawn(async move { call(&containment, &Token::of(n, &["a", "b"])).await })
        })
        .collect();
    let mut passed = Vec::new();
    for call in calls {
        passed.extend(call.await.unwrap());
    }
    assert_eq!(passed.len(), 3);
    assert!(passed.iter().all(Passage::is_probe));
}

async fn follower_head(world: &World) -> u64 {
    use vestibule_store::Store;
    world.store.changes(0, 1).await.unwrap().head
}

async fn fresh(follower: &vestibule_store::Follower) {
    while follower.state_age() > Duration::from_millis(500) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_trip_that_was_not_written_yet_is_probed_in_time_and_does_not_come_back() {
    let world = Shelved::open().await;
    let token = Token::of(1, &["a"]);
    let late = denied(&world.containment, &token, 5).remove(0);
    world.pass(REST.open).await;
    let probe = call(&world.containment, &token).await.unwrap();
    world.containment.breakers().keep(&late).await.unwrap();
    assert!(matches!(phase(&world.containment), Phase::Probing { .. }));
    assert!(probe.cut().is_none());
    world.containment.breakers().verdict(&probe, true);
    assert_eq!(world.shelf.body("agent/a")["state"], "probing");
    assert_eq!(token.fate(&world.containment), None);
}

#[tokio::test]
async fn a_good_probe_closes_and_a_bad_one_cuts_the_others_and_opens_for_longer() {
    let world = Shelved::open().await;
    let (breakers, token) = (world.containment.breakers(), Token::of(1, &["a"]));
    tripped(&world.containment, &token).await;
    world.pass(REST.open).await;
    let first = call(&world.containment, &token).await.unwrap();
    let second = call(&world.containment, &Token::of(2, &["a"])).await.unwrap();
    let bad = breakers.verdict(&first, false).remove(0);
    breakers.keep(&bad).await.unwrap();
    assert_eq!(bad.breaker.phase, Phase::Open { until: Some(at(60 + 120)) });
    assert_eq!((second.cut(), first.cut()), (Some(Denial::AgentSuspended), None));
    assert!(breakers.verdict(&second, true).is_empty(), "the first word decides");
    assert!(breakers.verdict(&first, true).is_empty());
    world.pass(Duration::from_secs(119)).await;
    assert!(call(&world.containment, &token).await.is_err());
    world.pass(Duration::from_secs(1)).await;
    let good = call(&world.containment, &token).await.unwrap();
    let closed = breakers.verdict(&good, true).remove(0);
    breakers.keep(&closed).await.unwrap();
    assert_eq!((token.fate(&world.containment), phase(&world.containment)), (None, Phase::Closed));
    let (second, _follower) = following(world.shelf.clone(), world.clock.clone()).await;
    assert_eq!(token.fate(&second), None, "a restart does not bring it back");
}

#[tokio::test]
async fn a_probe_that_tells_nothing_gives_its_place_back() {
    let world = Shelved::open().await;
    let token = Token::of(1, &["a"]);
    tripped(&world.containment, &token).await;
    world.pass(REST.open).await;
    for _ in 0..10 {
        drop(call(&world.containment, &token).await.unwrap());
    }
    let held: Vec<_> = (0..3).map(|n| Token::of(n, &["a"]).admit(&world.containment).unwrap()).collect();
    assert_eq!(token.fate(&world.containment), Some(Denial::AgentSuspended));
    // And when those that have a place never tell anything, others get theirs in time.
    world.pass(REST.open).await;
    assert!(call(&world.containment, &token).await.is_ok());
    assert!(world.containment.breakers().verdict(&held[0], true).is_empty(), "its time is over");
}

#[tokio::test]
async fn an_open_breaker_survives_a_restart_and_a_restored_database() {
    let world = Shelved::open().await;
    let token = Token::of(1, &["a"]);
    let change = tripped(&world.containment, &token).await;
    let (second, follower) = following(world.shelf.clone(), world.clock.clone()).await;
    assert_eq!(token.fate(&second), Some(Denial::AgentSuspended));
    assert_eq!(second.breakers().list()[0].breaker, change.breaker);
    drop(follower);
    world.follower.caught_up(1).await;
    world.shelf.forget();
    world.shelf.polled(3).await;
    assert_eq!(token.fate(&world.containment), Some(Denial::AgentSuspended));
    world.shelf.written(1).await;
    let (third, _follower) = following(world.shelf.clone(), world.clock.clone()).await;
    assert_eq!(token.fate(&third), Some(Denial::AgentSuspended), "the database was told again");
}

#[tokio::test]
async fn a_trip_holds_although_the_store_fails_and_nothing_is_probed_then() {
    let world = Shelved::open().await;
    let token = Token::of(1, &["a"]);
    let change = denied(&world.containment, &token, 5).remove(0);
    world.shelf.fail(true);
    assert!(world.containment.breakers().keep(&change).await.is_err());
    assert_eq!(world.containment.breakers().list().len(), 1);
    world.clock.advance(REST.open);
    assert!(world.containment.breakers().probe(&token.agents).await.is_err());
    assert_eq!(phase(&world.containment), change.breaker.phase);
}

#[tokio::test]
async fn what_two_gateways_say_at_once_comes_to_the_same_and_a_trip_is_not_lost() {
    let world = Shelved::open().await;
    let (second, _follower) = following(world.shelf.clone(), world.clock.clone()).await;
    let token = Token::of(1, &["a"]);
    // The first has opened and been closed; the second, which has not heard of it, trips.
    let late = denied(&second, &token, 5).remove(0);
    tripped(&world.containment, &token).await;
    world.containment.breakers().close(&id("a"), cause()).await.unwrap().unwrap();
    second.breakers().keep(&late).await.unwrap();
    world.shelf.polled(4).await;
    for containment in [&world.containment, &second] {
        let known = containment.breakers().list();
        assert_eq!(known.len(), 1);
        assert!(matches!(known[0].breaker.phase, Phase::Open { .. }));
        assert_eq!(known[0].breaker.turn, 3);
    }
}

#[tokio::test]
async fn by_hand_it_is_opened_for_a_time_or_for_good_and_closed() {
    let world = Shelved::open().await;
    let (breakers, token) = (world.containment.breakers(), Token::of(1, &["a", "b"]));
    let running = token.admit(&world.containment).unwrap();
    let leaving = async {
        running.cancelled().await;
        drop(running);
    };
    let a = id("a");
    let (opened, ()) = tokio::join!(breakers.open(&a, None, REST, cause()), leaving);
    assert_eq!(opened.unwrap().cut.attempts, 1);
    world.pass(Duration::from_secs(100_000)).await;
    assert!(call(&world.containment, &token).await.is_err(), "nobody has closed it");
    assert!(breakers.close(&id("a"), cause()).await.unwrap().is_some());
    assert_eq!(breakers.close(&id("a"), cause()).await.unwrap().map(|change| change.agent), None);
    assert_eq!(token.fate(&world.containment), None);
    breakers.open(&id("a"), Some(at(100_030)), REST, cause()).await.unwrap();
    assert!(call(&world.containment, &token).await.is_err());
    world.pass(Duration::from_secs(30)).await;
    assert!(call(&world.containment, &token).await.unwrap().is_probe());
}

#[tokio::test]
async fn a_parent_does_not_evade_by_spawning_and_one_bad_child_does_not_suspend_it() {
    let world = Shelved::open().await;
    let child = |n: u8| AgentId::of_key(&Thumbprint::from_bytes([n; 32]));
    let chain = |n: u8| {
        let mut token = Token::of(n.into(), &["a", "child"]);
        token.agents[1].agent = child(n);
        token
    };
    assert_eq!(denied(&world.containment, &chain(1), 5)[0].agent, child(1));
    assert_eq!(Token::of(1, &["a"]).fate(&world.containment), None);
    assert_eq!(chain(2).fate(&world.containment), None, "nor a sibling");
    // Four times the number of one: five of the first, four of each further one, none of which trips by itself.
    let changes: Vec<_> = (2..6).flat_map(|n| denied(&world.containment, &chain(n), 4)).collect();
    assert_eq!(changes.iter().map(|change| &change.agent).collect::<Vec<_>>(), [&id("a")]);
    assert!(changes[0].cause.detail.ends_with("by what it has spawned"), "{}", changes[0].cause.detail);
    assert_eq!(chain(9).fate(&world.containment), Some(Denial::AgentSuspended));
    // A registered agent that it works with answers for itself.
    assert!(denied(&world.containment, &Token::of(1, &["z", "r"]), 4).is_empty());
    assert_eq!(denied(&world.containment, &Token::of(1, &["z", "r"]), 100)[0].agent, id("r"));
    assert_eq!(Token::of(1, &["z"]).fate(&world.containment), None);
}
