//! What a record says, and what it must never say.

use http::Method;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use vestibule_model::{Digest, json::parse};
use vestibule_testkit::{AgentKey, Credential, Http};

use super::{Scene, files};
use crate::gateway::{PERMIT_TESTERS, folder};

#[tokio::test]
async fn every_attempt_leaves_one_record_with_the_same_fields_permitted_denied_or_failed() {
    let scene = Scene::new().await;
    let token = scene.gateway.token("a", "one").await;
    let permitted = scene.look(&token, "one").await;
    let denied = scene.send(&token, "one", Method::DELETE, "/all").await;
    let unknown = scene.send(&token, "one", Method::GET, "/nothing").await;
    let invalid = scene.send("forged", "one", Method::GET, "/look/x").await;
    scene.upstream.answer(vestibule_testkit::Answer::new(401, ""));
    let failed = scene.look(&token, "one").await;
    let calls = scene.all("call").await;
    let expected = [&permitted, &denied, &unknown, &invalid, &failed];
    assert_eq!(super::ids(&calls), expected.map(|reply| reply.header("x-request-id")));
    let outcomes: Vec<_> = calls
        .iter()
        .map(|call| (call["decision"].as_str().unwrap(), call["outcome"].as_str().unwrap()))
        .collect();
    assert_eq!(
        outcomes,
        [
            ("permit", "completed"),
            ("deny", "refused"),
            ("deny", "refused"),
            ("deny", "refused"),
            ("permit", "failed")
        ]
    );
    let fields = |call: &Value| call.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    for call in &calls {
        assert_eq!(fields(call), fields(&calls[0]));
        assert_eq!(
            (&call["state"], &call["app"], &call["remote"]),
            (&json!("closed"), &json!("one"), &json!("127.0.0.1"))
        );
    }
    for call in calls.iter().filter(|call| call["denial"] != "token-invalid") {
        assert_eq!((&call["agent"], &call["user"]), (&json!("a"), &Value::Null));
        let link = &call["chain"][0];
        assert_eq!((call["chain"].as_array().unwrap().len(), &link["agent"]), (1, &json!("a")));
        assert_eq!(link["issuer"], scene.gateway.running().gateway_url());
        assert!(
            link["node"].is_string() && call["token"].is_string() && call["workflow"].is_string(),
            "{call}"
        );
    }
    assert_eq!(calls[0]["policies"], json!(["work"]));
    assert_eq!(calls[0]["policy_set"], scene.gateway.get("/admin/v1/policies").await["running"]);
    assert_eq!((&calls[0]["upstream_status"], &calls[0]["bytes_out"]), (&json!(200), &json!(2)));
}

#[tokio::test]
async fn arguments_are_kept_and_redacted_as_configured_and_their_digest_always() {
    let scene = Scene::new().await;
    let (one, two) = (scene.gateway.token("a", "one").await, scene.gateway.token("b", "two").await);
    let url = format!("{}/pay", scene.gateway.resource("one"));
    let body = "{ \"pin\":\"1\\u0032\\u00334\",\n \"amount\":1.50e1 }";
    let paid = Http::post(&url).bearer(&one).body("application/json", body).send().await;
    let looked = scene.look(&two, "two").await;
    let digest = |canonical: &str| {
        Digest::of(parse(canonical.as_bytes(), 4).unwrap().canonical().as_bytes()).to_string()
    };
    let attempt = scene.gateway.attempt_of(&paid).await;
    assert_eq!(attempt["arguments"], json!({ "amount": 15, "pin": "[redacted]" }));
    assert_eq!(attempt["args_digest"], digest(r#"{"amount":15,"pin":"1234"}"#));
    let attempt = scene.gateway.attempt_of(&looked).await;
    assert_eq!(
        (&attempt["arguments"], &attempt["args_digest"]),
        (&Value::Null, &json!(digest(r#"{"name":"x"}"#)))
    );
}

#[tokio::test]
async fn token_requests_are_recorded_granted_or_refused() {
    let scene = Scene::new().await;
    let url = scene.gateway.resource("one");
    let agent = scene.gateway.agent("a", json!({ "scopes": ["read"] })).await;
    let token = agent.token(&url).await;
    let impostor = vestibule_testkit::TestAgent::connect(
        scene.gateway.running().gateway_url(),
        "a",
        Credential::Basic("guessed".to_owned()),
        scene.gateway.clock.clone(),
    );
    assert_eq!(impostor.await.request_token(&[("resource", &url)]).await.status, 401);
    scene.look(&token, "one").await;
    let requests = scene.all("token-request").await;
    let seen: Vec<_> =
        requests.iter().map(|one| (&one["agent"], &one["decision"], &one["outcome"])).collect();
    let (permit, deny) = (json!("permit"), json!("deny"));
    // Who did not prove who it is, is not recorded as the agent that it claimed to be.
    assert_eq!(seen, [(&json!("a"), &permit, &json!("completed")), (&Value::Null, &deny, &json!("refused"))]);
    assert!(requests[1]["cause"].as_str().unwrap().contains("`a`"), "{}", requests[1]);
    let (granted, call) = (&requests[0], &scene.all("call").await[0]);
    for field in ["token", "workflow", "chain", "scopes"] {
        assert_eq!(granted[field], call[field], "{field}");
    }
    assert_eq!(granted["scopes"], json!(["read"]));
    assert!(requests[1]["denial"].is_string(), "{}", requests[1]);
}

#[tokio::test]
async fn administrative_acts_are_recorded_with_who_did_what_to_what() {
    let scene = Scene::new().await;
    scene.gateway.agent("a", json!({ "trust": 3 })).await;
    scene.gateway.post("/admin/v1/agents/a/rotate", &json!({})).await;
    scene.gateway.post("/admin/v1/apps/one/test", &json!({})).await;
    scene.gateway.post("/admin/v1/keys/rotate", &json!({})).await;
    scene.gateway.revoke("agent", "a").await;
    let acts = scene.all("administration").await;
    let seen: Vec<_> =
        acts.iter().map(|act| (act["action"].as_str().unwrap(), act["target"].as_str().unwrap())).collect();
    assert_eq!(
        seen,
        [
            ("agent-add", "agent/a"),
            ("agent-rotate", "agent/a"),
            ("app-test", "app/one"),
            ("keys-rotate", "keys/signing"),
            ("revoke", "agent/a")
        ]
    );
    assert!(acts.iter().all(|act| act["author"] == "operator" && act["state"] == "closed"));
    let detail: Value = serde_json::from_str(acts[0]["detail"].as_str().unwrap()).unwrap();
    assert_eq!((&detail["trust"], &detail["groups"]), (&json!(3), &json!(["testers"])));
}

#[tokio::test]
async fn an_act_that_was_refused_is_recorded_as_refused_and_an_agents_claims_and_keys_show() {
    let scene = Scene::new().await;
    let key = AgentKey::generate("k");
    let agent = json!({ "id": "b", "claims": { "role": ["admin"] }, "jwks": key.jwks() });
    scene.gateway.post("/admin/v1/agents", &agent).await;
    let again = scene.gateway.admin("POST", "/admin/v1/agents").json(&agent).send().await;
    assert_eq!(again.status, 409);
    let acts = scene.all("administration").await;
    let seen: Vec<_> = acts.iter().map(|act| (&act["outcome"], &act["denial"])).collect();
    assert_eq!(seen, [(&json!("completed"), &Value::Null), (&json!("refused"), &json!("exists"))]);
    let detail: Value = serde_json::from_str(acts[0]["detail"].as_str().unwrap()).unwrap();
    assert_eq!(detail["claims"], json!({ "role": ["admin"] }));
    assert!(detail["jwks_digest"].is_string() && detail["digest"].is_string(), "{detail}");
}

#[tokio::test]
async fn invariant_8_no_secret_and_no_token_is_in_the_record_wherever_it_was_presented() {
    let upstream = vestibule_testkit::TestUpstream::http(vestibule_testkit::Answer::json(&json!({}))).await;
    let dir = folder(&[("all.cedar", PERMIT_TESTERS)]);
    std::fs::write(dir.path().join("key"), "the-upstream-secret").unwrap();
    let access = "{ static: { query: { name: key, value: { file: key } } } }";
    let operations = "{ routes: { look: { route: GET /look } } }";
    let config = format!(
        "apps: {{ one: {{ http: {{ url: '{}', access: {access}, operations: {operations} }} }} }}",
        upstream.url()
    );
    let clock = std::sync::Arc::new(vestibule_model::SystemClock::default());
    let gateway = crate::gateway::TestGateway::start_in(dir, &config, clock).await;
    let url = gateway.resource("one");
    let added = gateway.post("/admin/v1/agents", &json!({ "id": "a", "groups": ["testers"] })).await;
    let secret = added["client_secret"].as_str().unwrap().to_owned();
    let connect = |credential| {
        vestibule_testkit::TestAgent::connect(
            gateway.running().gateway_url(),
            "a",
            credential,
            gateway.clock.clone(),
        )
    };
    let token = connect(Credential::Post(secret.clone())).await.token(&url).await;
    let almost = format!("{secret}x");
    assert_eq!(
        connect(Credential::Post(almost.clone())).await.request_token(&[("resource", &url)]).await.status,
        401
    );
    // A secret where none belongs.
    let agent = connect(Credential::Basic(secret.clone())).await;
    for fields in [[("resource", secret.as_str()), ("scope", "")], [("resource", &url), ("scope", &secret)]] {
        assert_eq!(agent.request_token(&fields).await.status, 400);
    }
    let look = format!("{url}/look");
    assert_eq!(Http::get(&look).bearer(&token).send().await.status, 200);
    let admin_token = gateway.running().admin_token().expose_secret().to_owned();
    for call in [
        Http::get(&format!("{look}?access_token={token}")),
        Http::get(&format!("{look}?q={token}")).bearer(&token),
        Http::get(&format!("{url}/{token}")).bearer(&token),
        Http::get(&look).bearer(&format!("{token}x")),
        Http::get(&look).bearer(&admin_token),
        Http::get(&look).bearer(&secret),
        Http::get(&look).header("authorization", &format!("Basic {secret}")),
        Http::get(&look).bearer(&token).bearer(&token),
        Http::post(&look).bearer(&token).form(&[("access_token", &token)]),
        Http::get(&look).bearer(&token).header("origin", &format!("http://{token}")),
    ] {
        let reply = call.send().await;
        assert!(reply.status.is_client_error(), "{}", reply.status);
        assert!(!reply.text().contains(&token) && !reply.text().contains(&secret), "{}", reply.text());
    }
    gateway.post("/admin/v1/agents/a/rotate", &json!({})).await;
    upstream.answer(vestibule_testkit::Answer::new(401, "the-upstream-secret is wrong"));
    assert_eq!(Http::get(&look).bearer(&token).send().await.status, 502);
    drop(upstream);
    assert_eq!(Http::get(&look).bearer(&token).send().await.status, 502);

    assert!(gateway.attempts("").await.len() > 15);
    let evidence = gateway.dir.path().join("evidence");
    let signature = token.rsplit('.').next().unwrap();
    for file in files(&evidence) {
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        for secret in [&secret, &almost, &token, signature, &admin_token, "the-upstream-secret"] {
            assert!(!text.contains(secret), "{secret} in {}", file.display());
        }
    }
}
