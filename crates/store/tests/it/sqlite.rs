use std::{path::Path, sync::Arc};

use tokio::task::JoinSet;
use vestibule_model::{FixedClock, SystemClock, Timestamp};
use vestibule_store::{By, Kind, Op, Put, SqliteStore, Store, StoreError, conformance};

fn open(folder: &Path) -> SqliteStore {
    SqliteStore::open(folder, Arc::new(SystemClock::default())).unwrap()
}

fn put(key: &str) -> Op {
    Op::Put(Put::new(Kind::Meta, key, &"x").unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_is_a_store() {
    let folder = tempfile::tempdir().unwrap();
    conformance::all(async |clock| {
        let folder = tempfile::tempdir_in(folder.path()).unwrap().keep();
        Arc::new(SqliteStore::open(&folder, clock).unwrap()) as Arc<dyn Store>
    })
    .await;
}

#[tokio::test]
async fn everything_survives_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Arc::new(FixedClock::at(Timestamp::from_seconds(1_800_000_000)));
    let until = Timestamp::from_seconds(1_800_000_060);
    let claim = || vec![("jti".to_owned(), until)];

    let first = SqliteStore::open(folder.path(), clock.clone()).unwrap();
    first.commit(vec![put("key")]).await.unwrap();
    assert_eq!(first.claim("realm", claim()).await.unwrap(), [true]);
    let before = first.changes(0, 10).await.unwrap();
    drop(first);

    let second = SqliteStore::open(folder.path(), clock).unwrap();
    assert_eq!(second.changes(0, 10).await.unwrap(), before);
    assert_eq!(*second.hint().borrow(), 1);
    assert_eq!(second.claim("realm", claim()).await.unwrap(), [false]);
    assert_eq!(second.commit(vec![put("key")]).await.unwrap(), 2);
}

#[tokio::test]
async fn another_folder_is_another_epoch() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let epoch = async |folder: &Path| open(folder).changes(0, 0).await.unwrap().epoch;
    assert_ne!(epoch(one.path()).await, epoch(two.path()).await);
    assert_eq!(epoch(one.path()).await, epoch(one.path()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_commits_and_conflicts_loses_nobody() {
    const STORM: u64 = 2000;
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(open(folder.path()));
    store.commit(vec![put("taken")]).await.unwrap();
    let mut storm = JoinSet::new();
    for n in 0..STORM {
        let store = Arc::clone(&store);
        storm.spawn(async move {
            let clash = Put::new(Kind::Meta, "taken", &"x").unwrap().expect(vestibule_store::Expect::Absent);
            let ops = if n % 4 == 0 {
                vec![put(&format!("undone-{n}")), Op::Put(clash)]
            } else {
                vec![put(&format!("done-{n}"))]
            };
            match store.commit(ops).await {
                Err(StoreError::Conflict { .. }) => false,
                other => other.unwrap() > 0,
            }
        });
    }
    let written = storm.join_all().await.into_iter().filter(|written| *written).count() as u64;
    assert_eq!(written, STORM / 4 * 3);
    assert_eq!(store.changes(0, 0).await.unwrap().head, 1 + written);
    let records = store.scan(Kind::Meta, By::All, None, 10_000).await.unwrap();
    assert_eq!(records.len() as u64, 1 + written, "a conflict undoes its own commit and no neighbour's");
    assert!(records.iter().all(|record| !record.key.starts_with("undone")));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_on_one_folder_see_each_other() {
    const EACH: usize = 50;
    let folder = tempfile::tempdir().unwrap();
    let (gateway, cli) = (Arc::new(open(folder.path())), Arc::new(open(folder.path())));
    assert_eq!(cli.commit(vec![put("by-cli")]).await.unwrap(), 1);
    assert!(gateway.get(Kind::Meta, "by-cli").await.unwrap().is_some());

    let mut writers = JoinSet::new();
    for (name, store) in [("gateway", gateway.clone()), ("cli", cli)] {
        writers.spawn(async move {
            for n in 0..EACH {
                store.commit(vec![put(&format!("{name}-{n}"))]).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    let changes = gateway.changes(0, 1000).await.unwrap();
    let places: Vec<u64> = changes.items.iter().map(|change| change.seq).collect();
    assert_eq!(places, (1..=1 + 2 * EACH as u64).collect::<Vec<_>>(), "one order, no holes");
}

#[cfg(unix)]
#[tokio::test]
async fn files_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let loose = folder.path().join("state.db");
    std::fs::write(&loose, "").unwrap();
    std::fs::set_permissions(&loose, std::fs::Permissions::from_mode(0o644)).unwrap();
    let store = open(folder.path());
    store.commit(vec![put("key")]).await.unwrap();
    store.claim("realm", vec![("key".to_owned(), Timestamp::from_millis(i64::MAX))]).await.unwrap();
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap()).collect();
    assert!(files.len() >= 4, "both files and their logs: {files:?}");
    for file in files {
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", file.path());
    }
}

#[test]
fn a_file_of_a_newer_version_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let conn = rusqlite::Connection::open(folder.path().join("state.db")).unwrap();
    conn.pragma_update(None, "user_version", 99).unwrap();
    let refused = SqliteStore::open(folder.path(), Arc::new(SystemClock::default()));
    assert!(matches!(refused, Err(StoreError::SchemaNewer { found: 99, .. })));
}

#[test]
fn what_is_no_database_or_no_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("state.db"), "this is not a database, it only looks like a file")
        .unwrap();
    let clock = || Arc::new(SystemClock::default());
    assert!(matches!(SqliteStore::open(folder.path(), clock()), Err(StoreError::Unavailable { .. })));
    let absent = folder.path().join("absent");
    assert!(matches!(SqliteStore::open(&absent, clock()), Err(StoreError::File { .. })));
    assert!(!absent.exists(), "a mistyped folder is not an empty gateway");
}
