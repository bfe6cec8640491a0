use std::time::Duration;

use http::HeaderMap;
use serde_json::{Value, json};
use vestibule_issuer::{NewAgent, OAuthError, Reason, TokenResponse};

use crate::support::{Ground, ISSUER, NOW, SANDBOX, Signer, World, b64, worker};

const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// An agent with one key, `k1`.
struct Keyed {
    world: World,
    signer: Signer,
    _ground: Ground,
}

impl Keyed {
    async fn new() -> Self {
        let ground = Ground::new();
        let world = World::on(&ground).await;
        let signer = Signer::new("k1");
        let jwks = Some(json!({"keys": [signer.jwk]}));
        let added = world.registry.add(NewAgent { jwks, ..worker() }).await.unwrap();
        assert!(added.client_secret.is_none());
        Self { world, signer, _ground: ground }
    }

    async fn send(&self, assertion: &str) -> Result<TokenResponse, OAuthError> {
        let form = [
            ("grant_type", "client_credentials"),
            ("resource", SANDBOX),
            ("client_assertion_type", TYPE),
            ("client_assertion", assertion),
        ];
        self.world.token(&HeaderMap::new(), &form).await
    }

    async fn refused(&self, header: &Value, claims: &Value) -> Reason {
        let error = self.send(&self.signer.sign(header, claims)).await.unwrap_err();
        assert_eq!(error.body()["error_description"], "client authentication failed");
        error.reason
    }
}

fn header() -> Value {
    json!({"alg": "ES256", "kid": "k1", "typ": "JWT"})
}

fn claims(jti: &str) -> Value {
    json!({"iss": "worker", "sub": "worker", "aud": ISSUER, "iat": NOW, "exp": NOW + 60, "jti": jti})
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims("x");
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims("x");
    claims.as_object_mut().unwrap().shift_remove(name);
    claims
}

#[tokio::test]
async fn an_assertion_buys_a_token_that_opens_the_door() {
    let keyed = Keyed::new().await;
    let endpoint = json!("https://gw.test/oauth/token");
    let (mut one, mut two, mut three) = (claims("1"), claims("2"), claims("3"));
    one["aud"] = endpoint.clone();
    two["aud"] = json!([ISSUER]);
    three["aud"] = json!(format!("{ISSUER}/"));
    three.as_object_mut().unwrap().shift_remove("iat");
    for (header, claims) in [
        (header(), one),
        (json!({"alg": "ES256"}), two),
        (json!({"alg": "ES256", "kid": "k1", "typ": "client-authentication+jwt"}), three),
    ] {
        let response = keyed.send(&keyed.signer.sign(&header, &claims)).await.unwrap();
        assert_eq!(keyed.world.present(&response, SANDBOX).unwrap().agent().as_str(), "worker");
    }
}

#[tokio::test]
async fn an_assertion_is_used_once_until_nothing_would_accept_it() {
    let keyed = Keyed::new().await;
    let assertion = keyed.signer.sign(&header(), &claims("once"));
    assert!(keyed.send(&assertion).await.is_ok());
    assert_eq!(keyed.send(&assertion).await.unwrap_err().reason, Reason::AssertionReplayed);
    // The same identifier in another assertion is a replay too.
    let mut again = claims("once");
    again["exp"] = json!(NOW + 300);
    assert_eq!(keyed.refused(&header(), &again).await, Reason::AssertionReplayed);
    // To the end of the leeway.
    keyed.world.clock.advance(Duration::from_millis(89_999));
    keyed.world.store.trim(vestibule_model::Clock::now(keyed.world.clock.as_ref()), 0).await.unwrap();
    assert_eq!(keyed.send(&assertion).await.unwrap_err().reason, Reason::AssertionReplayed);
    keyed.world.clock.advance(Duration::from_millis(1));
    assert_eq!(keyed.send(&assertion).await.unwrap_err().reason, Reason::AssertionExpired);
}

#[tokio::test]
async fn a_refused_assertion_does_not_use_up_its_identifier() {
    let keyed = Keyed::new().await;
    let stranger = Signer::new("k1").sign(&header(), &claims("contested"));
    assert_eq!(keyed.send(&stranger).await.unwrap_err().reason, Reason::AssertionInvalid);
    assert!(keyed.send(&keyed.signer.sign(&header(), &claims("contested"))).await.is_ok());
}

#[tokio::test]
async fn every_claim_is_checked_with_a_reason_of_its_own() {
    let keyed = Keyed::new().await;
    for (claims, reason) in [
        (with("aud", json!("https://other.test")), Reason::AssertionWrongAudience),
        (with("aud", json!(format!("{ISSUER}//"))), Reason::AssertionWrongAudience),
        (with("aud", json!([ISSUER, "https://other.test"])), Reason::AssertionWrongAudience),
        (with("aud", json!([])), Reason::AssertionWrongAudience),
        (without("aud"), Reason::AssertionWrongAudience),
        (with("iss", json!("somebody")), Reason::AssertionWrongSubject),
        (without("iss"), Reason::AssertionWrongSubject),
        (without("sub"), Reason::AssertionWrongSubject),
        (with("sub", json!("nobody")), Reason::ClientUnknown),
        (with("exp", json!(NOW - 30)), Reason::AssertionExpired),
        (with("exp", json!(NOW + 601)), Reason::AssertionTooLong),
        (with("exp", json!("soon")), Reason::AssertionInvalid),
        (without("exp"), Reason::AssertionInvalid),
        (with("iat", json!(NOW + 31)), Reason::AssertionNotYetValid),
        (with("nbf", json!(NOW + 31)), Reason::AssertionNotYetValid),
        (without("jti"), Reason::AssertionInvalid),
        (with("jti", json!("")), Reason::AssertionInvalid),
        (with("jti", json!("j".repeat(257))), Reason::AssertionInvalid),
        (with("jti", json!(7)), Reason::AssertionInvalid),
    ] {
        assert_eq!(keyed.refused(&header(), &claims).await, reason, "{claims}");
    }
}

#[tokio::test]
async fn another_type_another_key_or_an_algorithm_without_a_key_pair_is_refused() {
    let keyed = Keyed::new().await;
    for header in [
        json!({"alg": "ES256", "kid": "k1", "typ": "at+jwt"}),
        json!({"alg": "ES256", "kid": "k2"}),
        json!({"alg": "RS256", "kid": "k1"}),
        json!({"alg": "none", "kid": "k1"}),
        json!({"alg": "HS256", "kid": "k1"}),
        json!({"alg": "ES256", "kid": "k1", "crit": ["exp"]}),
    ] {
        assert_eq!(keyed.refused(&header, &claims("x")).await, Reason::AssertionInvalid, "{header}");
    }
    let input = format!("{}.{}", b64(json!({"alg": "none"}).to_string()), b64(claims("x").to_string()));
    assert_eq!(keyed.send(&format!("{input}.")).await.unwrap_err().reason, Reason::AssertionInvalid);
    let secret = jsonwebtoken::EncodingKey::from_secret(keyed.signer.jwk.to_string().as_bytes());
    let input = format!("{}.{}", b64(json!({"alg": "HS256"}).to_string()), b64(claims("x").to_string()));
    let mac = jsonwebtoken::crypto::sign(input.as_bytes(), &secret, jsonwebtoken::Algorithm::HS256).unwrap();
    assert_eq!(keyed.send(&format!("{input}.{mac}")).await.unwrap_err().reason, Reason::AssertionInvalid);
}

#[tokio::test]
async fn the_parameters_around_the_assertion_must_fit_it() {
    let keyed = Keyed::new().await;
    let assertion = keyed.signer.sign(&header(), &claims("x"));
    for (kind, id, reason) in [
        ("urn:ietf:params:oauth:client-assertion-type:saml2-bearer", "worker", Reason::ClientMalformed),
        (TYPE, "somebody", Reason::AssertionWrongSubject),
    ] {
        let form = [
            ("grant_type", "client_credentials"),
            ("resource", SANDBOX),
            ("client_assertion_type", kind),
            ("client_assertion", assertion.as_str()),
            ("client_id", id),
        ];
        assert_eq!(keyed.world.token(&HeaderMap::new(), &form).await.unwrap_err().reason, reason);
    }
}

#[tokio::test]
async fn an_agent_with_a_secret_has_no_keys_to_sign_with() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    world.add(worker()).await;
    let assertion = Signer::new("k1").sign(&header(), &claims("x"));
    let form = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", TYPE),
        ("client_assertion", &assertion),
    ];
    let error = world.token(&HeaderMap::new(), &form).await.unwrap_err();
    assert_eq!(error.reason, Reason::ClientMethodWrong);
}
