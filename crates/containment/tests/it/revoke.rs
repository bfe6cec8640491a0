use std::{path::Path, sync::Arc, time::Duration};

use vestibule_containment::{Containment, Cut, DenyKey, Order, Reason};
use vestibule_model::{Denial, FixedClock};
use vestibule_store::{Follower, Kind, Op, Put, SqliteStore, Store};

use crate::world::{Token, agent, clock, following, node, now, order};

#[tokio::test]
async fn a_revocation_reaches_all_that_names_it_and_nothing_else() {
    let world = World::open().await;
    let containment = &world.containment;
    let alone = Token::of(1, &["a"]);
    let below = Token::of(2, &["root", "a", "child"]);
    let other = Token::of(3, &["root", "child"]);
    for (key, code, dead, alive) in [
        (alone.key(), Denial::TokenRevoked, vec![&alone], vec![&below, &other]),
        (agent("a"), Denial::AgentRevoked, vec![&below], vec![&other]),
        (DenyKey::Delegation(node("root")), Denial::DelegationRevoked, vec![&below, &other], vec![]),
    ] {
        containment.revoke(order(key)).await.unwrap();
        for token in dead {
            assert_eq!(containment.check(&token.path()), Err(code));
            assert_eq!(containment.admit(&token.path()).unwrap_err(), code);
        }
        for token in alive {
            assert_eq!(containment.check(&token.path()), Ok(()));
        }
    }
    assert_eq!(
        containment.check(&alone.path()),
        Err(Denial::TokenRevoked),
        "token before agent, whatever else is revoked"
    );
}

#[tokio::test]
async fn what_is_in_flight_is_cut_and_counted() {
    let world = World::open().await;
    let containment = &world.containment;
    let admit = |token: &Token| containment.admit(&token.path()).unwrap();
    let calls = [admit(&Token::of(1, &["a"])), admit(&Token::of(2, &["root", "a", "child"]))];
    let stream = admit(&Token::of(3, &["a"]));
    stream.streaming();
    let done = admit(&Token::of(4, &["a"]));
    done.complete();
    let other = admit(&Token::of(5, &["b"]));
    let left = admit(&Token::of(6, &["a"]));
    drop(left);

    let dry = containment.revoke(Order { dry_run: true, ..order(agent("a")) }).await.unwrap();
    assert_eq!((dry.version, dry.completed), (0, 1));
    assert_eq!(dry.cut, Cut { attempts: 3, streams: 1, nodes: 0 });
    assert!(calls.iter().all(|call| call.cut().is_none()), "a rehearsal cuts nothing");
    assert_eq!(containment.list(), []);

    let report = containment.revoke(order(agent("a"))).await.unwrap();
    assert_eq!((report.version, report.completed, report.cut), (1, 1, dry.cut));
    for call in calls.iter().chain([&stream, &done]) {
        assert_eq!(call.cut(), Some(Denial::AgentRevoked));
        call.cancelled().await;
    }
    assert_eq!(other.cut(), None);

    let shown = serde_json::to_value(&report).unwrap();
    let expected = serde_json::json!({
        "kind": "agent", "id": "a", "version": 1, "reason": "compromise",
        "cut": { "attempts": 3, "streams": 1, "nodes": 0 }, "completed": 1,
        "acknowledged_at": now().millis(),
    });
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn repeating_an_order_changes_nothing_and_tells_the_same() {
    let world = World::open().await;
    let _call = world.containment.admit(&Token::of(1, &["a"]).path()).unwrap();
    let first = world.containment.revoke(order(agent("a"))).await.unwrap();
    let (version, listed) = (world.containment.version(), world.containment.list());
    world.clock.advance(Duration::from_millis(1));
    let later = Order { reason: Reason::Superseded, ..order(agent("a")) };
    let second = world.containment.revoke(later).await.unwrap();
    assert_eq!(second.acknowledged_at, now().plus(Duration::from_millis(1)));
    assert_eq!((second.version, second.reason, second.cut), (first.version, first.reason, first.cut));
    assert_eq!((world.containment.version(), world.containment.list()), (version, listed));
}

#[tokio::test]
async fn a_cutoff_kills_what_was_issued_at_or_before_it_and_only_widens() {
    let world = World::open().await;
    let containment = &world.containment;
    let at = |millis| now().plus(Duration::from_millis(millis));
    let issued = |millis| Token::of(1, &["a"]).issued_at(at(millis));
    let cutoff = |cutoff| Order { cutoff, ..order(agent("a")) };
    let is_alive = |millis| containment.check(&issued(millis).path()).is_ok();
    let old = containment.admit(&issued(10).path()).unwrap();
    let new = containment.admit(&issued(11).path()).unwrap();

    let report = containment.revoke(cutoff(Some(at(10)))).await.unwrap();
    assert_eq!((report.version, report.cut.attempts), (1, 1));
    assert_eq!((old.cut(), new.cut()), (Some(Denial::AgentRevoked), None));
    assert_eq!([9, 10, 11].map(is_alive), [false, false, true]);

    let narrower = containment.revoke(cutoff(Some(at(5)))).await.unwrap();
    assert_eq!(narrower.version, 1);
    assert_eq!([9, 10, 11].map(is_alive), [false, false, true]);

    let wider = containment.revoke(cutoff(Some(at(11)))).await.unwrap();
    assert_eq!((wider.version, wider.cut.attempts), (2, 2));
    assert_eq!(new.cut(), Some(Denial::AgentRevoked));
    assert_eq!([11, 12].map(is_alive), [false, true]);

    assert_eq!(containment.revoke(order(agent("a"))).await.unwrap().version, 3);
    assert_eq!(containment.revoke(cutoff(Some(at(99)))).await.unwrap().version, 3, "everything stays dead");
    assert!(!is_alive(100));
}

#[tokio::test]
async fn a_revocation_survives_a_restart() {
    let world = World::open().await;
    let token = Token::of(1, &["a"]);
    world.containment.revoke(order(agent("a"))).await.unwrap();
    let listed = world.containment.list();
    let World { folder, clock, .. } = world;

    let (containment, _follower) = following(open(folder.path(), &clock), clock.clone()).await;
    assert_eq!(containment.list(), listed);
    assert_eq!(containment.check(&token.path()), Err(Denial::AgentRevoked));
    assert_eq!(containment.revoke(order(agent("a"))).await.unwrap().version, 1);
}

#[tokio::test]
async fn another_gateways_revocation_cuts_what_is_in_flight_here() {
    let world = World::open().await;
    let elsewhere = open(world.folder.path(), &world.clock);
    let (other, _follower) = following(elsewhere.clone(), world.clock.clone()).await;
    let call = world.containment.admit(&Token::of(1, &["a"]).path()).unwrap();

    let report = other.revoke(order(agent("a"))).await.unwrap();
    assert_eq!(report.cut.attempts, 0, "each gateway counts its own");
    let guarded = call.guard(std::future::pending::<()>()).await;
    assert_eq!(guarded, Err(Denial::AgentRevoked));
    world.follower.caught_up(elsewhere.changes(0, 0).await.unwrap().head).await;
    assert_eq!(world.containment.list(), other.list());
    let again = world.containment.revoke(order(agent("a"))).await.unwrap();
    assert_eq!((again.version, again.cut.attempts), (1, 1));
}

#[tokio::test]
async fn a_record_that_is_deleted_is_no_longer_in_force() {
    let world = World::open().await;
    let key = agent("a");
    world.containment.revoke(order(key.clone())).await.unwrap();
    let delete = Op::Delete { kind: Kind::Deny, key: key.to_string() };
    world.follower.caught_up(world.store.commit(vec![delete]).await.unwrap()).await;
    assert_eq!(world.containment.check(&Token::of(1, &["a"]).path()), Ok(()));
}

#[tokio::test]
async fn entries_about_tokens_end_when_no_token_can_live_any_more() {
    let world = World::open().await;
    let token = Token::of(1, &["a"]);
    world.containment.revoke(order(token.key())).await.unwrap();
    world.clock.advance(Duration::from_secs(24 * 60 * 60));
    world.store.trim(world.clock_now(), 0).await.unwrap();
    assert_eq!(world.containment.list().len(), 1, "a day is the longest life of a token");
    world.clock.advance(Duration::from_secs(60 * 60));
    assert_eq!(world.store.trim(world.clock_now(), 0).await.unwrap(), 1);
    assert_eq!(world.containment.list(), []);
}

#[tokio::test]
async fn nodes_that_die_with_it_are_counted() {
    let world = World::open().await;
    let put = |name: &str, parent: Option<&str>, agent: &str| {
        let put = Put::new(Kind::Delegation, node(name).as_str(), &"x").unwrap().subject(agent).logged(false);
        Op::Put(match parent {
            Some(parent) => put.parent(node(parent).as_str()),
            None => put,
        })
    };
    let tree = vec![
        put("root", None, "a"),
        put("b-1", Some("root"), "b"),
        put("b-2", Some("root"), "b"),
        put("c", Some("b-1"), "c"),
        put("elsewhere", None, "b"),
    ];
    world.store.commit(tree).await.unwrap();
    let nodes = async |key| {
        let order = Order { dry_run: true, ..order(key) };
        world.containment.revoke(order).await.unwrap().cut.nodes
    };
    assert_eq!(nodes(DenyKey::Delegation(node("root"))).await, 4);
    assert_eq!(nodes(DenyKey::Delegation(node("b-1"))).await, 2);
    assert_eq!(nodes(DenyKey::Delegation(node("unknown"))).await, 0);
    assert_eq!(nodes(agent("b")).await, 3);
    assert_eq!(nodes(Token::of(1, &["a"]).key()).await, 0);
}

struct World {
    folder: tempfile::TempDir,
    clock: Arc<FixedClock>,
    store: Arc<SqliteStore>,
    containment: Arc<Containment>,
    follower: Arc<Follower>,
}

impl World {
    async fn open() -> Self {
        let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
        let store = open(folder.path(), &clock);
        let (containment, follower) = following(store.clone(), clock.clone()).await;
        Self { folder, clock, store, containment, follower }
    }

    fn clock_now(&self) -> vestibule_model::Timestamp {
        vestibule_model::Clock::now(self.clock.as_ref())
    }
}

fn open(folder: &Path, clock: &Arc<FixedClock>) -> Arc<SqliteStore> {
    Arc::new(SqliteStore::open(folder, clock.clone()).unwrap())
}
