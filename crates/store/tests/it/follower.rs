use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use async_trait::async_trait;
use tokio::sync::watch;
use vestibule_model::{Clock, FixedClock, Timestamp};
use vestibule_store::{
    By, Change, Changes, Counter, Follower, Kind, Op, Put, Record, Seq, SqliteStore, Store, StoreError,
    Subscriber,
};

const POLL: Duration = Duration::from_millis(5);

#[tokio::test]
async fn what_stands_is_loaded_and_what_changes_is_followed() {
    let world = World::new();
    world.put("old").await;
    let follower = world.follow().await;
    assert_eq!(world.mirror.keys(), ["old"], "loaded before it returns");

    let seq = world.put("new").await;
    follower.caught_up(seq).await;
    assert_eq!(world.mirror.keys(), ["new", "old"]);
    assert_eq!(follower.applied(), seq);

    world.link.store().commit(vec![Op::Put(Put::new(Kind::Agent, "agent", &"x").unwrap())]).await.unwrap();
    let delete = Op::Delete { kind: Kind::Meta, key: "old".to_owned() };
    follower.caught_up(world.link.store().commit(vec![delete]).await.unwrap()).await;
    assert_eq!(world.mirror.keys(), ["new"], "of its own kinds only");
}

#[tokio::test]
async fn more_than_a_page_is_loaded_and_followed() {
    let world = World::new();
    let put = |n: u32| Op::Put(Put::new(Kind::Meta, format!("{n:05}"), &"x").unwrap());
    world.link.store().commit((0..2500).map(put).collect()).await.unwrap();
    let follower = world.follow().await;
    assert_eq!(world.mirror.keys().len(), 2500);
    let seq = world.link.store().commit((2500..5000).map(put).collect()).await.unwrap();
    follower.caught_up(seq).await;
    assert_eq!(world.mirror.keys().len(), 5000);
}

#[tokio::test]
async fn another_process_is_followed_without_a_hint() {
    let world = World::new();
    let follower = world.follow().await;
    let cli = SqliteStore::open(world.folder.path(), world.clock.clone()).unwrap();
    let seq = cli.commit(vec![Op::Put(Put::new(Kind::Meta, "by-cli", &"x").unwrap())]).await.unwrap();
    follower.caught_up(seq).await;
    assert_eq!(world.mirror.keys(), ["by-cli"]);
}

#[tokio::test]
async fn the_age_grows_while_the_store_cannot_be_read() {
    let world = World::new();
    let follower = world.follow().await;
    world.link.cut(true);
    world.link.polled(3).await;
    world.clock.advance(Duration::from_secs(3));
    world.link.polled(3).await;
    assert_eq!(follower.state_age(), Duration::from_secs(3));

    world.link.cut(false);
    let seq = world.put("back").await;
    follower.caught_up(seq).await;
    assert_eq!(follower.state_age(), Duration::ZERO);
}

#[tokio::test]
async fn a_stuck_subscriber_with_a_healthy_poll_goes_stale() {
    let world = World::new();
    let follower = world.follow().await;
    world.mirror.jam(true);
    let seq = world.put("indigestible").await;
    world.link.polled(3).await;
    world.clock.advance(Duration::from_secs(3));
    world.link.polled(3).await;
    assert_eq!(follower.state_age(), Duration::from_secs(3), "an answer alone is not progress");
    assert!(follower.applied() < seq);

    world.mirror.jam(false);
    follower.caught_up(seq).await;
    assert_eq!(follower.state_age(), Duration::ZERO);
    assert_eq!(world.mirror.keys(), ["indigestible"]);
}

#[tokio::test]
async fn a_log_trimmed_past_the_follower_is_a_full_reload() {
    let world = World::new();
    for key in ["a", "b"] {
        world.put(key).await;
    }
    let follower = world.follow().await;
    world.link.cut(true);
    world.link.polled(1).await;
    let delete = Op::Delete { kind: Kind::Meta, key: "a".to_owned() };
    world.link.store().commit(vec![delete]).await.unwrap();
    let seq = world.put("c").await;
    world.link.store().trim(world.clock.now(), seq).await.unwrap();
    world.link.cut(false);
    follower.caught_up(seq).await;
    assert_eq!(world.mirror.keys(), ["b", "c"], "the delete is noticed though its row is gone");
    assert_eq!(world.mirror.resets(), 2);
}

#[tokio::test]
async fn another_epoch_is_a_full_reload_whatever_its_numbers() {
    let world = World::new();
    world.put("lost").await;
    let follower = world.follow().await;
    let restored = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(restored.path(), world.clock.clone()).unwrap();
    let puts = ["kept", "more"].map(|key| Op::Put(Put::new(Kind::Meta, key, &"x").unwrap()));
    let seq = store.commit(puts.to_vec()).await.unwrap();
    world.link.replace(store);
    follower.caught_up(seq).await;
    assert_eq!(world.mirror.keys(), ["kept", "more"]);
    assert_eq!(world.mirror.resets(), 2);
}

#[tokio::test]
async fn a_history_that_went_back_is_a_full_reload() {
    let world = World::new();
    let backup = tempfile::tempdir().unwrap();
    world.put("kept").await;
    let copy = rusqlite::Connection::open(world.folder.path().join("state.db")).unwrap();
    copy.execute("VACUUM INTO ?1", [backup.path().join("state.db").to_str().unwrap()]).unwrap();
    world.put("lost").await;
    let follower = world.follow().await;
    assert_eq!(follower.applied(), 2);
    world.link.replace(SqliteStore::open(backup.path(), world.clock.clone()).unwrap());
    world.mirror.was_reset(2).await;
    assert_eq!(world.mirror.keys(), ["kept"]);
}

#[tokio::test]
async fn a_subscriber_that_refuses_its_first_records_stops_the_start() {
    let world = World::new();
    world.put("indigestible").await;
    world.mirror.jam(true);
    let start = Follower::start(world.link.clone(), world.clock.clone(), POLL, vec![world.mirror.clone()]);
    assert!(matches!(start.await, Err(StoreError::Stopped)));
}

#[tokio::test]
async fn it_stops_when_nobody_holds_it() {
    let world = World::new();
    let follower = world.follow().await;
    let link: Weak<Link> = Arc::downgrade(&world.link);
    drop(follower);
    drop(world);
    while link.strong_count() > 0 {
        tokio::task::yield_now().await;
    }
}

/// A store, a follower's view of it, and the time.
struct World {
    folder: tempfile::TempDir,
    clock: Arc<FixedClock>,
    link: Arc<Link>,
    mirror: Arc<Mirror>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(FixedClock::at(Timestamp::from_seconds(1_800_000_000)));
        let link = Arc::new(Link::to(folder.path(), clock.clone()));
        Self { folder, clock, link, mirror: Arc::default() }
    }

    async fn follow(&self) -> Arc<Follower> {
        let subscribers: Vec<Arc<dyn Subscriber>> = vec![self.mirror.clone()];
        Follower::start(self.link.clone(), self.clock.clone(), POLL, subscribers).await.unwrap()
    }

    async fn put(&self, key: &str) -> Seq {
        let put = Put::new(Kind::Meta, key, &"x").unwrap();
        self.link.store().commit(vec![Op::Put(put)]).await.unwrap()
    }
}

/// The way to a store: can be cut, and can lead to another one afterwards.
#[derive(Debug)]
struct Link {
    store: Mutex<Arc<SqliteStore>>,
    is_cut: Mutex<bool>,
    polls: watch::Sender<u64>,
    /// Never hints, so that the poll alone is tried.
    hint: watch::Sender<Seq>,
}

impl Link {
    fn to(folder: &Path, clock: Arc<dyn Clock>) -> Self {
        let store = Arc::new(SqliteStore::open(folder, clock).unwrap());
        Self {
            store: Mutex::new(store),
            is_cut: Mutex::new(false),
            polls: watch::Sender::new(0),
            hint: watch::Sender::new(0),
        }
    }

    fn store(&self) -> Arc<SqliteStore> {
        self.store.lock().unwrap().clone()
    }

    fn replace(&self, store: SqliteStore) {
        *self.store.lock().unwrap() = Arc::new(store);
    }

    fn cut(&self, is_cut: bool) {
        *self.is_cut.lock().unwrap() = is_cut;
    }

    /// Waits for that many more polls to begin, so all but the last have ended.
    async fn polled(&self, times: u64) {
        let mut polls = self.polls.subscribe();
        let goal = *polls.borrow() + times;
        polls.wait_for(|polls| *polls >= goal).await.unwrap();
    }
}

#[async_trait]
impl Store for Link {
    async fn commit(&self, ops: Vec<Op>) -> Result<Seq, StoreError> {
        self.store().commit(ops).await
    }

    async fn get(&self, kind: Kind, key: &str) -> Result<Option<Record>, StoreError> {
        self.store().get(kind, key).await
    }

    async fn scan(
        &self,
        kind: Kind,
        by: By<'_>,
        after: Option<&str>,
        n: u32,
    ) -> Result<Vec<Record>, StoreError> {
        self.store().scan(kind, by, after, n).await
    }

    async fn counters(
        &self,
        realm: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Counter>, StoreError> {
        self.store().counters(realm, after, limit).await
    }

    async fn claim(&self, realm: &str, keys: Vec<(String, Timestamp)>) -> Result<Vec<bool>, StoreError> {
        self.store().claim(realm, keys).await
    }

    async fn changes(&self, after: Seq, limit: u32) -> Result<Changes, StoreError> {
        self.polls.send_modify(|polls| *polls += 1);
        if *self.is_cut.lock().unwrap() {
            return Err(StoreError::Stopped);
        }
        self.store().changes(after, limit).await
    }

    fn hint(&self) -> watch::Receiver<Seq> {
        self.hint.subscribe()
    }

    async fn trim(&self, now: Timestamp, keep: Seq) -> Result<u64, StoreError> {
        self.store().trim(now, keep).await
    }

    async fn scrub(&self) -> Result<(), StoreError> {
        self.store().scrub().await
    }
}

/// Holds what it is told. Refuses to while it is jammed.
#[derive(Default)]
struct Mirror {
    records: Mutex<BTreeMap<String, Record>>,
    is_jammed: Mutex<bool>,
    resets: watch::Sender<u64>,
}

impl Mirror {
    fn keys(&self) -> Vec<String> {
        self.records.lock().unwrap().keys().cloned().collect()
    }

    fn resets(&self) -> u64 {
        *self.resets.borrow()
    }

    async fn was_reset(&self, times: u64) {
        self.resets.subscribe().wait_for(|resets| *resets >= times).await.unwrap();
    }

    fn jam(&self, is_jammed: bool) {
        *self.is_jammed.lock().unwrap() = is_jammed;
    }

    fn digest(&self) -> Result<(), StoreError> {
        if *self.is_jammed.lock().unwrap() { Err(StoreError::Stopped) } else { Ok(()) }
    }
}

impl Subscriber for Mirror {
    fn kinds(&self) -> &'static [Kind] {
        &[Kind::Meta]
    }

    fn reset(&self, records: Vec<Record>) -> Result<(), StoreError> {
        self.digest()?;
        *self.records.lock().unwrap() =
            records.into_iter().map(|record| (record.key.clone(), record)).collect();
        self.resets.send_modify(|resets| *resets += 1);
        Ok(())
    }

    fn apply(&self, change: &Change) -> Result<(), StoreError> {
        self.digest()?;
        let mut records = self.records.lock().unwrap();
        match &change.record {
            Some(record) => records.insert(change.key.clone(), record.clone()),
            None => records.remove(&change.key),
        };
        Ok(())
    }
}
