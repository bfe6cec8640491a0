//! Excerpts of a log with their proofs, and bundles of them that nobody can change.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Value, json};
use tempfile::TempDir;
use vestibule_evidence::{
    Attempt, BUNDLE_ATTEMPTS, BUNDLE_CHECKPOINT, BUNDLE_ENTRIES, BUNDLE_GATHERED, BUNDLE_KEY,
    BUNDLE_MANIFEST, BUNDLE_SEAL, BundleReport, Bundling, Evidence, EvidenceError, Excerpt, Fit, LogKey,
    Mode, Outcome, RecordKind, Selection, State, seal_bundle, verify_bundle,
};
use vestibule_model::{AttemptId, Digest};

use crate::rig::{ORIGIN, Rig, public};

/// Attempts whose operation begins like this; those whose cause is `key` are key ones.
struct Named(&'static str);

impl Selection for Named {
    fn may_fit(&self, _attempt: AttemptId, line: &str) -> bool {
        line.contains(self.0)
    }

    fn fits(&mut self, attempt: &Attempt) -> Fit {
        let record = &attempt.record;
        match record.operation.as_ref().is_some_and(|operation| operation.starts_with(self.0)) {
            false => Fit::No,
            true if record.cause.as_deref() == Some("key") => Fit::Key,
            true => Fit::Yes,
        }
    }
}

async fn call(rig: &Rig, log: &Evidence, operation: &str, cause: Option<&str>) {
    let mut record = rig.record();
    record.operation = Some(operation.to_owned());
    record.cause = cause.map(str::to_owned);
    let mut entry = log.begin(record).unwrap();
    entry.opened().await.unwrap();
    entry.close(Outcome::Completed).await.unwrap();
}

fn excerpt(rig: &Rig, max: usize) -> Result<Excerpt, EvidenceError> {
    Excerpt::of(rig.path(), &public(), &mut Named("wanted"), max)
}

/// The operations of the attempts, in order, and how many entries there are.
fn told(excerpt: &Excerpt) -> (Vec<String>, usize) {
    let (mut operations, mut entries) = (Vec::new(), 0);
    let each = excerpt.each(|excerpted| {
        entries += 1;
        operations.extend(excerpted.attempt.and_then(|attempt| attempt.record.operation));
        Ok::<(), EvidenceError>(())
    });
    each.unwrap();
    (operations, entries)
}

#[tokio::test]
async fn an_excerpt_has_what_fits_and_of_too_much_the_newest_and_the_key_ones() {
    let rig = Rig::new(Mode::Batched);
    let log = rig.open();
    call(&rig, &log, "wanted-key", Some("key")).await;
    for n in 0..400 {
        call(&rig, &log, &format!("wanted-{n}"), None).await;
        call(&rig, &log, "other", None).await;
    }
    let mut record = rig.record();
    record.operation = Some("wanted-open".to_owned());
    let mut open = log.begin(record).unwrap();
    open.opened().await.unwrap();
    log.sign().await.unwrap();
    let whole = excerpt(&rig, 1000).unwrap();
    assert_eq!((whole.attempts(), whole.entries(), whole.left_out()), (402, 803, 0));
    assert_eq!(whole.size(), 1 + 2 * 801 + 1);
    let short = excerpt(&rig, 3).unwrap();
    assert_eq!((short.attempts(), short.left_out()), (4, 398));
    let expected = ["wanted-key", "wanted-398", "wanted-399", "wanted-open"].map(str::to_owned);
    assert_eq!(told(&short), (expected.to_vec(), 7));
    // What comes later is not in it, and does not make its proofs wrong.
    call(&rig, &log, "wanted-later", None).await;
    log.sign().await.unwrap();
    assert_eq!(told(&short).0, expected);
    drop(open);
    log.shutdown().await;
}

#[tokio::test]
async fn what_was_signed_on_demand_is_under_a_checkpoint_at_once() {
    let rig = Rig::new(Mode::Batched);
    let log = rig.open();
    // The clock stands still: no checkpoint is due.
    call(&rig, &log, "wanted", None).await;
    assert_eq!(excerpt(&rig, 10).unwrap().attempts(), 0);
    log.sign().await.unwrap();
    assert_eq!(excerpt(&rig, 10).unwrap().attempts(), 1);
    log.sign().await.unwrap();
    log.shutdown().await;
    assert!(log.sign().await.is_err());
}

#[tokio::test]
async fn nothing_is_taken_from_a_log_that_is_not_what_was_signed() {
    let rig = Rig::new(Mode::Batched);
    let log = rig.open();
    call(&rig, &log, "wanted", None).await;
    log.shutdown().await;
    let segment = rig.path().join("segments/00000001.jsonl");
    let whole = fs::read_to_string(&segment).unwrap();
    fs::write(&segment, whole.replace("wanted", "waited")).unwrap();
    assert!(matches!(excerpt(&rig, 10), Err(EvidenceError::Damaged { .. })));
    fs::write(&segment, whole.lines().next().unwrap()).unwrap();
    assert!(matches!(excerpt(&rig, 10), Err(EvidenceError::Damaged { .. })));
    fs::write(&segment, &whole).unwrap();
    let other = LogKey::from_seed(&[9; 32]).public(ORIGIN).unwrap();
    assert!(Excerpt::of(rig.path(), &other, &mut Named("wanted"), 10).is_err());
    assert_eq!(excerpt(&rig, 10).unwrap().attempts(), 1);
}

/// A bundle of the wanted attempts, as a gateway makes it.
async fn bundle(rig: &Rig, log: &Evidence, extra: &str) -> TempDir {
    log.sign().await.unwrap();
    let excerpt = excerpt(rig, 100).unwrap();
    let mut files: BTreeMap<&'static str, String> = BTreeMap::new();
    let mut append = |name, text: String| files.entry(name).or_default().push_str(&text);
    excerpt
        .each(|excerpted| {
            append(BUNDLE_ENTRIES, format!("{}\n", serde_json::to_string(&excerpted.proven).unwrap()));
            if let Some(attempt) = excerpted.attempt {
                append(BUNDLE_ATTEMPTS, format!("{}\n", serde_json::to_string(&attempt).unwrap()));
            }
            Ok::<(), EvidenceError>(())
        })
        .unwrap();
    append(BUNDLE_CHECKPOINT, excerpt.checkpoint().to_owned());
    append(BUNDLE_KEY, format!("{}\n", public()));
    append("README.md", extra.to_owned());
    let folder = TempDir::new().unwrap();
    sealed(rig, log, folder.path(), &files).await;
    folder
}

async fn sealed(rig: &Rig, log: &Evidence, folder: &Path, files: &BTreeMap<&'static str, String>) {
    let mut bundling = Bundling::default();
    for (name, text) in files {
        bundling.add(name, text.as_bytes());
        fs::write(folder.join(name), text).unwrap();
    }
    let incident = rig.record().attempt;
    let manifest = bundling.manifest(incident).unwrap();
    fs::write(folder.join(BUNDLE_MANIFEST), &manifest).unwrap();
    let mut record = rig.record();
    record.kind = RecordKind::Administration;
    record.action = Some(BUNDLE_GATHERED.to_owned());
    record.target = Some(format!("incident/{incident}"));
    record.detail = Some(json!({ "manifest": Digest::of(manifest.as_bytes()) }).to_string());
    let act = record.attempt;
    assert_eq!(
        seal_bundle(rig.path(), &public(), act).unwrap(),
        None,
        "nothing is sealed before it is recorded"
    );
    log.begin_act(record).unwrap().close(Outcome::Completed).await.unwrap();
    log.sign().await.unwrap();
    fs::write(folder.join(BUNDLE_SEAL), seal_bundle(rig.path(), &public(), act).unwrap().unwrap()).unwrap();
}

fn verified(folder: &Path) -> Result<BundleReport, String> {
    verify_bundle(folder, &public()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn no_byte_of_a_bundle_can_be_changed() {
    let rig = Rig::new(Mode::Batched);
    let log = rig.open();
    call(&rig, &log, "wanted", None).await;
    let folder = bundle(&rig, &log, "A page.\n").await;
    let report = verified(folder.path()).unwrap();
    assert_eq!((report.entries, report.attempts, report.files, report.log_entries), (2, 1, 5, 3));
    for entry in fs::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let whole = fs::read(&path).unwrap();
        // Every seventh: all of them take a minute.
        for at in (0..whole.len()).step_by(7) {
            let mut changed = whole.clone();
            changed[at] ^= if at % 2 == 0 { 1 } else { 0x20 };
            fs::write(&path, &changed).unwrap();
            assert!(verified(folder.path()).is_err(), "byte {at} of {}", path.display());
        }
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(verified(folder.path()).unwrap(), report);
}

#[tokio::test]
async fn an_attempt_that_is_not_what_its_entries_tell_is_refused_though_the_gateway_sealed_it() {
    let rig = Rig::new(Mode::Batched);
    let log = rig.open();
    call(&rig, &log, "wanted-1", None).await;
    call(&rig, &log, "wanted-2", None).await;
    let good = bundle(&rig, &log, "").await;
    assert!(verified(good.path()).is_ok());
    let read = |name: &str| fs::read_to_string(good.path().join(name)).unwrap();
    let attempts = read(BUNDLE_ATTEMPTS);
    let first = attempts.lines().next().unwrap();
    let entries: Vec<Value> =
        read(BUNDLE_ENTRIES).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let lines = |all: &[&Value]| all.iter().map(|one| format!("{one}\n")).collect::<String>();
    let moved = {
        let mut one = entries[0].clone();
        one["index"] = json!(2);
        one
    };
    let cases = [
        (BUNDLE_ATTEMPTS, attempts.replace("wanted-1", "wanted-3"), "line 1: tells something else"),
        (BUNDLE_ATTEMPTS, format!("{first}\n"), "an attempt is missing"),
        (BUNDLE_ATTEMPTS, format!("{attempts}{first}\n"), "line 3: is an attempt of no entry"),
        (BUNDLE_ATTEMPTS, attempts.trim_end().to_owned(), "has no end"),
        (
            BUNDLE_ENTRIES,
            lines(&[&entries[1], &entries[0], &entries[2], &entries[3]]),
            "line 2: is not after the one",
        ),
        (
            BUNDLE_ENTRIES,
            lines(&[&moved, &entries[1], &entries[2], &entries[3]]),
            "line 1: is not an entry of the log",
        ),
        (
            BUNDLE_ENTRIES,
            read(BUNDLE_ENTRIES).replace("wanted-1", "wanted-3"),
            "line 1: is not an entry of the log",
        ),
        (BUNDLE_ENTRIES, "{}\n".to_owned(), "line 1: is not what it must be"),
        (BUNDLE_CHECKPOINT, read(BUNDLE_CHECKPOINT).replace('4', "5"), "its checkpoint is not"),
    ];
    for (name, text, why) in cases {
        let names = [BUNDLE_ATTEMPTS, BUNDLE_ENTRIES, BUNDLE_CHECKPOINT, BUNDLE_KEY, "README.md"];
        let mut files: BTreeMap<_, _> = names.into_iter().map(|name| (name, read(name))).collect();
        files.insert(name, text);
        let folder = TempDir::new().unwrap();
        sealed(&rig, &log, folder.path(), &files).await;
        let error = verified(folder.path()).unwrap_err();
        assert!(error.contains(why) && error.contains(name), "{why}: {error}");
    }
    assert_eq!(State::Closed, serde_json::from_str::<Attempt>(first).unwrap().state);
}

#[tokio::test]
async fn a_seal_of_something_else_seals_nothing() {
    let rig = Rig::new(Mode::Batched);
    let log = rig.open();
    call(&rig, &log, "wanted", None).await;
    let folder = bundle(&rig, &log, "one").await;
    let other = bundle(&rig, &log, "two").await;
    let seal = folder.path().join(BUNDLE_SEAL);
    let own = fs::read_to_string(&seal).unwrap();
    fs::copy(other.path().join(BUNDLE_SEAL), &seal).unwrap();
    assert!(verified(folder.path()).unwrap_err().contains("not the gathering of this incident"));
    // An entry of the log that is no gathering.
    let mut forged: Value = serde_json::from_str(&own).unwrap();
    let entries = fs::read_to_string(folder.path().join(BUNDLE_ENTRIES)).unwrap();
    forged["entries"] = entries.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect();
    forged["checkpoint"] = json!(fs::read_to_string(folder.path().join(BUNDLE_CHECKPOINT)).unwrap());
    #[derive(serde::Serialize)]
    struct Ordered {
        checkpoint: Value,
        entries: Vec<Entry>,
    }
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Entry {
        index: u64,
        entry: String,
        proof: Vec<String>,
    }
    let ordered = Ordered {
        checkpoint: forged["checkpoint"].clone(),
        entries: serde_json::from_value(forged["entries"].clone()).unwrap(),
    };
    fs::write(&seal, format!("{}\n", serde_json::to_string_pretty(&ordered).unwrap())).unwrap();
    assert!(verified(folder.path()).unwrap_err().contains("not the gathering of this incident"));
    // A note that somebody else has signed, too.
    let signed = own.replacen("\\n\",", "\\n— somebody.else AAAAAAAA\\n\",", 1);
    assert_ne!(signed, own);
    fs::write(&seal, signed).unwrap();
    assert!(verified(folder.path()).is_err());
    let key = LogKey::from_seed(&[9; 32]).public(ORIGIN).unwrap();
    fs::write(&seal, &own).unwrap();
    assert!(verify_bundle(folder.path(), &key).unwrap_err().to_string().contains("not signed by this key"));
    assert!(verified(folder.path()).is_ok());
}
