use std::fs;

use serde_json::{Value, json};
use vestibule_testkit::Http;

use super::started;
use crate::binary::{Process, cli, modern};

#[tokio::test]
async fn the_record_is_searched_shown_and_verified_with_and_without_a_gateway() {
    let (folder, served) = started().await;
    let resource = served.resource("sandbox-http");
    let token = served.agent(0).await.token(resource).await;
    let denied =
        Http::request(http::Method::DELETE, &format!("{resource}/repos/payroll")).bearer(&token).send().await;
    assert_eq!(denied.status, 404);
    let id = denied.header("x-request-id");

    let found = folder.json(&["audit", "search", "--agent", "demo-agent", "--decision", "deny"]).await;
    assert_eq!(found.len(), 1);
    assert_eq!((&found[0]["attempt"], &found[0]["operation"]), (&json!(id), &json!("delete_repo")));
    let shown = folder.json(&["audit", "show", id]).await.remove(0);
    assert_eq!(shown, found[0]);
    let newest = folder.json(&["audit", "search", "--limit", "1"]).await;
    assert_eq!(newest[0]["attempt"], id, "a limit leaves the newest");
    let long_ago = ["audit", "search", "--since", "2020-01-01T00:00:00Z", "--until", "2021-01-01T00:00:00Z"];
    assert_eq!(folder.json(&long_ago).await, [json!(null); 0]);
    let table = folder.cli(&["audit", "search"]).await;
    table.tells(&["AT  ", "operator", "agent-add agent/demo-agent", "operation-not-permitted"]);
    folder.cli(&["audit", "show", "zzz"]).await.refuses(2, "attempt id");
    folder.cli(&["audit", "show", &"0".repeat(32)]).await.refuses(2, "no such attempt");
    folder.cli(&["audit", "search", "--decision", "perhaps"]).await.refuses(2, "");
    folder.cli(&["audit", "search", "--since", "yesterday"]).await.refuses(2, "--since");
    folder.cli(&["audit", "verify"]).await.tells(&["ok  ", " 0 gaps"]);
    served.stop().await;

    folder.cli(&["audit", "search"]).await.refuses(3, "no gateway runs in");
    let offline = folder.attempts().await;
    assert!(offline.contains(&shown), "without a gateway the same is found");
    let evidence = folder.join("evidence");
    let evidence = evidence.to_str().unwrap();
    assert_eq!(folder.json(&["audit", "show", id, "--folder", evidence]).await, [shown]);
    folder
        .cli(&["audit", "verify", "--folder", evidence])
        .await
        .tells(&["ok  ", " 0 not yet signed, 0 gaps"]);
    let key = fs::read_to_string(folder.join("evidence/log.vkey")).unwrap();
    let with_key =
        |key: String| async move { cli(&["audit", "verify", "--folder", evidence, "--key", &key]).await };
    with_key(key.trim().to_owned()).await.tells(&["ok  "]);
    let stranger = "vestibule.local/gateway+00000000+AAAA".to_owned();
    with_key(stranger).await.refuses(2, "key");
    cli(&["audit", "verify", "--folder", folder.path()]).await.refuses(2, "no public key");
}

#[tokio::test]
async fn attempts_are_shown_as_they_end() {
    let (folder, served) = started().await;
    let mut tail = Process::start(&[
        "audit",
        "tail",
        "--agent",
        "demo-agent",
        "--output",
        "json",
        "--dir",
        folder.path(),
    ]);
    // The view shows what ends while it is open, and nothing tells when it is. So there is an attempt until one shows.
    let resource = served.resource("sandbox").to_owned();
    let token = served.agent(0).await.token(&resource).await;
    let calls = tokio::spawn(async move {
        loop {
            modern(&resource, &token, "tools/list", json!({})).send().await;
        }
    });
    let line: Value = serde_json::from_str(&tail.line().await).unwrap();
    calls.abort();
    assert_eq!((&line["agent"], &line["outcome"]), (&json!("demo-agent"), &json!("completed")));
    assert_eq!(folder.json(&["audit", "show", line["attempt"].as_str().unwrap()]).await, [line]);
}
