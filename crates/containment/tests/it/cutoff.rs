use vestibule_containment::{Containment, DenyKey, KeyKind, Order};
use vestibule_model::{AppId, Timestamp};

use crate::world::{Shelved, Token, agent, at, foreign, key_of, node, order};

/// A root of second 10, a child of second 20, a token of second 30.
fn child() -> Token {
    Token::of(1, &["root", "child"]).of_user("alice", "s-1", "c-1").since(&[at(10), at(20)]).issued_at(at(30))
}

fn until(key: DenyKey, cutoff: Timestamp) -> Order {
    Order { cutoff: Some(cutoff), ..order(key) }
}

#[tokio::test(start_paused = true)]
async fn each_name_has_its_own_time() {
    let names = [
        (child().key(), 30),
        (DenyKey::Delegation(node("root")), 10),
        (DenyKey::Delegation(node("child")), 20),
        (agent("root"), 10),
        (agent("child"), 20),
        (DenyKey::Credential(key_of("root")), 10),
        (DenyKey::Credential(key_of("child")), 20),
        (DenyKey::new(KeyKind::User, "https://idp#alice").unwrap(), 10),
        (DenyKey::Session(foreign("s-1")), 10),
        (DenyKey::Client(foreign("c-1")), 10),
        (DenyKey::App(AppId::new("github").unwrap()), 10),
        (DenyKey::All, 10),
    ];
    for (key, since) in names {
        let Shelved { containment, follower: _follower, .. } = Shelved::open().await;
        let running = child().admit(&containment).unwrap();
        containment.order(until(key.clone(), at(since - 1))).await.unwrap();
        assert_eq!((running.cut(), child().fate(&containment)), (None, None), "{key} is younger");
        containment.order(until(key.clone(), at(since))).await.unwrap();
        assert!(running.cut().is_some() && child().fate(&containment).is_some(), "{key}");
    }
}

/// The names by which a human is cut off.
fn of_human() -> [DenyKey; 3] {
    [
        DenyKey::new(KeyKind::User, "https://idp#alice").unwrap(),
        DenyKey::Session(foreign("s-1")),
        DenyKey::Client(foreign("c-1")),
    ]
}

#[tokio::test(start_paused = true)]
async fn a_root_that_was_made_after_the_cutoff_from_a_login_before_it_is_cut() {
    // The user's token is of second 5, the root of second 10.
    let child = || child().login(at(5));
    for key in of_human() {
        let Shelved { containment, follower: _follower, .. } = Shelved::open().await;
        let running = child().admit(&containment).unwrap();
        containment.order(until(key.clone(), at(4))).await.unwrap();
        assert_eq!((running.cut(), child().fate(&containment)), (None, None), "{key}: a new login");
        containment.order(until(key.clone(), at(5))).await.unwrap();
        assert!(running.cut().is_some() && child().fate(&containment).is_some(), "{key}");
        assert!(containment.check(&child().path()).is_err(), "{key}: nothing is minted there");
    }
    // The login makes no other name older.
    let Shelved { containment, follower: _follower, .. } = Shelved::open().await;
    for key in [agent("root"), DenyKey::Delegation(node("root")), DenyKey::All] {
        containment.order(until(key, at(9))).await.unwrap();
    }
    assert_eq!(child().fate(&containment), None);
}

#[tokio::test(start_paused = true)]
async fn a_login_that_claims_to_be_younger_than_the_root_is_as_old_as_the_root() {
    for key in of_human() {
        let Shelved { containment, follower: _follower, .. } = Shelved::open().await;
        containment.order(until(key.clone(), at(10))).await.unwrap();
        assert!(child().login(at(11)).fate(&containment).is_some(), "{key}");
    }
}

#[tokio::test]
async fn an_agent_that_asks_for_its_first_token_does_so_now() {
    let Shelved { containment, follower: _follower, .. } = Shelved::open().await;
    let first = Token { nodes: Vec::new(), ..Token::of(1, &["a"]) }.issued_at(at(30));
    for key in [agent("a"), DenyKey::All] {
        containment.order(until(key, at(29))).await.unwrap();
    }
    assert_eq!(containment.check(&first.path()), Ok(()));
    containment.order(until(agent("a"), at(30))).await.unwrap();
    assert!(containment.check(&first.path()).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_cutoff_kills_what_came_to_be_at_or_before_it_and_only_widens() {
    let Shelved { containment, follower: _follower, .. } = Shelved::open().await;
    let made = |seconds| Token::of(1, &["a"]).since(&[at(seconds)]);
    let is_alive = |containment: &Containment, seconds| containment.check(&made(seconds).path()).is_ok();
    let old = made(10).admit(&containment).unwrap();
    let new = made(11).admit(&containment).unwrap();

    let report = containment.order(until(agent("a"), at(10))).await.unwrap();
    assert_eq!((report.version, report.cutoff, report.cut.attempts), (1, Some(at(10)), 1));
    assert!(old.cut().is_some() && new.cut().is_none());
    assert_eq!([9, 10, 11].map(|seconds| is_alive(&containment, seconds)), [false, false, true]);

    let narrower = containment.order(until(agent("a"), at(5))).await.unwrap();
    assert_eq!((narrower.version, narrower.cutoff), (1, Some(at(10))));
    assert_eq!([9, 10, 11].map(|seconds| is_alive(&containment, seconds)), [false, false, true]);

    let wider = containment.order(until(agent("a"), at(11))).await.unwrap();
    assert_eq!((wider.version, wider.cut.attempts), (2, 2), "all that was cut under it");
    assert!(new.cut().is_some());
    assert_eq!([11, 12].map(|seconds| is_alive(&containment, seconds)), [false, true]);

    assert_eq!(containment.order(order(agent("a"))).await.unwrap().version, 3);
    let everything = containment.order(until(agent("a"), at(99))).await.unwrap();
    assert_eq!((everything.version, everything.cutoff), (3, None), "everything stays dead");
    assert!(!is_alive(&containment, 100));
}
