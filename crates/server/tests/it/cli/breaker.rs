use serde_json::json;

use super::{started, status};

#[tokio::test]
async fn a_breaker_is_opened_listed_and_closed_for_an_agent_and_for_an_application() {
    let (folder, served) = started().await;
    let token = served.agent(0).await.token(served.resource("sandbox")).await;
    let opened =
        folder.json(&["breaker", "trip", "demo-agent", "--for", "90", "--reason", "odd"]).await.remove(0);
    assert_eq!(
        (&opened["kind"], &opened["state"], &opened["signal"]),
        (&json!("agent"), &json!("open"), &json!("order"))
    );
    assert_eq!(status(&served, &token).await, 403);
    folder.cli(&["breaker", "ls"]).await.tells(&[
        "agent  demo-agent",
        "open",
        "order",
        "odd",
        "app    sandbox ",
    ]);
    assert_eq!(folder.json(&["breaker", "ls"]).await[0]["detail"], "odd");
    folder
        .cli(&["breaker", "reset", "demo-agent"])
        .await
        .tells(&["the breaker of agent demo-agent is closed"]);
    assert_eq!(status(&served, &token).await, 200);
    folder.cli(&["breaker", "reset", "demo-agent"]).await.refuses(2, "its breaker is not open");
    folder
        .cli(&["breaker", "trip", "--upstream", "sandbox"])
        .await
        .tells(&["app sandbox is open until it is reset"]);
    assert_eq!(status(&served, &token).await, 503);
    let listed = folder.json(&["breaker", "ls"]).await;
    assert_eq!((&listed[0]["id"], &listed[0]["state"]), (&json!("sandbox"), &json!("open")));
    assert_eq!((&listed[1]["id"], &listed[1]["state"]), (&json!("sandbox-http"), &json!("closed")));
    folder.cli(&["breaker", "reset", "--upstream", "sandbox"]).await.tells(&["is closed"]);
    assert_eq!(status(&served, &token).await, 200);
    let nobody = folder.cli(&["breaker", "trip", "nobody"]).await;
    assert!(nobody.stderr.contains("no agent `nobody` is registered here"), "{nobody:?}");
    folder.cli(&["breaker", "trip", "demo-agent", "--for", "soon"]).await.refuses(2, "try `90` or `30m`");
    folder.cli(&["breaker", "trip", "demo-agent", "--for", "0"]).await.refuses(2, "`seconds` must be from 1");
    folder.cli(&["breaker", "trip", "--upstream", "none"]).await.refuses(2, "no such application");
    folder.cli(&["breaker", "trip"]).await.refuses(2, "");
    folder.cli(&["breaker", "trip", "a", "--upstream", "b"]).await.refuses(2, "");
}
