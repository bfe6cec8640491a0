//! What was gathered, held against what had happened, and against whoever changes it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tempfile::TempDir;
use vestibule_model::Digest;

use super::{
    super::{
        family::{PLAIN, SLOW, STREAM},
        member::Flight,
    },
    Scene, lines, text, value, verify,
};

/// What a bundle consists of.
const FILES: [&str; 15] = [
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
];

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
    for name in FILES {
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
    assert_eq!(names, FILES);
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
