use serde_json::{Value, json};

use super::{started, status};

#[tokio::test]
async fn an_agent_is_suspended_and_resumed_and_a_revocation_is_not_taken_back() {
    let (folder, served) = started().await;
    let agent = served.agent(0).await;
    let token = agent.token(served.resource("sandbox")).await;
    folder.cli(&["suspend", "agent", "demo-agent", "--dry-run"]).await.tells(&["would be suspended"]);
    assert_eq!(status(&served, &token).await, 200);
    let report =
        folder.json(&["suspend", "agent", "demo-agent", "--reason", "policy-violation"]).await.remove(0);
    assert_eq!((&report["state"], &report["reason"]), (&json!("suspended"), &json!("policy-violation")));
    assert_eq!(status(&served, &token).await, 403);
    assert_eq!(folder.json(&["agent", "show", "demo-agent"]).await[0]["state"], "suspended");
    let asked = agent.request_token(&[("resource", served.resource("sandbox"))]).await;
    assert_eq!((asked.status.as_u16(), &asked.json()["error"]), (503, &json!("temporarily_unavailable")));
    folder.cli(&["resume", "agent", "demo-agent"]).await.tells(&["agent demo-agent is resumed"]);
    assert_eq!(status(&served, &token).await, 200, "its token is good again");
    folder.cli(&["resume", "agent", "demo-agent"]).await.refuses(2, "not suspended");
    folder.json(&["suspend", "agent", "demo-agent"]).await;
    folder.cli(&["revoke", "agent", "demo-agent"]).await.tells(&["is revoked"]);
    folder.cli(&["resume", "agent", "demo-agent"]).await.refuses(2, "for good");
    assert_eq!(status(&served, &token).await, 401);
    let acts = folder.json(&["audit", "search"]).await;
    let acts: Vec<&Value> = acts
        .iter()
        .filter(|one| one["target"] == "agent/demo-agent" && one["outcome"] == "completed")
        .map(|one| &one["action"])
        .filter(|action| *action != "agent-add")
        .collect();
    assert_eq!(acts, ["suspend", "resume", "suspend", "revoke"]);
}

#[tokio::test]
async fn an_order_is_given_for_a_time_and_for_every_kind_of_name() {
    let (folder, served) = started().await;
    let token = served.agent(0).await.token(served.resource("sandbox")).await;
    for (kind, id) in [
        ("user", "https://idp.example#alice"),
        ("session", "https://idp.example#s-1"),
        ("client", "https://idp.example#console"),
        ("credential", "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"),
        ("app", "sandbox-http"),
        ("delegation", "0123456789abcdef0123456789abcdef"),
    ] {
        let report = folder.json(&["suspend", kind, id, "--for", "30m"]).await.remove(0);
        assert_eq!((&report["kind"], &report["id"]), (&json!(kind), &json!(id)));
        folder.cli(&["resume", kind, id]).await.tells(&[&format!("{kind} {id} is resumed")]);
    }
    assert_eq!(status(&served, &token).await, 200);
    let all = folder.json(&["suspend", "all"]).await.remove(0);
    assert_eq!((&all["kind"], &all["id"]), (&json!("all"), &json!("*")));
    assert_eq!(status(&served, &token).await, 403);
    folder.cli(&["resume", "all"]).await.tells(&["is resumed"]);
    assert_eq!(status(&served, &token).await, 200);
    folder.cli(&["suspend", "credential", "short"]).await.refuses(2, "");
    folder.cli(&["suspend", "agent", "demo-agent", "--for", "soon"]).await.refuses(2, "try `30m`");
    folder.cli(&["suspend", "agent", "demo-agent", "--for", "0s"]).await.refuses(2, "must be positive");
}
