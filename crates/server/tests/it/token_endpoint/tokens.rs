//! What is in a token, and what is not.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use vestibule_testkit::{AgentKey, Answer, Http, TestUpstream};

use super::{Desk, app, assert_uncached};
use crate::gateway::{PERMIT_TESTERS, TestGateway};

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn each_method_of_proving_oneself_gives_a_token_that_opens_the_application() {
    let desk = Desk::new().await;
    let web = desk.gateway.resource("web");
    let post = [
        ("grant_type", "client_credentials"),
        ("resource", &*web),
        ("client_id", "shared"),
        ("client_secret", &*desk.secret),
    ];
    let assertion = desk.assertion(&desk.key, |_, _| {});
    let calls = [
        ("client_secret_basic", "shared", json!("read write"), desk.shared(&[("resource", &web)])),
        ("client_secret_post", "shared", json!("read write"), desk.endpoint().form(&post)),
        ("private_key_jwt", "keyed", Value::Null, desk.keyed(&assertion)),
    ];
    let metadata =
        Http::get(&desk.gateway.url("/.well-known/oauth-authorization-server")).send().await.json();
    let methods: Vec<&str> = calls.iter().map(|(method, ..)| *method).collect();
    assert_eq!(metadata["token_endpoint_auth_methods_supported"], json!(methods));
    for (method, agent, scope, call) in calls {
        let reply = call.send().await;
        assert_eq!(reply.status, 200, "{method}: {}", reply.text());
        assert_uncached(method, &reply);
        let body = reply.json();
        assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(120)), "{method}");
        assert_eq!(body["scope"], scope, "{method}");
        let token = body["access_token"].as_str().unwrap();
        let claims = claims(token);
        assert_eq!((&claims["sub"], &claims["aud"]), (&json!(agent), &json!(web)), "{method}");
        let record =
            desk.records().await.into_iter().find(|record| record["token"] == claims["jti"]).unwrap();
        assert_eq!((&record["agent"], &record["app"]), (&json!(agent), &json!("web")), "{method}");
        assert_eq!(
            (&record["outcome"], &record["decision"]),
            (&json!("completed"), &json!("permit")),
            "{method}"
        );
        assert!(!record.to_string().contains(token), "{method}: the record has the token");
    }
    assert_eq!(desk.records().await.len(), 3);
    let token =
        desk.shared(&[("resource", &web)]).send().await.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(Http::get(&format!("{web}/things/1")).bearer(&token).send().await.status, 200);
    assert_eq!(desk.upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_claim_is_in_the_token_only_with_a_scope_that_releases_it() {
    let upstream = TestUpstream::http(Answer::json(&json!([]))).await;
    let config =
        format!("scopes: {{ profile: {{ claims: [role] }} }}\napps: {{ web: {} }}", app(&upstream, 1));
    let gateway = TestGateway::start(&config, &[("all.cedar", PERMIT_TESTERS)]).await;
    let with = json!({ "scopes": ["profile", "read"], "claims": { "role": ["auditor"], "salary": ["9"] } });
    let agent = gateway.agent("a", with).await;
    for (scope, role, granted) in [
        (Some("profile"), json!(["auditor"]), "profile"),
        (Some("read"), Value::Null, "read"),
        (Some("read profile"), json!(["auditor"]), "profile read"),
        (None, json!(["auditor"]), "profile read"),
    ] {
        let fields: Vec<(&str, &str)> = scope.iter().map(|scope| ("scope", *scope)).collect();
        let reply = agent.request_token(&fields).await.json();
        let claims = claims(reply["access_token"].as_str().unwrap());
        assert_eq!(claims["role"], role, "{scope:?}");
        assert_eq!(claims["scope"], granted, "{scope:?}");
        assert_eq!(claims.get("salary"), None, "no scope releases it");
    }
}

#[tokio::test]
async fn a_token_does_not_grow_with_what_its_agent_may_do() {
    let upstream = TestUpstream::http(Answer::json(&json!([]))).await;
    let config = format!("apps:\n  wide: {}\n  slim: {}\n", app(&upstream, 500), app(&upstream, 1));
    let gateway = TestGateway::start(&config, &[("all.cedar", PERMIT_TESTERS)]).await;
    let agent = gateway.agent_with_key("a", AgentKey::generate("k1")).await;
    let (wide, slim) = (gateway.resource("wide"), gateway.resource("slim"));
    let (for_all, for_one) = (agent.token(&wide).await, agent.token(&slim).await);
    assert_eq!(for_all.len(), for_one.len());
    assert!(for_all.len() < 1024, "{} bytes", for_all.len());
    for (url, token) in [(format!("{wide}/things/500"), &for_all), (format!("{slim}/things/1"), &for_one)] {
        assert_eq!(Http::get(&url).bearer(token).send().await.status, 200, "{url}");
    }
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn a_change_of_policy_needs_no_new_token() {
    let desk = Desk::new().await;
    let (web, reply) = (desk.gateway.resource("web"), desk.shared(&[]).send().await.json());
    let token = reply["access_token"].as_str().unwrap();
    let url = format!("{web}/things/1");
    assert_eq!(Http::get(&url).bearer(token).send().await.status, 200);
    let file = desk.gateway.dir.path().join("policies/no.cedar");
    std::fs::write(file, r#"@id("no") forbid (principal, action in Action::"call", resource);"#).unwrap();
    desk.gateway.running().reload().await;
    assert_eq!(Http::get(&url).bearer(token).send().await.status, 404);
    assert_eq!(desk.upstream.requests().len(), 1);
}
