use std::{fs, io::Write, time::Duration};

use vestibule_evidence::{EvidenceError, LogKey, Mode, Outcome, State, VerifyError, get};
use vestibule_model::Timestamp;

use crate::rig::{Rig, START, own};

/// A log that was killed after one attempt had ended and while another was open.
async fn killed() -> (Rig, vestibule_model::AttemptId) {
    let rig = Rig::new(Mode::Required);
    let evidence = rig.open();
    evidence.begin(rig.record()).unwrap().close(Outcome::Refused).await.unwrap();
    rig.clock.advance(Duration::from_millis(500));
    let mut record = rig.record();
    record.operation = Some("delete".to_owned());
    let mut open = evidence.begin(record).unwrap();
    open.opened().await.unwrap();
    let id = open.id();
    let killed = rig.killed();
    killed.clock.advance(Duration::from_secs(60));
    (killed, id)
}

fn append(rig: &Rig, file: &str, bytes: &[u8]) {
    fs::OpenOptions::new().append(true).open(rig.path().join(file)).unwrap().write_all(bytes).unwrap();
}

#[tokio::test]
async fn what_was_open_is_closed_as_unknown_and_the_gap_is_named() {
    let (rig, id) = killed().await;
    assert_eq!(rig.verify().unwrap().open, [id]);
    rig.open().shutdown().await;
    assert_eq!(rig.kinds(), ["start", "opened", "closed", "opened", "gap", "closed", "start", "stop"]);
    let found = get(rig.path(), id).unwrap().unwrap();
    assert_eq!((found.state, found.outcome), (State::Closed, Some(Outcome::Unknown)));
    assert_eq!(found.record.operation.as_deref(), Some("delete"));
    let report = rig.verify().unwrap();
    assert!(report.open.is_empty());
    assert_eq!(report.gaps.len(), 1);
    assert_eq!(report.gaps[0].from, Timestamp::from_millis(START + 500));
    assert_eq!(report.gaps[0].to, Timestamp::from_millis(START + 60_500));
    assert_eq!(report.gaps[0].torn_bytes, 0);
}

#[tokio::test]
async fn a_stop_in_order_leaves_no_gap() {
    let rig = Rig::new(Mode::Batched);
    rig.open().shutdown().await;
    rig.open().shutdown().await;
    assert_eq!(rig.kinds(), ["start", "stop", "start", "stop"]);
    assert!(rig.verify().unwrap().gaps.is_empty());
}

#[tokio::test]
async fn a_torn_line_is_moved_away_and_remembered() {
    for torn in ["{\"metadata\":{\"uid\":", "not json\n", "\0\0\0\0\n{}\n"] {
        let (rig, _) = killed().await;
        append(&rig, "segments/00000001.jsonl", torn.as_bytes());
        assert_eq!(rig.verify().unwrap().torn_bytes, torn.len() as u64);
        rig.open().shutdown().await;
        assert_eq!(fs::read(rig.path().join("torn")).unwrap(), torn.as_bytes());
        let report = rig.verify().unwrap();
        assert_eq!((report.entries, report.torn_bytes), (8, 0));
        assert_eq!(report.gaps[0].torn_bytes, torn.len() as u64);
    }
}

#[tokio::test]
async fn a_first_line_that_is_torn_is_a_gap_too() {
    let rig = Rig::new(Mode::Batched);
    fs::create_dir(rig.path().join("segments")).unwrap();
    fs::write(rig.path().join("segments/00000001.jsonl"), "{\"meta").unwrap();
    rig.open().shutdown().await;
    assert_eq!(rig.kinds(), ["gap", "start", "stop"]);
    assert_eq!(rig.verify().unwrap().gaps[0].torn_bytes, 6);
}

#[tokio::test]
async fn a_checkpoint_that_was_cut_short_is_written_anew() {
    let (rig, _) = killed().await;
    append(&rig, "checkpoints", "gateway.example/1\n99\nabc".as_bytes());
    assert_eq!(rig.verify().unwrap().checkpoints, 1);
    rig.open().shutdown().await;
    assert_eq!(rig.verify().unwrap().checkpoints, 3);
}

#[tokio::test]
async fn a_log_that_is_not_what_was_signed_is_not_opened() {
    let (rig, _) = killed().await;
    let path = rig.path().join("segments/00000001.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"mode\":\"required\"", "\"mode\":\"batched\"", 1)).unwrap();
    let Err(EvidenceError::Damaged { source, .. }) = rig.try_open() else { panic!("opened") };
    assert!(matches!(*source, VerifyError::Changed { place } if place.index == 0), "{source}");
    assert_eq!(source.to_string(), "segment 00000001, line 1, entry 0: not the entry that was signed");

    fs::write(&path, "").unwrap();
    let Err(EvidenceError::Damaged { source, .. }) = rig.try_open() else { panic!("opened") };
    assert!(matches!(*source, VerifyError::Truncated { entries: 0, signed: 1 }), "{source}");

    fs::write(&path, text).unwrap();
    assert!(rig.try_open().is_ok());
}

#[tokio::test]
async fn a_log_has_one_writer_and_one_key() {
    let rig = Rig::new(Mode::Batched);
    let evidence = rig.open();
    assert!(matches!(rig.try_open(), Err(EvidenceError::InUse { .. })));
    evidence.shutdown().await;
    let other = LogKey::from_seed(&[8; 32]);
    let opened =
        vestibule_evidence::Evidence::open(rig.config.clone(), other, rig.clock.clone(), rig.entropy.clone());
    let Err(EvidenceError::Damaged { source, .. }) = opened else { panic!("opened") };
    assert!(matches!(*source, VerifyError::KeyDiffers));
}

#[tokio::test]
async fn tiles_that_a_power_failure_took_are_written_again() {
    let rig = Rig::new(Mode::Batched);
    let evidence = rig.open();
    for _ in 0..300 {
        evidence.begin(rig.record()).unwrap().close(Outcome::Refused).await.unwrap();
    }
    evidence.shutdown().await;
    let tile = rig.path().join("tile/0/000");
    let stored = fs::read(&tile).unwrap();
    assert_eq!(stored.len(), 256 * 32);
    for taken in [true, false] {
        if taken {
            fs::remove_dir_all(rig.path().join("tile")).unwrap();
        } else {
            fs::write(&tile, "").unwrap();
        }
        rig.verify().unwrap();
        rig.open().shutdown().await;
        assert_eq!(fs::read(&tile).unwrap(), stored);
        rig.verify().unwrap();
    }
}

#[tokio::test]
async fn a_log_that_is_not_opened_is_not_touched() {
    let rig = Rig::new(Mode::Batched);
    let evidence = rig.open();
    for _ in 0..300 {
        evidence.begin(rig.record()).unwrap().close(Outcome::Refused).await.unwrap();
    }
    evidence.shutdown().await;
    fs::remove_dir_all(rig.path().join("tile")).unwrap();
    let path = rig.path().join("segments/00000001.jsonl");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"start\"", "\"stop\"", 1)).unwrap();
    assert!(rig.try_open().is_err());
    assert!(!rig.path().join("tile").exists(), "tiles of changed entries would hide which they are");
    fs::write(&path, text).unwrap();
    rig.open().shutdown().await;
    rig.verify().unwrap();
}

#[tokio::test]
async fn a_recovered_opening_is_that_of_the_attempt() {
    let (rig, id) = killed().await;
    rig.open().shutdown().await;
    let lines = rig.lines();
    let [opened, closed] = ["opened", "closed"].map(|kind| {
        let mut own = lines
            .iter()
            .map(|line| own(line))
            .find(|own| own["attempt"] == id.to_string() && own["entry"] == kind)
            .unwrap();
        let fields = own.as_object_mut().unwrap();
        fields.remove("entry");
        fields.remove("outcome");
        own
    });
    assert_eq!(opened, closed);
}
