//! What a client that has proved itself may ask for, and how.

use serde_json::Value;
use vestibule_testkit::Http;

use super::{ASSERTION_TYPE, Desk, Refusal};

const MALFORMED: Refusal =
    (400, "invalid_request", "a parameter is missing, repeated or malformed", "token-request-malformed");
const UNSUPPORTED: Refusal =
    (400, "unsupported_grant_type", "the grant type is not supported", "grant-unsupported");
const SCOPE: Refusal =
    (400, "invalid_scope", "the scope is malformed or exceeds what the client may have", "scope-not-allowed");
const TARGET: Refusal =
    (400, "invalid_target", "the resource is unknown or not for this client", "target-not-allowed");
const TWO_TARGETS: Refusal = (400, "invalid_target", "name one resource only", "target-repeated");
const NO_TARGET: Refusal =
    (400, "invalid_target", "name the resource that the token is for", "target-missing");
const MEDIA_TYPE: Refusal =
    (400, "invalid_request", "the content type is not accepted here", "media-type-unsupported");
const TOO_LARGE: Refusal =
    (400, "invalid_request", "the body is larger than this gateway accepts", "body-too-large");

#[tokio::test]
async fn a_request_that_can_be_read_in_two_ways_or_in_none_is_refused() {
    let desk = Desk::new().await;
    let web = desk.gateway.resource("web");
    let other = desk.gateway.resource("other");
    let raw = |fields: &[(&str, &str)]| desk.endpoint().header("authorization", &desk.basic()).form(fields);
    let repeated = [
        ("a scope twice", desk.shared(&[("scope", "read"), ("scope", "write")])),
        ("the grant twice", desk.shared(&[("grant_type", "client_credentials")])),
    ];
    for (what, call) in repeated {
        let record = desk.refuses(what, call, MALFORMED).await;
        assert_eq!(record["agent"], Value::Null, "{what}: refused before anybody has proved anything");
    }
    for (what, call, expected) in [
        ("no grant", raw(&[("resource", &web)]), MALFORMED),
        ("an empty grant", raw(&[("grant_type", "")]), MALFORMED),
        ("a password", raw(&[("grant_type", "password")]), UNSUPPORTED),
        ("more scope", desk.shared(&[("scope", "read admin")]), SCOPE),
        ("two spaces", desk.shared(&[("scope", "read  write")]), SCOPE),
        ("an unknown resource", desk.shared(&[("resource", "https://evil.example")]), TARGET),
        ("a fragment", desk.shared(&[("resource", &format!("{web}#x"))]), TARGET),
        ("an application of others", desk.shared(&[("resource", &other)]), TARGET),
        ("two resources", desk.shared(&[("resource", &web), ("resource", &other)]), TWO_TARGETS),
    ] {
        let record = desk.refuses(what, call, expected).await;
        assert_eq!(record["agent"], "shared", "{what}");
    }
    let assertion = desk.assertion(&desk.key, |_, _| {});
    let untargeted = desk.endpoint().form(&[
        ("grant_type", "client_credentials"),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", &assertion),
    ]);
    desk.refuses("no resource, and two would do", untargeted, NO_TARGET).await;
    assert_eq!(desk.shared(&[]).send().await.status, 200, "an agent with one application need not name it");
}

#[tokio::test]
async fn only_a_small_form_that_is_posted_is_a_token_request() {
    let desk = Desk::new().await;
    let form = "grant_type=client_credentials";
    let typed =
        |kind: &str, body: String| desk.endpoint().header("authorization", &desk.basic()).body(kind, body);
    desk.refuses("JSON", typed("application/json", "{}".into()), MEDIA_TYPE).await;
    desk.refuses("plain text", typed("text/plain", form.into()), MEDIA_TYPE).await;
    let large = format!("{form}&x={}", "a".repeat(64 << 10));
    desk.refuses("a large form", typed("application/x-www-form-urlencoded", large), TOO_LARGE).await;
    let before = desk.records().await.len();
    for method in ["GET", "PUT", "DELETE", "TRACE"] {
        let url = desk.gateway.url(&format!("/oauth/token?{form}"));
        let reply =
            Http::request(method.parse().unwrap(), &url).header("authorization", &desk.basic()).send().await;
        assert_eq!(reply.status, 405, "{method}");
        // RFC 9110 §15.5.6: a 405 MUST say what is allowed.
        assert_eq!(reply.header("allow"), "POST", "{method}");
        assert!(!reply.text().contains("access_token"), "{method}");
    }
    assert_eq!(desk.records().await.len(), before, "what asks for no token is no token request");
}
