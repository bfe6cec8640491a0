//! Which tokens are accepted, as what, and what is read out of them.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use vestibule_inbound::users::{AccessTokenType, UserTokenError, UserTokenKind};
use vestibule_model::{Digest, Timestamp, UserGrant};

use crate::{
    support::{Signer, b64},
    users_issuer::{CLIENT, NOW, Realm, RsaSigner, header, named, worker},
};

fn with(claims: &Value, name: &str, value: Value) -> Value {
    let mut claims = claims.clone();
    claims[name] = value;
    claims
}

fn without(claims: &Value, name: &str) -> Value {
    let mut claims = claims.clone();
    claims.as_object_mut().unwrap().remove(name).unwrap();
    claims
}

fn is_wrong_type(error: &UserTokenError) -> bool {
    matches!(error, UserTokenError::WrongType { .. })
}

fn is_malformed(error: &UserTokenError) -> bool {
    matches!(error, UserTokenError::Malformed(_))
}

/// An ID token of Keycloak 26.
fn keycloak_id(realm: &Realm) -> Value {
    json!({"exp": NOW + 300, "iat": NOW, "auth_time": NOW - 5, "jti": "d8a3e1ac-9d1c-4f5e-8a7b-0c1d2e3f4a5b",
        "iss": realm.issuer.identifier, "aud": CLIENT, "sub": "f1c7a4d2-8f0e-4b3a-9c55-0a1b2c3d4e5f", "typ": "ID",
        "azp": CLIENT, "nonce": "n", "sid": "6f1c3ab0-7e43-4f8e-a3cb-22f4b0a7b111", "at_hash": "x", "acr": "1",
        "email_verified": false, "preferred_username": "alice", "groups": ["engineering", "/sales/emea"]})
}

/// An access token of Keycloak 26, whose header says `JWT` unless told otherwise.
fn keycloak_access(realm: &Realm) -> Value {
    json!({"exp": NOW + 300, "iat": NOW, "auth_time": NOW - 5, "jti": "onrtac:d8a3e1ac-9d1c-4f5e-8a7b-0c1d2e3f4a5b",
        "iss": realm.issuer.identifier, "aud": ["vestibule", "account"], "typ": "Bearer", "azp": CLIENT,
        "sub": "f1c7a4d2-8f0e-4b3a-9c55-0a1b2c3d4e5f", "sid": "6f1c3ab0-7e43-4f8e-a3cb-22f4b0a7b111", "acr": "1",
        "allowed-origins": ["*"], "realm_access": {"roles": ["offline_access", "buyer"]},
        "resource_access": {"account": {"roles": ["view-profile"]}}, "scope": "openid profile email",
        "preferred_username": "alice"})
}

/// A JWT access token of oidc-provider 9 (`typ` is `at+jwt`).
fn oidc_provider_access(realm: &Realm) -> Value {
    json!({"jti": "Zb8_Jm1g4cJ9oVv3", "sub": "alice", "iat": NOW, "exp": NOW + 300, "scope": "api:read",
        "client_id": CLIENT, "iss": realm.issuer.identifier, "aud": "https://api.example.test/jwt",
        "groups": ["engineering", "admins"]})
}

/// An ID token of oidc-provider 9 (no `typ` at all).
fn oidc_provider_id(realm: &Realm) -> Value {
    json!({"sub": "alice", "groups": ["engineering"], "nonce": "n", "at_hash": "x", "aud": CLIENT,
        "exp": NOW + 3600, "iat": NOW, "iss": realm.issuer.identifier})
}

#[tokio::test]
async fn tokens_of_keycloak_are_read() {
    let realm = Realm::start().await;
    let rsa = RsaSigner::new();
    realm.issuer.publish(&[named(&rsa.jwk(), "rsa")]);
    let id = rsa.sign("rsa", &keycloak_id(&realm));
    let access = rsa.sign("rsa", &keycloak_access(&realm));

    let token = realm.present(&id).await.unwrap();

    assert_eq!(token.user.id.subject, "f1c7a4d2-8f0e-4b3a-9c55-0a1b2c3d4e5f");
    assert_eq!(token.user.session.as_deref(), Some("6f1c3ab0-7e43-4f8e-a3cb-22f4b0a7b111"));
    assert_eq!(token.user.client.as_deref(), Some(CLIENT));
    let groups = BTreeSet::from(["corp:/sales/emea".to_owned(), "corp:engineering".to_owned()]);
    assert_eq!(token.user.groups, groups);
    assert_eq!(
        (token.issued_at, token.expires_at),
        (Timestamp::from_seconds(NOW), Timestamp::from_seconds(NOW + 300))
    );
    assert_eq!(token.user.since, Some(token.issued_at), "whatever rests on it is as old");
    let grant = UserGrant {
        digest: Digest::of(id.as_bytes()).to_string(),
        jti: Some("d8a3e1ac-9d1c-4f5e-8a7b-0c1d2e3f4a5b".to_owned()),
        auth_time: Some(Timestamp::from_seconds(NOW - 5)),
        acr: Some("1".to_owned()),
    };
    assert_eq!(token.grant, grant);
    assert!(token.is_for(&worker()));

    let token = realm.present_as(UserTokenKind::AccessToken, &access).await.unwrap();
    assert_eq!(token.user.client.as_deref(), Some(CLIENT));
    assert!(token.user.groups.is_empty());
    assert!(token.is_for(&worker()), "by `azp`");
    for (kind, token) in [(UserTokenKind::IdToken, &access), (UserTokenKind::AccessToken, &id)] {
        assert!(is_wrong_type(&realm.present_as(kind, token).await.unwrap_err()), "{kind}");
    }
}

#[tokio::test]
async fn tokens_of_oidc_provider_are_read() {
    let realm = Realm::start().await;
    let id = realm.signer.sign(&json!({"alg": "ES256", "kid": "k1"}), &oidc_provider_id(&realm));
    let access = realm.signer.sign(&header("at+jwt", "k1"), &oidc_provider_access(&realm));

    let token = realm.present(&id).await.unwrap();
    assert_eq!((token.user.session.clone(), token.grant.jti.clone()), (None, None));
    assert_eq!(token.user.client.as_deref(), Some(CLIENT), "`aud`, since there is no `azp`");
    assert!(token.is_for(&worker()), "by `aud`");

    let token = realm.present_as(UserTokenKind::AccessToken, &access).await.unwrap();
    assert_eq!(token.user.client.as_deref(), Some(CLIENT), "`client_id`, since there is no `azp`");
    assert!(token.is_for(&worker()));
    for (kind, token) in [(UserTokenKind::IdToken, &access), (UserTokenKind::AccessToken, &id)] {
        assert!(is_wrong_type(&realm.present_as(kind, token).await.unwrap_err()), "{kind}");
    }
}

#[tokio::test]
async fn an_issuer_that_nobody_named_is_unknown() {
    let realm = Realm::start().await;
    let good = realm.id_claims();
    for issuer in [
        json!("https://evil.example"),
        json!(format!("{}/", realm.issuer.identifier)),
        json!(realm.issuer.identifier.to_uppercase()),
        json!([realm.issuer.identifier]),
        json!(null),
    ] {
        assert_eq!(
            realm.id(&with(&good, "iss", issuer.clone())).await.unwrap_err(),
            UserTokenError::IssuerUnknown,
            "{issuer}"
        );
    }
    assert_eq!(realm.id(&without(&good, "iss")).await.unwrap_err(), UserTokenError::IssuerUnknown);
    assert_eq!(realm.issuer.requests(), 0, "nobody is asked about a token of a stranger");
}

#[tokio::test]
async fn neither_none_nor_a_mac_over_the_public_key_is_a_signature() {
    let realm = Realm::start().await;
    let rsa = RsaSigner::new();
    realm.issuer.publish(&[named(&rsa.jwk(), "rsa")]);
    let payload = b64(realm.id_claims().to_string());
    let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, rsa.jwk().to_string().as_bytes());
    let input = format!("{}.{payload}", b64(json!({"alg": "HS256", "typ": "JWT", "kid": "rsa"}).to_string()));
    let mac = b64(aws_lc_rs::hmac::sign(&secret, input.as_bytes()));
    assert_eq!(realm.present(&format!("{input}.{mac}")).await.unwrap_err(), UserTokenError::AlgorithmRefused);

    for alg in ["none", "None", "HS512", "es256", ""] {
        let input = format!("{}.{payload}", b64(json!({"alg": alg, "kid": "rsa"}).to_string()));
        assert_eq!(
            realm.present(&format!("{input}.{mac}")).await.unwrap_err(),
            UserTokenError::AlgorithmRefused,
            "{alg}"
        );
        assert!(is_malformed(&realm.present(&format!("{input}.")).await.unwrap_err()), "{alg}");
    }
    assert_eq!(realm.issuer.requests(), 0);
}

#[tokio::test]
async fn a_key_of_the_wrong_kind_or_inside_the_token_is_not_used() {
    let realm = Realm::start().await;
    let forger = Signer::new();
    let claims = realm.id_claims();
    let rsa = RsaSigner::new();
    realm.issuer.publish(&[named(&realm.signer.jwk, "k1"), named(&rsa.jwk(), "rsa")]);

    // Signed by the issuer's RSA key, and said to be by its EC key.
    assert_eq!(realm.present(&rsa.sign("k1", &claims)).await.unwrap_err(), UserTokenError::SignatureInvalid);
    let embedded =
        json!({"alg": "ES256", "typ": "JWT", "kid": "k1", "jwk": forger.jwk, "jku": realm.issuer.jwks_url()});
    assert_eq!(
        realm.present(&forger.sign(&embedded, &claims)).await.unwrap_err(),
        UserTokenError::SignatureInvalid
    );
    // A good signature of the issuer, over something else.
    let other = realm.id_token(&with(&claims, "sub", json!("bob")));
    let input = realm.id_token(&claims).rsplit_once('.').unwrap().0.to_owned();
    let token = format!("{input}.{}", other.rsplit_once('.').unwrap().1);
    assert_eq!(realm.present(&token).await.unwrap_err(), UserTokenError::SignatureInvalid);
}

#[tokio::test]
async fn what_is_no_jws_is_malformed() {
    let realm = Realm::start().await;
    let critical = json!({"alg": "ES256", "typ": "JWT", "kid": "k1", "crit": ["exp"]});
    let long = with(&realm.id_claims(), "pad", json!("x".repeat(9000)));
    let good = realm.id_token(&realm.id_claims());
    for text in [
        "opaque".to_owned(),
        "..".to_owned(),
        // A JWE: five parts.
        "a.b.c.d.e".to_owned(),
        realm.signer.sign_texts(&header("JWT", "k1").to_string(), r#"{"iss":"a","iss":"b"}"#),
        realm.signer.sign(&critical, &realm.id_claims()),
        realm.id_token(&long),
        format!("{good} "),
    ] {
        let error = realm.users.verify(&text, UserTokenKind::IdToken).await.unwrap_err();
        assert!(is_malformed(&error), "{error}");
    }
}

#[tokio::test]
async fn only_the_types_of_id_tokens_and_access_tokens_pass() {
    let strict = Realm::with(|config| config.access_token_types = [AccessTokenType::AtJwt].into()).await;
    let lenient = Realm::start().await;
    let none = Realm::with(|config| config.access_token_types.clear()).await;
    // (type, as an ID token, as an access token where `at+jwt` is accepted, and where `JWT` is too)
    for (typ, id, at_jwt, jwt) in [
        (Some("JWT"), true, false, true),
        (Some("jwt"), true, false, true),
        (Some("application/jwt"), true, false, true),
        (None, true, false, true),
        (Some("at+jwt"), false, true, true),
        (Some("application/AT+JWT"), false, true, true),
        (Some("vst-call+jwt"), false, false, false),
        (Some("vst-actor+jwt"), false, false, false),
        (Some("logout+jwt"), false, false, false),
        (Some("secevent+jwt"), false, false, false),
        (Some("dpop+jwt"), false, false, false),
        (Some("oauth-id-jag+jwt"), false, false, false),
        (Some("token-introspection+jwt"), false, false, false),
        (Some("entity-statement+jwt"), false, false, false),
        (Some("text/jwt"), false, false, false),
        (Some(""), false, false, false),
    ] {
        let passes = async |realm: &Realm, kind, claims: Value| {
            let header = match typ {
                Some(typ) => header(typ, "k1"),
                None => json!({"alg": "ES256", "kid": "k1"}),
            };
            match realm.present_as(kind, &realm.signer.sign(&header, &claims)).await {
                Ok(_) => true,
                Err(error) => {
                    assert!(is_wrong_type(&error), "{typ:?}: {error}");
                    false
                }
            }
        };
        assert_eq!(passes(&lenient, UserTokenKind::IdToken, lenient.id_claims()).await, id, "{typ:?}");
        assert_eq!(
            passes(&strict, UserTokenKind::AccessToken, strict.access_claims()).await,
            at_jwt,
            "{typ:?}"
        );
        assert_eq!(
            passes(&lenient, UserTokenKind::AccessToken, lenient.access_claims()).await,
            jwt,
            "{typ:?}"
        );
        assert!(!passes(&none, UserTokenKind::AccessToken, none.access_claims()).await, "{typ:?}");
    }
}

#[tokio::test]
async fn an_id_token_is_no_access_token() {
    let realm = Realm::start().await;
    let access = realm.access_claims();
    realm.access("JWT", &access).await.unwrap();
    for claims in [
        // A mark of the issuer says so.
        with(&access, "typ", json!("ID")),
        with(&access, "typ", json!("Refresh")),
        with(&access, "typ", json!(["Bearer"])),
        with(&access, "token_use", json!("id")),
        with(&with(&access, "typ", json!("Bearer")), "token_use", json!("id")),
        // It carries what only a login makes.
        with(&access, "nonce", json!("n")),
        with(&access, "at_hash", json!("x")),
        with(&access, "c_hash", json!("x")),
        with(&access, "s_hash", json!("x")),
        // It carries nothing of an access token.
        realm.id_claims(),
        with(&realm.id_claims(), "azp", json!(CLIENT)),
        with(&access, "events", json!({"http://schemas.openid.net/event/backchannel-logout": {}})),
    ] {
        let error = realm.access("JWT", &claims).await.unwrap_err();
        assert!(is_wrong_type(&error), "{claims}: {error}");
    }
    // A mark settles it: Keycloak can be told to put `nonce` into its access tokens too.
    realm.access("JWT", &with(&with(&access, "typ", json!("Bearer")), "nonce", json!("n"))).await.unwrap();
    realm.access("at+jwt", &with(&access, "nonce", json!("n"))).await.unwrap();
    // But no mark settles it against another.
    assert!(is_wrong_type(&realm.access("at+jwt", &with(&access, "typ", json!("ID"))).await.unwrap_err()));
}

#[tokio::test]
async fn an_access_token_is_no_id_token() {
    let realm = Realm::start().await;
    let id = realm.id_claims();
    for claims in [
        with(&id, "typ", json!("Bearer")),
        with(&id, "typ", json!("Logout")),
        with(&id, "token_use", json!("access")),
        with(&id, "scope", json!("openid")),
        with(&id, "scp", json!(["openid"])),
        with(&id, "events", json!({"http://schemas.openid.net/event/backchannel-logout": {}})),
    ] {
        let error = realm.id(&claims).await.unwrap_err();
        assert!(is_wrong_type(&error), "{claims}: {error}");
    }
    realm.id(&with(&with(&id, "typ", json!("ID")), "scope", json!("openid"))).await.unwrap();
    realm.id(&with(&id, "token_use", json!("id"))).await.unwrap();
}

#[tokio::test]
async fn the_times_of_a_token_have_half_a_minute_of_grace() {
    let realm = Realm::start().await;
    let good = realm.id_claims();
    // (claim, seconds from now, outcome)
    let expired = || Err(UserTokenError::Expired);
    let early = || Err(UserTokenError::NotYetValid);
    for (name, offset, outcome) in [
        ("exp", -29, Ok(())),
        ("exp", -30, expired()),
        ("exp", -100_000, expired()),
        ("nbf", 30, Ok(())),
        ("nbf", 31, early()),
        ("iat", 30, Ok(())),
        ("iat", 31, early()),
        ("iat", -800_000, Ok(())),
    ] {
        let claims = with(&good, name, json!(NOW + offset));
        assert_eq!(realm.id(&claims).await.map(|_| ()), outcome, "{name} {offset}");
    }
    let backdated = with(&with(&good, "nbf", json!(NOW)), "iat", json!(NOW + 31));
    assert_eq!(realm.id(&backdated).await.unwrap_err(), UserTokenError::NotYetValid);
    let fraction = with(&good, "exp", json!(1_800_000_900.75));
    assert_eq!(realm.id(&fraction).await.unwrap().expires_at, Timestamp::from_seconds(NOW + 900));
}

#[tokio::test]
async fn a_token_whose_times_are_missing_or_no_times_is_malformed() {
    let realm = Realm::start().await;
    let good = realm.id_claims();
    for name in ["exp", "iat", "sub", "aud"] {
        assert!(is_malformed(&realm.id(&without(&good, name)).await.unwrap_err()), "{name}");
    }
    for name in ["exp", "iat", "nbf", "auth_time"] {
        for value in [
            json!("1800000900"),
            json!(null),
            json!(-1),
            json!(1e300),
            json!(253_402_300_800_i64),
            json!([NOW]),
        ] {
            let error = realm.id(&with(&good, name, value.clone())).await.unwrap_err();
            assert!(is_malformed(&error), "{name} {value}: {error}");
        }
    }
}

#[tokio::test]
async fn every_text_of_a_token_is_bounded_and_free_of_control_characters() {
    let realm = Realm::start().await;
    let good = realm.id_claims();
    for (name, max) in [("sub", 255), ("sid", 255), ("jti", 255), ("acr", 255), ("azp", 2048)] {
        realm.id(&with(&good, name, json!("x".repeat(max)))).await.unwrap();
        for value in
            [json!("x".repeat(max + 1)), json!(""), json!("a\nb"), json!("a\u{0}"), json!(7), json!(null)]
        {
            let error = realm.id(&with(&good, name, value.clone())).await.unwrap_err();
            assert!(is_malformed(&error), "{name} {value}: {error}");
        }
    }
    // OpenID Connect Core §2: ASCII.
    assert!(is_malformed(&realm.id(&with(&good, "sub", json!("ali\u{441}e"))).await.unwrap_err()));
}

#[tokio::test]
async fn audiences_are_texts_and_few() {
    let realm = Realm::start().await;
    let good = with(&realm.id_claims(), "azp", json!(CLIENT));
    for audience in [json!(CLIENT), json!([CLIENT]), json!(vec![CLIENT; 32])] {
        realm.id(&with(&good, "aud", audience)).await.unwrap();
    }
    for audience in [
        json!([]),
        json!(vec![CLIENT; 33]),
        json!([CLIENT, 7]),
        json!([[CLIENT]]),
        json!({}),
        json!(""),
        json!(null),
    ] {
        let error = realm.id(&with(&good, "aud", audience.clone())).await.unwrap_err();
        assert!(is_malformed(&error), "{audience}: {error}");
    }
    assert!(is_malformed(&realm.id(&without(&good, "aud")).await.unwrap_err()));
    // Keycloak leaves it out of access tokens; then `azp` alone says for whom the token is.
    let access = without(&realm.access_claims(), "aud");
    assert!(realm.access("JWT", &access).await.unwrap().is_for(&worker()));
    assert!(is_malformed(&realm.access("JWT", &without(&access, "client_id")).await.unwrap_err()));
}

#[tokio::test]
async fn a_token_that_is_bound_to_a_key_is_not_taken_without_its_proof() {
    let realm = Realm::start().await;
    for confirmation in [json!({"jkt": "x"}), json!({"x5t#S256": "x"}), json!({}), json!(null)] {
        let id = with(&realm.id_claims(), "cnf", confirmation.clone());
        let access = with(&realm.access_claims(), "cnf", confirmation);
        assert_eq!(realm.id(&id).await.unwrap_err(), UserTokenError::KeyBound);
        assert_eq!(realm.access("at+jwt", &access).await.unwrap_err(), UserTokenError::KeyBound);
    }
}

#[tokio::test]
async fn a_token_that_somebody_acts_with_already_is_not_taken() {
    let realm = Realm::start().await;
    let claims = with(&oidc_provider_access(&realm), "act", json!({"sub": "pkjwt"}));

    assert_eq!(realm.access("at+jwt", &claims).await.unwrap_err(), UserTokenError::Delegated);
}

#[tokio::test]
async fn a_token_that_a_client_got_for_itself_makes_no_human_of_it() {
    let realm = Realm::start().await;
    let access = realm.access_claims();
    let service_account =
        with(&keycloak_access(&realm), "preferred_username", json!("service-account-worker-client"));
    for claims in [
        with(&access, "sub", json!(CLIENT)),
        with(&with(&access, "sub", json!(CLIENT)), "azp", json!("other")),
        with(&with(&access, "sub", json!(CLIENT)), "azp", json!(CLIENT)),
        with(&access, "idtyp", json!("app")),
        with(&with(&access, "sub", json!("abc@clients")), "gty", json!("client-credentials")),
        with(&with(&access, "sub", json!("okta-client")), "cid", json!("okta-client")),
        with(&with(&access, "sub", json!("entra-client")), "appid", json!("entra-client")),
        with(&access, "sub", json!(format!("{CLIENT}@clients"))),
        with(&service_account, "client_id", json!(CLIENT)),
        service_account,
    ] {
        for typ in ["JWT", "at+jwt"] {
            let error = realm.access(typ, &claims).await.unwrap_err();
            assert_eq!(error, UserTokenError::NotAUser, "{typ} {claims}");
        }
    }
    realm.access("JWT", &with(&access, "sub", json!("other@clients"))).await.unwrap();
    realm.access("JWT", &with(&access, "preferred_username", json!("service-account-other"))).await.unwrap();
}

#[tokio::test]
async fn presented_as_an_id_token_it_makes_no_human_either() {
    let realm = Realm::start().await;
    let id = realm.id_claims();
    for claims in [
        with(&id, "sub", json!(CLIENT)),
        with(&with(&id, "sub", json!("app")), "azp", json!("app")),
        with(&with(&id, "sub", json!("app")), "cid", json!("app")),
        with(&with(&id, "sub", json!("app")), "appid", json!("app")),
        with(&id, "idtyp", json!("app")),
    ] {
        assert_eq!(realm.id(&claims).await.unwrap_err(), UserTokenError::NotAUser, "{claims}");
    }
}

#[tokio::test]
async fn what_entra_gives_an_application_for_itself_is_no_id_token() {
    let realm = Realm::start().await;
    // Its `sub` is an identifier like any user's, and there is no scope by which to know it.
    let app = with(&realm.id_claims(), "roles", json!(["Task.Read"]));
    let app = with(&app, "oid", json!("f1c7a4d2-8f0e-4b3a-9c55-0a1b2c3d4e5f"));
    assert!(is_wrong_type(&realm.id(&app).await.unwrap_err()));
    for (claim, value) in [
        ("auth_time", json!(NOW)),
        ("nonce", json!("n")),
        ("acr", json!("1")),
        ("amr", json!(["pwd"])),
        ("sid", json!("s")),
        ("preferred_username", json!("alice@example.test")),
        ("email", json!("alice@example.test")),
        ("name", json!("Alice")),
        ("at_hash", json!("x")),
        ("typ", json!("ID")),
    ] {
        // A user of the application may have roles in it.
        realm.id(&with(&app, claim, value)).await.unwrap();
    }
    // Without roles it says how the application authenticated; a login that is claimed beside does not help.
    for claim in ["appidacr", "azpacr"] {
        let claims = with(&with(&realm.id_claims(), claim, json!("1")), "name", json!("Alice"));
        assert!(is_wrong_type(&realm.id(&claims).await.unwrap_err()), "{claim}");
    }
}

#[tokio::test]
async fn groups_bear_the_name_of_their_issuer_and_pass_the_filter() {
    let realm = Realm::with(|config| config.groups = Some(["ops".to_owned(), "dev".to_owned()].into())).await;
    let groups = async |value: Value| {
        realm.id(&with(&realm.id_claims(), "groups", value)).await.map(|token| token.user.groups)
    };

    assert_eq!(groups(json!(["dev", "hr", "dev"])).await.unwrap(), BTreeSet::from(["corp:dev".to_owned()]));
    assert_eq!(groups(json!("ops")).await.unwrap(), BTreeSet::from(["corp:ops".to_owned()]));
    assert_eq!(groups(json!([])).await.unwrap(), BTreeSet::new());
    assert_eq!(realm.id(&realm.id_claims()).await.unwrap().user.groups, BTreeSet::new());
    // The filter is the way out of too many and too long.
    let mut many: Vec<String> = (0..50).map(|n| format!("g{n}")).collect();
    many.extend(["x".repeat(65), "dev".to_owned()]);
    assert_eq!(groups(json!(many)).await.unwrap(), BTreeSet::from(["corp:dev".to_owned()]));
    for value in
        [json!(7), json!({"dev": true}), json!(null), json!(["dev", 7]), json!(["dev", ""]), json!(["a\nb"])]
    {
        assert!(is_malformed(&groups(value.clone()).await.unwrap_err()), "{value}");
    }
}

#[tokio::test]
async fn groups_without_a_filter_are_few_and_short() {
    let realm = Realm::start().await;
    let groups = async |value: Value| {
        realm.id(&with(&realm.id_claims(), "groups", value)).await.map(|token| token.user.groups.len())
    };
    let many = |n: usize| json!((0..n).map(|n| format!("g{n}")).collect::<Vec<_>>());

    assert_eq!(groups(many(32)).await, Ok(32));
    let error = groups(many(33)).await.unwrap_err();
    assert_eq!(error, UserTokenError::TooManyGroups { found: 33 });
    assert!(error.to_string().contains("list those that policies need in `groups`"), "{error}");
    assert_eq!(groups(json!(["x".repeat(64)])).await, Ok(1));
    let error = groups(json!(["x".repeat(65)])).await.unwrap_err();
    assert_eq!(error, UserTokenError::GroupTooLong);
    assert!(error.to_string().contains("list those that policies need in `groups`"), "{error}");
}

#[tokio::test]
async fn a_user_whose_groups_were_left_out_is_not_one_without_groups() {
    let realm = Realm::start().await;
    for (name, value) in [
        ("_claim_names", json!({"groups": "src1"})),
        ("hasgroups", json!(true)),
        ("hasgroups", json!("true")),
    ] {
        let error = realm.id(&with(&realm.id_claims(), name, value)).await.unwrap_err();
        assert_eq!(error, UserTokenError::GroupsLeftOut);
    }
    realm.id(&with(&realm.id_claims(), "_claim_names", json!({"address": "src1"}))).await.unwrap();
    realm.id(&with(&realm.id_claims(), "hasgroups", json!(false))).await.unwrap();
    let roles = Realm::with(|config| config.groups_claim = Some("roles".to_owned())).await;
    roles.id(&with(&roles.id_claims(), "hasgroups", json!(true))).await.unwrap();
}

#[tokio::test]
async fn groups_may_lie_deeper_or_not_be_asked_for() {
    let deep = Realm::with(|config| config.groups_claim = Some("/realm_access/roles".to_owned())).await;
    let groups = deep.access("JWT", &keycloak_access(&deep)).await.unwrap().user.groups;
    assert_eq!(groups, BTreeSet::from(["corp:buyer".to_owned(), "corp:offline_access".to_owned()]));

    let escaped =
        Realm::with(|config| config.groups_claim = Some("/https:~1~1example.com~1a~01".to_owned())).await;
    let claims = with(&escaped.id_claims(), "https://example.com/a~1", json!(["g"]));
    assert_eq!(escaped.id(&claims).await.unwrap().user.groups, BTreeSet::from(["corp:g".to_owned()]));

    let none = Realm::with(|config| config.groups_claim = None).await;
    let claims = with(&none.id_claims(), "groups", json!(7));
    assert!(none.id(&claims).await.unwrap().user.groups.is_empty());
}

#[test]
fn every_error_has_a_code_of_its_own() {
    let errors = [
        UserTokenError::IssuerUnknown,
        UserTokenError::Malformed(vestibule_model::Malformed { what: "it", rule: "x" }),
        UserTokenError::WrongType { wanted: UserTokenKind::IdToken, why: "x" },
        UserTokenError::AlgorithmRefused,
        UserTokenError::KeyUnknown,
        UserTokenError::SignatureInvalid,
        UserTokenError::Expired,
        UserTokenError::NotYetValid,
        UserTokenError::KeysUnavailable { issuer: "corp".to_owned() },
        UserTokenError::KeyBound,
        UserTokenError::Delegated,
        UserTokenError::NotAUser,
        UserTokenError::TooManyGroups { found: 33 },
        UserTokenError::GroupTooLong,
        UserTokenError::GroupsLeftOut,
    ];
    let codes: BTreeSet<_> = errors.iter().map(UserTokenError::code).collect();
    assert_eq!(codes.len(), errors.len());
    assert_eq!(errors.iter().filter(|error| error.is_retryable()).count(), 1);
}
