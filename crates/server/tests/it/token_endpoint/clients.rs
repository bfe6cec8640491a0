//! Clients that prove themselves with a secret, or fail to.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;
use vestibule_testkit::{Credential, Http, TestAgent};

use super::{Desk, NOT_PROVEN, Refusal};

const MISSING: Refusal = (401, "invalid_client", "client authentication is needed", "client-missing");
const MIXED: Refusal =
    (400, "invalid_request", "use exactly one method of client authentication", "client-mixed");

#[tokio::test]
async fn a_client_that_does_not_prove_itself_learns_nothing() {
    let desk = Desk::new().await;
    let web = desk.gateway.resource("web");
    let form = |fields: &[(&str, &str)]| {
        let always = [("grant_type", "client_credentials"), ("resource", &*web)];
        desk.endpoint().form(&[&always, fields].concat())
    };
    let basic = |pair: &str| form(&[]).header("authorization", &format!("Basic {}", STANDARD.encode(pair)));
    let secret = desk.secret.as_str();
    let other = form(&[("client_id", "keyed")]).header("authorization", &desk.basic());
    for (what, call, code) in [
        ("a wrong secret", basic("shared:wrong"), "client-secret-wrong"),
        ("no secret", basic("shared:"), "client-malformed"),
        ("an unknown client", basic(&format!("nobody:{secret}")), "client-unknown"),
        ("no client", basic(&format!(":{secret}")), "client-malformed"),
        (
            "a wrong secret in the form",
            form(&[("client_id", "shared"), ("client_secret", "x")]),
            "client-secret-wrong",
        ),
        ("a secret of an agent that has a key", basic(&format!("keyed:{secret}")), "client-method-wrong"),
        ("no pair", basic("shared"), "client-malformed"),
        ("no base64", form(&[]).header("authorization", "Basic !"), "client-malformed"),
        ("a bearer token", form(&[]).header("authorization", "Bearer x"), "client-malformed"),
        ("another client beside the header", other, "client-malformed"),
    ] {
        desk.refuses_client(what, call, code).await;
    }
    desk.refuses("nothing", form(&[]), MISSING).await;
    desk.refuses("a secret without a client", form(&[("client_secret", secret)]), MISSING).await;
    let url = desk.gateway.url(&format!("/oauth/token?client_id=shared&client_secret={secret}"));
    let in_query = Http::post(&url).form(&[("grant_type", "client_credentials"), ("resource", &web)]);
    desk.refuses("a secret in the query", in_query, MISSING).await;
    let twice =
        form(&[("client_id", "shared"), ("client_secret", secret)]).header("authorization", &desk.basic());
    desk.refuses("a secret in header and form", twice, MIXED).await;
    let assertion = desk.assertion(&desk.key, |_, _| {});
    let both = desk.keyed(&assertion).header("authorization", &desk.basic());
    desk.refuses("a secret and an assertion", both, MIXED).await;
}

#[tokio::test]
async fn an_unknown_client_and_a_wrong_secret_look_alike() {
    let desk = Desk::new().await;
    let answer = async |pair: &str| {
        let basic = format!("Basic {}", STANDARD.encode(pair));
        let form = [("grant_type", "client_credentials")];
        let mut reply = desk.endpoint().header("authorization", &basic).form(&form).send().await;
        reply.headers.remove("date");
        reply.headers.remove("x-request-id");
        (reply.status, reply.headers, reply.body)
    };
    assert_eq!(answer("shared:wrong").await, answer("nobody:wrong").await);
}

#[tokio::test]
async fn a_rotated_secret_is_dead_at_once_and_a_revoked_agent_gets_nothing() {
    let desk = Desk::new().await;
    let rotated = desk.gateway.post("/admin/v1/agents/shared/rotate", &json!({})).await;
    desk.refuses_client("the old secret", desk.shared(&[]), "client-secret-wrong").await;
    let fresh = rotated["client_secret"].as_str().unwrap().to_owned();
    assert_ne!(fresh, desk.secret);
    let clock = Arc::clone(&desk.gateway.clock);
    let agent = TestAgent::connect(&desk.gateway.url(""), "shared", Credential::Basic(fresh), clock).await;
    assert_eq!(agent.request_token(&[]).await.status, 200);
    desk.gateway.revoke("agent", "shared").await;
    let refused = agent.request_token(&[]).await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.json(), json!({ "error": "invalid_client", "error_description": NOT_PROVEN }));
    let records = desk.gateway.attempts("denial=agent-revoked").await;
    assert_eq!((records.len(), &records[0]["agent"]), (1, &json!("shared")));
}
