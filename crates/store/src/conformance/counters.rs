use std::sync::Arc;

use tokio::task::JoinSet;
use vestibule_model::{FixedClock, Timestamp};

use super::{MINUTE, WRITERS, body, now, put};
use crate::{COUNTER_KEY_MAX_BYTES, Charge, Counter, Op, Recount, Store, StoreError};

pub(super) async fn of_16_racing_callers_as_many_are_counted_as_may_be(
    store: Arc<dyn Store>,
    _: &FixedClock,
) {
    const EACH: usize = 10;
    const MOST: u64 = 37;
    let mut callers = JoinSet::new();
    for _ in 0..WRITERS {
        let store = Arc::clone(&store);
        callers.spawn(async move {
            let mut counted = 0;
            for _ in 0..EACH {
                match store.commit(vec![charge("calls", "a", MOST)]).await {
                    Err(StoreError::Spent { realm, key, .. }) => {
                        assert_eq!((&*realm, &*key), ("calls", "a"));
                    }
                    other => {
                        other.unwrap();
                        counted += 1;
                    }
                }
            }
            counted
        });
    }
    assert_eq!(callers.join_all().await.into_iter().sum::<u64>(), MOST);
    assert_eq!(used(&store, "calls", "a").await, Some(MOST));
    assert_eq!(store.changes(0, 10).await.unwrap().head, 0, "charges are not logged");
}

pub(super) async fn charges_are_made_together_or_not_at_all(store: Arc<dyn Store>, _: &FixedClock) {
    store.commit(vec![charge("few", "a", 1)]).await.unwrap();
    let ops = || vec![charge("many", "a", 9), Op::Put(put("made", "x")), charge("few", "a", 1)];
    assert!(matches!(store.commit(ops()).await, Err(StoreError::Spent { realm, .. }) if realm == "few"));
    assert_eq!(used(&store, "many", "a").await, None, "the first is not kept either");
    assert_eq!(body(&store, "made").await, None);
    store.commit(vec![charge("many", "a", 9), charge("few", "b", 1), charge("few", "a", 2)]).await.unwrap();
    assert_eq!(used(&store, "many", "a").await, Some(1));
    assert_eq!(used(&store, "few", "a").await, Some(2));
    let none = store.commit(vec![charge("none", "a", 0)]).await;
    assert!(matches!(none, Err(StoreError::Spent { .. })));
}

pub(super) async fn an_expired_counter_starts_anew_and_is_trimmed(store: Arc<dyn Store>, clock: &FixedClock) {
    store.commit(vec![charge("calls", "a", 1), charge("calls", "b", 1)]).await.unwrap();
    clock.advance(MINUTE);
    assert_eq!(used(&store, "calls", "a").await, None);
    store.commit(vec![until("calls", "a", 1, now().plus(MINUTE * 2))]).await.unwrap();
    assert_eq!(used(&store, "calls", "a").await, Some(1));
    assert!(store.commit(vec![until("calls", "a", 1, now().plus(MINUTE * 2))]).await.is_err());
    assert_eq!(store.trim(now().plus(MINUTE), 0).await.unwrap(), 1, "the other one has ended");
    assert_eq!(used(&store, "calls", "a").await, Some(1));
}

pub(super) async fn a_counter_lasts_as_long_as_the_latest_charge_says(
    store: Arc<dyn Store>,
    clock: &FixedClock,
) {
    for minutes in [1, 3, 2] {
        store.commit(vec![until("nodes", "a", 3, now().plus(MINUTE * minutes))]).await.unwrap();
    }
    clock.advance(MINUTE * 2);
    assert_eq!(used(&store, "nodes", "a").await, Some(3));
    clock.advance(MINUTE);
    assert_eq!(used(&store, "nodes", "a").await, None);
}

pub(super) async fn a_recount_gives_room_and_is_refused_when_somebody_was_faster(
    store: Arc<dyn Store>,
    clock: &FixedClock,
) {
    let recount = async |era, living| {
        let (realm, key) = ("nodes".to_owned(), "a".to_owned());
        store.commit(vec![Op::Recount(Recount { realm, key, era, living })]).await
    };
    let era = async || match store.commit(vec![charge("nodes", "a", 3)]).await {
        Err(StoreError::Spent { era, .. }) => Some(era),
        _ => None,
    };
    assert!(matches!(recount(0, 0).await, Err(StoreError::Recounted { .. })), "there is none");
    for _ in 0..3 {
        assert_eq!(era().await, None);
    }
    let first = era().await.unwrap();
    assert!(matches!(recount(first - 1, 0).await, Err(StoreError::Recounted { .. })));
    recount(first, 1).await.unwrap();
    assert_eq!(used(&store, "nodes", "a").await, Some(1));
    assert_eq!((era().await, era().await), (None, None));
    let second = era().await.unwrap();
    assert!(second > first);
    let late = recount(first, 1).await;
    assert!(matches!(late, Err(StoreError::Recounted { .. })), "it has been filled again since");
    assert_eq!(used(&store, "nodes", "a").await, Some(3));
    clock.advance(MINUTE);
    store.commit(vec![until("nodes", "a", 1, now().plus(MINUTE * 2))]).await.unwrap();
    assert!(era().await.is_none(), "it is another one now");
    assert!(recount(second, 0).await.is_err());
}

pub(super) async fn counters_are_listed_by_realm_and_in_pages(store: Arc<dyn Store>, _: &FixedClock) {
    for key in ["b", "a", "", "c"] {
        store.commit(vec![charge("calls", key, 1), charge("other", key, 1)]).await.unwrap();
    }
    let page = |after| {
        let store = Arc::clone(&store);
        async move { store.counters("calls", after, 2).await.unwrap() }
    };
    let counter = |key: &str| Counter { key: key.to_owned(), used: 1, expires_at: now().plus(MINUTE) };
    assert_eq!(page(None).await, ["", "a"].map(counter));
    assert_eq!(page(Some("a")).await, ["b", "c"].map(counter));
    assert_eq!(page(Some("c")).await, []);
}

pub(super) async fn too_long_a_key_is_not_counted(store: Arc<dyn Store>, _: &FixedClock) {
    let long = "k".repeat(COUNTER_KEY_MAX_BYTES);
    let refused = store.commit(vec![charge("calls", &long, 1)]).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
    assert_eq!(store.counters("calls", None, 1).await.unwrap(), []);
}

fn charge(realm: &str, key: &str, most: u64) -> Op {
    until(realm, key, most, now().plus(MINUTE))
}

fn until(realm: &str, key: &str, most: u64, expires_at: Timestamp) -> Op {
    Op::Charge(Charge { realm: realm.to_owned(), key: key.to_owned(), most, expires_at })
}

async fn used(store: &Arc<dyn Store>, realm: &str, key: &str) -> Option<u64> {
    let all = store.counters(realm, None, 100).await.unwrap();
    all.into_iter().find(|counter| counter.key == key).map(|counter| counter.used)
}
