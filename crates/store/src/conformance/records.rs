use std::sync::Arc;

use tokio::task::JoinSet;
use vestibule_model::FixedClock;

use super::{MINUTE, WRITERS, body, commit, now, put};
use crate::{By, Expect, KEY_MAX_BYTES, Kind, Op, Put, Record, Store, StoreError};

pub(super) async fn a_commit_is_all_or_nothing(store: Arc<dyn Store>, _: &FixedClock) {
    commit(&store, [put("taken", "old")]).await;
    let ops = vec![
        Op::Put(put("fresh", "new")),
        Op::Delete { kind: Kind::Meta, key: "taken".to_owned() },
        Op::Put(put("taken", "new").expect(Expect::Version(7))),
    ];
    let refused = store.commit(ops).await;
    assert!(matches!(refused, Err(StoreError::Conflict { kind: Kind::Meta, key }) if key == "taken"));
    assert_eq!(body(&store, "fresh").await, None);
    assert_eq!(body(&store, "taken").await.as_deref(), Some("old"));
    assert_eq!(store.changes(0, 10).await.unwrap().head, 1, "a refused commit takes no place in the log");
    assert_eq!(store.commit(Vec::new()).await.unwrap(), 1);
}

pub(super) async fn a_put_replaces_the_whole_record(store: Arc<dyn Store>, _: &FixedClock) {
    let full = put("key", "one").parent("above").subject("whom").expires_at(now().plus(MINUTE));
    commit(&store, [full]).await;
    let expected = Record {
        kind: Kind::Meta,
        key: "key".to_owned(),
        version: 1,
        parent: Some("above".to_owned()),
        subject: Some("whom".to_owned()),
        expires_at: Some(now().plus(MINUTE)),
        body: "\"one\"".to_owned(),
    };
    assert_eq!(store.get(Kind::Meta, "key").await.unwrap(), Some(expected.clone()));
    assert_eq!(store.get(Kind::Agent, "key").await.unwrap(), None, "kinds are apart");

    commit(&store, [put("key", "two")]).await;
    let bare = Record {
        version: 2,
        parent: None,
        subject: None,
        expires_at: None,
        body: "\"two\"".to_owned(),
        ..expected
    };
    assert_eq!(store.get(Kind::Meta, "key").await.unwrap(), Some(bare));
}

pub(super) async fn expectations_that_fail_are_conflicts(store: Arc<dyn Store>, _: &FixedClock) {
    let attempt = async |expect| store.commit(vec![Op::Put(put("key", "x").expect(expect))]).await;
    assert!(matches!(attempt(Expect::Version(1)).await, Err(StoreError::Conflict { .. })), "there is none");
    assert!(attempt(Expect::Absent).await.is_ok());
    assert!(matches!(attempt(Expect::Absent).await, Err(StoreError::Conflict { .. })), "there is one");
    assert!(attempt(Expect::Version(1)).await.is_ok());
    assert!(matches!(attempt(Expect::Version(1)).await, Err(StoreError::Conflict { .. })), "it is 2 now");
    assert!(attempt(Expect::Any).await.is_ok());
    assert_eq!(store.get(Kind::Meta, "key").await.unwrap().unwrap().version, 3);
}

pub(super) async fn increments_by_16_writers_are_never_lost(store: Arc<dyn Store>, _: &FixedClock) {
    const EACH: u64 = 20;
    commit(&store, [put("count", "")]).await;
    let mut writers = JoinSet::new();
    for _ in 0..WRITERS {
        let store = Arc::clone(&store);
        writers.spawn(async move {
            let mut done = 0;
            while done < EACH {
                let version = store.get(Kind::Meta, "count").await.unwrap().unwrap().version;
                let next = put("count", "").expect(Expect::Version(version));
                match store.commit(vec![Op::Put(next)]).await {
                    Err(StoreError::Conflict { .. }) => {}
                    other => {
                        other.unwrap();
                        done += 1;
                    }
                }
            }
        });
    }
    writers.join_all().await;
    let version = store.get(Kind::Meta, "count").await.unwrap().unwrap().version;
    assert_eq!(version, 1 + EACH * WRITERS as u64);
}

pub(super) async fn expired_records_are_as_if_absent_until_trimmed(
    store: Arc<dyn Store>,
    clock: &FixedClock,
) {
    let ends = now().plus(MINUTE);
    commit(&store, [put("ends", "x").subject("whom").expires_at(ends), put("stays", "x").subject("whom")])
        .await;
    assert_eq!(found(&store, By::Subject("whom")).await, ["ends", "stays"]);

    clock.advance(MINUTE);
    assert_eq!(body(&store, "ends").await, None);
    assert_eq!(found(&store, By::All).await, ["stays"]);
    assert_eq!(found(&store, By::Subject("whom")).await, ["stays"]);
    assert_eq!(found(&store, By::ExpiredBefore(ends)).await, ["ends"]);
    assert!(found(&store, By::ExpiredBefore(now())).await.is_empty());
    let touch = put("ends", "y").expect(Expect::Version(1));
    assert!(matches!(store.commit(vec![Op::Put(touch)]).await, Err(StoreError::Conflict { .. })));

    assert_eq!(store.trim(ends, 0).await.unwrap(), 1);
    assert!(found(&store, By::ExpiredBefore(ends)).await.is_empty());

    commit(&store, [put("again", "x").expires_at(ends)]).await;
    commit(&store, [put("again", "y").expect(Expect::Absent)]).await;
    let again = store.get(Kind::Meta, "again").await.unwrap().unwrap();
    assert_eq!((again.version, again.expires_at), (2, None), "an expired record gives way and still counts");
}

pub(super) async fn scans_page_in_the_order_of_keys(store: Arc<dyn Store>, _: &FixedClock) {
    commit(&store, ["b", "B", "ä", "a", "c", ""].map(|key| put(key, "x"))).await;
    let all = ["", "B", "a", "b", "c", "ä"];
    assert_eq!(found(&store, By::All).await, all);
    let mut seen: Vec<String> = Vec::new();
    loop {
        let after = seen.last().map(String::as_str);
        let page = store.scan(Kind::Meta, By::All, after, 4).await.unwrap();
        let is_last = page.len() < 4;
        seen.extend(page.into_iter().map(|record| record.key));
        if is_last {
            break;
        }
    }
    assert_eq!(seen, all);
}

pub(super) async fn scans_find_children_and_subjects(store: Arc<dyn Store>, _: &FixedClock) {
    let puts = [
        put("child-1", "x").parent("root").subject("a"),
        put("child-2", "x").parent("root").subject("b"),
        put("grandchild", "x").parent("child-1").subject("a"),
        put("root", "x").subject("a"),
    ];
    commit(&store, puts).await;
    let other = Put::new(Kind::Agent, "other", &"x").unwrap().parent("root").subject("a");
    commit(&store, [other]).await;
    assert_eq!(found(&store, By::Parent("root")).await, ["child-1", "child-2"]);
    assert_eq!(found(&store, By::Subject("a")).await, ["child-1", "grandchild", "root"]);
    assert!(found(&store, By::Parent("ro")).await.is_empty(), "never by prefix");
    let page = store.scan(Kind::Meta, By::Subject("a"), Some("child-1"), 1).await.unwrap();
    assert_eq!(page[0].key, "grandchild");
}

pub(super) async fn too_large_is_refused_and_not_written(store: Arc<dyn Store>, _: &FixedClock) {
    let ops = vec![Op::Put(put("small", "x")), Op::Put(put(&"k".repeat(KEY_MAX_BYTES + 1), "x"))];
    assert!(matches!(store.commit(ops).await, Err(StoreError::TooLarge { .. })));
    assert_eq!(body(&store, "small").await, None);
    let claim = vec![("k".repeat(KEY_MAX_BYTES + 1), now().plus(MINUTE))];
    assert!(matches!(store.claim("realm", claim).await, Err(StoreError::TooLarge { .. })));
}

async fn found(store: &Arc<dyn Store>, by: By<'_>) -> Vec<String> {
    let records = store.scan(Kind::Meta, by, None, 100).await.unwrap();
    records.into_iter().map(|record| record.key).collect()
}
