use std::{fs, path::PathBuf, sync::LazyLock, time::Duration};

use proptest::prelude::*;
use vestibule_evidence::{Mode, Outcome, PublicKey, VerifyError, verify};

use crate::rig::{Rig, public};

/// A log with some segments, checkpoints and full tiles, stopped in order: everything in it is signed.
static LOG: LazyLock<Rig> = LazyLock::new(stopped);

fn stopped() -> Rig {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let rig = Rig::new(Mode::Batched);
    runtime.block_on(async {
        let evidence = rig.open();
        for n in 0..150 {
            let mut record = rig.record();
            record.operation = Some(format!("operation-{n}"));
            let mut entry = evidence.begin(record).unwrap();
            entry.opened().await.unwrap();
            entry.close(Outcome::Completed).await.unwrap();
            if n % 10 == 0 {
                rig.clock.advance(Duration::from_secs(2));
                // The first is answered when the entries are on disk, the second after they are signed.
                evidence.flush().await.unwrap();
                evidence.flush().await.unwrap();
            }
        }
        evidence.shutdown().await;
    });
    rig
}

fn files(folder: PathBuf, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(path, found);
        } else if fs::metadata(&path).unwrap().len() > 0 {
            found.push(path);
        }
    }
}

/// The lines of a small log, changed by `change`, and what verification says to it.
fn with_lines(change: impl FnOnce(&mut Vec<String>)) -> VerifyError {
    let rig = stopped();
    let path = rig.path().join("segments/00000001.jsonl");
    let mut lines: Vec<String> = fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
    change(&mut lines);
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    rig.verify().unwrap_err()
}

fn is_changed_at(error: &VerifyError, index: u64) -> bool {
    matches!(error, VerifyError::Changed { place } if place.index == index && place.line == index + 1)
}

#[test]
fn what_was_signed_verifies() {
    let report = LOG.verify().unwrap();
    assert_eq!((report.entries, report.signed, report.unsigned), (302, 302, 0));
    assert_eq!(report.checkpoints, 17);
    assert!(report.open.is_empty() && report.gaps.is_empty());
    let checkpoint = fs::read_to_string(LOG.path().join("checkpoint")).unwrap();
    let lines: Vec<&str> = checkpoint.lines().collect();
    assert_eq!(lines[..3], ["gateway.example/1", "302", report.root.as_str()]);
    assert!(fs::read_dir(LOG.path().join("segments")).unwrap().count() > 3);
    assert!(LOG.path().join("tile/0/000").exists() && LOG.path().join("tile/1/000.p/1").exists());
}

proptest! {
    #[test]
    fn a_byte_changed_anywhere_is_found(file in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), mask in 1u8..) {
        let mut all = Vec::new();
        files(LOG.path().to_owned(), &mut all);
        let path = file.get(&all);
        let bytes = fs::read(path).unwrap();
        let mut changed = bytes.clone();
        changed[at.index(bytes.len())] ^= mask;
        // On a copy of the file's own, as the log is shared.
        let rig = LOG.killed();
        fs::write(rig.path().join(path.strip_prefix(LOG.path()).unwrap()), &changed).unwrap();
        prop_assert!(rig.verify().is_err(), "{}", path.display());
    }
}

#[test]
fn a_changed_entry_is_named() {
    let error = with_lines(|lines| lines[18] = lines[18].replace("completed", "cancelled"));
    assert!(is_changed_at(&error, 18), "{error}");
}

#[test]
fn an_entry_that_is_no_json_any_more_is_named() {
    let error = with_lines(|lines| lines[5].truncate(100));
    assert!(matches!(error, VerifyError::Malformed { place } if place.index == 5), "{error}");
    assert_eq!(error.to_string(), "segment 00000001, line 6, entry 5: not an entry");
}

#[test]
fn a_removed_entry_is_named() {
    let error = with_lines(|lines| drop(lines.remove(9)));
    assert!(is_changed_at(&error, 9), "{error}");
}

#[test]
fn an_entry_put_in_is_named() {
    let error = with_lines(|lines| lines.insert(9, lines[1].clone()));
    assert!(is_changed_at(&error, 9), "{error}");
}

#[test]
fn swapped_entries_are_named() {
    let error = with_lines(|lines| lines.swap(11, 14));
    assert!(is_changed_at(&error, 11), "{error}");
}

#[test]
fn entries_between_two_checkpoints_are_named_without_the_tiles() {
    let rig = stopped();
    fs::remove_dir_all(rig.path().join("tile")).unwrap();
    let path = rig.path().join("segments/00000001.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("operation-7\"", "operation-8\"", 1)).unwrap();
    let error = rig.verify().unwrap_err();
    assert!(matches!(error, VerifyError::ChangedBetween { from: 0..=15, to: 16.. }), "{error}");
}

#[test]
fn a_log_that_was_cut_is_found() {
    let rig = stopped();
    let last = fs::read_dir(rig.path().join("segments")).unwrap().count();
    let path = rig.path().join(format!("segments/{last:08}.jsonl"));
    let text = fs::read_to_string(&path).unwrap();
    let end = text.trim_end().rfind('\n').unwrap() + 1;
    fs::write(&path, &text[..end]).unwrap();
    let error = rig.verify().unwrap_err();
    assert!(matches!(error, VerifyError::Truncated { entries: 301, signed: 302 }), "{error}");
    fs::remove_file(rig.path().join("segments/00000002.jsonl")).unwrap();
    assert!(matches!(rig.verify(), Err(VerifyError::SegmentMissing { number: 2 })));
}

#[test]
fn reordered_checkpoints_are_found() {
    let rig = stopped();
    let path = rig.path().join("checkpoints");
    let text = fs::read_to_string(&path).unwrap();
    let parts: Vec<&str> = text.split_inclusive("\n\n").collect();
    let records: Vec<String> = parts.chunks(2).map(|record| record.concat()).collect();
    for (first, second) in [(0, 1), (1, 2), (0, records.len() - 1)] {
        let mut swapped = records.clone();
        swapped.swap(first, second);
        fs::write(&path, swapped.concat()).unwrap();
        let error = rig.verify().unwrap_err();
        assert!(matches!(error, VerifyError::Checkpoint { .. }), "{first} {second}: {error}");
    }
    fs::write(&path, records[..records.len() - 1].concat()).unwrap();
    assert!(matches!(rig.verify(), Err(VerifyError::CheckpointUnknown)));
    fs::write(&path, records.concat()).unwrap();
    fs::remove_file(rig.path().join("checkpoint")).unwrap();
    assert!(matches!(rig.verify(), Err(VerifyError::CheckpointUnknown)));
}

#[test]
fn a_changed_tile_is_named() {
    let rig = stopped();
    let path = rig.path().join("tile/0/000");
    let mut bytes = fs::read(&path).unwrap();
    bytes[40] ^= 1;
    fs::write(&path, bytes).unwrap();
    let error = rig.verify().unwrap_err();
    assert_eq!(error.to_string(), "hash tile `tile/0/000` is not that of the entries");
    assert!(rig.try_open().is_err(), "nor is anything appended to it");
}

#[test]
fn another_key_verifies_nothing() {
    let other = vestibule_evidence::LogKey::from_seed(&[8; 32]).public("gateway.example/1").unwrap();
    assert!(matches!(verify(LOG.path(), &other), Err(VerifyError::KeyDiffers)));
    let rig = LOG.killed();
    fs::remove_file(rig.path().join("log.vkey")).unwrap();
    let error = verify(rig.path(), &other).unwrap_err();
    assert_eq!(error.to_string(), "checkpoint 1: not signed by the log's key");
}

#[test]
fn the_key_in_the_folder_is_that_of_signed_notes() {
    let text = fs::read_to_string(LOG.path().join("log.vkey")).unwrap();
    let key = PublicKey::parse(&text).unwrap();
    assert_eq!(key.to_string(), public().to_string());
    assert_eq!(key.origin(), "gateway.example/1");
    assert!(text.starts_with("gateway.example/1+"));
}
