//! Clients that prove themselves with a signed assertion (RFC 7523), or fail to.

use serde_json::{Value, json};
use vestibule_testkit::AgentKey;

use super::Desk;

#[tokio::test]
async fn an_assertion_is_for_us_by_the_client_for_now_and_for_once() {
    let desk = Desk::new().await;
    let now = desk.gateway.clock.now().seconds();
    let claim =
        |name: &'static str, value: Value| desk.assertion(&desk.key, move |_, claims| claims[name] = value);
    let header =
        |name: &'static str, value: Value| desk.assertion(&desk.key, move |header, _| header[name] = value);
    let stranger = AgentKey::generate("k1");
    for (what, assertion, code) in [
        ("for another server", claim("aud", json!("https://evil.example")), "assertion-wrong-audience"),
        (
            "for two servers",
            claim("aud", json!([desk.gateway.url(""), "https://evil.example"])),
            "assertion-wrong-audience",
        ),
        ("issued by somebody else", claim("iss", json!("shared")), "assertion-wrong-subject"),
        ("about an agent that has a secret", claim("sub", json!("shared")), "client-method-wrong"),
        ("about nobody known", claim("sub", json!("nobody")), "client-unknown"),
        ("about nobody", claim("sub", Value::Null), "assertion-wrong-subject"),
        ("expired", claim("exp", json!(now - 60)), "assertion-expired"),
        ("without an end", claim("exp", json!("never")), "assertion-invalid"),
        ("valid for a day", claim("exp", json!(now + 86_400)), "assertion-too-long"),
        ("issued in the future", claim("iat", json!(now + 600)), "assertion-not-yet-valid"),
        ("not before later", claim("nbf", json!(now + 600)), "assertion-not-yet-valid"),
        ("without an identifier", claim("jti", Value::Null), "assertion-invalid"),
        ("an access token", header("typ", json!("at+jwt")), "assertion-invalid"),
        ("without a signature", header("alg", json!("none")), "assertion-invalid"),
        ("with a MAC", header("alg", json!("HS256")), "assertion-invalid"),
        ("with an algorithm that the key is not for", header("alg", json!("ES384")), "assertion-invalid"),
        ("of an unknown key", header("kid", json!("k2")), "assertion-invalid"),
        ("of a stranger's key", desk.assertion(&stranger, |_, _| {}), "assertion-invalid"),
        ("no assertion", "x".to_owned(), "assertion-invalid"),
    ] {
        desk.refuses_client(what, desk.keyed(&assertion), code).await;
    }
    let good = desk.assertion(&desk.key, |_, _| {});
    let other_type = desk.endpoint().form(&[
        ("grant_type", "client_credentials"),
        ("client_assertion_type", "urn:example:saml"),
        ("client_assertion", &good),
    ]);
    desk.refuses_client("of another type", other_type, "client-malformed").await;
    assert_eq!(desk.keyed(&good).send().await.status, 200, "refused attempts do not use it up");
    desk.refuses_client("replayed", desk.keyed(&good), "assertion-replayed").await;
}
