//! The commands that look at a gateway and operate it: what they print, and how they exit.

use std::fs;

use serde_json::{Value, json};
use vestibule_testkit::{AgentKey, Http};

use crate::binary::{Folder, Process, Served, cli, cli_reading, cli_with, modern};

async fn started() -> (Folder, Served) {
    let folder = Folder::new();
    let served = folder.quickstart(&[]).await;
    (folder, served)
}

/// The status that a token gets at the sandbox.
async fn status(served: &Served, token: &str) -> u16 {
    modern(served.resource("sandbox"), token, "tools/list", json!({})).send().await.status.as_u16()
}

/// A member of a token's payload.
fn claim(token: &str, pointer: &str) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    claims.pointer(pointer).unwrap().as_str().unwrap().to_owned()
}

#[tokio::test]
async fn agents_are_added_listed_shown_and_given_new_secrets() {
    let (folder, served) = started().await;
    let add = ["agent", "add", "ann", "--group", "sandbox-agents", "--trust", "2", "--scope", "profile"];
    let more = ["--claim", "role=a", "--claim", "role=b", "--app", "sandbox"];
    let added = folder.json(&[&add[..], &more].concat()).await.remove(0);
    let old = added["client_secret"].as_str().unwrap();
    folder.cli(&["agent", "add", "ann"]).await.refuses(2, "exists");
    folder.cli(&["agent", "add", "no id"]).await.refuses(2, "");
    folder.cli(&["agent", "add", "x", "--claim", "role"]).await.refuses(2, "must be NAME=VALUE");

    let shown = folder.json(&["agent", "show", "ann"]).await.remove(0);
    assert_eq!(shown["claims"], json!({ "role": ["a", "b"] }));
    assert_eq!((&shown["apps"], &shown["state"]), (&json!(["sandbox"]), &json!("active")));
    assert!(shown.get("client_secret").is_none(), "a secret is shown once");
    folder.cli(&["agent", "show", "ann"]).await.tells(&["agent    ann\n", "claims   role=a,b\n", "apps     sandbox\n"]);
    folder.cli(&["agent", "show", "nobody"]).await.refuses(2, "no such agent");

    let ids = |listed: Vec<Value>| listed.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(ids(folder.json(&["agent", "ls"]).await), ["ann", "demo-admin", "demo-agent"]);
    folder.cli(&["agent", "ls"]).await.tells(&["ID          GROUPS", "ann         sandbox-agents"]);

    let rotated = folder.json(&["agent", "rotate", "ann"]).await.remove(0);
    let resource = served.resource("sandbox");
    let with_old = served.connect("ann", old).await.request_token(&[("resource", resource)]).await;
    assert_eq!((with_old.status.as_u16(), &with_old.json()["error"]), (401, &json!("invalid_client")));
    let with_new = served.connect("ann", rotated["client_secret"].as_str().unwrap()).await;
    assert_eq!(status(&served, &with_new.token(resource).await).await, 200);
    folder.cli(&["agent", "rotate", "nobody"]).await.refuses(2, "no such agent");
}

#[tokio::test]
async fn an_agent_with_its_own_key_has_no_secret() {
    let (folder, _served) = started().await;
    let file = folder.join("key.json");
    fs::write(&file, AgentKey::generate("k").jwks().to_string()).unwrap();
    let file = file.to_str().unwrap();
    let added = folder.json(&["agent", "add", "keyed", "--jwks", file]).await.remove(0);
    assert!(added.get("client_secret").is_none());
    folder.cli(&["agent", "rotate", "keyed"]).await.refuses(2, "key");
    fs::write(file, "no json").unwrap();
    folder.cli(&["agent", "add", "other", "--jwks", file]).await.refuses(2, "is not JSON");
}

#[tokio::test]
async fn applications_are_listed_shown_and_tested() {
    let (folder, served) = started().await;
    let listed = folder.json(&["app", "ls"]).await;
    assert_eq!(listed[0]["url"], served.resource("sandbox"));
    assert_eq!(listed[1]["operation_count"], 4);
    let shown = folder.cli(&["app", "show", "sandbox"]).await;
    shown.tells(&["application  sandbox\n", "OPERATION", "create_repo      write    claimed  repo    name, private?, description?"]);
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
async fn an_agent_is_revoked_and_a_rehearsal_changes_nothing() {
    let (folder, served) = started().await;
    let agent = served.agent(0).await;
    let token = agent.token(served.resource("sandbox")).await;
    folder.cli(&["revoke", "agent", "demo-agent", "--dry-run"]).await.tells(&["demo-agent would be revoked"]);
    assert_eq!(status(&served, &token).await, 200);

    let report = folder.json(&["revoke", "agent", "demo-agent", "--reason", "compromise", "--wait"]).await.remove(0);
    assert_eq!((&report["kind"], &report["id"], &report["reason"]), (&json!("agent"), &json!("demo-agent"), &json!("compromise")));
    assert_eq!(report["version"], 1);
    assert!(report["cut"].is_object() && report["acknowledged_at"].is_i64(), "{report}");
    assert_eq!(status(&served, &token).await, 401);
    assert_eq!(agent.request_token(&[("resource", served.resource("sandbox"))]).await.status, 401);
    assert_eq!(folder.json(&["agent", "show", "demo-agent"]).await[0]["state"], "revoked");
    assert_eq!(folder.json(&["agent", "ls"]).await[0]["state"], "active");

    let again = folder.json(&["revoke", "agent", "demo-agent"]).await.remove(0);
    assert_eq!(again["version"], 1, "repeating it is no error and no news");
    let slip = folder.cli(&["revoke", "agent", "demo-agnet"]).await;
    slip.tells(&["demo-agnet is revoked"]);
    assert!(slip.stderr.contains("no agent `demo-agnet` is registered"));
    folder.cli(&["revoke", "user", "u"]).await.refuses(2, "possible values: agent, token, delegation");
    folder.cli(&["revoke", "agent", "demo-admin", "--reason", "mood"]).await.refuses(2, "possible values");
}

#[tokio::test]
async fn a_token_is_revoked_by_its_name_or_from_standard_input_and_never_as_an_argument() {
    let (folder, served) = started().await;
    let (agent, resource) = (served.agent(0).await, served.resource("sandbox"));
    let (first, second, third) = (agent.token(resource).await, agent.token(resource).await, agent.token(resource).await);
    folder.cli(&["revoke", "token", &first]).await.refuses(2, "never an argument");
    assert_eq!(status(&served, &first).await, 200);
    let report = folder.json(&["revoke", "token", &claim(&first, "/jti")]).await.remove(0);
    assert_eq!((&report["kind"], report["id"].as_str().unwrap()), (&json!("token"), claim(&first, "/jti").as_str()));
    assert_eq!(status(&served, &first).await, 401);

    let file = folder.join("token");
    fs::write(&file, format!("{second}\n")).unwrap();
    let ran = cli_reading(&file, &["revoke", "token", "-", "--dir", folder.path()]).await;
    ran.tells(&["is revoked"]);
    assert!(!ran.stdout.contains(&second));
    assert_eq!(status(&served, &second).await, 401);
    fs::write(&file, "no token").unwrap();
    cli_reading(&file, &["revoke", "token", "-", "--dir", folder.path()]).await.refuses(2, "holds no token");

    assert_eq!(status(&served, &third).await, 200, "the agent's other tokens live on");
    folder.json(&["revoke", "delegation", &claim(&third, "/vst/node")]).await;
    assert_eq!(status(&served, &third).await, 401);
    folder.cli(&["revoke", "delegation", "nonsense"]).await.refuses(2, "delegation id");
}

#[tokio::test]
async fn a_cutoff_kills_what_was_issued_until_then() {
    let (folder, served) = started().await;
    let (agent, resource) = (served.agent(0).await, served.resource("sandbox"));
    let token = agent.token(resource).await;
    folder.json(&["revoke", "agent", "demo-agent", "--cutoff", "2020-01-01T00:00:00Z"]).await;
    assert_eq!(status(&served, &token).await, 200);
    assert_eq!(folder.json(&["agent", "show", "demo-agent"]).await[0]["state"], "active");
    let far = "4102444800000";
    folder.json(&["revoke", "agent", "demo-agent", "--cutoff", far]).await;
    assert_eq!(status(&served, &token).await, 401);
    folder.cli(&["revoke", "agent", "demo-agent", "--cutoff", "yesterday"]).await.refuses(2, "is no moment");
}

#[tokio::test]
async fn the_record_is_searched_shown_and_verified_with_and_without_a_gateway() {
    let (folder, served) = started().await;
    let resource = served.resource("sandbox-http");
    let token = served.agent(0).await.token(resource).await;
    let denied = Http::request(http::Method::DELETE, &format!("{resource}/repos/payroll")).bearer(&token).send().await;
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
    table.tells(&["AT  ", "operator", "agent-add demo-agent", "operation-not-permitted"]);
    folder.cli(&["audit", "show", "zzz"]).await.refuses(2, "attempt id");
    folder.cli(&["audit", "show", &"0".repeat(32)]).await.refuses(2, "no such attempt");
    folder.cli(&["audit", "search", "--decision", "perhaps"]).await.refuses(2, "");
    folder.cli(&["audit", "search", "--since", "yesterday"]).await.refuses(2, "--since");
    folder.cli(&["audit", "verify"]).await.tells(&["ok  ", " 0 gaps"]);
    served.stop().await;

    folder.cli(&["audit", "search"]).await.refuses(3, "cannot reach");
    let offline = folder.attempts().await;
    assert!(offline.contains(&shown), "without a gateway the same is found");
    let evidence = folder.join("evidence");
    let evidence = evidence.to_str().unwrap();
    assert_eq!(folder.json(&["audit", "show", id, "--folder", evidence]).await, [shown]);
    folder.cli(&["audit", "verify", "--folder", evidence]).await.tells(&["ok  ", " 0 not yet signed, 0 gaps"]);
    let key = fs::read_to_string(folder.join("evidence/log.vkey")).unwrap();
    let with_key = |key: String| async move { cli(&["audit", "verify", "--folder", evidence, "--key", &key]).await };
    with_key(key.trim().to_owned()).await.tells(&["ok  "]);
    let stranger = "vestibule.local/gateway+00000000+AAAA".to_owned();
    with_key(stranger).await.refuses(2, "key");
    cli(&["audit", "verify", "--folder", folder.path()]).await.refuses(2, "no public key");
}

#[tokio::test]
async fn attempts_are_shown_as_they_end() {
    let (folder, served) = started().await;
    let mut tail = Process::start(&["audit", "tail", "--agent", "demo-agent", "--output", "json", "--dir", folder.path()]);
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

/// Questions about policy that a running gateway and the folder of a stopped one must answer alike.
async fn policy_answers(folder: &Folder) -> Vec<String> {
    let explain = |operation: &'static str, arguments: &'static str| async move {
        folder.cli(&["policy", "explain", "--agent", "demo-agent", "--operation", operation, "--arguments", arguments]).await
    };
    let check = folder.cli(&["policy", "check"]).await;
    check.tells(&["ok  7 policies"]);
    let test = folder.cli(&["policy", "test"]).await;
    test.tells(&["13 passed, 0 failed"]);
    let permitted = explain("sandbox__create_repo", r#"{"name":"mine"}"#).await;
    permitted.tells(&["permit  sandbox__create_repo", "decided by permit sandbox.create (sandbox.cedar:"]);
    let arguments = explain("sandbox__create_repo", r#"{"name":"production"}"#).await;
    arguments.says(&["denial: arguments-not-permitted", "nearest permit sandbox.create", "would have to be false"]);
    let nothing = explain("sandbox__delete_repo", r#"{"name":"mine"}"#).await;
    nothing.says(&["denial: operation-not-permitted", "nearest permit sandbox.delete", "AgentGroup::\"sandbox-admins\""]);
    let uncovered = explain("sandbox__prompts/get", r#"{"name":"any"}"#).await;
    uncovered.says(&["no permit covers this operation"]);
    let applicable = folder.cli(&["policy", "applicable", "--agent", "demo-agent"]).await;
    applicable.tells(&["sandbox__delete_repo           never", "!(context.input.name like \"prod*\")", "guard.scope: the token lacks a scope"]);
    for denied in [&arguments, &nothing, &uncovered] {
        assert_eq!(denied.code, Some(1), "{denied:?}");
    }
    let bare = ["policy", "explain", "--agent", "demo-agent", "--operation", "sandbox__list_repos"];
    let no_scope = folder.cli(&[&bare[..], &["--no-scope"]].concat()).await;
    assert_eq!(no_scope.code, Some(1));
    no_scope.says(&["scope-insufficient", "the token would need the scope `repo`"]);
    folder.cli(&["policy", "explain", "--agent", "nobody", "--operation", "sandbox__list_repos"]).await.refuses(2, "no such agent");
    folder.cli(&["policy", "explain", "--agent", "demo-agent", "--operation", "list"]).await.refuses(2, "app__name");
    folder.cli(&[&bare[..], &["--arguments", "{"]].concat()).await.refuses(2, "is not JSON");
    folder.cli(&["policy", "applicable", "--agent", "nobody"]).await.refuses(2, "agent-unknown");
    [check, test, permitted, arguments, nothing, applicable, no_scope].into_iter().map(|ran| ran.stdout).collect()
}

#[tokio::test]
async fn a_running_gateway_and_the_folder_of_a_stopped_one_answer_alike_about_policy() {
    let (folder, served) = started().await;
    let running = policy_answers(&folder).await;
    served.stop().await;
    assert_eq!(policy_answers(&folder).await, running);
}

#[tokio::test]
async fn a_policy_that_does_not_load_is_told_with_its_place() {
    let (folder, served) = started().await;
    let drafts = folder.join("drafts");
    fs::create_dir(&drafts).unwrap();
    fs::write(drafts.join("a.cedar"), "@id(\"a\")\npermit (principal, action == Action::\"sandbox__lst\", resource);").unwrap();
    let drafts = drafts.to_str().unwrap();
    let checked = folder.cli(&["policy", "check", drafts]).await;
    assert_eq!(checked.code, Some(1));
    checked.says(&["error a.cedar:", "sandbox__lst"]);
    let problems = folder.cli(&["policy", "check", drafts, "--output", "json"]).await.objects();
    assert_eq!((&problems[0]["ok"], &problems[0]["problems"][0]["file"]), (&json!(false), &json!("a.cedar")));

    fs::write(folder.join("drafts/a.cedar"), "@id(\"a\") permit (principal, action, resource);").unwrap();
    let cases = r#"[{ "name": "wrong", "agent": "x", "trust": 1, "operation": "sandbox__stream_progress", "arguments": {"seconds": 1}, "expect": "deny" }]"#;
    fs::write(folder.join("drafts/a.tests.json"), cases).unwrap();
    let tested = folder.cli(&["policy", "test", drafts]).await;
    assert_eq!(tested.code, Some(1));
    tested.says(&["FAILED  a.tests.json: wrong", "0 passed, 1 failed"]);
    let item = folder.cli(&["policy", "test", drafts, "--output", "json"]).await.objects().remove(0);
    assert_eq!((&item["result"]["passed"], &item["result"]["actual"]), (&json!(false), &json!("permit")));
    folder.cli(&["policy", "check", "/nowhere"]).await.refuses(2, "is not a folder");
    served.stop().await;
}

#[tokio::test]
async fn keys_are_rotated_and_tokens_of_the_old_one_stay_valid() {
    let (folder, served) = started().await;
    let token = served.agent(0).await.token(served.resource("sandbox")).await;
    let before = folder.json(&["keys", "status"]).await.remove(0);
    let after = folder.json(&["keys", "rotate"]).await.remove(0);
    assert_ne!(before["signing"], after["signing"]);
    folder.cli(&["keys", "status"]).await.tells(&["signs     ", &format!("verifies  {}", before["signing"].as_str().unwrap())]);
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
        let variables = [("VESTIBULE_ADMIN_URL", url.as_str()), ("VESTIBULE_ADMIN_TOKEN", token.unwrap_or_default())];
        let given = if token.is_some() { &variables[..] } else { &variables[..1] };
        cli_with(given, &["agent", "ls"]).await
    };
    let found = cli_with(&[("VESTIBULE_ADMIN_URL", &url), ("VESTIBULE_ADMIN_TOKEN", &token)], &["agent", "ls"]).await;
    found.tells(&["demo-agent"]);
    let wrong = ls(url.clone(), Some("wrong")).await;
    wrong.refuses(2, "check `VESTIBULE_ADMIN_TOKEN`");
    ls(url.clone(), None).await.refuses(2, "`VESTIBULE_ADMIN_TOKEN` is not");
    ls("http://127.0.0.1:1".to_owned(), Some("x")).await.refuses(3, "cannot reach the gateway at http://127.0.0.1:1");
    cli(&["agent", "ls", "--dir", "/nowhere"]).await.refuses(2, "no gateway in `/nowhere`");
    served.stop().await;
    folder.cli(&["agent", "ls"]).await.refuses(3, "cannot reach");
    let usage = cli(&["agnt"]).await;
    usage.refuses(2, "unrecognized subcommand");
}
