//! Secrets: read from where the configuration says, again and again, and never shown.

use std::{sync::Arc, time::Duration};

use secrecy::ExposeSecret;
use serde_json::json;
use vestibule_model::{OsEntropy, SystemClock};
use vestibule_server::{
    Running, Surroundings,
    config::{GatewayConfig, Settings},
};
use vestibule_testkit::{Answer, Era, Http, Mcp, TestUpstream};

use super::{STRATEGIES, Scene, config, secret, write_secrets};
use crate::{
    binary::Folder,
    gateway::{PERMIT_TESTERS, call, folder, rpc},
};

#[tokio::test]
async fn a_secret_that_is_rotated_in_its_file_is_used_without_a_restart() {
    let scene = Scene::new().await;
    let token = scene.gateway.token("a", "bearer").await;
    let file = scene.gateway.dir.path().join("secrets/bearer");
    std::fs::write(&file, "rotated").unwrap();
    scene.gateway.advance(&scene.clock, Duration::from_secs(6)).await;
    assert_eq!(scene.look("bearer", &token).send().await.status, 200);
    assert_eq!(scene.seen().header("authorization"), "Bearer rotated");
}

#[tokio::test]
async fn a_secret_that_is_taken_away_closes_its_application_and_no_other() {
    let scene = Scene::new().await;
    let agent = scene.gateway.agent("a", json!({})).await;
    let bearer = agent.token(&scene.gateway.resource("bearer")).await;
    let header = agent.token(&scene.gateway.resource("header")).await;
    let file = scene.gateway.dir.path().join("secrets/bearer");
    for spoilt in ["", "two\nlines"] {
        std::fs::write(&file, spoilt).unwrap();
        scene.gateway.advance(&scene.clock, Duration::from_secs(6)).await;
        assert_eq!(scene.look("bearer", &bearer).send().await.status, 502, "{spoilt:?}");
    }
    std::fs::remove_file(&file).unwrap();
    scene.gateway.advance(&scene.clock, Duration::from_secs(6)).await;
    let before = scene.upstream.requests().len();
    let refused = scene.look("bearer", &bearer).send().await;
    assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (502, &json!("access-unavailable")));
    assert!(
        !refused.text().contains("secrets"),
        "where secrets lie is not the caller's business: {}",
        refused.text()
    );
    assert_eq!(scene.upstream.requests().len(), before);
    let attempt = scene.gateway.attempt_of(&refused).await;
    assert_eq!((&attempt["denial"], &attempt["outcome"]), (&json!("access-unavailable"), &json!("failed")));
    assert_eq!(scene.look("header", &header).send().await.status, 200);

    std::fs::write(&file, secret("bearer")).unwrap();
    scene.gateway.advance(&scene.clock, Duration::from_secs(6)).await;
    assert_eq!(scene.look("bearer", &bearer).send().await.status, 200);
}

#[tokio::test]
async fn a_gateway_without_one_of_its_secrets_does_not_start_and_says_which() {
    let upstream = TestUpstream::http(Answer::json(&json!({}))).await;
    let mcp = TestUpstream::mcp(Mcp::new(Era::Modern, Vec::new())).await;
    let dir = folder(&[]);
    write_secrets(dir.path());
    std::fs::remove_file(dir.path().join("secrets/basic")).unwrap();
    let mut parsed = GatewayConfig::parse(&config(&upstream, &mcp)).unwrap();
    (parsed.data.listen, parsed.admin.listen) = (([127, 0, 0, 1], 0).into(), ([127, 0, 0, 1], 0).into());
    let settings = Settings::check(parsed, dir.path()).unwrap();
    let outside =
        Surroundings { clock: Arc::new(SystemClock::default()), entropy: Arc::new(OsEntropy), env: |_| None };
    let error = Running::start(settings, outside).await.unwrap_err().to_string();
    assert!(error.contains("secrets/basic"), "{error}");
    assert_eq!(upstream.requests().len() + mcp.requests().len(), 0);
}

#[test]
fn invariant_8_a_secret_in_the_configuration_itself_is_refused_and_not_repeated() {
    for access in [
        "{ static: { bearer: { token: hunter2 } } }",
        "{ static: { header: { name: x-api-key, value: 'hunter2' } } }",
        "{ static: { basic: { username: u, password: hunter2 } } }",
        "{ static: { query: { name: key, value: hunter2 } } }",
    ] {
        let config = format!("apps: {{ app: {{ mcp: {{ url: 'http://127.0.0.1:1', access: {access} }} }} }}");
        let error = GatewayConfig::parse(&config).unwrap_err();
        assert!(error.contains("by reference"), "{access}: {error}");
        assert!(!error.contains("hunter2"), "{access}: {error}");
    }
    let error = GatewayConfig::parse("admin:\n  token: hunter2-hunter2-hunter2-hunter2").unwrap_err();
    assert!(error.contains("by reference") && !error.contains("hunter2"), "{error}");
    assert!(error.contains("line 2"), "{error}");
}

#[tokio::test]
async fn invariant_8_no_secret_is_in_anything_that_the_gateway_shows() {
    let scene = Scene::new().await;
    let agent = scene.gateway.agent("a", json!({})).await;
    let mut shown = Vec::new();
    for app in ["open", "header", "bearer", "basic", "query", "tools"] {
        let url = scene.gateway.resource(app);
        let token = agent.token(&url).await;
        shown.push(if app == "tools" {
            rpc(&url, &token, &call("work", json!({}))).await.text()
        } else {
            scene.look(app, &token).send().await.text()
        });
        shown.push(scene.gateway.get(&format!("/admin/v1/apps/{app}")).await.to_string());
        let tested = scene.gateway.post(&format!("/admin/v1/apps/{app}/test"), &json!({})).await;
        assert_eq!(tested["steps"][2]["name"], "credential", "{tested}");
        shown.push(tested.to_string());
    }
    // When the application is gone, errors tell of it.
    drop(scene.upstream);
    for app in ["header", "bearer", "basic", "query"] {
        let token = agent.token(&scene.gateway.resource(app)).await;
        let url = format!("{}/look", scene.gateway.resource(app));
        let reply = Http::get(&url).bearer(&token).send().await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["code"]),
            (502, &json!("upstream-unreachable")),
            "{app}"
        );
        shown.push(reply.text());
        let tested = scene.gateway.post(&format!("/admin/v1/apps/{app}/test"), &json!({})).await;
        assert_eq!(tested["ok"], false, "{tested}");
        shown.push(tested.to_string());
    }
    for path in ["/admin/v1/attempts?limit=1000", "/admin/v1/apps", "/admin/v1/agents", "/metrics"] {
        shown.push(scene.gateway.admin("GET", path).send().await.text());
    }
    let mut secrets = ["header", "bearer", "basic", "query", "tools"].map(secret).to_vec();
    secrets.push("Z2F0ZXdheTp0aGUtYmFzaWMtc2VjcmV0".to_owned());
    secrets.push(scene.gateway.running().admin_token().expose_secret().to_owned());
    for (text, secret) in shown.iter().flat_map(|text| secrets.iter().map(move |secret| (text, secret))) {
        assert!(!text.contains(secret.as_str()), "{secret} in {text}");
    }
}

#[tokio::test]
async fn invariant_8_no_secret_and_no_token_is_logged_at_any_level() {
    let upstream = TestUpstream::http(Answer::json(&json!({}))).await;
    let mcp = TestUpstream::mcp(Mcp::new(Era::Modern, Vec::new())).await;
    let listeners = "data: { listen: '127.0.0.1:0' }\nadmin: { listen: '127.0.0.1:0' }";
    let folder = Folder::with(&format!("{listeners}\n{}", config(&upstream, &mcp)), PERMIT_TESTERS);
    write_secrets(&folder.join(""));
    let served = folder.run_logging("trace").await;
    let admin_token = std::fs::read_to_string(folder.join("admin.token")).unwrap();
    let admin = |path: &str| Http::post(&format!("{}{path}", served.part("admin_url"))).bearer(&admin_token);
    let added =
        admin("/admin/v1/agents").json(&json!({ "id": "a", "groups": ["testers"] })).send().await.json();
    let client_secret = added["client_secret"].as_str().unwrap();
    let agent = served.connect("a", client_secret).await;
    let mut kept = vec![admin_token.clone(), client_secret.to_owned()];
    kept.extend(["header", "bearer", "basic", "query", "tools"].map(secret));
    for (app, _) in STRATEGIES {
        let (resource, token) = (served.resource(app), agent.token(served.resource(app)).await);
        let look = format!("{resource}/look");
        for (status, call) in [
            (200, Http::get(&look).bearer(&token)),
            (401, Http::get(&look).bearer(&format!("{token}x"))),
            (400, Http::get(&format!("{look}?access_token={token}"))),
        ] {
            assert_eq!(call.send().await.status, status, "{app}");
        }
        assert_eq!(admin(&format!("/admin/v1/apps/{app}/test")).send().await.status, 200, "{app}");
        kept.push(token);
    }
    drop(upstream);
    for (app, _) in STRATEGIES {
        let token = agent.token(served.resource(app)).await;
        assert_eq!(
            Http::get(&format!("{}/look", served.resource(app))).bearer(&token).send().await.status,
            502
        );
    }
    served.process.terminate();
    let (code, log) = served.process.ended().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("upstream-unreachable") && log.contains("token-invalid"), "{log}");
    for text in kept {
        assert!(!log.contains(&text), "`{text}` is in the log:\n{log}");
    }
}
