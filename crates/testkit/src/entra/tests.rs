//! The fake itself, asked by hand: each deviation from what is documented is refused with the documented code.

use std::sync::Arc;

use serde_json::{Value, json};
use vestibule_model::{Clock, FixedClock, Timestamp};

use super::{assertion::ASSERTION_TYPE, *};
use crate::{Call, Http, Reply};

const ALICE: &str = "aaaa0000-1111-2222-3333-444455556666";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

type Fields = Vec<(&'static str, String)>;

async fn entra() -> (TestEntra, Arc<FixedClock>) {
    let clock = Arc::new(FixedClock::at(Timestamp::from_seconds(1_800_000_000)));
    (TestEntra::start(Arc::<FixedClock>::clone(&clock) as Arc<dyn Clock>).await, clock)
}

fn step_1() -> Fields {
    vec![
        ("client_id", BLUEPRINT.to_owned()),
        ("scope", "api://AzureADTokenExchange/.default".to_owned()),
        ("fmi_path", AGENT.to_owned()),
        ("client_secret", SECRET.to_owned()),
        ("grant_type", "client_credentials".to_owned()),
    ]
}

fn step_2(exchange_token: &str) -> Fields {
    vec![
        ("client_id", AGENT.to_owned()),
        ("scope", "api://files/.default".to_owned()),
        ("client_assertion_type", ASSERTION_TYPE.to_owned()),
        ("client_assertion", exchange_token.to_owned()),
        ("grant_type", "client_credentials".to_owned()),
    ]
}

fn on_behalf(exchange_token: &str, user_token: &str) -> Fields {
    let fields = with(step_2(exchange_token), "grant_type", JWT_BEARER);
    let fields = with(fields, "scope", "api://files/Files.Read");
    with(with(fields, "assertion", user_token), "requested_token_use", "on_behalf_of")
}

fn with(mut fields: Fields, name: &'static str, value: &str) -> Fields {
    fields.retain(|(other, _)| *other != name);
    fields.push((name, value.to_owned()));
    fields
}

fn without(mut fields: Fields, name: &str) -> Fields {
    fields.retain(|(other, _)| *other != name);
    fields
}

fn post(entra: &TestEntra, fields: &Fields) -> Call {
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Http::post(&entra.token_url()).form(&fields)
}

async fn granted(entra: &TestEntra, fields: &Fields) -> Value {
    let reply = post(entra, fields).send().await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.json()
}

async fn token(entra: &TestEntra, fields: &Fields) -> String {
    granted(entra, fields).await["access_token"].as_str().unwrap().to_owned()
}

fn refused(what: &str, reply: &Reply, error: &str, code: u32) {
    let body = reply.json();
    assert_eq!(
        (body["error"].as_str(), &body["error_codes"]),
        (Some(error), &json!([code])),
        "{what}: {body}"
    );
    assert_eq!(reply.status, if error == "invalid_client" { 401 } else { 400 }, "{what}");
    assert!(
        body["error_description"].as_str().unwrap().starts_with(&format!("AADSTS{code}: ")),
        "{what}: {body}"
    );
    for member in ["timestamp", "trace_id", "correlation_id"] {
        assert!(body[member].is_string(), "{what}: {body}");
    }
}

#[tokio::test]
async fn the_documented_requests_are_answered_with_the_documented_claims() {
    let (entra, _) = entra().await;
    let t1 = token(&entra, &step_1()).await;
    assert_eq!(entra.claims(&t1)["aud"], BLUEPRINT);

    let autonomous = granted(&entra, &step_2(&t1)).await;
    assert_eq!((&autonomous["token_type"], &autonomous["scope"]), (&json!("Bearer"), &Value::Null));
    let claims = entra.claims(autonomous["access_token"].as_str().unwrap());
    for (name, expected) in [
        ("idtyp", "app"),
        ("oid", AGENT),
        ("azp", AGENT),
        ("tid", TENANT),
        ("xms_act_fct", "9 3 11"),
        ("xms_sub_fct", "3 11"),
        ("xms_par_app_azp", BLUEPRINT),
        ("aud", RESOURCE),
    ] {
        assert_eq!(claims[name], expected, "{name}");
    }

    let answer = granted(&entra, &on_behalf(&t1, &entra.user_token(ALICE, &json!({})))).await;
    assert_eq!(answer["scope"], "api://files/Files.Read");
    let claims = entra.claims(answer["access_token"].as_str().unwrap());
    for (name, expected) in [
        ("idtyp", "user"),
        ("oid", ALICE),
        ("azp", AGENT),
        ("tid", TENANT),
        ("xms_act_fct", "9 3 11"),
        ("scp", "Files.Read"),
        ("xms_par_app_azp", BLUEPRINT),
        ("aud", RESOURCE),
    ] {
        assert_eq!(claims[name], expected, "{name}");
    }
    assert!(claims.get("act").is_none() && claims.get("xms_sub_fct").is_none());
    let jwks = Http::get(&format!("{}/{TENANT}/discovery/v2.0/keys", entra.authority())).send().await.json();
    assert_eq!(jwks["keys"][0]["kty"], "RSA");
}

#[tokio::test]
async fn each_deviation_of_step_1_is_refused() {
    let (entra, _) = entra().await;
    for (fields, error, code) in [
        (without(step_1(), "client_id"), "invalid_request", 900_144),
        (with(step_1(), "client_id", "nobody"), "unauthorized_client", 700_016),
        (with(step_1(), "client_id", STRANGERS_BLUEPRINT), "invalid_client", 7_000_215),
        (without(step_1(), "grant_type"), "invalid_request", 900_144),
        (with(step_1(), "grant_type", JWT_BEARER), "unsupported_grant_type", 70_003),
        (without(step_1(), "scope"), "invalid_request", 900_144),
        (with(step_1(), "scope", "api://AzureADTokenExchange"), "invalid_scope", 70_011),
        (with(step_1(), "scope", "api://files/.default"), "invalid_scope", 70_011),
        (without(step_1(), "fmi_path"), "invalid_request", 900_144),
        (with(step_1(), "fmi_path", STRANGERS_AGENT), "unauthorized_client", 700_016),
        (with(step_1(), "fmi_path", BLUEPRINT), "unauthorized_client", 700_016),
        (with(step_1(), "client_secret", "guess"), "invalid_client", 7_000_215),
        (without(step_1(), "client_secret"), "invalid_client", 7_000_218),
        (with(step_1(), "client_assertion", "a.b.c"), "invalid_client", 7_000_218),
        (with(step_1(), "client_assertion_type", ASSERTION_TYPE), "invalid_client", 7_000_218),
        (with(step_1(), "resource", "api://files"), "invalid_request", 901_002),
        (with(step_1(), "redirect_uri", "https://x.test"), "invalid_request", 9_002_313),
        (with(step_1(), "requested_token_use", "on_behalf_of"), "invalid_request", 9_002_313),
    ] {
        refused(&format!("{fields:?}"), &post(&entra, &fields).send().await, error, code);
    }
}

#[tokio::test]
async fn what_is_not_the_documented_http_is_refused() {
    let (entra, _) = entra().await;
    let twice = [step_1(), vec![("fmi_path", OTHER_AGENT.to_owned())]].concat();
    refused("a duplicate", &post(&entra, &twice).send().await, "invalid_request", 9_002_313);
    let basic = post(&entra, &step_1()).header("authorization", "Basic eA==");
    refused("a header", &basic.send().await, "invalid_request", 9_002_313);
    let json = Http::post(&entra.token_url()).json(&json!({}));
    refused("JSON", &json.send().await, "invalid_request", 9_002_313);
    refused("GET", &Http::get(&entra.token_url()).send().await, "invalid_request", 900_561);
    let query = Http::post(&format!("{}?client_id={BLUEPRINT}", entra.token_url())).form(&[]);
    refused("a query", &query.send().await, "invalid_request", 9_002_313);
    for tenant in ["common", "organizations", "99990000-0000-cccc-1111-dddd2222eeee"] {
        let url = format!("{}/{tenant}/oauth2/v2.0/token", entra.authority());
        refused(tenant, &Http::post(&url).form(&[]).send().await, "invalid_request", 90_002);
    }
    for path in [format!("/{TENANT}/oauth2/token"), format!("/{TENANT}/oauth2/v2.0/authorize")] {
        assert_eq!(Http::post(&format!("{}{path}", entra.authority())).form(&[]).send().await.status, 404);
    }
}

#[tokio::test]
async fn each_deviation_of_step_2_is_refused() {
    let (entra, clock) = entra().await;
    let t1 = token(&entra, &step_1()).await;
    let other = token(&entra, &with(step_1(), "fmi_path", OTHER_AGENT)).await;
    let tc = entra.user_token(ALICE, &json!({}));
    let (auto, obo) = (step_2(&t1), on_behalf(&t1, &tc));
    let user = |claims: Value| on_behalf(&t1, &entra.user_token(ALICE, &claims));
    for (fields, error, code) in [
        (with(auto.clone(), "grant_type", "password"), "unsupported_grant_type", 70_003),
        (with(auto.clone(), "client_secret", SECRET), "invalid_request", 9_002_313),
        (with(auto.clone(), "fmi_path", AGENT), "invalid_request", 9_002_313),
        (with(auto.clone(), "resource", RESOURCE), "invalid_request", 901_002),
        (without(auto.clone(), "client_assertion_type"), "invalid_request", 900_144),
        (with(auto.clone(), "client_assertion_type", "jwt-bearer"), "invalid_client", 700_026),
        (without(auto.clone(), "client_assertion"), "invalid_request", 900_144),
        (with(auto.clone(), "client_assertion", &other), "invalid_client", 700_213),
        (with(auto.clone(), "client_assertion", &tc), "invalid_client", 700_213),
        (
            with(auto.clone(), "client_assertion", &entra.federated_token(&json!({}))),
            "invalid_client",
            700_027,
        ),
        (with(auto.clone(), "client_id", STRANGERS_AGENT), "invalid_client", 700_213),
        (with(auto.clone(), "scope", "api://files/Files.Read"), "invalid_scope", 1_002_012),
        (with(auto.clone(), "scope", "api://mail/.default"), "invalid_resource", 500_011),
        (with(auto.clone(), "assertion", &tc), "invalid_request", 9_002_313),
        (with(auto.clone(), "requested_token_use", "on_behalf_of"), "invalid_request", 9_002_313),
        (without(obo.clone(), "requested_token_use"), "invalid_request", 900_144),
        (with(obo.clone(), "requested_token_use", "other"), "invalid_request", 90_023),
        (without(obo.clone(), "assertion"), "invalid_request", 900_144),
        (with(obo.clone(), "assertion", "a.b.c"), "invalid_grant", 50_013),
        (with(obo.clone(), "scope", "api://files/Files.Delete"), "invalid_scope", 70_011),
        (with(obo.clone(), "scope", "api://files/Files.Read api://mail/Read"), "invalid_resource", 500_011),
        (with(obo.clone(), "subject_token", &tc), "invalid_request", 9_002_313),
        (user(json!({"aud": "api://files"})), "invalid_grant", 500_131),
        (user(json!({"aud": AGENT})), "invalid_grant", 500_131),
        (user(json!({"exp": 1_800_000_000})), "invalid_grant", 500_133),
        (user(json!({"idtyp": "app"})), "invalid_grant", 7_000_114),
        (user(json!({"scp": null})), "invalid_grant", 7_000_114),
    ] {
        refused(&format!("{fields:?}"), &post(&entra, &fields).send().await, error, code);
    }
    entra.withdraw_consent(AGENT);
    let reply = post(&entra, &obo).send().await;
    refused("no consent", &reply, "invalid_grant", 65_001);
    assert_eq!(reply.json()["suberror"], "consent_required");
    entra.block(AGENT);
    refused("blocked", &post(&entra, &auto).send().await, "invalid_grant", 53_003);
    clock.advance(std::time::Duration::from_secs(3600));
    refused("T1 is over", &post(&entra, &auto).send().await, "invalid_client", 700_024);
}

#[tokio::test]
async fn a_managed_identity_proves_the_blueprint_by_its_documented_claims_only() {
    let (entra, _) = entra().await;
    let assertion = |claims: Value| {
        let fields = with(without(step_1(), "client_secret"), "client_assertion_type", ASSERTION_TYPE);
        with(fields, "client_assertion", &entra.federated_token(&claims))
    };
    token(&entra, &assertion(json!({}))).await;
    for (claims, code) in [
        (json!({"iss": "https://other.test"}), 700_211),
        (json!({"sub": "system:serviceaccount:gateway:other"}), 700_213),
        (json!({"aud": "api://AzureADTokenExchange/.default"}), 700_212),
        (json!({"exp": 1_800_000_000}), 700_024),
    ] {
        refused(&claims.to_string(), &post(&entra, &assertion(claims)).send().await, "invalid_client", code);
    }
    let untyped = without(assertion(json!({})), "client_assertion_type");
    refused("untyped", &post(&entra, &untyped).send().await, "invalid_request", 900_144);
}

#[tokio::test]
async fn a_certificate_proves_the_blueprint_by_ps256_and_its_thumbprint_only() {
    let (entra, _) = entra().await;
    let (key, _) = entra.certificate();
    let key = jsonwebtoken::EncodingKey::from_rsa_pem(key.as_bytes()).unwrap();
    let (x5t, now) = (entra.state.keys.thumbprint(), 1_800_000_000);
    let claims = |with: Value, jti: u32| {
        let claims = json!({
            "aud": entra.token_url(), "iss": BLUEPRINT, "sub": BLUEPRINT, "iat": now, "nbf": now, "exp": now + 300,
            "jti": format!("{jti:08x}-0000-4000-8000-000000000000"),
        });
        assertion::replaced(claims, &with)
    };
    let signed = |alg, x5t: Option<String>, claims: &Value| {
        let mut header = jsonwebtoken::Header::new(alg);
        header.x5t_s256 = x5t;
        jsonwebtoken::encode(&header, claims, &key).unwrap()
    };
    let fields = |assertion: &str| {
        let fields = with(without(step_1(), "client_secret"), "client_assertion_type", ASSERTION_TYPE);
        with(fields, "client_assertion", assertion)
    };
    use jsonwebtoken::Algorithm::{PS256, RS256};
    let good = signed(PS256, Some(x5t.clone()), &claims(json!({}), 1));
    token(&entra, &fields(&good)).await;
    let again = post(&entra, &fields(&good)).send().await;
    refused("again", &again, "invalid_client", 50_027);
    for (what, assertion, code) in [
        ("RS256", signed(RS256, Some(x5t.clone()), &claims(json!({}), 2)), 700_027),
        ("no x5t#S256", signed(PS256, None, &claims(json!({}), 3)), 700_027),
        ("another x5t#S256", signed(PS256, Some("AAAA".to_owned()), &claims(json!({}), 4)), 700_027),
        ("iss", signed(PS256, Some(x5t.clone()), &claims(json!({"iss": AGENT}), 5)), 700_021),
        ("sub", signed(PS256, Some(x5t.clone()), &claims(json!({"sub": AGENT}), 6)), 700_021),
        ("aud", signed(PS256, Some(x5t.clone()), &claims(json!({"aud": entra.authority()}), 7)), 700_023),
        ("no nbf", signed(PS256, Some(x5t.clone()), &claims(json!({"nbf": null}), 8)), 700_024),
        ("too long", signed(PS256, Some(x5t.clone()), &claims(json!({"exp": now + 601}), 9)), 700_024),
        ("over", signed(PS256, Some(x5t.clone()), &claims(json!({"exp": now}), 10)), 700_024),
        ("no GUID", signed(PS256, Some(x5t.clone()), &claims(json!({"jti": "1"}), 11)), 50_027),
    ] {
        refused(what, &post(&entra, &fields(&assertion)).send().await, "invalid_client", code);
    }
}
