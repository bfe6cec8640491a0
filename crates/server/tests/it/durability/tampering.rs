use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::{application, calls, folder, token};
use crate::binary::{Folder, cli};

/// A stopped gateway's evidence of several segments.
async fn evidence() -> Folder {
    let upstream = application().await;
    let folder = folder(&[("app", &upstream)], "evidence: { segment_max_bytes: 65536 }");
    let served = folder.run().await;
    let token = token(&folder, &served, "a", "app").await;
    let markers: Vec<String> = (0..100).map(|number| format!("m{number}")).collect();
    let markers: Vec<&str> = markers.iter().map(String::as_str).collect();
    calls(&served, "app", &token, &markers).join_all().await;
    served.stop().await;
    folder
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Does something to a copy of the evidence, and gives what `audit verify` says about it: it must say no.
async fn said_about(evidence: &Path, tamper: impl FnOnce(&Path)) -> String {
    let copied = TempDir::new().unwrap();
    copy(evidence, copied.path());
    tamper(copied.path());
    let ran = cli(&["audit", "verify", "--folder", copied.path().to_str().unwrap()]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.is_empty());
    ran.stdout
}

fn segment(number: usize) -> PathBuf {
    format!("segments/{number:08}.jsonl").into()
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn one_changed_byte_anywhere_is_found_and_its_place_is_named() {
    let folder = evidence().await;
    let evidence = folder.join("evidence");
    let last = fs::read_dir(evidence.join("segments")).unwrap().count();
    assert!(last >= 3, "{last} segments");
    for number in [1, 2, last] {
        let bytes = fs::read(evidence.join(segment(number))).unwrap();
        for place in [0, bytes.len() / 3, bytes.len() / 2, bytes.len() - 2] {
            let line = bytes[..place].iter().filter(|byte| **byte == b'\n').count() + 1;
            // A digit or letter becomes another, so that the line stays JSON where it can.
            let said =
                said_about(&evidence, |copy| change(&copy.join(segment(number)), |bytes| bytes[place] ^= 1))
                    .await;
            assert!(said.starts_with("FAILED"), "{said}");
            assert!(
                said.contains(&format!("segment {number:08}, line {line}")),
                "byte {place} of {number}, line {line}: {said}"
            );
        }
    }
    for file in ["checkpoint", "checkpoints", "log.vkey"] {
        let ran = cli_about_changed(&evidence, file).await;
        assert_ne!(ran, Some(0), "a changed `{file}` passes");
    }
}

/// The exit code of a verification where one byte in the middle of this file is changed.
async fn cli_about_changed(evidence: &Path, file: &str) -> Option<i32> {
    let copied = TempDir::new().unwrap();
    copy(evidence, copied.path());
    change(&copied.path().join(file), |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    cli(&["audit", "verify", "--folder", copied.path().to_str().unwrap()]).await.code
}

#[tokio::test]
async fn what_was_cut_off_is_missed() {
    let folder = evidence().await;
    let evidence = folder.join("evidence");
    let last = fs::read_dir(evidence.join("segments")).unwrap().count();
    let lines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
    let whole = said_about(&evidence, |copy| fs::remove_file(copy.join(segment(last))).unwrap()).await;
    assert!(whole.contains("were signed"), "{whole}");
    let middle = said_about(&evidence, |copy| fs::remove_file(copy.join(segment(2))).unwrap()).await;
    assert!(middle.contains("segment 00000002"), "{middle}");
    let entry = said_about(&evidence, |copy| {
        change(&copy.join(segment(last)), |bytes| {
            let start =
                bytes[..bytes.len() - 1].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            bytes.truncate(start);
        });
    })
    .await;
    assert!(entry.contains("were signed"), "{entry}");
    let half = said_about(&evidence, |copy| {
        change(&copy.join(segment(last)), |bytes| bytes.truncate(bytes.len() - 1))
    })
    .await;
    assert!(half.contains("were signed"), "{half}");
    let from_the_middle = said_about(&evidence, |copy| {
        change(&copy.join(segment(1)), |bytes| {
            let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
            bytes.drain(..=end);
            assert!(lines(bytes) > 1);
        });
    })
    .await;
    assert!(from_the_middle.contains("segment 00000001, line 1"), "{from_the_middle}");
}
