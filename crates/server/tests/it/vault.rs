//! What the gateway keeps sealed: secrets that operators set while it runs, its signing keys, and the key of both.

use std::{os::unix::fs::PermissionsExt, path::Path, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use vestibule_model::{FixedClock, OsEntropy, SystemClock};
use vestibule_server::{
    Running, Surroundings,
    config::{GatewayConfig, Settings},
};
use vestibule_store::{
    By, Kind, SqliteStore, Store,
    vault::{KeyFile, Vault},
};
use vestibule_testkit::{Answer, Http, Reply, TestUpstream};

use crate::{
    binary::{Folder, cli_reading},
    gateway::{PERMIT_TESTERS, TestGateway, folder, wednesday_noon},
};

const SECRET: &str = "the-secret-that-an-operator-has-set";

fn config(upstream: &TestUpstream) -> String {
    let app = |name: &str, secret: &str| {
        let access = format!("{{ static: {{ bearer: {{ token: {{ vault: {secret} }} }} }} }}");
        let routes = "{ look: { route: GET /look } }";
        let at = upstream.url();
        format!(
            "  {name}: {{ http: {{ url: '{at}', access: {access}, operations: {{ routes: {routes} }} }} }}\n"
        )
    };
    format!("apps:\n{}{}", app("web", "billing.token"), app("other", "other"))
}

/// A gateway with two applications whose secrets are in the vault, and nothing set.
struct Scene {
    upstream: TestUpstream,
    gateway: TestGateway,
    clock: Arc<FixedClock>,
    token: String,
}

impl Scene {
    async fn new() -> Self {
        let upstream = TestUpstream::http(Answer::json(&json!({}))).await;
        let clock = wednesday_noon();
        let gateway =
            TestGateway::start_at(&clock, &config(&upstream), &[("all.cedar", PERMIT_TESTERS)]).await;
        let token = gateway.token("a", "web").await;
        Self { upstream, gateway, clock, token }
    }

    async fn set(&self, name: &str, value: &str) -> Reply {
        let path = format!("/admin/v1/secrets/{name}");
        self.gateway.admin("PUT", &path).json(&json!({ "value": value })).send().await
    }

    async fn look(&self) -> Reply {
        Http::get(&format!("{}/look", self.gateway.resource("web"))).bearer(&self.token).send().await
    }

    /// As much time as a secret that was read is used for.
    async fn later(&self) {
        self.gateway.advance(&self.clock, Duration::from_secs(5)).await;
    }

    fn seen(&self) -> String {
        self.upstream.requests().pop().unwrap().header("authorization").to_owned()
    }

    fn state(&self) -> std::path::PathBuf {
        self.gateway.dir.path().join("state")
    }
}

/// Which files of a folder hold this text.
fn holding(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        if bytes.windows(text.len()).any(|window| window == text.as_bytes()) {
            found.push(path.file_name().unwrap().to_str().unwrap().to_owned());
        }
    }
    found
}

#[tokio::test]
async fn a_secret_that_is_set_while_the_gateway_runs_is_used_changed_and_taken_away() {
    let scene = Scene::new().await;
    let closed = scene.look().await;
    assert_eq!((closed.status.as_u16(), &closed.json()["code"]), (502, &json!("access-unavailable")));
    assert_eq!(scene.upstream.requests().len(), 0);
    let attempt = scene.gateway.attempt_of(&closed).await;
    assert!(attempt["cause"].as_str().unwrap().contains("vestibule secret set"), "{attempt}");

    let set = scene.set("billing.token", &format!("{SECRET}\n")).await;
    assert_eq!(set.status, 200);
    assert_eq!((&set.json()["version"], &set.json()["usable"]), (&json!(1), &json!(true)));
    assert_eq!(scene.look().await.status, 200, "one that was missing is not waited for");
    assert_eq!(scene.seen(), format!("Bearer {SECRET}"));

    assert_eq!(scene.set("billing.token", "changed").await.json()["version"], 2);
    scene.later().await;
    assert_eq!(scene.look().await.status, 200);
    assert_eq!(scene.seen(), "Bearer changed");

    let path = "/admin/v1/secrets/billing.token";
    assert_eq!(scene.gateway.admin("DELETE", path).send().await.status, 200);
    assert_eq!(scene.gateway.admin("DELETE", path).send().await.status, 404);
    scene.later().await;
    let before = scene.upstream.requests().len();
    assert_eq!(scene.look().await.status, 502);
    assert_eq!(scene.upstream.requests().len(), before);
    assert_eq!(scene.gateway.get("/admin/v1/secrets").await["items"], json!([]));
}

#[tokio::test]
async fn a_secret_of_the_vault_shows_nowhere() {
    let scene = Scene::new().await;
    let mut shown = vec![scene.set("billing.token", SECRET).await.text()];
    shown.push(scene.look().await.text());
    for path in [
        "/admin/v1/secrets",
        "/admin/v1/keys",
        "/admin/v1/apps/web",
        "/admin/v1/attempts?limit=1000",
        "/metrics",
    ] {
        shown.push(scene.gateway.admin("GET", path).send().await.text());
    }
    shown.push(scene.gateway.post("/admin/v1/apps/web/test", &json!({})).await.to_string());
    assert_eq!(scene.gateway.get("/admin/v1/keys").await["vault"]["unsealed"], 0);
    // What cannot be taken is not quoted either.
    for body in [json!(SECRET), json!({ "value": [SECRET] }), json!({ "value": 1, SECRET: 1 })] {
        let refused = scene.gateway.admin("PUT", "/admin/v1/secrets/other").json(&body).send().await;
        assert_eq!(refused.status, 400);
        shown.push(refused.text());
    }
    for text in &shown {
        assert!(!text.contains(SECRET), "{text}");
    }
    let acts = scene.gateway.attempts("kind=administration").await;
    let act = acts.iter().find(|act| act["action"] == "secret-set").unwrap();
    assert_eq!((&act["target"], &act["outcome"]), (&json!("secret/billing.token"), &json!("completed")));
    assert_eq!(act["detail"], json!(r#"{"version":1}"#));
    for folder in [scene.state(), scene.gateway.dir.path().join("evidence")] {
        assert_eq!(holding(&folder, SECRET), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_copy_of_the_state_holds_no_signing_key() {
    let scene = Scene::new().await;
    let store = SqliteStore::open(&scene.state(), Arc::new(SystemClock::default())).unwrap();
    let vault = Vault::new(KeyFile::new(scene.state().join("vault.key")).read().unwrap().unwrap());
    let records = store.scan(Kind::SigningKey, By::All, None, 10).await.unwrap();
    assert_eq!(records.len(), 1);
    let plain = vault.open_record(&records[0]).unwrap();
    let plain: Value = serde_json::from_slice(&plain).unwrap();
    let private = &plain["pkcs8"].as_str().unwrap()[50..90];
    assert_eq!(holding(&scene.state(), private), Vec::<String>::new());
    let key = std::fs::read_to_string(scene.state().join("vault.key")).unwrap();
    assert_eq!(holding(&scene.state(), key.trim()), ["vault.key"], "the key is in its own file alone");
}

#[tokio::test]
async fn what_cannot_be_a_secret_or_its_name_is_refused() {
    let scene = Scene::new().await;
    for (name, value) in
        [("UPPER", "x"), ("-a", "x"), ("a", ""), ("a", "\n"), ("a", &*"x".repeat((64 << 10) + 1))]
    {
        let refused = scene.set(name, value).await;
        assert_eq!(
            (refused.status.as_u16(), &refused.json()["code"]),
            (400, &json!("invalid-request")),
            "{name}"
        );
    }
    assert_eq!(scene.set("a", &"x".repeat(64 << 10)).await.status, 200);
    assert_eq!(scene.set("b", "x").await.status, 200);
    let page = scene.gateway.get("/admin/v1/secrets?limit=1").await;
    assert_eq!((&page["items"][0]["id"], &page["next"]), (&json!("a"), &json!("a")));
    let page = scene.gateway.get("/admin/v1/secrets?limit=1&after=a").await;
    assert_eq!(page["items"][0]["id"], "b");
}

#[tokio::test]
async fn a_secret_that_was_swapped_for_another_closes_its_application_and_no_other() {
    let scene = Scene::new().await;
    scene.set("billing.token", "of billing").await;
    scene.set("other", "of the other").await;
    let store = SqliteStore::open(&scene.state(), scene.gateway.clock.clone()).unwrap();
    let other = store.get(Kind::Secret, "other").await.unwrap().unwrap();
    let body: Value = other.decode().unwrap();
    // Whoever can write the state puts one row's text into another.
    let put = vestibule_store::Put::new(Kind::Secret, "billing.token", &body).unwrap();
    let seq = store.commit(vec![vestibule_store::Op::Put(put)]).await.unwrap();
    assert!(seq > 0);
    let unusable = async || {
        let listed = scene.gateway.get("/admin/v1/secrets").await;
        listed["items"][0]["usable"] == false
    };
    while !unusable().await {}
    scene.later().await;
    let refused = scene.look().await;
    assert_eq!(refused.status, 502);
    let cause = scene.gateway.attempt_of(&refused).await["cause"].as_str().unwrap().to_owned();
    assert!(cause.contains("does not open") && cause.contains("vestibule secret set"), "{cause}");
    let token = scene.gateway.agent("b", json!({})).await.token(&scene.gateway.resource("other")).await;
    let look = format!("{}/look", scene.gateway.resource("other"));
    assert_eq!(Http::get(&look).bearer(&token).send().await.status, 200);
    assert_eq!(scene.seen(), "Bearer of the other");
    scene.set("billing.token", "set again").await;
    assert_eq!(scene.look().await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_is_rotated_under_calls_and_everything_opens_after_a_restart() {
    let mut scene = Scene::new().await;
    scene.set("billing.token", SECRET).await;
    let old = vault_keys(&scene.gateway.get("/admin/v1/keys").await);
    // The check row, the signing key and the secret.
    assert_eq!((old.len(), old[0].1), (1, 3));
    let mut calls = JoinSet::new();
    let (done, stop) = tokio::sync::watch::channel(false);
    for _ in 0..4 {
        let (url, token) = (format!("{}/look", scene.gateway.resource("web")), scene.token.clone());
        let stop = stop.clone();
        calls.spawn(async move {
            let mut count = 0;
            while !*stop.borrow() || count == 0 {
                assert_eq!(Http::get(&url).bearer(&token).send().await.status, 200);
                count += 1;
            }
            count
        });
    }
    for _ in 0..3 {
        let rotated = scene.gateway.post("/admin/v1/keys/vault/rotate", &json!({})).await;
        let keys = vault_keys(&rotated);
        assert_eq!((keys.len(), keys[0].1), (1, 3), "{rotated}");
        assert_ne!(keys[0].0, old[0].0);
        assert_eq!(scene.set("billing.token", SECRET).await.status, 200);
    }
    done.send_replace(true);
    assert!(calls.join_all().await.into_iter().sum::<i32>() >= 4);
    assert_eq!(holding(&scene.state(), &old[0].0), Vec::<String>::new(), "nothing is under the old key");
    let acts = scene.gateway.attempts("kind=administration").await;
    let act = acts.iter().find(|act| act["target"] == "keys/vault").unwrap();
    assert!(act["detail"].as_str().unwrap().contains("rewrapped"), "{act}");

    let before = vault_keys(&scene.gateway.get("/admin/v1/keys").await);
    scene.gateway = scene.gateway.restart().await;
    assert_eq!(vault_keys(&scene.gateway.get("/admin/v1/keys").await), before);
    let token = scene.gateway.agent("b", json!({})).await.token(&scene.gateway.resource("web")).await;
    scene.token = token;
    assert_eq!(scene.look().await.status, 200);
    assert_eq!(scene.seen(), format!("Bearer {SECRET}"));
}

/// The ids of the vault's keys, with how many rows are under each.
fn vault_keys(status: &Value) -> Vec<(String, u64)> {
    let keys = status["vault"]["keys"].as_array().unwrap().iter();
    keys.map(|key| (key["id"].as_str().unwrap().to_owned(), key["rows"].as_u64().unwrap())).collect()
}

/// What a start in this folder says.
async fn start(dir: &Path, config: &str, env: fn(&str) -> Option<String>) -> Result<Running, String> {
    let mut parsed = GatewayConfig::parse(config).unwrap();
    (parsed.data.listen, parsed.admin.listen) = (([127, 0, 0, 1], 0).into(), ([127, 0, 0, 1], 0).into());
    let settings = Settings::check(parsed, dir).unwrap();
    let outside = Surroundings { clock: Arc::new(SystemClock::default()), entropy: Arc::new(OsEntropy), env };
    loop {
        match Running::start(settings.clone(), outside.clone()).await {
            Ok(running) => return Ok(running),
            // A start that was refused lets go of the record when its writer has ended.
            Err(error) if error.to_string().contains("is in use") => tokio::task::yield_now().await,
            Err(error) => return Err(error.to_string()),
        }
    }
}

#[tokio::test]
async fn a_key_that_is_missing_wrong_or_readable_by_others_stops_the_start_and_says_what_to_do() {
    let dir = folder(&[]);
    let key = dir.path().join("state/vault.key");
    start(dir.path(), "", |_| None).await.unwrap().stop().await;
    assert_eq!(std::fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
    let right = std::fs::read(&key).unwrap();
    let refused = async || start(dir.path(), "", |_| None).await.unwrap_err();

    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).unwrap();
    let said = refused().await;
    assert!(said.contains("vault.key") && said.contains("chmod 600"), "{said}");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();

    std::fs::remove_file(&key).unwrap();
    let said = refused().await;
    assert!(said.contains("is missing") && said.contains("backup"), "{said}");
    assert!(!key.exists(), "no new key over rows that it cannot open");

    let other = folder(&[]);
    start(other.path(), "", |_| None).await.unwrap().stop().await;
    std::fs::copy(other.path().join("state/vault.key"), &key).unwrap();
    let said = refused().await;
    assert!(said.contains("put the key back that belongs to this state"), "{said}");

    std::fs::write(&key, &right).unwrap();
    start(dir.path(), "", |_| None).await.unwrap().stop().await;
}

const BY_VARIABLE: &str = "vault: { key: { env: VAULT_KEYS } }";

#[tokio::test]
async fn keys_come_from_a_variable_and_are_exchanged_by_their_order() {
    const ONE: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
    let dir = folder(&[]);
    let said = start(dir.path(), BY_VARIABLE, |_| None).await.unwrap_err();
    assert!(said.contains("`VAULT_KEYS` is not set") && said.contains("openssl rand"), "{said}");
    start(dir.path(), BY_VARIABLE, |_| Some(ONE.to_owned())).await.unwrap().stop().await;
    assert!(!dir.path().join("state/vault.key").exists());
    let two = |_: &str| Some("AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=".to_owned());
    let said = start(dir.path(), BY_VARIABLE, two).await.unwrap_err();
    assert!(said.contains("put the key back") && !said.contains("AgICAg"), "{said}");
    let both = |_: &str| {
        Some(
            "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=,AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE="
                .to_owned(),
        )
    };
    let running = start(dir.path(), BY_VARIABLE, both).await.unwrap();
    let admin = |method: &str, path: &str| {
        let token = secrecy::ExposeSecret::expose_secret(running.admin_token()).to_owned();
        let url = format!("{}{path}", running.admin_url());
        Http::request(method.parse().unwrap(), &url).bearer(&token).json(&json!({}))
    };
    let keys = |reply: Reply| vault_keys(&reply.json()).into_iter().map(|(_, rows)| rows).collect::<Vec<_>>();
    assert_eq!(keys(admin("GET", "/admin/v1/keys").send().await), [0, 2]);
    assert_eq!(keys(admin("POST", "/admin/v1/keys/vault/rotate").send().await), [2, 0]);
    running.stop().await;
    start(dir.path(), BY_VARIABLE, two).await.unwrap().stop().await;
}

#[test]
fn what_is_needed_before_the_vault_is_open_cannot_lie_in_it() {
    for (config, key) in
        [("vault: { key: { vault: a } }", "`vault.key`"), ("admin: { token: { vault: a } }", "`admin.token`")]
    {
        let parsed = GatewayConfig::parse(config).unwrap();
        let error = Settings::check(parsed, Path::new("")).unwrap_err().to_string();
        assert!(error.starts_with(key) && error.contains("file: PATH"), "{error}");
    }
    let error = GatewayConfig::parse("vault:\n  key: hunter2").unwrap_err();
    assert!(error.contains("by reference") && !error.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn the_command_line_sets_lists_and_removes_secrets_and_rotates_the_key() {
    let folder = Folder::new();
    let served = folder.quickstart(&[]).await;
    let file = folder.join("value");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    let set = cli_reading(&file, &["secret", "set", "billing", "--dir", folder.path()]).await;
    set.tells(&["secret   billing\nversion  1\n"]);
    assert!(!set.stdout.contains(SECRET));
    folder.cli(&["secret", "ls"]).await.tells(&["ID       VERSION  USABLE\nbilling  1        true"]);
    assert_eq!(folder.json(&["secret", "ls"]).await[0]["id"], "billing");
    // The value as an argument is no way to set it.
    assert_eq!(folder.cli(&["secret", "set", "billing", SECRET]).await.code, Some(2));
    std::fs::write(&file, "\n").unwrap();
    cli_reading(&file, &["secret", "set", "billing", "--dir", folder.path()]).await.refuses(2, "is empty");

    let before = folder.json(&["keys", "status"]).await.remove(0);
    folder.cli(&["keys", "status"]).await.tells(&["signs     ", "seals     ", " 3 rows, from file `"]);
    folder.cli(&["keys", "rotate", "--vault"]).await.tells(&["seals     ", " 3 rows"]);
    let after = folder.json(&["keys", "rotate", "--vault"]).await.remove(0);
    assert_eq!(before["signing"], after["signing"], "signing keys are another matter");
    assert_ne!(vault_keys(&before), vault_keys(&after));
    let signing = folder.json(&["keys", "rotate"]).await.remove(0);
    assert_ne!(signing["signing"], after["signing"]);
    folder.cli(&["secret", "rm", "billing"]).await.tells(&["removed  billing"]);
    folder.cli(&["secret", "rm", "billing"]).await.refuses(2, "no such secret");
    served.stop().await;
}
