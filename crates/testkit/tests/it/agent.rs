use std::{collections::HashMap, sync::Arc};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::Jwk};
use serde_json::{Value, json};
use vestibule_model::{FixedClock, Timestamp};
use vestibule_testkit::{AgentKey, Answer, Credential, Seen, TestAgent, TestUpstream};

/// What the token endpoint of an issuer sees when an agent with this credential asks for a token.
async fn token_request(credential: Credential) -> (Seen, String) {
    let issuer = TestUpstream::http(Answer::new(404, "")).await;
    let url = issuer.url();
    issuer.answer(Answer::json(&json!({ "issuer": url, "token_endpoint": format!("{url}/token") })));
    let clock = Arc::new(FixedClock::at(Timestamp::from_seconds(1_000_000)));
    let agent = TestAgent::connect(&url, "agent:one", credential, clock).await;
    issuer.answer(Answer::json(&json!({ "access_token": "t" })));
    assert_eq!(agent.token("http://gateway/apps/sandbox/mcp").await, "t");
    let seen = issuer.requests();
    assert_eq!(seen[0].path, "/.well-known/oauth-authorization-server");
    assert_eq!(seen[1].path, "/token");
    (seen[1].clone(), url)
}

fn form(seen: &Seen) -> HashMap<String, String> {
    url::form_urlencoded::parse(&seen.body).into_owned().collect()
}

#[tokio::test]
async fn basic_encodes_identifier_and_secret_before_joining_them() {
    let (seen, _) = token_request(Credential::Basic("s:e c".to_owned())).await;
    // base64 of `agent%3Aone:s%3Ae+c`
    assert_eq!(seen.header("authorization"), "Basic YWdlbnQlM0FvbmU6cyUzQWUrYw==");
    let form = form(&seen);
    assert_eq!(form["grant_type"], "client_credentials");
    assert_eq!(form["resource"], "http://gateway/apps/sandbox/mcp");
    assert!(!form.contains_key("client_secret"));
}

#[tokio::test]
async fn post_sends_the_secret_in_the_body_only() {
    let (seen, _) = token_request(Credential::Post("s".to_owned())).await;
    let form = form(&seen);
    assert_eq!((form["client_id"].as_str(), form["client_secret"].as_str()), ("agent:one", "s"));
    assert_eq!(seen.header("authorization"), "");
}

#[tokio::test]
async fn an_assertion_verifies_with_the_published_key_and_names_the_issuer() {
    let key = AgentKey::generate("k1");
    let jwk: Jwk = serde_json::from_value(key.jwks()["keys"][0].clone()).unwrap();
    let (seen, issuer) = token_request(Credential::PrivateKey(key)).await;
    let form = form(&seen);
    assert_eq!(form["client_assertion_type"], "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");

    let mut validation = Validation::new(Algorithm::ES256);
    validation.set_audience(&[issuer]);
    validation.validate_exp = false;
    let decoding = DecodingKey::from_jwk(&jwk).unwrap();
    let token = jsonwebtoken::decode::<Value>(&form["client_assertion"], &decoding, &validation).unwrap();
    assert_eq!(token.header.kid.as_deref(), Some("k1"));
    assert_eq!(token.claims["iss"], "agent:one");
    assert_eq!(token.claims["sub"], "agent:one");
    assert_eq!(token.claims["iat"], 1_000_000);
    assert_eq!(token.claims["exp"], 1_000_060);
}

#[tokio::test]
async fn a_key_signs_bytes_that_no_honest_client_would() {
    let key = AgentKey::generate("k1");
    let token = key.sign(r#"{"alg":"none","alg":"ES256"}"#, "not json");
    assert_eq!(token.split('.').count(), 3);
    assert!(token.starts_with("eyJhbGciOiJub25lIiwiYWxnIjoiRVMyNTYifQ.bm90IGpzb24."));
}
