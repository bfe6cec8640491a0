use std::fs;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::{started, status};
use crate::binary::cli_reading;

/// A member of a token's payload.
fn claim(token: &str, pointer: &str) -> String {
    let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&payload).unwrap();
    claims.pointer(pointer).unwrap().as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_agent_is_revoked_and_a_rehearsal_changes_nothing() {
    let (folder, served) = started().await;
    let agent = served.agent(0).await;
    let token = agent.token(served.resource("sandbox")).await;
    folder.cli(&["revoke", "agent", "demo-agent", "--dry-run"]).await.tells(&["demo-agent would be revoked"]);
    assert_eq!(status(&served, &token).await, 200);

    let report =
        folder.json(&["revoke", "agent", "demo-agent", "--reason", "compromise", "--wait"]).await.remove(0);
    assert_eq!(
        (&report["kind"], &report["id"], &report["reason"]),
        (&json!("agent"), &json!("demo-agent"), &json!("compromise"))
    );
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
    folder
        .cli(&["revoke", "trust-domain", "d"])
        .await
        .refuses(2, "possible values: agent, token, delegation");
    folder.cli(&["revoke", "user", "alice"]).await.refuses(2, "an issuer, `#` and a name");
    folder.cli(&["revoke", "agent"]).await.refuses(2, "<ID>");
    folder.cli(&["revoke", "agent", "demo-admin", "--reason", "mood"]).await.refuses(2, "possible values");
}

#[tokio::test]
async fn a_key_whose_thumbprint_begins_with_a_hyphen_is_revoked_like_any_other() {
    let (folder, _served) = started().await;
    for start in ["-5", "-h", "-V", "--", "--output"] {
        let id = format!("{start:k<43}");
        let order = ["revoke", "credential", &id, "--reason", "key-compromise"];
        let report = folder.json(&order).await.remove(0);
        assert_eq!((&report["id"], &report["reason"]), (&json!(id), &json!("key-compromise")));
    }
    folder.cli(&["revoke", "credential", "--reason", "key-compromise"]).await.refuses(2, "<ID>");
}

#[tokio::test]
async fn a_token_is_revoked_by_its_name_or_from_standard_input_and_never_as_an_argument() {
    let (folder, served) = started().await;
    let (agent, resource) = (served.agent(0).await, served.resource("sandbox"));
    let (first, second, third) =
        (agent.token(resource).await, agent.token(resource).await, agent.token(resource).await);
    folder.cli(&["revoke", "token", &first]).await.refuses(2, "never an argument");
    assert_eq!(status(&served, &first).await, 200);
    let report = folder.json(&["revoke", "token", &claim(&first, "/jti")]).await.remove(0);
    assert_eq!(
        (&report["kind"], report["id"].as_str().unwrap()),
        (&json!("token"), claim(&first, "/jti").as_str())
    );
    assert_eq!(status(&served, &first).await, 401);

    let file = folder.join("token");
    fs::write(&file, format!("{second}\n")).unwrap();
    let ran = cli_reading(&file, &["revoke", "token", "-", "--dir", folder.path()]).await;
    ran.tells(&["is revoked"]);
    assert!(!ran.stdout.contains(&second));
    assert_eq!(status(&served, &second).await, 401);
    let outside = |claims: Value| format!("h.{}.s", URL_SAFE_NO_PAD.encode(claims.to_string()));
    for (claims, id) in [
        (json!({ "iss": "https://idp.example", "jti": "a.1" }), "https://idp.example#a.1"),
        (json!({ "iss": "https://sts.example/t/", "jti": "j", "uti": "u" }), "https://sts.example/t/#u"),
    ] {
        fs::write(&file, outside(claims)).unwrap();
        cli_reading(&file, &["revoke", "token", "-", "--dir", folder.path()]).await.tells(&[id]);
        assert_eq!(folder.json(&["revoke", "token", id]).await[0]["id"], id, "by its name, which has a dot");
    }
    fs::write(&file, outside(json!({ "iss": "https://idp.example" }))).unwrap();
    let named = cli_reading(&file, &["revoke", "token", "-", "--dir", folder.path()]).await;
    named.tells(&["https://idp.example#sha-256:"]);
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
    let shown = folder.json(&["agent", "show", "demo-agent"]).await.remove(0);
    assert_eq!(
        (&shown["state"], &shown["cutoff"]),
        (&json!("revoked-before"), &json!(1_577_836_800_000_i64))
    );
    folder.cli(&["agent", "ls"]).await.tells(&["revoked-before 2020-01-01T00:00:00.000Z"]);
    folder.cli(&["agent", "show", "demo-agent"]).await.tells(&["revoked-before 2020-01-01T00:00:00.000Z"]);
    let far = "4102444800000";
    folder.json(&["revoke", "agent", "demo-agent", "--cutoff", far]).await;
    assert_eq!(status(&served, &token).await, 401);
    folder.cli(&["revoke", "agent", "demo-agent", "--cutoff", "yesterday"]).await.refuses(2, "is no moment");
}

#[tokio::test]
async fn the_orders_in_force_are_listed() {
    let (folder, _served) = started().await;
    assert_eq!(folder.json(&["revocation", "ls"]).await, Vec::<Value>::new());
    folder.json(&["suspend", "agent", "demo-agent", "--reason", "compromise"]).await;
    folder.json(&["revoke", "user", "https://idp.example#alice", "--cutoff", "2020-01-01T00:00:00Z"]).await;
    let listed = folder.json(&["revocation", "ls"]).await;
    let told: Vec<_> = listed.iter().map(|one| (&one["kind"], &one["id"], &one["state"])).collect();
    assert_eq!(
        told,
        [
            (&json!("agent"), &json!("demo-agent"), &json!("suspended")),
            (&json!("user"), &json!("https://idp.example#alice"), &json!("revoked")),
        ]
    );
    folder.cli(&["revocation", "ls"]).await.tells(&[
        "KIND",
        "agent  demo-agent",
        "compromise",
        "2020-01-01T00:00:00.000Z",
        "operator",
    ]);
    folder.json(&["resume", "agent", "demo-agent"]).await;
    assert_eq!(folder.json(&["revocation", "ls"]).await.len(), 1);
}
