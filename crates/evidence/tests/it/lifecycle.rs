use std::{fs, task::Poll};

use vestibule_evidence::{Mode, Outcome, RecordKind, State, get};
use vestibule_model::FaultKind;

use crate::rig::{Rig, own};

#[tokio::test]
async fn required_entries_are_on_disk_before_the_attempt_goes_on() {
    let rig = Rig::new(Mode::Required);
    let evidence = rig.open();
    let mut entry = evidence.begin(rig.record()).unwrap();
    let id = entry.id();
    entry.record().method = Some("tools/call".to_owned());
    entry.opened().await.unwrap();
    let found = get(rig.path(), id).unwrap().unwrap();
    assert_eq!((found.state, found.outcome), (State::Open, None));
    assert_eq!(found.record.method.as_deref(), Some("tools/call"));
    entry.record().upstream_status = Some(200);
    entry.close(Outcome::Completed).await.unwrap();
    let found = get(rig.path(), id).unwrap().unwrap();
    assert_eq!((found.state, found.outcome), (State::Closed, Some(Outcome::Completed)));
    assert_eq!(found.record.upstream_status, Some(200));
}

#[tokio::test]
async fn batched_entries_are_on_disk_after_a_flush() {
    let rig = Rig::new(Mode::Batched);
    let evidence = rig.open();
    let mut ids = Vec::new();
    for _ in 0..50 {
        let mut entry = evidence.begin(rig.record()).unwrap();
        entry.opened().await.unwrap();
        ids.push(entry.id());
        entry.close(Outcome::Completed).await.unwrap();
    }
    evidence.flush().await.unwrap();
    for id in ids {
        assert_eq!(get(rig.path(), id).unwrap().unwrap().state, State::Closed);
    }
}

#[tokio::test]
async fn an_attempt_that_is_refused_leaves_both_entries() {
    let rig = Rig::new(Mode::Required);
    let evidence = rig.open();
    evidence.begin(rig.record()).unwrap().close(Outcome::Refused).await.unwrap();
    assert_eq!(rig.kinds(), ["start", "opened", "closed"]);
    let lines = rig.lines();
    assert_eq!(own(&lines[1])["attempt"], own(&lines[2])["attempt"]);
    assert_eq!(own(&lines[2])["outcome"], "refused");
}

#[tokio::test]
async fn an_act_is_recorded_as_an_attempt_is() {
    let rig = Rig::new(Mode::Required);
    let evidence = rig.open();
    let mut record = rig.record();
    record.kind = RecordKind::Administration;
    record.action = Some("revoke".to_owned());
    record.target = Some("agent/a".to_owned());
    let id = record.attempt;
    let mut act = evidence.begin_act(record).unwrap();
    act.opened().await.unwrap();
    act.close(Outcome::Failed).await.unwrap();
    assert_eq!(rig.kinds(), ["start", "opened", "closed"]);
    let found = get(rig.path(), id).unwrap().unwrap();
    assert_eq!((found.state, found.outcome), (State::Closed, Some(Outcome::Failed)));
    assert_eq!(found.record.action.as_deref(), Some("revoke"));
}

#[tokio::test]
async fn what_finds_no_place_in_the_queue_is_refused_and_what_is_open_always_closes() {
    let mut rig = Rig::new(Mode::Required);
    rig.config.queue_max = 3;
    let evidence = rig.open();
    let mut open = evidence.begin(rig.record()).unwrap();
    let id = open.id();
    assert_eq!(evidence.begin(rig.record()).unwrap_err().kind, FaultKind::EvidenceUnavailable);
    open.opened().await.unwrap();
    evidence.flush().await.unwrap();
    let other = evidence.begin(rig.record()).unwrap();
    assert!(evidence.begin(rig.record()).is_err(), "all places are taken");
    let act = evidence.begin_act(rig.record()).expect("an operator can still revoke");
    act.close(Outcome::Completed).await.unwrap();
    open.close(Outcome::Completed).await.unwrap();
    other.close(Outcome::Refused).await.unwrap();
    assert_eq!(get(rig.path(), id).unwrap().unwrap().outcome, Some(Outcome::Completed));
    evidence.flush().await.unwrap();
    assert!(evidence.begin(rig.record()).is_ok(), "the places are free again");
}

#[tokio::test]
async fn an_entry_that_is_dropped_closes_by_what_may_have_happened() {
    let rig = Rig::new(Mode::Batched);
    let evidence = rig.open();
    let begun = evidence.begin(rig.record()).unwrap();
    let mut opened = evidence.begin(rig.record()).unwrap();
    let ids = [begun.id(), opened.id()];
    opened.opened().await.unwrap();
    drop(begun);
    drop(opened);
    evidence.flush().await.unwrap();
    let outcomes = ids.map(|id| get(rig.path(), id).unwrap().unwrap().outcome);
    assert_eq!(outcomes, [Some(Outcome::Abandoned), Some(Outcome::Unknown)]);
}

#[tokio::test]
async fn an_attempt_that_is_cancelled_before_it_got_the_proof_is_abandoned() {
    let rig = Rig::new(Mode::Required);
    let evidence = rig.open();
    let mut entry = evidence.begin(rig.record()).unwrap();
    let id = entry.id();
    let expected = {
        let opening = std::pin::pin!(entry.opened());
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match Future::poll(opening, &mut context) {
            Poll::Pending => Outcome::Abandoned,
            // The disk was faster.
            Poll::Ready(_) => Outcome::Unknown,
        }
    };
    drop(entry);
    evidence.flush().await.unwrap();
    assert_eq!(get(rig.path(), id).unwrap().unwrap().outcome, Some(expected));
}

#[test]
fn an_entry_that_outlives_the_runtime_still_closes() {
    let rig = Rig::new(Mode::Required);
    let evidence = rig.open();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let entry = runtime.block_on(async {
        let mut entry = evidence.begin(rig.record()).unwrap();
        entry.opened().await.unwrap();
        entry
    });
    let id = entry.id();
    drop(runtime);
    drop(entry);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(evidence.shutdown());
    assert_eq!(get(rig.path(), id).unwrap().unwrap().outcome, Some(Outcome::Unknown));
    assert_eq!(rig.kinds(), ["start", "opened", "closed", "stop"]);
}

#[tokio::test]
async fn opening_twice_is_a_bug_and_gives_no_second_proof() {
    let rig = Rig::new(Mode::Batched);
    let evidence = rig.open();
    let mut entry = evidence.begin(rig.record()).unwrap();
    entry.opened().await.unwrap();
    assert_eq!(entry.opened().await.unwrap_err().kind, FaultKind::Internal);
}

#[tokio::test]
async fn a_writer_that_fails_refuses_everything_from_then_on() {
    let mut rig = Rig::new(Mode::Required);
    rig.config.segment_max_bytes = 1;
    let evidence = rig.open();
    let mut before = evidence.begin(rig.record()).unwrap();
    before.opened().await.unwrap();
    let mut during = evidence.begin(rig.record()).unwrap();
    // The next batch begins a segment, which cannot be created any more.
    let segments = rig.path().join("segments");
    fs::rename(&segments, rig.path().join("moved")).unwrap();
    assert_eq!(during.opened().await.unwrap_err().kind, FaultKind::EvidenceUnavailable);
    assert_eq!(evidence.flush().await.unwrap_err().kind, FaultKind::EvidenceUnavailable);
    assert_eq!(evidence.begin(rig.record()).unwrap_err().kind, FaultKind::EvidenceUnavailable);
    assert!(before.close(Outcome::Completed).await.is_err(), "the end cannot be recorded");
    assert!(evidence.begin_act(rig.record()).is_err());
    // What had become durable is still there, and the next start says what is missing.
    fs::rename(rig.path().join("moved"), &segments).unwrap();
    let after = rig.open();
    after.shutdown().await;
    assert_eq!(rig.kinds(), ["start", "opened", "gap", "closed", "start", "stop"]);
    assert!(rig.verify().unwrap().open.is_empty());
}

#[tokio::test]
async fn nothing_is_accepted_after_the_stop() {
    let rig = Rig::new(Mode::Batched);
    let evidence = rig.open();
    evidence.shutdown().await;
    assert_eq!(evidence.begin(rig.record()).unwrap_err().kind, FaultKind::EvidenceUnavailable);
    assert!(evidence.flush().await.is_err());
    assert_eq!(rig.kinds(), ["start", "stop"]);
}

#[tokio::test]
async fn the_live_view_shows_attempts_as_they_end() {
    let rig = Rig::new(Mode::Batched);
    let evidence = rig.open();
    let mut live = evidence.subscribe();
    let entry = evidence.begin(rig.record()).unwrap();
    let id = entry.id();
    assert!(live.try_recv().is_err());
    entry.close(Outcome::Refused).await.unwrap();
    let shown = live.recv().await.unwrap();
    assert_eq!((shown.record.attempt, shown.outcome), (id, Some(Outcome::Refused)));
    evidence.begin_act(rig.record()).unwrap().close(Outcome::Completed).await.unwrap();
    assert_eq!(live.recv().await.unwrap().outcome, Some(Outcome::Completed));
}

#[tokio::test]
async fn a_segment_ends_before_it_grows_beyond_its_bound() {
    let mut rig = Rig::new(Mode::Required);
    rig.config.segment_max_bytes = 4096;
    let evidence = rig.open();
    for _ in 0..10 {
        evidence.begin(rig.record()).unwrap().close(Outcome::Refused).await.unwrap();
    }
    evidence.shutdown().await;
    let sizes: Vec<u64> = fs::read_dir(rig.path().join("segments"))
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len())
        .collect();
    assert!(sizes.len() > 3, "{sizes:?}");
    assert!(sizes.iter().all(|size| *size <= 4096), "{sizes:?}");
    assert_eq!(rig.verify().unwrap().entries, 22);
}

#[test]
fn the_last_handle_that_goes_ends_the_log_in_order() {
    let rig = Rig::new(Mode::Batched);
    let evidence = rig.open();
    let entry = evidence.begin(rig.record()).unwrap();
    drop(evidence);
    drop(entry);
    // Free again when the writer has ended.
    fs::File::open(rig.path().join("lock")).unwrap().lock().unwrap();
    assert_eq!(rig.kinds(), ["start", "opened", "closed", "stop"]);
    assert_eq!(rig.verify().unwrap().unsigned, 0);
}

#[tokio::test]
async fn entries_are_signed_within_about_a_second_while_the_log_is_in_use() {
    let rig = Rig::new(Mode::Required);
    let evidence = rig.open();
    evidence.begin(rig.record()).unwrap().close(Outcome::Refused).await.unwrap();
    // A log that is being written verifies at any moment.
    loop {
        let report = rig.verify().unwrap();
        assert_eq!(report.entries, 3);
        if report.unsigned == 0 {
            break;
        }
        std::thread::yield_now();
    }
    drop(evidence);
}

#[test]
fn attempts_of_many_threads_each_close_once() {
    let rig = Rig::new(Mode::Batched);
    let evidence = rig.open();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                runtime.handle().block_on(async {
                    for _ in 0..200 {
                        let mut entry = evidence.begin(rig.record()).unwrap();
                        entry.opened().await.unwrap();
                        entry.close(Outcome::Completed).await.unwrap();
                    }
                });
            });
        }
    });
    runtime.block_on(evidence.shutdown());
    let report = rig.verify().unwrap();
    assert_eq!((report.entries, report.unsigned), (2 + 2 * 800, 0));
    assert!(report.open.is_empty());
}
