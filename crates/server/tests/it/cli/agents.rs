use std::fs;

use serde_json::{Value, json};
use vestibule_testkit::AgentKey;

use super::{started, status};

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
    folder.cli(&["agent", "show", "ann"]).await.tells(&[
        "agent    ann\n",
        "claims   role=a,b\n",
        "apps     sandbox\n",
    ]);
    folder.cli(&["agent", "show", "nobody"]).await.refuses(2, "no such agent");

    let ids = |listed: Vec<Value>| {
        listed.iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
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
