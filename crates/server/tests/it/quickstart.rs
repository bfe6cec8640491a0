use std::{os::unix::fs::PermissionsExt, path::Path};

use serde_json::{Value, json};
use vestibule_testkit::{Era, Http, Mcp, TestUpstream};

use crate::binary::{ANY_PORT, Folder, Served, cli, modern};

/// What the agent gets for one tool call.
async fn tool(served: &Served, token: &str, app: &str, tool: &str, arguments: Value) -> Value {
    let params = json!({ "name": tool, "arguments": arguments });
    modern(served.resource(app), token, "tools/call", params).send().await.json()
}

#[tokio::test]
async fn one_line_of_json_is_all_that_an_agent_needs() {
    let folder = Folder::new();
    let served = folder.quickstart(&[]).await;
    let members: Vec<&String> = served.contract.as_object().unwrap().keys().collect();
    let promised = ["gateway_url", "issuer", "admin_url", "admin_token", "dir", "apps", "agents", "users"];
    assert_eq!(members, promised);
    assert!(Path::new(served.part("dir")).is_absolute());
    let users = served.contract["users"].as_array().unwrap();
    assert_eq!(users.iter().map(|user| &user["id"]).collect::<Vec<_>>(), ["alice", "bob"]);
    assert_eq!(served.contract["apps"][0]["kind"], "mcp");
    assert_eq!(served.contract["apps"][1]["id"], "sandbox-http");
    assert_eq!(served.contract["apps"][1]["kind"], "http");

    let (mcp, agent) = (served.resource("sandbox"), served.agent(0).await);
    let challenge = Http::post(mcp).json(&json!({})).send().await;
    let metadata = challenge.header("www-authenticate").split('"').nth(1).unwrap().to_owned();
    assert_eq!(
        Http::get(&metadata).send().await.json()["resource"],
        mcp,
        "the URL is the resource identifier"
    );

    let reply = agent.request_token(&[("resource", mcp), ("scope", "repo")]).await.json();
    let scoped = reply["access_token"].as_str().unwrap();
    let listed = tool(&served, scoped, "sandbox", "list_repos", json!({})).await;
    assert_eq!(listed["result"]["isError"], json!(false), "{listed}");
    let created = tool(&served, scoped, "sandbox", "create_repo", json!({ "name": "mine" })).await;
    assert_eq!(created["result"]["isError"], json!(false), "{created}");
    let streamed = modern(
        mcp,
        scoped,
        "tools/call",
        json!({ "name": "stream_progress", "arguments": { "seconds": 1 } }),
    );
    let streamed = streamed.send().await;
    assert!(streamed.text().contains("notifications/progress"));
    let deleted = tool(&served, scoped, "sandbox", "delete_repo", json!({ "name": "mine" })).await;
    assert_eq!(deleted["error"]["code"], -32602, "{deleted}");

    let http = served.resource("sandbox-http");
    let reply = agent.request_token(&[("resource", http), ("scope", "repo")]).await.json();
    let repos =
        Http::get(&format!("{http}/repos")).bearer(reply["access_token"].as_str().unwrap()).send().await;
    assert!(repos.text().contains("\"mine\""), "what was created through MCP is there over HTTP");
}

#[tokio::test]
async fn a_second_start_knows_the_same_agents_and_their_secrets_work() {
    let folder = Folder::new();
    let first = folder.quickstart(&[]).await;
    let known = first.contract.clone();
    first.stop().await;
    let again = folder.quickstart(&[]).await;
    assert_eq!(again.contract["agents"], known["agents"]);
    assert_eq!(again.contract["admin_token"], known["admin_token"]);
    let resource = again.resource("sandbox").to_owned();
    assert!(!again.agent(1).await.token(&resource).await.is_empty());
}

#[tokio::test]
async fn nobody_else_on_the_machine_can_read_the_folder() {
    let folder = Folder::new();
    let served = folder.quickstart(&[]).await;
    let mut left = vec![folder.join("")];
    let mut files = 0;
    while let Some(path) = left.pop() {
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        if path.is_dir() {
            assert_eq!(mode, 0o700, "{}", path.display());
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            assert_eq!(mode, 0o600, "{}", path.display());
            files += 1;
        }
    }
    assert!(files > 10, "the folder was looked at");
    served.stop().await;
}

fn tools() -> Vec<Value> {
    let tool = |name: &str, annotations: Value| json!({ "name": name, "inputSchema": { "type": "object", "properties": {} }, "annotations": annotations });
    vec![
        tool("look", json!({ "readOnlyHint": true })),
        tool("add", json!({ "readOnlyHint": false, "destructiveHint": false })),
        tool("wipe", json!({ "destructiveHint": true })),
        tool("silent", json!({})),
    ]
}

async fn listed(served: &Served) -> Vec<String> {
    let resource = served.resource("notes").to_owned();
    let token = served.agent(0).await.token(&resource).await;
    let reply = modern(&resource, &token, "tools/list", json!({})).send().await.json();
    assert!(reply["result"]["tools"].is_array(), "{reply}");
    reply["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn a_real_server_starts_with_what_it_calls_harmless_permitted_and_the_rest_written_out() {
    let upstream = TestUpstream::mcp(Mcp::new(Era::Modern, tools())).await;
    let folder = Folder::new();
    let app = format!("notes={}/mcp", upstream.url());
    let served = folder.quickstart(&["--app", &app]).await;
    assert_eq!(listed(&served).await, ["look", "add"]);
    let policy = std::fs::read_to_string(folder.join("policies/notes.cedar")).unwrap();
    let granting = |line: &&str| {
        tools().iter().any(|tool| line.contains(&format!("notes__{}\"", tool["name"].as_str().unwrap())))
    };
    let (live, commented): (Vec<&str>, Vec<&str>) =
        policy.lines().filter(granting).partition(|line| line.starts_with("permit ("));
    assert!(live[0].contains("notes__look") && live[1].contains("notes__add") && live.len() == 2, "{live:?}");
    assert!(commented[0].contains("notes__wipe") && commented[1].contains("notes__silent"), "{commented:?}");
    folder.cli(&["policy", "check"]).await.tells(&["ok"]);
    let uncommented = policy.replace("\n// @id(", "\n@id(").replace("\n// permit (", "\npermit (");
    std::fs::write(folder.join("policies/notes.cedar"), uncommented).unwrap();
    folder.cli(&["policy", "check"]).await.tells(&["ok"]);
    served.stop().await;

    let again = folder.quickstart(&["--app", &app]).await;
    assert_eq!(
        listed(&again).await,
        ["look", "add", "wipe", "silent"],
        "the file is the operator's from then on"
    );
    again.stop().await;
    let elsewhere =
        [&["quickstart", "--dir", folder.path(), "--app", "notes=http://127.0.0.1:1/mcp"], &ANY_PORT[..]];
    cli(&elsewhere.concat()).await.refuses(2, "change it there");
}

#[tokio::test]
async fn to_permit_everything_must_be_asked_for_and_is_said() {
    let upstream = TestUpstream::mcp(Mcp::new(Era::Modern, tools())).await;
    let folder = Folder::new();
    let served =
        folder.quickstart(&["--app", &format!("notes={}/mcp", upstream.url()), "--app-permit-all"]).await;
    assert_eq!(listed(&served).await, ["look", "add", "wipe", "silent"]);
    served.process.terminate();
    let (code, errors) = served.process.ended().await;
    assert_eq!(code, Some(0));
    assert!(errors.contains("may do everything that `notes` offers"), "{errors}");
}

#[tokio::test]
async fn an_application_that_is_not_there_is_a_clear_error() {
    let folder = Folder::new();
    let start = |app: &'static str| {
        let path = folder.path();
        async move { cli(&[&["quickstart", "--dir", path, "--app", app], &ANY_PORT[..]].concat()).await }
    };
    start("notes=http://127.0.0.1:1/mcp").await.refuses(3, "is its URL right?");
    let config = std::fs::read_to_string(folder.join("vestibule.yaml")).unwrap();
    assert!(!config.contains("notes"), "a mistyped URL does not stay");
    start("notes").await.refuses(2, "must be ID=URL");
    start("notes=nowhere").await.refuses(2, "the URL is not one");
    start("Not An Id=http://127.0.0.1:1/mcp").await.refuses(2, "invalid value");
}

#[tokio::test]
async fn the_tour_goes_as_it_should() {
    let folder = Folder::new();
    folder.cli(&["tour"]).await.refuses(2, "start `vestibule quickstart");
    let served = folder.quickstart(&[]).await;
    let told = folder.cli(&["tour"]).await;
    told.tells(&["10. The record", "the stream is cut", "the log verifies against its signed checkpoints"]);
    assert!(!told.stdout.contains("FAILED") && told.stderr.is_empty(), "{told:?}");
    let checks = folder.json(&["tour"]).await;
    assert!(checks.len() > 10 && checks.iter().all(|check| check["ok"] == true), "{checks:?}");
    served.stop().await;
}

#[tokio::test]
async fn the_incident_goes_as_it_should_and_can_be_played_again() {
    let folder = Folder::new();
    let served = folder.quickstart(&[]).await;
    let told = folder.cli(&["tour", "--incident"]).await;
    told.tells(&[
        "the report lists exactly these 13 attempts",
        "the log verifies against its signed checkpoints",
        "what is revoked stays revoked",
    ]);
    assert!(!told.stdout.contains("FAILED") && told.stderr.is_empty(), "{told:?}");
    let too_wide: Vec<&str> = told.stdout.lines().filter(|line| line.chars().count() > 100).collect();
    assert!(too_wide.is_empty(), "{too_wide:#?}");

    let checks = folder.json(&["tour", "--incident"]).await;
    assert!(checks.len() > 40 && checks.iter().all(|check| check["ok"] == true), "{checks:?}");
    assert_eq!(checks.last().unwrap()["scene"], 10);
    served.stop().await;
}

#[tokio::test]
async fn an_incident_needs_a_queue_that_it_can_fill() {
    let folder = Folder::new();
    let served = folder.quickstart(&[]).await;
    let config = std::fs::read_to_string(folder.join("vestibule.yaml")).unwrap();
    let wide = config.replace("agent_requests_max: 8", "agent_requests_max: 256");
    assert_ne!(wide, config);
    std::fs::write(folder.join("vestibule.yaml"), wide).unwrap();
    folder.cli(&["tour", "--incident"]).await.refuses(2, "`limits.agent_requests_max`");
    served.stop().await;
}
