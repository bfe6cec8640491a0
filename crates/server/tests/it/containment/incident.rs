//! The responder's one command on a chain of four: the second agent is stopped with all below it, and what is gathered
//! tells everything to somebody who has nothing but the public key.

mod bundles;

use std::{
    fs,
    path::{Path, PathBuf},
};

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    family::{APPS, House},
    member::Family,
};
use crate::binary::{Ran, cli, cli_with};

/// Alice's agent `a` above `b`, `c` and `d`, one below the other.
struct Scene {
    house: House,
    family: Family,
    parent: TempDir,
}

impl Scene {
    async fn new() -> Self {
        let house = House::new("").await;
        let below = [("b", "a"), ("c", "b"), ("d", "c")];
        let family = house.tree("a", Some("alice"), &APPS, &below).await;
        Self { house, family, parent: TempDir::new().unwrap() }
    }

    fn id(&self, name: &str) -> &str {
        &self.family.get(name).id
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.parent.path().join(name)
    }

    /// The command on another machine: all it has is the URL and the token.
    async fn incident(&self, args: &[&str]) -> Ran {
        let running = self.house.gateway.running();
        let token = running.admin_token().expose_secret().to_owned();
        let variables =
            [("VESTIBULE_ADMIN_URL", running.admin_url()), ("VESTIBULE_ADMIN_TOKEN", token.as_str())];
        cli_with(&variables, &[&["incident"], args].concat()).await
    }

    async fn json(&self, args: &[&str]) -> Value {
        let ran = self.incident(&[args, &["--output", "json"]].concat()).await;
        assert_eq!(ran.code, Some(0), "{args:?}: {}{}", ran.stdout, ran.stderr);
        ran.objects().remove(0)
    }

    /// Opens an incident of `b`, into this folder.
    async fn open(&self, folder: &Path) -> Value {
        self.json(&["open", self.id("b"), "--reason", "compromise", "--folder", folder.to_str().unwrap()])
            .await
    }

    async fn status(&self, name: &str) -> u16 {
        self.family.get(name).call(&self.house, "web", "asked").await.status.as_u16()
    }

    fn key(&self) -> String {
        let key = self.house.gateway.dir.path().join("evidence/log.vkey");
        fs::read_to_string(key).unwrap().trim().to_owned()
    }
}

async fn verify(folder: &Path, key: Option<&str>) -> Ran {
    let args = ["audit", "verify", "--bundle", folder.to_str().unwrap(), "--output", "json"];
    match key {
        Some(key) => cli(&[&args[..], &["--key", key]].concat()).await,
        None => cli(&args).await,
    }
}

fn text(folder: &Path, name: &str) -> String {
    fs::read_to_string(folder.join(name)).unwrap()
}

fn lines(folder: &Path, name: &str) -> Vec<Value> {
    text(folder, name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn value(folder: &Path, name: &str) -> Value {
    serde_json::from_str(&text(folder, name)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_command_stops_an_agent_with_all_below_it_and_nobody_else() {
    let scene = Scene::new().await;
    let folder = scene.folder("bundle");
    let opened = scene.open(&folder).await;
    assert_eq!((&opened["state"], &opened["standing"]), (&json!("open"), &json!("suspended")));
    assert_eq!((&opened["again"], &opened["report"]["state"]), (&json!(false), &json!("suspended")));
    assert_eq!(opened["report"]["cut"]["nodes"], 9, "three agents at three applications");
    assert_eq!([scene.status("a").await, scene.status("b").await], [200, 403]);
    assert_eq!([scene.status("c").await, scene.status("d").await], [403, 403]);
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&folder).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o700);
    // The opening is an act, and is what the incident is called by; the order inside is an act of its own.
    let acts = scene.house.gateway.attempts("kind=administration").await;
    let opening = acts.iter().find(|act| act["action"] == "incident-open").unwrap();
    assert_eq!(opening["attempt"], opened["id"]);
    assert_eq!(opening["target"], format!("agent/{}", scene.id("b")));
    assert!(acts.iter().any(|act| act["action"] == "suspend" && act["target"] == opening["target"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn closing_decides_whether_new_calls_come_in() {
    for (verdict, statuses, standing) in [("--resume", 200, "active"), ("--revoke", 401, "revoked")] {
        let scene = Scene::new().await;
        let opened = scene.open(&scene.folder("bundle")).await;
        let id = opened["id"].as_str().unwrap();
        assert_eq!(scene.status("c").await, 403);
        let closed = scene.json(&["close", id, verdict, "--note", "looked at"]).await;
        assert_eq!((&closed["standing"], &closed["closed"]["note"]), (&json!(standing), &json!("looked at")));
        assert_eq!(
            [scene.status("b").await, scene.status("c").await, scene.status("d").await],
            [statuses; 3]
        );
        assert_eq!(scene.status("a").await, 200);
        // Deciding the same again is no error, deciding otherwise is.
        scene.json(&["close", id, verdict]).await;
        let other = if verdict == "--resume" { "--revoke" } else { "--resume" };
        scene.incident(&["close", id, other]).await.refuses(2, "it is closed");
        let listed = scene.json(&["ls"]).await;
        let shown = scene.json(&["show", id]).await;
        assert_eq!(listed, shown);
        assert_eq!(shown["state"], if verdict == "--resume" { "resumed" } else { "revoked" });
        let acts = scene.house.gateway.attempts("kind=administration").await;
        let close = acts.iter().find(|act| act["action"] == "incident-close").unwrap();
        assert_eq!(close["target"], format!("incident/{id}"));
        let ordered = acts.iter().any(|act| act["action"] == verdict.trim_start_matches("--"));
        assert!(ordered, "the order is an act of its own");
        // What was gathered can be gathered anew.
        let again = scene.folder("again");
        scene.json(&["gather", id, "--folder", again.to_str().unwrap()]).await;
        assert!(text(&again, "README.md").contains("looked at"));
        assert_eq!(verify(&again, Some(&scene.key())).await.code, Some(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn opening_an_open_incident_again_gathers_anew() {
    let scene = Scene::new().await;
    let first = scene.open(&scene.folder("one")).await;
    let gateway = &scene.house.gateway;
    let since = gateway.clock.now().millis() - 3_600_000;
    let folder = scene.folder("two");
    let args = ["open", scene.id("b"), "--since", &since.to_string(), "--folder", folder.to_str().unwrap()];
    let second = scene.json(&args).await;
    assert_eq!((&second["id"], &second["again"]), (&first["id"], &json!(true)));
    assert_eq!((&second["since"], &second["reason"]), (&json!(since), &json!("compromise")));
    assert_eq!(scene.json(&["ls"]).await["id"], first["id"]);
    // Another agent's is another.
    let id = scene.id("d");
    let other = scene.json(&["open", id, "--folder", scene.folder("three").to_str().unwrap()]).await;
    assert_ne!(other["id"], first["id"]);
    // A new one after the first was closed.
    scene.json(&["close", first["id"].as_str().unwrap(), "--resume"]).await;
    let third = scene.open(&scene.folder("four")).await;
    assert_ne!(third["id"], first["id"]);
    assert_eq!(third["again"], false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_older_than_asked_for_is_not_in_it_and_that_is_said() {
    let scene = Scene::new().await;
    let done = scene.family.get("c").call(&scene.house, "web", "done").await;
    // The next attempt is of a later millisecond.
    let asked = scene.house.record(done.header("x-request-id")).await["at"].as_i64().unwrap() + 1;
    while scene.house.gateway.clock.now().millis() <= asked {
        tokio::task::yield_now().await;
    }
    let late = scene.family.get("d").call(&scene.house, "web", "late").await;
    let folder = scene.folder("bundle");
    let args = ["open", scene.id("b"), "--since", &asked.to_string(), "--folder", folder.to_str().unwrap()];
    scene.json(&args).await;
    let attempts = lines(&folder, "attempts.jsonl");
    let has = |reply: &vestibule_testkit::Reply| {
        attempts.iter().any(|one| one["attempt"] == reply.header("x-request-id"))
    };
    assert_eq!([has(&done), has(&late)], [false, true]);
    // What made the delegations is there, however old it is.
    let made = attempts.iter().filter(|one| one["kind"] == "token-request").count();
    assert_eq!(made, 12, "four agents at three applications");
    let page = text(&folder, "README.md");
    assert!(page.contains("attempts of the agent and those below it are older than"), "{page}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_suspension_stands_when_the_gathering_fails_and_the_command_says_how_to_repeat_it() {
    let scene = Scene::new().await;
    let folder = scene.folder("taken");
    fs::create_dir(&folder).unwrap();
    let ran = scene.incident(&["open", scene.id("b"), "--folder", folder.to_str().unwrap()]).await;
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stdout.contains("is suspended") && ran.stderr.contains("cannot make the folder"), "{ran:?}");
    assert!(
        ran.stderr.contains("that stands") && ran.stderr.contains("vestibule incident gather"),
        "{ran:?}"
    );
    assert_eq!([scene.status("a").await, scene.status("c").await], [200, 403]);
    // The record is damaged: nothing is gathered from it, and the agent stays where it is.
    let segment = scene.house.gateway.dir.path().join("evidence/segments/00000001.jsonl");
    let damaged = fs::read_to_string(&segment).unwrap().replacen("alice", "bobby", 1);
    fs::write(&segment, damaged).unwrap();
    let ran =
        scene.incident(&["open", scene.id("b"), "--folder", scene.folder("new").to_str().unwrap()]).await;
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("damaged") && ran.stderr.contains("that stands"), "{ran:?}");
    assert!(ran.stderr.contains("missing: manifest.json, seal.json"), "{ran:?}");
    assert_eq!(scene.status("c").await, 403);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_makes_no_sense_is_refused_and_stops_nobody() {
    let scene = Scene::new().await;
    let post = |body: Value| scene.house.gateway.admin("POST", "/admin/v1/incidents").json(&body).send();
    let b = scene.id("b");
    let later = scene.house.gateway.clock.now().millis() + 60_000;
    for body in [
        json!({}),
        json!({ "agent": "" }),
        json!({ "agent": b, "reason": "superseded" }),
        json!({ "agent": b, "since": later }),
        json!({ "agent": b, "until": 1 }),
    ] {
        assert_eq!(post(body.clone()).await.status, 400, "{body}");
    }
    assert_eq!(scene.status("b").await, 200);
    let unknown = "0123456789abcdef0123456789abcdef";
    scene.incident(&["show", unknown]).await.refuses(2, "no such incident");
    scene.incident(&["show", "x"]).await.refuses(2, "32 hexadecimal digits");
    scene.incident(&["close", unknown, "--resume"]).await.refuses(2, "no such incident");
    scene.incident(&["close", unknown]).await.refuses(2, "--resume");
    let opened = post(json!({ "agent": b })).await.json();
    let path = format!("/admin/v1/incidents/{}/close", opened["id"].as_str().unwrap());
    let body = json!({ "verdict": "resume", "note": "x".repeat(401) });
    assert_eq!(scene.house.gateway.admin("POST", &path).json(&body).send().await.status, 400);
    assert_eq!(scene.status("b").await, 403);
    // An agent that was revoked meanwhile is not resumed.
    scene.house.gateway.revoke("agent", b).await;
    let resume = scene.house.gateway.admin("POST", &path).json(&json!({ "verdict": "resume" })).send().await;
    assert_eq!((resume.status.as_u16(), &resume.json()["code"]), (409, &json!("revoked")));
    // Whoever is unknown is stopped all the same, with a note.
    let folder = scene.folder("nobody");
    let ran = scene.incident(&["open", "nobody", "--folder", folder.to_str().unwrap()]).await;
    ran.tells(&["agent nobody is suspended", "gathered"]);
    assert!(ran.stderr.contains("no agent `nobody` is registered here"));
}
