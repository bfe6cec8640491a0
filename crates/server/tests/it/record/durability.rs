//! The record is there before the application acts, survives a crash, and shows when it was changed.

use std::{path::Path, sync::Arc};

use serde_json::json;
use vestibule_model::SystemClock;
use vestibule_testkit::{Http, Reply};

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
    assert_eq!(log(&evidence).matches(reply.header("x-request-id")).count(), 2);
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
    let verify = async || scene.gateway.post("/admin/v1/evidence/verify", &json!({})).await;
    let good = verify().await;
    assert_eq!(good["ok"], true, "{good}");
    let evidence = scene.gateway.dir.path().join("evidence");
    let segment = files(&evidence).into_iter().find(|file| text(file).contains("\"look\"")).unwrap();
    std::fs::write(&segment, text(&segment).replace("\"permit\"", "\"denied\"")).unwrap();
    let bad = verify().await;
    assert_eq!(bad["ok"], false, "{bad}");
}
