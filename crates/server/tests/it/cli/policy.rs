use std::fs;

use serde_json::json;

use super::started;
use crate::binary::Folder;

/// Questions about policy that a running gateway and the folder of a stopped one must answer alike.
async fn policy_answers(folder: &Folder) -> Vec<String> {
    let explain = |operation: &'static str, arguments: &'static str| async move {
        folder
            .cli(&[
                "policy",
                "explain",
                "--agent",
                "demo-agent",
                "--operation",
                operation,
                "--arguments",
                arguments,
            ])
            .await
    };
    let check = folder.cli(&["policy", "check"]).await;
    check.tells(&["ok  13 policies"]);
    let test = folder.cli(&["policy", "test"]).await;
    test.tells(&["30 passed, 0 failed"]);
    let permitted = explain("sandbox__create_repo", r#"{"name":"mine"}"#).await;
    permitted.tells(&["permit  sandbox__create_repo", "decided by permit sandbox.create (sandbox.cedar:"]);
    let arguments = explain("sandbox__create_repo", r#"{"name":"production"}"#).await;
    arguments.says(&[
        "denial: arguments-not-permitted",
        "nearest permit sandbox.create",
        "would have to be false",
    ]);
    let nothing = explain("sandbox__delete_repo", r#"{"name":"mine"}"#).await;
    nothing.says(&[
        "denial: operation-not-permitted",
        "nearest permit sandbox.delete",
        "AgentGroup::\"sandbox-admins\"",
    ]);
    let uncovered = explain("sandbox__prompts/get", r#"{"name":"any"}"#).await;
    uncovered.says(&["no permit covers this operation"]);
    let applicable = folder.cli(&["policy", "applicable", "--agent", "demo-agent"]).await;
    applicable.tells(&[
        "sandbox__delete_repo           never",
        "!(context.input.name like \"prod*\")",
        "guard.scope: the token lacks a scope",
    ]);
    for denied in [&arguments, &nothing, &uncovered] {
        assert_eq!(denied.code, Some(1), "{denied:?}");
    }
    let bare = ["policy", "explain", "--agent", "demo-agent", "--operation", "sandbox__list_repos"];
    let no_scope = folder.cli(&[&bare[..], &["--no-scope"]].concat()).await;
    assert_eq!(no_scope.code, Some(1));
    no_scope.says(&["scope-insufficient", "the token would need the scope `repo`"]);
    folder
        .cli(&["policy", "explain", "--agent", "nobody", "--operation", "sandbox__list_repos"])
        .await
        .refuses(2, "no such agent");
    folder
        .cli(&["policy", "explain", "--agent", "demo-agent", "--operation", "list"])
        .await
        .refuses(2, "app__name");
    folder.cli(&[&bare[..], &["--arguments", "{"]].concat()).await.refuses(2, "is not JSON");
    folder.cli(&["policy", "applicable", "--agent", "nobody"]).await.refuses(2, "agent-unknown");
    [check, test, permitted, arguments, nothing, applicable, no_scope]
        .into_iter()
        .map(|ran| ran.stdout)
        .collect()
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
    fs::write(
        drafts.join("a.cedar"),
        "@id(\"a\")\npermit (principal, action == Action::\"sandbox__lst\", resource);",
    )
    .unwrap();
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
