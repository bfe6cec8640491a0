//! The commands that look at a gateway and operate it: what they print, and how they exit.

mod agents;
mod audit;
mod breaker;
mod delegation;
mod policy;
mod revoke;
mod sandbox;
mod suspend;

use std::fs;

use serde_json::{Value, json};
use vestibule_testkit::Http;

use crate::binary::{Folder, Served, cli, cli_with, modern};

async fn started() -> (Folder, Served) {
    let folder = Folder::new();
    let served = folder.quickstart(&[]).await;
    (folder, served)
}

/// The status that a token gets at the sandbox.
async fn status(served: &Served, token: &str) -> u16 {
    modern(served.resource("sandbox"), token, "tools/list", json!({})).send().await.status.as_u16()
}

#[tokio::test]
async fn applications_are_listed_shown_and_tested() {
    let (folder, served) = started().await;
    let listed = folder.json(&["app", "ls"]).await;
    assert_eq!(listed[0]["url"], served.resource("sandbox"));
    assert_eq!(listed[1]["operation_count"], 4);
    let shown = folder.cli(&["app", "show", "sandbox"]).await;
    shown.tells(&[
        "application  sandbox\n",
        "OPERATION",
        "create_repo      write    claimed  repo    name, private?, description?",
    ]);
    let secret = fs::read_to_string(folder.join("sandbox.secret")).unwrap();
    let tested = folder.cli(&["app", "test", "sandbox"]).await;
    tested.tells(&["ok      credential", "operations read"]);
    for said in [&shown, &tested] {
        assert!(!said.stdout.contains(secret.trim()), "a secret is on the screen");
    }
    let steps = folder.json(&["app", "test", "sandbox-http"]).await;
    assert_eq!(steps[0]["ok"], true);
    folder.cli(&["app", "test", "nothing"]).await.refuses(2, "no such application");
    folder.cli(&["app", "show", "nothing"]).await.refuses(2, "no such application");
}

#[tokio::test]
async fn an_application_that_cannot_be_reached_fails_its_test() {
    let folder = Folder::with(
        "data: { listen: 127.0.0.1:0 }\nadmin: { listen: 127.0.0.1:0 }\n\
         apps: { gone: { http: { url: 'http://127.0.0.1:1', operations: { routes: { a: { route: GET /a } } } } } }",
        "",
    );
    let _served = folder.run().await;
    let tested = folder.cli(&["app", "test", "gone"]).await;
    assert_eq!(tested.code, Some(1));
    tested.says(&["ok      application", "FAILED"]);
}

#[tokio::test]
async fn keys_are_rotated_and_tokens_of_the_old_one_stay_valid() {
    let (folder, served) = started().await;
    let token = served.agent(0).await.token(served.resource("sandbox")).await;
    let before = folder.json(&["keys", "status"]).await.remove(0);
    let after = folder.json(&["keys", "rotate"]).await.remove(0);
    assert_ne!(before["signing"], after["signing"]);
    folder
        .cli(&["keys", "status"])
        .await
        .tells(&["signs     ", &format!("verifies  {}", before["signing"].as_str().unwrap())]);
    assert_eq!(status(&served, &token).await, 200);
    let published = Http::get(&format!("{}/oauth/jwks", served.part("issuer"))).send().await;
    assert!(published.text().contains(after["signing"].as_str().unwrap()), "{}", published.text());
}

#[tokio::test]
async fn a_configuration_is_checked_without_a_start() {
    let folder = Folder::with("apps: {}\n", "");
    let file = folder.join("vestibule.yaml");
    let path = file.to_str().unwrap();
    cli(&["config", "check", path]).await.tells(&["ok, 0 applications"]);
    fs::write(&file, "data:\n  lisen: 127.0.0.1:1\n").unwrap();
    let refused = cli(&["config", "check", path]).await;
    refused.refuses(2, "lisen");
    assert!(refused.stderr.contains("2:3") || refused.stderr.contains("line 2"), "{}", refused.stderr);
    fs::write(&file, "user_issuers: { corp_bad: { issuer: 'https://sso.example.com' } }").unwrap();
    cli(&["config", "check", path]).await.refuses(2, "`user_issuers.corp_bad.name`: must be 1 to 32 of");
    fs::write(&file, "limits: { drain_seconds: 4000 }").unwrap();
    cli(&["config", "check", path]).await.refuses(2, "must be from 0 to 3600");
    cli(&["config", "check", "/nowhere.yaml"]).await.refuses(2, "cannot read");
    cli(&["run", "--dir", folder.path()]).await.refuses(2, "must be from 0 to 3600");
    let schema: Value = serde_json::from_str(&cli(&["config", "schema"]).await.stdout).unwrap();
    assert!(schema["properties"]["apps"].is_object());
}

#[tokio::test]
async fn a_gateway_is_found_by_the_environment_or_by_its_folder() {
    let (folder, served) = started().await;
    let (url, token) = (served.part("admin_url").to_owned(), served.part("admin_token").to_owned());
    let ls = |url: String, token: Option<&'static str>| async move {
        let variables =
            [("VESTIBULE_ADMIN_URL", url.as_str()), ("VESTIBULE_ADMIN_TOKEN", token.unwrap_or_default())];
        let given = if token.is_some() { &variables[..] } else { &variables[..1] };
        cli_with(given, &["agent", "ls"]).await
    };
    let found =
        cli_with(&[("VESTIBULE_ADMIN_URL", &url), ("VESTIBULE_ADMIN_TOKEN", &token)], &["agent", "ls"]).await;
    found.tells(&["demo-agent"]);
    let wrong = ls(url.clone(), Some("wrong")).await;
    wrong.refuses(2, "check `VESTIBULE_ADMIN_TOKEN`");
    ls(url.clone(), None).await.refuses(2, "`VESTIBULE_ADMIN_TOKEN` is not");
    ls("http://127.0.0.1:1".to_owned(), Some("x"))
        .await
        .refuses(3, "cannot reach the gateway at http://127.0.0.1:1");
    cli(&["agent", "ls", "--dir", "/nowhere"]).await.refuses(2, "no gateway in `/nowhere`");
    served.stop().await;
    folder.cli(&["agent", "ls"]).await.refuses(3, "no gateway runs in");
    let usage = cli(&["agnt"]).await;
    usage.refuses(2, "unrecognized subcommand");
}
