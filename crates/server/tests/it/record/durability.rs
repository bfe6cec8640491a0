//! The record is there before the application acts, survives a crash, and shows when it was changed.

use std::{path::Path, sync::Arc};

use serde_json::json;
use vestibule_model::SystemClock;
use vestibule_testkit::{Answer, Call, Http, Reply, TestUpstream};

use super::{CONFIG, POLICIES, Scene, files};
use crate::gateway::{TestGateway, folder};

/// Everything that is on disk of the log.
fn log(folder: &Path) -> String {
    files(folder).iter().map(|file| text(file)).collect()
}

fn text(file: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(file).unwrap()).into_owned()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// A call that has reached the application and is not answered.
async fn in_flight(scene: &Scene) -> tokio::task::JoinHandle<Reply> {
    let token = scene.gateway.token("a", "one").await;
    scene.upstream.hold();
    let call = Http::get(&format!("{}/look/in-flight", scene.gateway.resource("one"))).bearer(&token);
    let running = tokio::spawn(call.send());
    scene.upstream.wait_for(1).await;
    running
}

#[tokio::test]
async fn invariant_5_in_required_mode_an_attempt_is_on_disk_before_the_application_sees_it() {
    let scene = Scene::new().await;
    let running = in_flight(&scene).await;
    let evidence = scene.gateway.dir.path().join("evidence");
    assert!(log(&evidence).contains("in-flight"), "the arguments of the open attempt are not in the log");
    let open = scene.gateway.attempts("operation=look").await;
    assert_eq!((&open[0]["state"], &open[0]["outcome"]), (&json!("open"), &json!(null)));
    scene.upstream.release();
    let reply = running.await.unwrap();
    // No flush in between: the last byte of the reply waited for the record.
    let entries = log(&evidence).lines().filter(|line| line.contains(reply.header("x-request-id"))).count();
    assert_eq!(entries, 2, "opened and closed");
    assert_eq!(scene.gateway.attempt_of(&reply).await["outcome"], "completed");
}

#[tokio::test]
async fn invariant_5_an_attempt_that_a_crash_left_open_is_closed_as_unknown() {
    let scene = Scene::new().await;
    let running = in_flight(&scene).await;
    // What a machine has on disk that loses its power now.
    let (crashed, dir) = (scene.gateway.dir.path(), folder(&[("p.cedar", POLICIES)]));
    copy(&crashed.join("evidence"), &dir.path().join("evidence"));
    std::fs::create_dir(dir.path().join("state")).unwrap();
    std::fs::copy(crashed.join("state/log.key"), dir.path().join("state/log.key")).unwrap();
    let config = CONFIG.replace("{AT}", &scene.upstream.url());
    let restarted = TestGateway::start_in(dir, &config, Arc::new(SystemClock::default())).await;
    let attempts = restarted.attempts("operation=look").await;
    assert_eq!(attempts.len(), 1);
    assert_eq!((&attempts[0]["state"], &attempts[0]["outcome"]), (&json!("closed"), &json!("unknown")));
    assert_eq!((&attempts[0]["agent"], &attempts[0]["decision"]), (&json!("a"), &json!("permit")));
    assert_eq!(restarted.post("/admin/v1/evidence/verify", &json!({})).await["ok"], true);
    scene.upstream.release();
    running.await.unwrap();
}

#[tokio::test]
async fn a_record_that_was_changed_on_disk_does_not_verify() {
    let scene = Scene::new().await;
    let token = scene.gateway.token("a", "one").await;
    scene.look(&token, "one").await;
    let gateway = scene.gateway.restart().await;
    let good = gateway.post("/admin/v1/evidence/verify", &json!({})).await;
    assert_eq!((&good["ok"], &good["report"]["gaps"]), (&json!(true), &json!([])), "{good}");
    let evidence = gateway.dir.path().join("evidence");
    let segment = files(&evidence).into_iter().find(|file| text(file).contains("\"look\"")).unwrap();
    std::fs::write(&segment, text(&segment).replace("\"permit\"", "\"denied\"")).unwrap();
    let bad = gateway.post("/admin/v1/evidence/verify", &json!({})).await;
    assert_eq!(bad["ok"], false, "{bad}");
    assert!(bad["error"].is_string(), "{bad}");
}

/// Whether the application's reply arrives whole. A reply whose end cannot be recorded is cut.
async fn is_delivered(call: Call) -> bool {
    let mut reply = call.open().await.unwrap();
    loop {
        match reply.chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => return reply.status == 200,
            Err(_) => return false,
        }
    }
}

#[tokio::test]
async fn invariant_5_what_cannot_be_recorded_is_not_forwarded() {
    let upstream = TestUpstream::http(Answer::json(&json!({}))).await;
    let config = CONFIG
        .replace("{AT}", &upstream.url())
        .replace("mode: required", "mode: required, segment_max_bytes: 65536");
    let gateway = TestGateway::start(&config, &[("p.cedar", POLICIES)]).await;
    let token = gateway.token("a", "one").await;
    let look = || Http::get(&format!("{}/look/x", gateway.resource("one"))).bearer(&token);
    assert!(is_delivered(look()).await);
    // The disk is gone: at the latest the next segment cannot be written.
    std::fs::remove_dir_all(gateway.dir.path().join("evidence")).unwrap();
    while is_delivered(look()).await {}
    let before = upstream.requests().len();
    let refused = look().send().await;
    assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (503, &json!("evidence-unavailable")));
    assert_eq!(upstream.requests().len(), before);
    let act = gateway.admin("POST", "/admin/v1/agents").json(&json!({ "id": "b" })).send().await;
    assert_eq!(act.status, 503, "an act that cannot be recorded is not done");
    assert_eq!(gateway.admin("GET", "/admin/v1/agents/b").send().await.status, 404);
}
