//! When keys are fetched, from where, and which of them are believed.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tokio::task::JoinSet;
use vestibule_egress::EgressError;
use vestibule_inbound::{
    jws::Algorithm,
    users::{IssuerError, IssuerTestError, KEYS_MAX, UserIssuers, UserToken, UserTokenError, UserTokenKind},
};
use vestibule_model::{FixedClock, Timestamp};

use crate::{
    support::{Signer, b64},
    users_issuer::{Answer, GATEWAY, NOW, Realm, RsaSigner, TestIssuer, clients, config, header, named},
};

const MINUTE: u64 = 60;
const HOUR: u64 = 3600;

fn unavailable() -> UserTokenError {
    UserTokenError::KeysUnavailable { issuer: "corp".to_owned() }
}

/// Presents all tokens at once.
async fn storm(realm: &Realm, tokens: Vec<String>) -> Vec<Result<UserToken, UserTokenError>> {
    let mut presented = JoinSet::new();
    for token in tokens {
        let users = Arc::clone(&realm.users);
        presented.spawn(async move { users.verify(&token, UserTokenKind::IdToken).await });
    }
    presented.join_all().await
}

/// Why the keys cannot be had.
async fn failure(realm: &Realm) -> IssuerError {
    let IssuerTestError::Unreachable { source, .. } = realm.users.test("corp").await.unwrap_err() else {
        unreachable!("the issuer is configured");
    };
    (*source).clone()
}

#[tokio::test]
async fn keys_are_fetched_once_and_remembered() {
    let realm = Realm::start().await;
    let token = realm.id_token(&realm.id_claims());

    assert_eq!(realm.present(&token).await.unwrap().user.id.subject, "alice");
    assert_eq!(realm.present(&token).await.unwrap().user.id.issuer, realm.issuer.identifier);

    assert_eq!(realm.issuer.fetches(), 1);
    assert_eq!(realm.issuer.requests(), 2, "discovery, then keys");
}

#[tokio::test]
async fn the_first_requests_at_once_share_one_fetch() {
    let realm = Realm::start().await;
    let token = realm.id_token(&realm.id_claims());

    let outcomes = storm(&realm, vec![token; 30]).await;

    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(realm.issuer.fetches(), 1);
}

#[tokio::test]
async fn discovery_is_below_the_path_of_the_issuer_with_or_without_its_last_slash() {
    for path in ["/realms/corp", "/tenant/"] {
        let issuer = TestIssuer::start(path).await;
        let (document, keys) =
            (format!("{}/.well-known/openid-configuration", path.trim_end_matches('/')), "/k");
        let signer = Signer::new();
        let described = json!({"issuer": issuer.identifier, "jwks_uri": format!("{}{keys}", issuer.origin)});
        issuer.answer(&document, Answer::Document(described.to_string()));
        issuer.answer(keys, Answer::Document(json!({"keys": [named(&signer.jwk, "k1")]}).to_string()));
        let clock = Arc::new(FixedClock::at(Timestamp::from_seconds(NOW)));
        let users =
            UserIssuers::new(vec![config("corp", &issuer.identifier)], &clients(), GATEWAY, clock).unwrap();

        let status = users.test("corp").await.unwrap();

        assert_eq!(status.jwks_url, Some(format!("{}{keys}", issuer.origin)), "{path}");
        assert_eq!(status.keys, 1, "{path}");
    }
}

#[tokio::test]
async fn a_configured_url_of_keys_needs_no_discovery() {
    let elsewhere = TestIssuer::start("").await;
    let url = elsewhere.jwks_url().parse().unwrap();
    let realm = Realm::with(|config| config.jwks_url = Some(url)).await;
    elsewhere.publish(&[named(&realm.signer.jwk, "k1")]);

    realm.id(&realm.id_claims()).await.unwrap();

    assert_eq!(realm.issuer.requests(), 0);
    assert_eq!(elsewhere.requests(), 1);
}

#[tokio::test]
async fn a_new_key_is_believed_at_the_first_token_that_names_it_and_a_withdrawn_one_no_more() {
    let realm = Realm::start().await;
    let old = realm.id_token(&realm.id_claims());
    realm.present(&old).await.unwrap();
    let next = Signer::new();
    realm.issuer.publish(&[named(&next.jwk, "k2")]);
    realm.advance(10);

    let outcomes = storm(&realm, vec![realm.signed_by(&next, "k2"); 20]).await;

    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(realm.issuer.fetches(), 2);
    assert_eq!(realm.present(&old).await.unwrap_err(), UserTokenError::KeyUnknown);
}

#[tokio::test]
async fn a_storm_of_unknown_kids_makes_one_fetch_in_ten_seconds() {
    let realm = Realm::start().await;
    realm.id(&realm.id_claims()).await.unwrap();
    let forger = Signer::new();
    let forged =
        |round: usize| (0..40).map(|n| realm.signed_by(&forger, &format!("{round}-{n}"))).collect::<Vec<_>>();

    for round in 0..3 {
        let before = realm.issuer.fetches();
        realm.clock.advance(Duration::from_millis(9_999));
        for outcome in storm(&realm, forged(2 * round)).await {
            assert_eq!(outcome.unwrap_err(), UserTokenError::KeyUnknown);
        }
        assert_eq!(realm.issuer.fetches(), before, "within ten seconds of the last fetch");

        realm.clock.advance(Duration::from_millis(1));
        for outcome in storm(&realm, forged(2 * round + 1)).await {
            assert_eq!(outcome.unwrap_err(), UserTokenError::KeyUnknown);
        }
        assert_eq!(realm.issuer.fetches(), before + 1);
    }
    realm.id(&realm.id_claims()).await.unwrap();
}

#[tokio::test]
async fn a_kid_that_the_issuer_did_not_have_makes_no_fetch_for_a_minute() {
    let realm = Realm::start().await;
    realm.id(&realm.id_claims()).await.unwrap();
    let withdrawn = realm.signed_by(&Signer::new(), "k0");
    realm.advance(10);
    assert_eq!(realm.present(&withdrawn).await.unwrap_err(), UserTokenError::KeyUnknown);
    assert_eq!(realm.issuer.fetches(), 2);

    realm.advance(59);
    assert_eq!(realm.present(&withdrawn).await.unwrap_err(), UserTokenError::KeyUnknown);
    assert_eq!(realm.issuer.fetches(), 2);

    realm.advance(1);
    assert_eq!(realm.present(&withdrawn).await.unwrap_err(), UserTokenError::KeyUnknown);
    assert_eq!(realm.issuer.fetches(), 3);
}

#[tokio::test]
async fn a_kid_too_long_to_be_one_makes_no_fetch() {
    let realm = Realm::start().await;

    let error = realm.present(&realm.signed_by(&realm.signer, &"k".repeat(256))).await.unwrap_err();

    assert_eq!(error, UserTokenError::KeyUnknown);
    assert_eq!(realm.issuer.requests(), 0);
}

#[tokio::test]
async fn a_requester_who_hangs_up_does_not_end_the_fetch_for_the_others() {
    let realm = Realm::start().await;
    realm.id(&realm.id_claims()).await.unwrap();
    realm.issuer.arrival().await;
    let next = Signer::new();
    realm.issuer.publish(&[named(&next.jwk, "k2")]);
    realm.advance(10);
    let token = realm.signed_by(&next, "k2");

    let held = realm.issuer.hold().await;
    tokio::select! {
        outcome = realm.users.verify(&token, UserTokenKind::IdToken) => panic!("{outcome:?}"),
        () = realm.issuer.arrival() => {}
    }
    drop(held);

    realm.present(&token).await.unwrap();
    assert_eq!(realm.issuer.fetches(), 2);
}

#[tokio::test]
async fn a_withdrawn_key_is_believed_for_an_hour_at_most() {
    let realm = Realm::start().await;
    let mut claims = realm.id_claims();
    claims["exp"] = json!(NOW + 100_000);
    let token = realm.id_token(&claims);
    realm.present(&token).await.unwrap();
    realm.issuer.publish(&[]);

    realm.advance(HOUR - 1);
    realm.present(&token).await.unwrap();

    realm.advance(1);
    assert_eq!(realm.present(&token).await.unwrap_err(), UserTokenError::KeyUnknown);
    assert_eq!(realm.issuer.fetches(), 2);
}

#[tokio::test]
async fn a_key_that_is_known_does_not_wait_for_a_refresh_under_way() {
    let realm = Realm::start().await;
    let mut claims = realm.id_claims();
    claims["exp"] = json!(NOW + 100_000);
    let token = realm.id_token(&claims);
    realm.present(&token).await.unwrap();
    realm.issuer.arrival().await;
    realm.advance(HOUR);

    let held = realm.issuer.hold().await;
    let asking = realm.users.verify(&token, UserTokenKind::IdToken);
    tokio::pin!(asking);
    tokio::select! {
        outcome = &mut asking => panic!("{outcome:?}"),
        () = realm.issuer.arrival() => {}
    }
    realm.present(&token).await.unwrap();

    drop(held);
    asking.await.unwrap();
    assert_eq!(realm.issuer.fetches(), 2);
}

#[tokio::test]
async fn the_last_good_keys_are_used_for_a_day_while_the_issuer_is_down() {
    let realm = Realm::start().await;
    let mut claims = realm.id_claims();
    claims["exp"] = json!(NOW + 1_000_000);
    let token = realm.id_token(&claims);
    realm.present(&token).await.unwrap();

    realm.issuer.set_down(true);
    for _ in 0..23 {
        realm.advance(HOUR);
        realm.present(&token).await.unwrap();
    }
    assert!(realm.users.status()[0].failure.is_some());
    realm.advance(HOUR - 1);
    realm.present(&token).await.unwrap();
    realm.advance(1);
    let error = realm.present(&token).await.unwrap_err();
    assert_eq!(error, unavailable());
    assert!(error.is_retryable());

    realm.issuer.set_down(false);
    realm.advance(10);
    realm.present(&token).await.unwrap();
    assert_eq!(realm.users.status()[0].failure, None);
}

#[tokio::test]
async fn an_issuer_that_was_never_up_is_asked_every_ten_seconds_only() {
    let realm = Realm::start().await;
    let token = realm.id_token(&realm.id_claims());
    realm.issuer.set_down(true);

    for outcome in storm(&realm, vec![token.clone(); 20]).await {
        assert_eq!(outcome.unwrap_err(), unavailable());
    }
    realm.advance(9);
    assert_eq!(realm.present(&token).await.unwrap_err(), unavailable());
    // The HTTP client may try again on its own when a fresh connection is closed on it.
    let asked = realm.issuer.requests();
    realm.issuer.set_down(false);
    assert_eq!(realm.present(&token).await.unwrap_err(), unavailable());
    assert_eq!(realm.issuer.requests(), asked);

    realm.advance(1);
    realm.present(&token).await.unwrap();
}

#[tokio::test]
async fn an_unknown_kid_is_no_verdict_while_the_issuer_cannot_be_asked() {
    let realm = Realm::start().await;
    realm.id(&realm.id_claims()).await.unwrap();
    realm.issuer.set_down(true);
    realm.advance(10);

    let error = realm.present(&realm.signed_by(&Signer::new(), "k2")).await.unwrap_err();

    assert_eq!(error, unavailable());
    realm.id(&realm.id_claims()).await.unwrap();
}

#[tokio::test]
async fn an_issuer_that_never_ends_its_answer_is_given_up() {
    let realm = Realm::start().await;
    realm.issuer.answer_keys(Answer::Stalls);
    let token = realm.id_token(&realm.id_claims());

    let asking = realm.present(&token);
    tokio::pin!(asking);
    // Discovery, the request for the keys, the first byte of the answer.
    for _ in 0..3 {
        tokio::select! {
            outcome = &mut asking => panic!("{outcome:?}"),
            () = realm.issuer.arrival() => {}
        }
    }
    tokio::time::pause();
    let paused = tokio::time::Instant::now();

    assert_eq!(asking.await.unwrap_err(), unavailable());
    assert!(paused.elapsed() <= Duration::from_secs(5), "{:?}", paused.elapsed());
    let failure = realm.users.status()[0].failure.clone().unwrap();
    assert_eq!(failure, IssuerError::TooSlow.to_string());
}

#[tokio::test]
async fn a_discovery_document_of_another_issuer_is_refused() {
    let realm = Realm::start().await;
    let identifier = &realm.issuer.identifier;
    for issuer in [
        json!(format!("{identifier}/")),
        json!(identifier.to_uppercase()),
        json!("https://accounts.example"),
        json!([identifier]),
        json!(null),
    ] {
        realm.issuer.discovery(&json!({"issuer": issuer, "jwks_uri": realm.issuer.jwks_url()}));
        let error = failure(&realm).await;
        assert!(matches!(error, IssuerError::OtherIssuer), "{issuer}: {error:?}");
    }
    assert_eq!(realm.issuer.fetches(), 0, "its keys were not even asked for");
    realm.advance(10);
    assert_eq!(realm.id(&realm.id_claims()).await.unwrap_err(), unavailable());
}

#[tokio::test]
async fn an_issuer_cannot_send_the_gateway_to_other_addresses() {
    let realm = Realm::start().await;
    let inside = TestIssuer::start("").await;
    inside.publish(&[named(&realm.signer.jwk, "k1")]);
    let port = inside.origin.rsplit(':').next().unwrap();
    for elsewhere in [
        inside.jwks_url(),
        format!("https://127.0.0.1:{port}/jwks"),
        format!("https://localhost:{port}/jwks"),
    ] {
        realm.issuer.discovery(&json!({"issuer": realm.issuer.identifier, "jwks_uri": elsewhere}));
        let error = failure(&realm).await;
        assert!(matches!(error, IssuerError::KeysElsewhere { .. }), "{elsewhere}: {error:?}");
    }
    assert_eq!(inside.requests(), 0);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let realm = Realm::start().await;
    realm.issuer.answer_keys(Answer::Status(302, "location: /elsewhere\r\n"));

    let error = failure(&realm).await;

    assert!(matches!(error, IssuerError::Status { status: 302, .. }), "{error:?}");
    assert_eq!(realm.issuer.requests_for("/elsewhere"), 0);
}

#[tokio::test]
async fn documents_that_are_too_large_or_none_leave_the_last_good_keys() {
    let realm = Realm::start().await;
    realm.id(&realm.id_claims()).await.unwrap();
    let key = named(&realm.signer.jwk, "k1");
    let padded = json!({"keys": [key], "pad": "x".repeat(256 * 1024)}).to_string();

    realm.issuer.answer_keys(Answer::Document(padded));
    let error = failure(&realm).await;
    assert!(matches!(error, IssuerError::Fetch { source: EgressError::TooLarge { .. }, .. }), "{error:?}");

    realm.issuer.publish(&vec![key; KEYS_MAX + 1]);
    assert!(matches!(failure(&realm).await, IssuerError::TooManyKeys));

    for text in ["", "<html>", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[]"#] {
        realm.issuer.answer_keys(Answer::Document(text.to_owned()));
        let error = failure(&realm).await;
        assert!(matches!(error, IssuerError::Invalid { document: "JWK set", .. }), "{text}: {error:?}");
    }
    for document in [
        json!({"issuer": realm.issuer.identifier}),
        json!({"issuer": realm.issuer.identifier, "jwks_uri": "/jwks"}),
    ] {
        realm.issuer.discovery(&document);
        let error = failure(&realm).await;
        assert!(matches!(error, IssuerError::Invalid { document: "discovery document", .. }), "{error:?}");
    }
    realm.id(&realm.id_claims()).await.unwrap();
}

#[tokio::test]
async fn keys_that_are_of_no_use_do_not_spoil_the_others() {
    let realm = Realm::start().await;
    let leaked = Signer::new();
    let mut private = named(&leaked.jwk, "leaked");
    private["d"] = json!(b64([1; 32]));
    let mut encryption = named(&RsaSigner::new().jwk(), "enc");
    encryption["use"] = json!("enc");
    realm.issuer.publish(&[
        private,
        json!({"kty": "oct", "kid": "shared", "k": b64("secret")}),
        encryption,
        json!("no key"),
        json!({"kty": "EC", "kid": 7}),
        json!({"kty": "EC", "kid": "\u{1b}[2J".repeat(40)}),
        named(&realm.signer.jwk, "k1"),
    ]);

    realm.id(&realm.id_claims()).await.unwrap();

    assert_eq!(
        realm.present(&realm.signed_by(&leaked, "leaked")).await.unwrap_err(),
        UserTokenError::KeyUnknown,
        "anybody may have signed it"
    );
    let status = &realm.users.status()[0];
    assert_eq!((status.keys, status.skipped.len()), (1, 6));
    assert_eq!(status.skipped[0], "key `leaked` holds a private or symmetric part; send the public key only");
    assert!(status.skipped.iter().all(|line| line.len() < 700 && !line.contains('\u{1b}')), "{status:?}");
}

#[tokio::test]
async fn keys_of_one_kid_are_alternatives_and_few() {
    let realm = Realm::start().await;
    let signers: Vec<Signer> = (0..5).map(|_| Signer::new()).collect();
    let keys: Vec<_> = signers.iter().map(|signer| named(&signer.jwk, "same")).collect();
    realm.issuer.publish(&keys);

    for signer in &signers[..4] {
        realm.present(&realm.signed_by(signer, "same")).await.unwrap();
    }
    let fifth = realm.present(&realm.signed_by(&signers[4], "same")).await;

    assert_eq!(fifth.unwrap_err(), UserTokenError::SignatureInvalid);
    assert_eq!(realm.users.status()[0].skipped, ["key `same` shares its `kid` with four others"]);
}

#[tokio::test]
async fn a_token_without_kid_needs_exactly_one_key_that_fits() {
    let realm = Realm::start().await;
    let untitled = realm.signer.sign(&json!({"alg": "ES256", "typ": "JWT"}), &realm.id_claims());
    let rsa = RsaSigner::new();
    realm.issuer.publish(&[named(&rsa.jwk(), "r1"), named(&realm.signer.jwk, "k1")]);
    realm.present(&untitled).await.unwrap();

    realm.issuer.publish(&[named(&Signer::new().jwk, "k2"), named(&realm.signer.jwk, "k1")]);
    realm.users.test("corp").await.unwrap();

    assert_eq!(realm.present(&untitled).await.unwrap_err(), UserTokenError::KeyUnknown);
}

#[tokio::test]
async fn the_same_kid_at_two_issuers_is_two_keys() {
    let (a, b) = (Realm::start().await, TestIssuer::start("").await);
    let b_signer = Signer::new();
    b.publish(&[named(&b_signer.jwk, "k1")]);
    let configs = vec![config("a", &a.issuer.identifier), config("b", &b.identifier)];
    let users = UserIssuers::new(configs, &clients(), GATEWAY, Arc::<FixedClock>::clone(&a.clock)).unwrap();
    let mut of_b = a.id_claims();
    of_b["iss"] = json!(b.identifier);
    let of_a = a.id_claims();
    let verify = async |signer: &Signer, claims| {
        users.verify(&signer.sign(&header("JWT", "k1"), claims), UserTokenKind::IdToken).await
    };

    assert_eq!(verify(&a.signer, &of_a).await.unwrap().user.id.issuer, a.issuer.identifier);
    assert_eq!(verify(&b_signer, &of_b).await.unwrap().user.id.issuer, b.identifier);
    assert_eq!(verify(&b_signer, &of_a).await.unwrap_err(), UserTokenError::SignatureInvalid);
    assert_eq!(verify(&a.signer, &of_b).await.unwrap_err(), UserTokenError::SignatureInvalid);
}

#[tokio::test]
async fn warming_fetches_what_is_missing_or_half_way_to_its_refresh() {
    let realm = Realm::start().await;
    assert_eq!(realm.users.status()[0].fetched_at, None);

    realm.users.warm().await;
    realm.users.warm().await;
    let status = realm.users.status().remove(0);
    assert_eq!((status.name.as_str(), status.keys), ("corp", 1));
    assert_eq!(status.fetched_at, Some(Timestamp::from_seconds(NOW)));
    assert_eq!(realm.issuer.fetches(), 1);

    realm.advance(30 * MINUTE - 1);
    realm.users.warm().await;
    assert_eq!(realm.issuer.fetches(), 1);
    realm.advance(1);
    realm.users.warm().await;
    assert_eq!(realm.issuer.fetches(), 2);
}

#[tokio::test]
async fn an_operator_who_tests_an_issuer_gets_what_it_publishes_now() {
    let realm = Realm::start().await;
    realm.users.test("corp").await.unwrap();
    realm.issuer.publish(&[named(&realm.signer.jwk, "k1"), named(&RsaSigner::new().jwk(), "r1")]);

    let status = realm.users.test("corp").await.unwrap();

    assert_eq!((status.keys, status.algorithms), (2, vec![Algorithm::Es256, Algorithm::Rs256]));
    assert_eq!(status.jwks_url, Some(realm.issuer.jwks_url()));
    assert!(matches!(realm.users.test("corpse").await, Err(IssuerTestError::Unknown { .. })));

    realm.issuer.set_down(true);
    let error = failure(&realm).await;
    assert_eq!(error.to_string(), "its discovery document cannot be fetched");
}
