//! The responder's one command on a chain of four: the second agent is stopped with all below it, and what is gathered
//! tells everything to somebody who has nothing but the public key.

use std::{
    fs,
    path::{Path, PathBuf},
};

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tempfile::TempDir;
use vestibule_model::Digest;

use super::{
    family::{APPS, House, PLAIN, SLOW, STREAM},
    member::{Family, Flight},
};
use crate::binary::{Ran, cli, cli_with};

/// Alice's agent `a` above `b`, `c` and `d`, one below the other.
struct Scene {
    house: House,
    family: Family,
    parent: TempDir,
}

/// What a bundle consists of.
const FILES: [&str; 16] = [
    "README.md",
    "agent.json",
    "attempts.jsonl",
    "checkpoint",
    "cut.json",
    "delegations.jsonl",
    "effects.jsonl",
    "entries.jsonl",
    "incident.json",
    "log.vkey",
    "manifest.json",
    "policies.json",
    "seal.json",
    "timeline.jsonl",
    "timeline.md",
    "",
];

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

/// A scene with a call of each manner under way, and its bundle, when the gateway is gone.
struct Gathered {
    folder: PathBuf,
    key: String,
    scene: GatheredScene,
}

/// What the bundle is held against.
struct GatheredScene {
    ids: [String; 4],
    flights: Vec<(String, &'static str)>,
    spared: String,
    done: String,
    opened: Value,
    secrets: Vec<String>,
    _parent: TempDir,
}

async fn gathered() -> Gathered {
    let scene = Scene::new().await;
    let (a, d) = (scene.family.get("a"), scene.family.get("d"));
    let spared = a.start(&scene.house, "web", STREAM);
    let streams =
        [d.start(&scene.house, "web", STREAM), scene.family.get("c").start(&scene.house, "modern", STREAM)];
    let slow = d.start(&scene.house, "modern", SLOW);
    for flight in streams.iter().chain([&spared]) {
        flight.beyond(2).await;
    }
    scene.house.until_seen("modern", &slow.name).await;
    let done = scene.family.get("c").call(&scene.house, "modern", "done").await;
    assert_eq!(done.status, 200);
    let folder = scene.folder("bundle");
    let opened = scene.open(&folder).await;
    for flight in &streams {
        flight.watched.ended().await;
        assert!(!flight.watched.is_whole(), "{}", flight.name);
    }
    slow.watched.ended().await;
    assert_eq!(slow.watched.status(), Some(403), "what had no answer gets the refusal");
    spared.beyond(spared.beat()).await;
    let flight = |flight: &Flight| (flight.attempt(), flight.manner);
    let secrets = scene
        .family
        .members
        .iter()
        .flat_map(|member| member.holders.values().map(|holder| holder.token().to_owned()));
    let running = scene.house.gateway.running();
    let secrets = secrets.chain([running.admin_token().expose_secret().to_owned()]).collect();
    let gathered = GatheredScene {
        ids: ["a", "b", "c", "d"].map(|name| scene.id(name).to_owned()),
        flights: streams.iter().chain([&slow]).map(flight).collect(),
        spared: spared.attempt(),
        done: done.header("x-request-id").to_owned(),
        opened,
        secrets,
        _parent: scene.parent,
    };
    let key = fs::read_to_string(scene.house.gateway.dir.path().join("evidence/log.vkey")).unwrap();
    scene.house.finish();
    scene.house.gateway.stop().await;
    Gathered { folder, key: key.trim().to_owned(), scene: gathered }
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
async fn the_bundle_alone_answers_who_for_whom_through_whom_what_was_done_and_what_was_stopped() {
    let Gathered { folder, scene, .. } = gathered().await;
    let [a, b, c, d] = &scene.ids;
    // Who, and through whom.
    let agent = value(&folder, "agent.json");
    assert_eq!(agent["id"], json!(b));
    assert_eq!(agent["orders"][0]["state"], "suspended");
    let key = b.rsplit(':').next().unwrap();
    assert_eq!(agent["credentials"]["keys_of_its_delegations"], json!([key]));
    let nodes = lines(&folder, "delegations.jsonl");
    let of = |relation: &str| nodes.iter().filter(|node| node["relation"] == relation).count();
    assert_eq!([of("ancestor"), of("agent"), of("below")], [3, 3, 6]);
    assert!(nodes.iter().all(|node| node["user"]["subject"] == "alice"));
    // What was cut, at which stage, and what came of it.
    let cut = value(&folder, "cut.json");
    assert_eq!(cut["suspension"]["cut"], json!({ "attempts": 3, "streams": 2, "nodes": 9 }));
    let cut = cut["attempts"].as_array().unwrap();
    for (attempt, manner) in &scene.flights {
        let one = cut.iter().find(|one| one["attempt"] == **attempt).unwrap();
        let wanted = if *manner == STREAM { ("streaming", "cut") } else { ("forwarded", "unknown") };
        assert_eq!((one["stage"].as_str().unwrap(), one["outcome"].as_str().unwrap()), wanted, "{one}");
        assert_eq!(one["denial"], "agent-suspended");
    }
    // What was done: every attempt below, how it ended, and nothing of those beside.
    let attempts = lines(&folder, "attempts.jsonl");
    let find = |id: &str| attempts.iter().find(|one| one["attempt"] == *id);
    assert_eq!(find(&scene.done).unwrap()["outcome"], "completed");
    assert!(find(&scene.spared).is_none());
    assert!(scene.flights.iter().all(|(attempt, _)| find(attempt).is_some()));
    let opening = find(scene.opened["id"].as_str().unwrap()).unwrap();
    assert_eq!((&opening["action"], &opening["outcome"]), (&json!("incident-open"), &json!("completed")));
    // The effects: what the application does not call reading, done or perhaps done.
    let effects = lines(&folder, "effects.jsonl");
    let done: Vec<_> =
        effects.iter().map(|one| (&one["operation"], &one["done"], &one["user"]["subject"])).collect();
    let (completed, unknown, alice) = (json!("completed"), json!("unknown"), json!("alice"));
    assert!(done.contains(&(&json!(PLAIN), &completed, &alice)), "{done:?}");
    assert!(
        done.contains(&(&json!(SLOW), &unknown, &alice))
            && done.contains(&(&json!(STREAM), &unknown, &alice))
    );
    // Why: the policies, as they are written.
    let policies = value(&folder, "policies.json");
    let call = policies["policies"].as_array().unwrap().iter().find(|one| one["id"] == "call").unwrap();
    assert!(call["source"]["text"].as_str().unwrap().contains("permit"), "{policies}");
    // In order.
    let timeline = lines(&folder, "timeline.jsonl");
    assert!(timeline.is_sorted_by_key(|row| row["at"].as_i64().unwrap()));
    assert_eq!(timeline.len(), attempts.len());
    assert!(text(&folder, "timeline.md").contains(&format!("suspend `agent/{b}`: completed")));
    // For a manager.
    let page = text(&folder, "README.md");
    for needle in [
        &format!("Agent `{b}`: **suspended**. Incident: **open**."),
        "#alice` |",
        &format!("- `{a}` > `{b}` > `{c}` > `{d}`"),
        "operations that write or destroy reached an application; of 2 of them nobody knows",
        "3 calls had been cut, 2 of them streams, and 9 delegations were dead. 0 calls had just completed",
        "| `streaming` |",
        "Nothing that the gateway knows of.",
    ] {
        assert!(page.contains(needle), "`{needle}` is not in:\n{page}");
    }
    for name in FILES.iter().filter(|name| !name.is_empty()) {
        let text = text(&folder, name);
        assert!(!scene.secrets.iter().any(|secret| text.contains(secret)), "{name} holds a secret");
        assert!(!text.contains("eyJ"), "{name} holds a token");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_bundle_verifies_when_the_gateway_is_gone_and_says_whose_key_it_was() {
    let Gathered { folder, key, scene } = gathered().await;
    let with_key = verify(&folder, Some(&key)).await;
    assert_eq!((with_key.code, with_key.stderr.as_str()), (Some(0), ""), "{with_key:?}");
    let answer = with_key.objects().remove(0);
    assert_eq!((&answer["ok"], &answer["key_from"]), (&json!(true), &json!("operator")));
    assert_eq!(answer["report"]["incident"], scene.opened["id"]);
    assert_eq!(answer["report"], scene.opened["bundle"]["report"]);
    let entries = lines(&folder, "entries.jsonl").len();
    assert_eq!(answer["report"]["entries"], entries);
    let own = verify(&folder, None).await;
    assert_eq!((own.code, &own.objects()[0]["key_from"]), (Some(0), &json!("bundle")));
    assert!(own.stderr.contains("WARNING: the key came from the bundle itself") && own.stderr.contains(&key));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_bundle_of_which_anything_was_changed_removed_or_added_is_refused() {
    let Gathered { folder, key, scene: _scene } = gathered().await;
    let refused = async |what: &str| {
        let ran = verify(&folder, Some(&key)).await;
        assert_eq!(ran.code, Some(1), "{what}: {ran:?}");
        ran.objects()[0]["error"].as_str().unwrap().to_owned()
    };
    let mut names: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, FILES[..15]);
    for name in &names {
        let (path, whole) = (folder.join(name), fs::read(folder.join(name)).unwrap());
        // A flipped bit in the middle, a byte more, a byte less, nothing at all, and a file that is gone.
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 1;
        let longer = [&whole[..], b"\n"].concat();
        for changed in [flipped, longer, whole[..whole.len() - 1].to_vec(), Vec::new()] {
            fs::write(&path, changed).unwrap();
            let error = refused(name).await;
            assert!(error.contains(name.as_str()) || name == "manifest.json", "{name}: {error}");
        }
        fs::remove_file(&path).unwrap();
        assert_eq!(refused(name).await, format!("`{name}` is missing"));
        fs::write(&path, whole).unwrap();
    }
    fs::write(folder.join("more.txt"), "").unwrap();
    assert!(refused("a file").await.contains("`more.txt` does not belong to the bundle"));
    fs::remove_file(folder.join("more.txt")).unwrap();
    fs::create_dir(folder.join("more")).unwrap();
    assert!(refused("a folder").await.contains("`more` does not belong to the bundle"));
    fs::remove_dir(folder.join("more")).unwrap();
    let (link, moved) = (folder.join("timeline.md"), folder.with_extension("timeline"));
    fs::rename(&link, &moved).unwrap();
    std::os::unix::fs::symlink(&moved, &link).unwrap();
    assert!(refused("a link").await.contains("`timeline.md`"));
    fs::remove_file(&link).unwrap();
    fs::rename(&moved, &link).unwrap();
    assert_eq!(verify(&folder, Some(&key)).await.code, Some(0));
}

/// Makes the manifest say what the files are.
fn make_manifest_anew(folder: &Path) {
    let mut manifest = value(folder, "manifest.json");
    for file in manifest["files"].as_array_mut().unwrap() {
        let bytes = fs::read(folder.join(file["name"].as_str().unwrap())).unwrap();
        file["bytes"] = json!(bytes.len());
        file["sha256"] = json!(Digest::of(&bytes));
    }
    fs::write(
        folder.join("manifest.json"),
        format!("{}\n", serde_json::to_string_pretty(&manifest).unwrap()),
    )
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_makes_the_manifest_anew_is_refused_all_the_same() {
    let Gathered { folder, key, scene: _scene } = gathered().await;
    // A record that was added, in both files that tell of records.
    let entries = text(&folder, "entries.jsonl");
    let last = entries.lines().last().unwrap();
    fs::write(folder.join("entries.jsonl"), format!("{entries}{}\n", last.replace("alice", "mallory")))
        .unwrap();
    make_manifest_anew(&folder);
    let ran = verify(&folder, Some(&key)).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.contains("`manifest.json` was changed"), "{}", ran.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_bundle_of_another_log_is_refused() {
    let (one, other) = (gathered().await, gathered().await);
    let ran = verify(&one.folder, Some(&other.key)).await;
    assert_eq!(ran.code, Some(1));
    assert!(ran.stdout.contains("`seal.json`: its checkpoint is not"), "{}", ran.stdout);
    // The seal of another bundle, though it is a good one.
    fs::copy(other.folder.join("seal.json"), one.folder.join("seal.json")).unwrap();
    for key in [&one.key, &other.key] {
        assert_eq!(verify(&one.folder, Some(key)).await.code, Some(1));
    }
    let garbage = verify(&one.folder, Some("garbage")).await;
    garbage.refuses(2, "origin+hash+key");
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
