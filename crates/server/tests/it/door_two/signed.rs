//! Applications that trust the gateway: what they are told verifies with the keys that the gateway publishes, and says
//! which call it is.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use http::Method;
use serde_json::{Value, json};
use vestibule_model::Digest;
use vestibule_testkit::{Answer, Era, Http, Mcp, Seen, TestUpstream};

use crate::{
    gateway::{PERMIT_TESTERS, TestGateway},
    mcp::call_modern,
};

const ROUTES: &str = "{ put: { route: 'PUT /things/{id}', path: { id: { type: integer } }, \
    body: { json: { type: object, properties: { name: {} } } } }, upload: { route: POST /files, body: opaque, query: { as: {} } } }";

async fn gateway(upstream: &TestUpstream, mcp: &TestUpstream) -> TestGateway {
    let (at, mcp) = (upstream.url(), mcp.url());
    let config = format!(
        "apps:
  ledger: {{ http: {{ url: '{at}', access: {{ assertion: {{ audience: ledger, header: X-Caller }} }}, operations: {{ routes: {ROUTES} }} }} }}
  domain: {{ http: {{ url: '{at}', access: {{ txn-token: {{ trust_domain: bank.example }} }}, operations: {{ routes: {ROUTES} }} }} }}
  tools: {{ mcp: {{ url: '{mcp}/mcp', access: {{ assertion: {{ audience: tools }} }} }} }}"
    );
    TestGateway::start(&config, &[("all.cedar", PERMIT_TESTERS)]).await
}

/// The claims of a token that verifies with a key of the gateway.
async fn verified(gateway: &TestGateway, token: &str, typ: &str) -> Value {
    let parts: Vec<&str> = token.split('.').collect();
    let decoded = |part: &str| URL_SAFE_NO_PAD.decode(part).unwrap();
    let header: Value = serde_json::from_slice(&decoded(parts[0])).unwrap();
    assert_eq!((&header["typ"], &header["alg"]), (&json!(typ), &json!("ES256")));
    let jwks = Http::get(&gateway.url("/oauth/jwks")).send().await.json();
    let keys = jwks["keys"].as_array().unwrap();
    let key = keys.iter().find(|key| key["kid"] == header["kid"]).unwrap();
    let number = |name: &str| decoded(key[name].as_str().unwrap());
    let point = [vec![4], number("x"), number("y")].concat();
    let signed = format!("{}.{}", parts[0], parts[1]);
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
        .verify(signed.as_bytes(), &decoded(parts[2]))
        .unwrap();
    serde_json::from_slice(&decoded(parts[1])).unwrap()
}

fn values(seen: &Seen, name: &str) -> Vec<String> {
    seen.headers.get_all(name).iter().map(|value| value.to_str().unwrap().to_owned()).collect()
}

fn digest(canonical: &str) -> Value {
    json!(Digest::of(canonical.as_bytes()))
}

#[tokio::test]
async fn an_application_verifies_what_it_is_told_and_finds_the_call_in_the_record() {
    let upstream = TestUpstream::http(Answer::json(&json!({}))).await;
    let mcp = TestUpstream::mcp(Mcp::new(Era::Modern, vec![json!({ "name": "work" })])).await;
    let gateway = gateway(&upstream, &mcp).await;
    let agent = gateway.agent("a", json!({})).await;
    for (app, header, typ, request) in [
        ("ledger", "x-caller", "vst-assertion+jwt", "vst_op"),
        ("domain", "txn-token", "txntoken+jwt", "tctx"),
    ] {
        let token = agent.token(&gateway.resource(app)).await;
        let url = format!("{}/things/7", gateway.resource(app));
        let sent = Http::request(Method::PUT, &url)
            .bearer(&token)
            .header("x-caller", "of-the-agent")
            .header("txn-token", "of-the-agent")
            .header("txn-token", "another-of-the-agent")
            .json(&json!({ "name": "x" }));
        let reply = sent.send().await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        let seen = upstream.requests().pop().unwrap();
        let found: Vec<_> =
            ["authorization", "x-caller", "txn-token"].iter().flat_map(|name| values(&seen, name)).collect();
        assert_eq!(found, values(&seen, header), "{app}: in its header, and nowhere else");
        assert_eq!(found.len(), 1, "{app}");

        let claims = verified(&gateway, &found[0], typ).await;
        let record = gateway.attempt_of(&reply).await;
        assert_eq!(claims["iss"], gateway.url(""));
        assert_eq!((&claims["sub"], &claims["client_id"]), (&json!("a"), &json!("a")));
        assert_eq!(
            claims[request],
            json!({
                "app": app, "operation": "put", "args_digest": digest(r#"{"id":7,"name":"x"}"#), "attempt": record["attempt"],
            }),
            "{record}"
        );
        assert_eq!(record["args_digest"], claims[request]["args_digest"]);
        assert_eq!(record["workflow"], claims["acti"]);
        assert!(!record.to_string().contains(&found[0]), "the record has the token");
    }
}

#[tokio::test]
async fn a_body_that_streams_is_not_in_the_digest() {
    let upstream = TestUpstream::http(Answer::json(&json!({}))).await;
    let mcp = TestUpstream::mcp(Mcp::new(Era::Modern, vec![])).await;
    let gateway = gateway(&upstream, &mcp).await;
    let token = gateway.token("a", "domain").await;
    let url = format!("{}/files?as=x", gateway.resource("domain"));
    let reply = Http::post(&url).bearer(&token).body("image/png", "bytes").send().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let token = upstream.requests().pop().unwrap().header("txn-token").to_owned();
    let claims = verified(&gateway, &token, "txntoken+jwt").await;
    assert_eq!(claims["tctx"]["args_digest"], digest(r#"{"as":"x"}"#));
    assert_eq!(gateway.attempt_of(&reply).await["args_digest"], digest("bytes"), "the record has the body's");
}

#[tokio::test]
async fn an_mcp_server_is_told_whose_call_it_is_and_which_question_is_the_gateways_own() {
    let upstream = TestUpstream::http(Answer::json(&json!({}))).await;
    let tools =
        vec![json!({ "name": "work", "inputSchema": { "type": "object", "properties": { "n": {} } } })];
    let mcp = TestUpstream::mcp(Mcp::new(Era::Modern, tools)).await;
    let gateway = gateway(&upstream, &mcp).await;
    let url = gateway.resource("tools");
    let token = gateway.agent("a", json!({})).await.token(&url).await;
    let reply = call_modern(&url, &token, "work", json!({ "n": 1 })).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let mut own = 0;
    let mut calls = Vec::new();
    for seen in mcp.requests() {
        let token = seen.header("authorization").strip_prefix("Bearer ").unwrap().to_owned();
        let claims = verified(&gateway, &token, "vst-assertion+jwt").await;
        assert_eq!(claims["aud"], "tools");
        if seen.json()["method"] == "tools/call" {
            calls.push(claims);
        } else if claims.get("client_id").is_none() {
            assert_eq!(
                (&claims["sub"], &claims["vst_op"]),
                (&json!(gateway.url("")), &json!({ "app": "tools" }))
            );
            own += 1;
        }
    }
    assert!(own > 0, "the tools were asked for");
    let [claims] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!(claims["vst_op"]["operation"], "work");
    assert_eq!(claims["vst_op"]["args_digest"], digest(r#"{"n":1}"#));
    assert_eq!(claims["vst_op"]["attempt"], gateway.attempt_of(&reply).await["attempt"]);
}
