//! What lies in the store sealed: unreadable in a copy of its files, and worthless in another place.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use tokio::task::JoinSet;
use vestibule_model::SystemClock;
use vestibule_store::{
    By, Expect, Kind, Op, Put, Record, SqliteStore, Store, StoreError,
    vault::{Census, KeyFile, KeyRing, KeySource, PLAIN_MAX_BYTES, Rotation, Row, Vault, VaultError, unlock},
};

const PLAIN: &str = "the-plain-text-that-nobody-may-find";

/// A state folder with its store, and the vault of its own key file.
struct House {
    folder: tempfile::TempDir,
    store: Arc<dyn Store>,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        Self { folder, store }
    }

    fn file(&self) -> KeyFile {
        KeyFile::new(self.folder.path().join("vault.key"))
    }

    async fn unlock(&self) -> Result<Arc<Vault>, VaultError> {
        unlock(&*self.store, &KeySource::File { file: self.file(), is_ours: true }).await
    }

    async fn vault(&self) -> Arc<Vault> {
        self.unlock().await.unwrap()
    }

    async fn put(&self, vault: &Arc<Vault>, key: &str, plain: &str) {
        let put = Put::sealed(Kind::Secret, key, vault, plain.as_bytes());
        self.store.commit(vec![Op::Put(put)]).await.unwrap();
    }

    async fn record(&self, key: &str) -> Record {
        self.store.get(Kind::Secret, key).await.unwrap().unwrap()
    }

    /// What opens in the row, as text.
    async fn read(&self, vault: &Vault, key: &str) -> String {
        let plain = vault.open_record(&self.record(key).await).unwrap();
        String::from_utf8(plain.to_vec()).unwrap()
    }

    /// Writes a body behind the back of the vault, as somebody who has the files could. The version stays.
    fn forge(&self, key: &str, body: &str) {
        let conn = rusqlite::Connection::open(self.folder.path().join("state.db")).unwrap();
        conn.busy_timeout(std::time::Duration::from_secs(5)).unwrap();
        let changed = conn.execute("UPDATE record SET body = ?2 WHERE key = ?1", (key, body)).unwrap();
        assert_eq!(changed, 1);
    }

    fn rotation(&self, vault: &Arc<Vault>) -> Rotation {
        Rotation::new(Arc::clone(&self.store), Arc::clone(vault), Some(self.file()))
    }
}

fn open(folder: &Path) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(folder, Arc::new(SystemClock::default())).unwrap())
}

/// Every file of the database, as somebody who copies the folder gets them.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for name in ["state.db", "state.db-wal", "state.db-shm", "claims.db", "claims.db-wal"] {
        if let Ok(bytes) = std::fs::read(folder.join(name)) {
            found.push((name.to_owned(), bytes));
        }
    }
    found
}

/// Which files hold this text.
fn holding(folder: &Path, text: &str) -> Vec<String> {
    let holds = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    files(folder).into_iter().filter(|(_, bytes)| holds(bytes)).map(|(name, _)| name).collect()
}

fn vault() -> Arc<Vault> {
    Arc::new(Vault::new(KeyRing::fresh().unwrap()))
}

fn row(key: &str, version: u64) -> Row<'_> {
    Row { kind: Kind::Secret, key, version }
}

#[test]
fn what_is_sealed_opens_for_its_row_and_each_sealing_differs() {
    let vault = vault();
    for plain in [&b""[..], b"x", &vec![7; PLAIN_MAX_BYTES]] {
        let sealed = vault.seal(&row("a", 1), plain).unwrap();
        assert_eq!(vault.open(&row("a", 1), &sealed).unwrap().as_slice(), plain);
        assert_ne!(vault.seal(&row("a", 1), plain).unwrap(), sealed);
    }
    let refused = vault.seal(&row("a", 1), &vec![0; PLAIN_MAX_BYTES + 1]);
    assert!(matches!(refused, Err(VaultError::TooLarge { .. })));
    let sealed: serde_json::Value =
        serde_json::from_str(&vault.seal(&row("a", 1), PLAIN.as_bytes()).unwrap()).unwrap();
    let members: BTreeSet<&str> = sealed.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, BTreeSet::from(["v", "kek", "dek", "nonce", "ct"]));
    assert_eq!(sealed["kek"], vault.key_ids()[0].as_str());
}

#[test]
fn a_text_opens_in_no_other_row_version_or_kind() {
    let vault = vault();
    let sealed = vault.seal(&row("a", 2), PLAIN.as_bytes()).unwrap();
    let elsewhere = [
        row("b", 2),
        row("a", 1),
        row("a", 3),
        row("a", 22),
        Row { kind: Kind::UpstreamToken, ..row("a", 2) },
        row("a|2", 2),
        row("", 2),
    ];
    for row in elsewhere {
        let error = vault.open(&row, &sealed).unwrap_err();
        assert!(matches!(error, VaultError::Altered { .. }), "{row:?}: {error}");
        assert!(vault.rewrap(&row, &sealed).is_ok_and(|same| same.is_none()), "it is under the first key");
        let said = error.to_string();
        assert!(said.contains(&format!("`{}`", row.key)) && !said.contains(PLAIN), "{said}");
    }
    // Not the key, nor the version, can be mistaken for a part of the other.
    let tricky = vault.seal(&row("a|1", 1), b"x").unwrap();
    assert!(vault.open(&row("a", 1), &tricky).is_err());
}

#[test]
fn a_text_that_was_cut_flipped_or_mixed_does_not_open() {
    let vault = vault();
    let sealed = vault.seal(&row("a", 1), PLAIN.as_bytes()).unwrap();
    for end in 0..sealed.len() {
        assert!(vault.open(&row("a", 1), &sealed[..end]).is_err(), "{end}");
    }
    for at in 0..sealed.len() {
        for flip in [1, 2, 0x20] {
            let mut bytes = sealed.clone().into_bytes();
            bytes[at] ^= flip;
            let Ok(text) = String::from_utf8(bytes) else { continue };
            assert!(vault.open(&row("a", 1), &text).is_err(), "{at}: {text}");
        }
    }
    // Parts of two texts that both belong to the row: an old data key with a new text, and the other way round.
    let part = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let (one, two) = (part(&sealed), part(&vault.seal(&row("a", 1), b"another").unwrap()));
    for member in ["dek", "nonce", "ct"] {
        let mut mixed = one.clone();
        mixed[member] = two[member].clone();
        let error = vault.open(&row("a", 1), &mixed.to_string()).unwrap_err();
        assert!(matches!(error, VaultError::Altered { .. }), "{member}: {error}");
    }
    let mut longer = one.clone();
    longer["more"] = 1.into();
    assert!(matches!(vault.open(&row("a", 1), &longer.to_string()), Err(VaultError::NotSealed { .. })));
    let mut newer = one;
    newer["v"] = 2.into();
    assert!(matches!(vault.open(&row("a", 1), &newer.to_string()), Err(VaultError::NotSealed { .. })));
}

#[test]
fn another_key_is_told_from_a_broken_row() {
    let (ours, theirs) = (vault(), vault());
    let sealed = ours.seal(&row("a", 1), PLAIN.as_bytes()).unwrap();
    let error = theirs.open(&row("a", 1), &sealed).unwrap_err();
    assert!(matches!(error, VaultError::KeyUnknown { .. }));
    let said = error.to_string();
    assert!(said.contains(ours.key_ids()[0].as_str()) && said.contains("secret row `a`"), "{said}");
    assert!(matches!(theirs.rewrap(&row("a", 1), &sealed), Err(VaultError::KeyUnknown { .. })));
}

#[tokio::test]
async fn a_put_is_sealed_for_the_version_that_it_gets() {
    let house = House::new();
    let vault = house.vault().await;
    for (version, plain) in [(1, "one"), (2, "two"), (3, "three")] {
        house.put(&vault, "a", plain).await;
        assert_eq!(house.record("a").await.version, version);
        assert_eq!(house.read(&vault, "a").await, plain);
    }
    let body = house.record("a").await.body;
    house.put(&vault, "a", "four").await;
    house.forge("a", &body);
    let error = vault.open_record(&house.record("a").await).unwrap_err();
    assert!(matches!(error, VaultError::Altered { .. }), "an older text was put back: {error}");
    let large = Put::sealed(Kind::Secret, "b", &vault, &vec![0; PLAIN_MAX_BYTES + 1]);
    let refused = house.store.commit(vec![Op::Put(large)]).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })));
}

#[tokio::test]
async fn rows_that_were_swapped_do_not_open() {
    let house = House::new();
    let vault = house.vault().await;
    house.put(&vault, "a", "of a").await;
    house.put(&vault, "b", "of b").await;
    let (a, b) = (house.record("a").await.body, house.record("b").await.body);
    house.forge("a", &b);
    house.forge("b", &a);
    for key in ["a", "b"] {
        let said = vault.open_record(&house.record(key).await).unwrap_err().to_string();
        assert!(said.contains(&format!("the secret row `{key}` does not open")), "{said}");
        assert!(said.contains("vestibule secret set"), "it says the way out: {said}");
    }
}

#[tokio::test]
async fn nothing_sealed_shows_in_a_copy_of_the_files() {
    let house = House::new();
    let vault = house.vault().await;
    for number in 0..50 {
        house.put(&vault, &format!("s{number}"), &format!("{PLAIN}-{number}")).await;
    }
    let control = Put::new(Kind::Meta, "control", &"this-text-is-not-sealed").unwrap();
    house.store.commit(vec![Op::Put(control)]).await.unwrap();
    let folder = house.folder.path();
    assert!(!holding(folder, "this-text-is-not-sealed").is_empty(), "the search finds what is there");
    assert_eq!(holding(folder, PLAIN), Vec::<String>::new());
    house.store.scrub().await.unwrap();
    assert_eq!(holding(folder, "this-text-is-not-sealed"), ["state.db"]);
    assert_eq!(holding(folder, PLAIN), Vec::<String>::new());
    let shown = format!("{vault:?} {:?}", Put::sealed(Kind::Secret, "a", &vault, PLAIN.as_bytes()));
    assert!(!shown.contains(PLAIN), "{shown}");
}

/// As an earlier version left it: the texts as they are, deleted ones still in the file.
fn unsealed_state(folder: &Path) {
    drop(open(folder));
    let conn = rusqlite::Connection::open(folder.join("state.db")).unwrap();
    conn.execute_batch("PRAGMA secure_delete = OFF; DROP TABLE counter; PRAGMA user_version = 1").unwrap();
    let long = "x".repeat(3000);
    let put = "INSERT INTO record (kind, key, version, body) VALUES ('signing-key', ?1, 1, ?2)";
    for number in 0..40 {
        conn.execute(put, (format!("k{number}"), format!("\"{PLAIN}-{number}-{long}\""))).unwrap();
    }
    conn.execute("DELETE FROM record WHERE key <> 'k7'", []).unwrap();
}

#[tokio::test]
async fn what_an_earlier_version_left_unsealed_is_gone_from_every_page_once_it_is_sealed() {
    let house = tempfile::tempdir().unwrap();
    let folder = house.path();
    unsealed_state(folder);
    assert_eq!(
        holding(folder, &format!("{PLAIN}-9-")),
        ["state.db"],
        "a deleted row is still in a free page"
    );
    let store = open(folder);
    let vault = vault();
    let record = store.get(Kind::SigningKey, "k7").await.unwrap().unwrap();
    let put = Put::sealed(Kind::SigningKey, "k7", &vault, record.body.as_bytes());
    store.commit(vec![Op::Put(put.expect(Expect::Version(record.version)))]).await.unwrap();
    assert!(!holding(folder, PLAIN).is_empty(), "until the log is cleared");
    store.scrub().await.unwrap();
    assert_eq!(holding(folder, PLAIN), Vec::<String>::new());
    let record = store.get(Kind::SigningKey, "k7").await.unwrap().unwrap();
    assert!(String::from_utf8(vault.open_record(&record).unwrap().to_vec()).unwrap().contains(PLAIN));
}

#[tokio::test]
async fn a_deleted_or_replaced_row_leaves_nothing_in_the_files() {
    let house = House::new();
    let long = "x".repeat(9000);
    let body = |number: usize| format!("{PLAIN}-{number}-{long}");
    let put = |number: usize| Op::Put(Put::new(Kind::Meta, format!("k{number}"), &body(number)).unwrap());
    house.store.commit((0..20).map(put).collect()).await.unwrap();
    house.store.scrub().await.unwrap();
    assert_eq!(holding(house.folder.path(), PLAIN), ["state.db"]);
    let replace = |number: usize| Op::Put(Put::new(Kind::Meta, format!("k{number}"), &"short").unwrap());
    let delete = |number: usize| Op::Delete { kind: Kind::Meta, key: format!("k{number}") };
    house.store.commit((0..10).map(replace).chain((10..20).map(delete)).collect()).await.unwrap();
    house.store.scrub().await.unwrap();
    assert_eq!(holding(house.folder.path(), PLAIN), Vec::<String>::new());
}

#[tokio::test]
async fn the_key_is_made_at_the_first_start_and_found_again() {
    let house = House::new();
    let first = house.vault().await;
    house.put(&first, "a", "kept").await;
    let again = house.vault().await;
    assert_eq!(again.key_ids(), first.key_ids());
    assert_eq!(house.read(&again, "a").await, "kept");
}

#[tokio::test]
async fn a_key_that_is_gone_is_never_replaced_by_a_new_one() {
    let house = House::new();
    let vault = house.vault().await;
    let path = house.folder.path().join("vault.key");
    let away = house.folder.path().join("away");
    std::fs::rename(&path, &away).unwrap();
    // The check row alone is enough to know that there was a key.
    let error = house.unlock().await.unwrap_err();
    assert!(matches!(error, VaultError::KeyMissing { .. }));
    let said = error.to_string();
    assert!(said.contains("vault.key") && said.contains(vault.key_ids()[0].as_str()), "{said}");
    assert!(said.contains("backup") && !path.exists(), "{said}");
    std::fs::rename(&away, &path).unwrap();
    assert!(house.unlock().await.is_ok());
}

#[tokio::test]
async fn a_wrong_key_is_told_at_the_start() {
    let (house, other) = (House::new(), House::new());
    let vault = house.vault().await;
    house.put(&vault, "a", "kept").await;
    other.vault().await;
    std::fs::copy(other.folder.path().join("vault.key"), house.folder.path().join("vault.key")).unwrap();
    let error = house.unlock().await.unwrap_err();
    assert!(matches!(error, VaultError::KeyWrong { rows: 2, .. }), "{error}");
    let said = error.to_string();
    for id in [vault.key_ids(), other.vault().await.key_ids()].concat() {
        assert!(said.contains(id.as_str()), "{said}");
    }
    // Somebody who can write the files and makes the row name the key that is there gains nothing.
    let check = house.store.get(Kind::Meta, "vault-check").await.unwrap().unwrap();
    let theirs = other.vault().await.key_ids()[0].to_string();
    house.forge("vault-check", &check.body.replace(vault.key_ids()[0].as_str(), &theirs));
    house.store.commit(vec![Op::Delete { kind: Kind::Secret, key: "a".into() }]).await.unwrap();
    assert!(matches!(house.unlock().await, Err(VaultError::Altered { .. })));
}

#[tokio::test]
async fn keys_from_elsewhere_are_used_in_their_order_and_never_made() {
    let house = House::new();
    let (old, new) =
        ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    let unlock = async |text: &str| {
        let source = KeySource::Text { place: "variable `K`".into(), text: text.to_owned().into() };
        unlock(&*house.store, &source).await
    };
    let vault = unlock(old).await.unwrap();
    house.put(&vault, "a", "kept").await;
    assert!(matches!(unlock(new).await, Err(VaultError::KeyWrong { .. })));
    let both = unlock(&format!("{new},{old}")).await.unwrap();
    assert_eq!(house.read(&both, "a").await, "kept");
    let rotation = Rotation::new(Arc::clone(&house.store), Arc::clone(&both), None);
    let rotated = rotation.run().await.unwrap();
    assert_eq!((rotated.rewrapped, rotated.dropped.len()), (2, 0));
    assert_eq!(rotation.key_ids().len(), 2, "whoever put it there takes it away");
    assert_eq!(house.read(&unlock(new).await.unwrap(), "a").await, "kept");
    let file = KeyFile::new(house.folder.path().join("theirs"));
    let empty = House::new();
    let error =
        vestibule_store::vault::unlock(&*empty.store, &KeySource::File { file, is_ours: false }).await;
    assert!(error.unwrap_err().to_string().contains("openssl rand"));
}

async fn under(house: &House) -> Vec<(String, u64)> {
    let census = Census::take(&*house.store).await.unwrap();
    census.sealed.into_iter().map(|(id, rows)| (id.to_string(), rows)).collect()
}

#[tokio::test]
async fn a_rotation_puts_every_row_under_a_new_key_and_drops_the_old_one() {
    let house = House::new();
    let vault = house.vault().await;
    for number in 0..250 {
        house.put(&vault, &format!("s{number}"), &number.to_string()).await;
    }
    let before = house.record("s9").await;
    let (old, head) = (vault.key_ids()[0].clone(), house.store.changes(0, 1).await.unwrap().head);
    let rotated = house.rotation(&vault).run().await.unwrap();
    assert_eq!((rotated.rewrapped, &rotated.dropped), (251, &vec![old.clone()]));
    assert_ne!(rotated.seals, old);
    assert_eq!(under(&house).await, [(rotated.seals.to_string(), 251)]);
    assert_eq!(house.file().read().unwrap().unwrap().ids(), std::slice::from_ref(&rotated.seals));
    let after = house.record("s9").await;
    assert_eq!(after.version, before.version, "the row says what it said");
    assert_eq!(house.store.changes(0, 1).await.unwrap().head, head, "nobody has to read it again");
    assert_ne!(after.body, before.body);
    let restarted = house.vault().await;
    for number in 0..250 {
        assert_eq!(house.read(&restarted, &format!("s{number}")).await, number.to_string());
    }
    // Whoever gets hold of the old key finds nothing that it opens.
    assert_eq!(holding(house.folder.path(), old.as_str()), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_tasks_seal_and_open_while_the_key_is_rotated() {
    const TASKS: usize = 8;
    const ROTATIONS: usize = 5;
    let house = Arc::new(House::new());
    let vault = house.vault().await;
    let (done, stop) = tokio::sync::watch::channel(false);
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let (house, vault, stop) = (Arc::clone(&house), Arc::clone(&vault), stop.clone());
        tasks.spawn(async move {
            let key = format!("t{task}");
            let mut written = 0u64;
            while !*stop.borrow() || written == 0 {
                written += 1;
                house.put(&vault, &key, &format!("{task}-{written}")).await;
                assert_eq!(house.read(&vault, &key).await, format!("{task}-{written}"));
            }
            written
        });
    }
    let rotation = house.rotation(&vault);
    for _ in 0..ROTATIONS {
        rotation.run().await.unwrap();
        tokio::task::yield_now().await;
    }
    done.send_replace(true);
    let written: u64 = tasks.join_all().await.into_iter().sum();
    assert!(written >= TASKS as u64);
    let restarted = house.vault().await;
    assert_eq!(restarted.key_ids().len(), 1);
    assert_eq!(under(&house).await, [(restarted.key_ids()[0].to_string(), TASKS as u64 + 1)]);
    for record in house.store.scan(Kind::Secret, By::All, None, 100).await.unwrap() {
        assert!(restarted.open_record(&record).is_ok(), "{record:?}");
    }
}

#[tokio::test]
async fn a_second_rotation_at_the_same_time_is_refused() {
    let house = House::new();
    let vault = house.vault().await;
    let rotation = house.rotation(&vault);
    let (one, two) = tokio::join!(rotation.run(), rotation.run());
    assert!(one.is_ok());
    assert!(matches!(two, Err(VaultError::UnderWay)));
}

#[tokio::test]
async fn a_crash_after_any_step_leaves_a_state_that_opens_and_a_rotation_that_goes_on() {
    for steps in 0..=4 {
        let house = House::new();
        let vault = house.vault().await;
        for number in 0..5 {
            house.put(&vault, &format!("s{number}"), &number.to_string()).await;
        }
        let rotation = house.rotation(&vault);
        if steps >= 1 {
            rotation.add_key().await.unwrap();
            house.put(&vault, "s0", "while two keys are held").await;
        }
        match steps {
            2 => {
                // Killed half-way through the rows: one is under the new key, the others are not.
                house.put(&vault, "s1", "1").await;
                assert_eq!(under(&house).await.len(), 2);
            }
            3 => assert_eq!(rotation.rewrap().await.unwrap(), 5),
            4 => {
                rotation.rewrap().await.unwrap();
                rotation.drop_keys().await.unwrap();
            }
            _ => {}
        }
        // The process is gone; what it knew was in its memory.
        drop((rotation, vault));
        let House { folder, store } = house;
        drop(store);
        let house = House { store: open(folder.path()), folder };
        let vault = house.vault().await;
        assert_eq!(vault.key_ids().len(), if matches!(steps, 1..=3) { 2 } else { 1 }, "after step {steps}");
        for number in 1..5 {
            assert_eq!(house.read(&vault, &format!("s{number}")).await, number.to_string(), "step {steps}");
        }
        let rotated = house.rotation(&vault).run().await.unwrap();
        assert_eq!(under(&house).await, [(rotated.seals.to_string(), 6)], "after step {steps}");
        let again = house.vault().await;
        assert_eq!(again.key_ids(), [rotated.seals]);
        assert_eq!(house.read(&again, "s4").await, "4");
    }
}

#[tokio::test]
async fn a_key_that_a_row_needs_is_not_dropped() {
    let house = House::new();
    let vault = house.vault().await;
    house.put(&vault, "good", "kept").await;
    house.put(&vault, "bad", "lost").await;
    let good = house.record("good").await.body;
    house.forge("bad", &good);
    let rotation = house.rotation(&vault);
    let error = rotation.run().await.unwrap_err();
    assert!(matches!(error, VaultError::Incomplete { rows: 1, .. }), "{error}");
    assert!(error.to_string().contains("secret row `bad`"), "{error}");
    assert_eq!(rotation.key_ids().len(), 2);
    assert!(matches!(rotation.drop_keys().await, Err(VaultError::Incomplete { rows: 1, .. })));
    let restarted = house.vault().await;
    assert_eq!(house.read(&restarted, "good").await, "kept");
    // The way out that the error names: write the row anew.
    house.put(&restarted, "bad", "set again").await;
    let rotated = house.rotation(&restarted).run().await.unwrap();
    assert_eq!(rotated.dropped.len(), 2);
    assert_eq!(house.read(&restarted, "bad").await, "set again");
}

#[tokio::test]
async fn a_key_file_that_somebody_else_wrote_is_not_overwritten() {
    let house = House::new();
    let vault = house.vault().await;
    let rotation = house.rotation(&vault);
    let path = house.folder.path().join("vault.key");
    let own = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, format!("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n{own}")).unwrap();
    assert!(matches!(rotation.run().await, Err(VaultError::Changed(_))));
    assert!(std::fs::read_to_string(&path).unwrap().ends_with(&own));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(rotation.run().await, Err(VaultError::Changed(_))));
    assert!(!path.exists());
}
