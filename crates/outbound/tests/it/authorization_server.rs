//! Servers: where they are, how the gateway proves itself to them, and what becomes of those that are down, slow or wrong.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;
use vestibule_model::FaultKind;
use vestibule_outbound::{AuthorizationServerConfig, ClientAuthConfig, EndpointsConfig, SigningAlgorithm};
use vestibule_testkit::{Answer, TestAuthorizationServer};

use super::{
    world::{World, caller, is_users_issuer},
    *,
};

const STRATEGY: &str = "client-credentials: { server: corp, scopes: { default: [read] } }";

fn agent() -> Caller {
    caller(None, &["a"])
}

fn discovered(config: &mut AuthorizationServerConfig) {
    let EndpointsConfig::Given { issuer: Some(issuer), .. } = &config.endpoints else { panic!("given") };
    config.endpoints = EndpointsConfig::Discovered { issuer: issuer.clone() };
}

fn paths(world: &World) -> Vec<String> {
    world.server.served().requests().into_iter().map(|seen| seen.path).collect()
}

#[tokio::test]
async fn metadata_are_asked_for_once_and_again_after_an_hour() {
    let world = World::with(STRATEGY, discovered).await;
    world.token(agent()).await;
    assert_eq!(paths(&world), ["/.well-known/oauth-authorization-server", "/token"]);
    world.clock.advance(Duration::from_secs(3599));
    world.token(agent()).await;
    assert_eq!(paths(&world)[2..], ["/token"]);
    world.clock.advance(Duration::from_secs(1));
    world.clock.advance(Duration::from_secs(300));
    // The server is gone from where it said: what is known is used on.
    world.server.say(Answer::new(500, ""));
    world.token(agent()).await;
    assert_eq!(paths(&world)[3..], ["/.well-known/oauth-authorization-server", "/token"]);
}

#[tokio::test]
async fn a_server_without_oauth_metadata_is_found_by_openid_discovery() {
    for absent in [Answer::new(404, ""), Answer::new(200, "<html>")] {
        let world = World::with(STRATEGY, discovered).await;
        world.server.say(absent);
        world.token(agent()).await;
        let expected =
            ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration", "/token"];
        assert_eq!(paths(&world), expected);
    }
}

#[tokio::test]
async fn metadata_of_another_issuer_are_refused_and_nothing_is_sent() {
    let world = World::with(STRATEGY, discovered).await;
    let issuer = world.server.issuer();
    let other = json!({ "issuer": format!("{issuer}/"), "token_endpoint": format!("{issuer}/token") });
    world.server.say(Answer::json(&other));
    let fault = world.fault(agent()).await;
    assert_eq!(fault.kind, FaultKind::AuthorizationServerInvalid);
    assert!(fault.cause.contains("another issuer"), "{fault}");
    assert_eq!(world.asked(), 0);
}

#[tokio::test]
async fn metadata_lead_to_no_address_that_the_operator_has_not_named() {
    let world = World::with(STRATEGY, discovered).await;
    // Another port is another origin: only https to a global address would do.
    let elsewhere = TestAuthorizationServer::start().await;
    let said =
        json!({ "issuer": world.server.issuer(), "token_endpoint": format!("{}/token", elsewhere.issuer()) });
    world.server.say(Answer::json(&said));
    let fault = world.fault(agent()).await;
    assert_eq!(fault.kind, FaultKind::AuthorizationServerUnavailable);
    assert!(fault.cause.contains("set `token_url`"), "{fault}");
    assert!(elsewhere.served().requests().is_empty());
}

#[tokio::test]
async fn a_basic_secret_is_encoded_as_in_a_form_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, "a:b%c+d ü\n").unwrap();
    let world = World::with(STRATEGY, |config| {
        config.client_id = "gate way".to_owned();
        config.auth = ClientAuthConfig::SecretBasic { secret: SecretRef::File(path.clone()) };
    })
    .await;
    world.token(agent()).await;
    let seen = world.server.served().requests().remove(0);
    let sent = seen.header("authorization").strip_prefix("Basic ").unwrap().to_owned();
    let sent = String::from_utf8(STANDARD.decode(sent).unwrap()).unwrap();
    // RFC 6749 §2.3.1 and appendix B.
    assert_eq!(sent, "gate+way:a%3Ab%25c%2Bd+%C3%BC");
    assert!(!world.server.asked()[0].contains_key("client_secret"));
}

#[tokio::test]
async fn a_posted_secret_is_in_the_body_and_a_rotated_one_is_used_within_five_seconds() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, "first").unwrap();
    let world = World::with(STRATEGY, |config| {
        config.auth = ClientAuthConfig::SecretPost { secret: SecretRef::File(path.clone()) };
    })
    .await;
    world.token(agent()).await;
    std::fs::write(&path, "second").unwrap();
    world.clock.advance(Duration::from_secs(300));
    world.token(agent()).await;
    let asked = world.server.asked();
    assert_eq!((asked[0]["client_id"].as_str(), asked[0]["client_secret"].as_str()), ("gateway", "first"));
    assert_eq!(asked[1]["client_secret"], "second");
    assert_eq!(world.server.served().requests()[0].header("authorization"), "");

    std::fs::remove_file(&path).unwrap();
    world.clock.advance(Duration::from_secs(300));
    let fault = world.fault(agent()).await;
    assert_eq!(fault.kind, FaultKind::AccessUnavailable, "a secret that is taken away is not used on");
}

#[tokio::test]
async fn a_client_assertion_is_for_the_issuer_and_is_never_sent_twice() {
    for (generated, algorithm, alg) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, SigningAlgorithm::ES256, jsonwebtoken::Algorithm::ES256),
        (&rcgen::PKCS_ED25519, SigningAlgorithm::EdDSA, jsonwebtoken::Algorithm::EdDSA),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        let pair = rcgen::KeyPair::generate_for(generated).unwrap();
        std::fs::write(&path, pair.serialize_pem()).unwrap();
        let world = World::with(STRATEGY, |config| {
            config.auth = ClientAuthConfig::PrivateKeyJwt {
                key: SecretRef::File(path.clone()),
                algorithm,
                kid: Some("k1".to_owned()),
                certificate: None,
            };
        })
        .await;
        for _ in 0..2 {
            world.token(agent()).await;
            world.clock.advance(Duration::from_secs(300));
        }
        let mut seen = Vec::new();
        for form in world.server.asked() {
            assert_eq!(
                form["client_assertion_type"],
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            );
            let public = rcgen::PublicKeyData::subject_public_key_info(&pair);
            let pem = format!(
                "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
                STANDARD.encode(public)
            );
            let key = if alg == jsonwebtoken::Algorithm::EdDSA {
                jsonwebtoken::DecodingKey::from_ed_pem(pem.as_bytes())
            } else {
                jsonwebtoken::DecodingKey::from_ec_pem(pem.as_bytes())
            };
            let mut validation = jsonwebtoken::Validation::new(alg);
            validation.set_audience(&[world.server.issuer()]);
            validation.validate_exp = false;
            let decoded = jsonwebtoken::decode::<serde_json::Value>(
                form["client_assertion"].as_bytes(),
                &key.unwrap(),
                &validation,
            )
            .unwrap();
            assert_eq!(decoded.header.kid.as_deref(), Some("k1"));
            let claims = decoded.claims;
            assert_eq!((&claims["iss"], &claims["sub"]), (&json!("gateway"), &json!("gateway")));
            assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 60);
            seen.push(claims["jti"].clone());
        }
        assert_eq!(seen.len(), 2);
        assert_ne!(seen[0], seen[1]);
    }
}

#[tokio::test]
async fn a_key_that_does_not_fit_keeps_the_gateway_from_starting_and_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key.pem");
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    for content in [pair.serialize_pem(), "hunter2".to_owned()] {
        std::fs::write(&path, &content).unwrap();
        let mut config = world::server_config("http://127.0.0.1:1");
        let key = SecretRef::File(path.clone());
        config.auth = ClientAuthConfig::PrivateKeyJwt {
            key,
            algorithm: SigningAlgorithm::ES256,
            kid: None,
            certificate: None,
        };
        let config = OutboundConfig { apps: Vec::new(), servers: vec![config] };
        let backing = backing(clock(), Arc::new(Issued::default()));
        let error = Outbound::new(config, ways(Duration::from_secs(1)), backing).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains("`corp`") && text.contains("not one for ES256"), "{text}");
        assert!(content.lines().all(|line| line.starts_with('-') || !text.contains(line)), "{text}");
    }
}

#[tokio::test]
async fn what_a_server_answers_decides_whose_fault_it_is() {
    for (answer, kind) in [
        (Answer::new(400, r#"{"error":"invalid_scope"}"#), FaultKind::AccessUnavailable),
        (Answer::new(401, ""), FaultKind::AccessUnavailable),
        (Answer::new(400, r#"{"error":"jti_known"}"#), FaultKind::AccessUnavailable),
        (Answer::new(429, ""), FaultKind::AuthorizationServerUnavailable),
        (Answer::new(500, "oops"), FaultKind::AuthorizationServerUnavailable),
        (Answer::new(503, ""), FaultKind::AuthorizationServerUnavailable),
        (Answer::new(302, "").header("location", "/token"), FaultKind::AuthorizationServerInvalid),
        (Answer::new(200, "<html>"), FaultKind::AuthorizationServerInvalid),
        (Answer::json(&json!({ "token_type": "Bearer" })), FaultKind::AuthorizationServerInvalid),
        (
            Answer::json(&json!({ "token_type": "DPoP", "access_token": "a" })),
            FaultKind::AuthorizationServerInvalid,
        ),
        (
            Answer::json(&json!({ "token_type": "Bearer", "access_token": "a\nb" })),
            FaultKind::AuthorizationServerInvalid,
        ),
        (
            Answer::json(&json!({ "token_type": "Bearer", "access_token": "a", "expires_in": -1 })),
            FaultKind::AuthorizationServerInvalid,
        ),
        (
            Answer::new(200, r#"{"access_token":"a","access_token":"b","token_type":"Bearer"}"#),
            FaultKind::AuthorizationServerInvalid,
        ),
        (Answer::new(200, vec![b' '; (256 << 10) + 1]), FaultKind::AuthorizationServerInvalid),
    ] {
        let world = World::new(STRATEGY).await;
        world.server.refuse(answer);
        let fault = world.fault(agent()).await;
        assert_eq!(fault.kind, kind, "{fault}");
        assert_eq!(world.asked(), 1, "no redirect is followed, nothing is tried twice: {fault}");
        assert!(fault.cause.contains("authorization server `corp`"), "{fault}");
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_named() {
    let world = World::with(STRATEGY, |config| *config = world::server_config("http://127.0.0.1:1")).await;
    assert_eq!(world.fault(agent()).await.kind, FaultKind::AuthorizationServerUnavailable);
}

/// The clock stands still but for timers.
#[tokio::test(start_paused = true)]
async fn a_server_that_is_slow_holds_nobody_up_for_longer_than_its_time() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", silent.local_addr().unwrap());
    let world = World::with(STRATEGY, |config| {
        *config = world::server_config(&issuer);
        config.timeout = Duration::from_secs(3);
    })
    .await;
    let started = tokio::time::Instant::now();
    let fault = world.fault(agent()).await;
    assert_eq!(fault.kind, FaultKind::AuthorizationServerTimeout, "{fault}");
    assert_eq!(started.elapsed().as_secs(), 3);
}

/// So many that not all of them get a turn: they give up with those that do.
#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_turn_at_a_slow_server_gives_up_in_time_too() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", silent.local_addr().unwrap());
    let strategy = "client-credentials: { server: corp, per: agent }";
    let world = World::with(strategy, |config| {
        *config = world::server_config(&issuer);
        config.timeout = Duration::from_secs(3);
    })
    .await;
    let names: Vec<String> = (0..50).map(|n| format!("agent{n}")).collect();
    let started = tokio::time::Instant::now();
    let faults =
        futures_util::future::join_all(names.iter().map(|name| world.fault(caller(None, &[name])))).await;
    assert!(faults.iter().all(|fault| fault.kind == FaultKind::AuthorizationServerTimeout));
    assert_eq!(started.elapsed().as_secs(), 3);
}

#[tokio::test]
async fn what_a_server_says_of_an_error_is_bounded_and_holds_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, "hunter2").unwrap();
    let strategy = "token-exchange: { server: corp, subject: user-token, actor: agent }";
    let world = World::with(strategy, |config| {
        config.auth = ClientAuthConfig::SecretPost { secret: SecretRef::File(path.clone()) };
        is_users_issuer(config);
    })
    .await;
    let users = world.user_token("u", "a");
    let said = format!(
        "no\r\nx: injected\u{1b}[31m for hunter2, not {users} nor ory_at_Zm9vYmFyYmF6cXV4cXV1eA but unsupported_token_type_hint {}",
        "a b ".repeat(500)
    );
    let answer = json!({ "error": "invalid_grant", "error_description": said });
    world.server.refuse(Answer::new(400, answer.to_string()));
    let fault = world.fault(caller(Some("u"), &["a"])).await;
    let cause = &fault.cause;
    assert!(cause.contains("status 400: invalid_grant: no"), "{cause}");
    assert!(cause.contains("unsupported_token_type_hint"), "{cause}");
    for secret in ["hunter2", users.as_str(), "Zm9vYmFy", "\r", "\n", "\u{1b}"] {
        assert!(!cause.contains(secret), "{cause:?}");
    }
    assert!(cause.chars().count() < 400, "{}", cause.len());
    assert!(!format!("{:?}", world.outbound).contains("hunter2"));
}

#[tokio::test]
async fn a_life_that_a_server_does_not_say_is_a_minute_and_one_that_it_writes_as_text_is_read() {
    for (said, life) in [(json!(null), 60), (json!("120"), 120)] {
        let world = World::new(STRATEGY).await;
        world.server.twist(move |issue| issue.answer["expires_in"] = said.clone());
        world.token(agent()).await;
        // A fifth before its end another one is asked for, a twentieth before it has ended.
        world.clock.advance(Duration::from_secs(life * 4 / 5 - 1));
        world.token(agent()).await;
        assert_eq!(world.asked(), 1);
        world.clock.advance(Duration::from_secs(life / 5 + 1));
        world.token(agent()).await;
        assert_eq!(world.asked(), 2);
    }
}
