use std::{collections::HashSet, sync::Arc};

use tokio::task::JoinSet;
use vestibule_model::FixedClock;

use super::{WRITERS, commit, now, put};
use crate::{Change, Kind, Op, Seq, Store};

/// The gap test: with numbers that are taken before the commit, a reader loses a third of the changes here.
pub(super) async fn a_reader_of_16_writers_misses_nothing(store: Arc<dyn Store>, _: &FixedClock) {
    const EACH: usize = 50;
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            for n in 0..EACH {
                let key = |part| format!("{writer}/{n}/{part}");
                commit(&store, [put(&key("a"), "x"), put(&key("b"), "x")]).await;
            }
        });
    }
    let total = WRITERS * EACH * 2;
    let (mut seen, mut keys) = (0 as Seq, HashSet::new());
    while keys.len() < total {
        let changes = store.changes(seen, 100).await.unwrap();
        assert!(!changes.trimmed);
        assert!(
            !(changes.items.is_empty() && writers.is_empty()),
            "{} of {total} changes are missing",
            total - keys.len()
        );
        for change in changes.items {
            assert_eq!(change.seq, seen + 1, "numbers have no holes");
            assert!(change.record.is_some());
            seen = change.seq;
            assert!(keys.insert(change.key), "told twice");
        }
        while writers.try_join_next().is_some() {}
    }
    assert_eq!(seen, total as Seq);
    writers.join_all().await;
}

pub(super) async fn deletes_are_logged_once(store: Arc<dyn Store>, _: &FixedClock) {
    let delete = || vec![Op::Delete { kind: Kind::Meta, key: "key".to_owned() }];
    assert_eq!(store.commit(delete()).await.unwrap(), 0, "what is not there is no change");
    commit(&store, [put("key", "x")]).await;
    assert_eq!(store.commit(delete()).await.unwrap(), 2);
    assert_eq!(store.commit(delete()).await.unwrap(), 2);
    let gone = Change { seq: 2, kind: Kind::Meta, key: "key".to_owned(), record: None };
    assert_eq!(store.changes(1, 10).await.unwrap().items, [gone]);
    assert_eq!(store.get(Kind::Meta, "key").await.unwrap(), None);
}

pub(super) async fn unlogged_puts_stay_out_of_the_log(store: Arc<dyn Store>, _: &FixedClock) {
    let seq = commit(&store, [put("loud", "x"), put("quiet", "x").logged(false)]).await;
    assert_eq!(seq, 1);
    assert_eq!(commit(&store, [put("quiet", "y").logged(false)]).await, 1);
    let changes = store.changes(0, 10).await.unwrap();
    assert_eq!(changes.head, 1);
    assert_eq!(changes.items.len(), 1);
    assert_eq!(changes.items[0].key, "loud");
    assert_eq!(store.get(Kind::Meta, "quiet").await.unwrap().unwrap().version, 2);
}

pub(super) async fn a_log_that_does_not_continue_is_reported(store: Arc<dyn Store>, _: &FixedClock) {
    for n in 0..10 {
        commit(&store, [put(&n.to_string(), "x")]).await;
    }
    assert_eq!(store.trim(now(), 6).await.unwrap(), 5);
    let is_trimmed = async |after| store.changes(after, 3).await.unwrap().trimmed;
    assert!(is_trimmed(0).await);
    assert!(is_trimmed(4).await, "5 is gone");
    assert!(!is_trimmed(5).await, "6 is there");
    assert!(!is_trimmed(10).await, "nothing new is not a gap");
    assert!(is_trimmed(11).await, "the history went back");
    let page = store.changes(5, 3).await.unwrap();
    assert_eq!(page.items.iter().map(|change| change.seq).collect::<Vec<_>>(), [6, 7, 8]);
    assert_eq!(page.head, 10);

    store.trim(now(), 100).await.unwrap();
    assert!(is_trimmed(9).await, "10 is gone");
    assert!(!is_trimmed(10).await);
    assert_eq!(commit(&store, [put("more", "x")]).await, 11, "an empty log does not start again");
}

pub(super) async fn a_change_carries_the_record_as_it_stands(store: Arc<dyn Store>, _: &FixedClock) {
    commit(&store, [put("key", "one")]).await;
    commit(&store, [put("key", "two")]).await;
    let changes = store.changes(0, 10).await.unwrap();
    let standing = store.get(Kind::Meta, "key").await.unwrap();
    assert_eq!(changes.items.len(), 2);
    assert!(changes.items.iter().all(|change| change.record == standing));
    assert_eq!(changes.epoch, store.changes(0, 0).await.unwrap().epoch);
    assert!(!changes.epoch.is_empty());
}

pub(super) async fn hints_wake(store: Arc<dyn Store>, _: &FixedClock) {
    let mut hint = store.hint();
    let woken = tokio::spawn(async move { *hint.wait_for(|seq| *seq >= 1).await.unwrap() });
    commit(&store, [put("key", "x")]).await;
    assert_eq!(woken.await.unwrap(), 1);
}
