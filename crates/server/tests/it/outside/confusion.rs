//! What is no access token of a named issuer for this application is no caller.

use serde_json::{Value, json};
use vestibule_testkit::{Http, TestIssuer};

use super::Town;

#[tokio::test]
async fn other_kinds_of_tokens_of_the_same_issuer_are_refused() {
    let town = Town::new().await;
    let (now, api) = (town.now(), town.api());
    let logout = json!({
        "iss": town.idp.id(), "aud": api, "azp": "planner-client", "iat": now.seconds(), "exp": now.seconds() + 60,
        "sub": "alice", "sid": "s", "jti": "1",
        "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
    });
    for (what, token) in [
        ("an ID token", town.idp.id_token("alice", "planner-client", now, &json!({ "aud": api }))),
        ("an ID token that says so", town.alice(json!({ "typ": "ID" }))),
        ("a refresh token", town.alice(json!({ "typ": "Refresh" }))),
        ("an access token with the hash of one", town.alice(json!({ "typ": null, "at_hash": "x" }))),
        ("a logout token", town.idp.token("logout+jwt", &logout)),
        ("a logout token without its type", town.idp.token("JWT", &logout)),
        ("a security event", town.idp.token("secevent+jwt", &logout)),
        ("a proof", town.idp.token("dpop+jwt", &logout)),
        ("a call token", town.idp.token("vst-call+jwt", &logout)),
    ] {
        town.denied(what, &town.list(&token).await, 401, "token-wrong-type").await;
    }
}

#[tokio::test]
async fn each_claim_of_the_token_must_be_the_right_one() {
    let town = Town::new().await;
    let now = town.now().seconds();
    for (what, with, code) in [
        ("for somebody else", json!({ "aud": "account" }), "token-wrong-audience"),
        ("for nobody", json!({ "aud": null }), "token-wrong-audience"),
        ("for a longer name", json!({ "aud": format!("{}/", town.api()) }), "token-wrong-audience"),
        ("expired this moment", json!({ "exp": now }), "token-expired"),
        ("without an end", json!({ "exp": null }), "token-invalid"),
        ("issued in the future", json!({ "iat": now + 31 }), "token-not-yet-valid"),
        ("not before later", json!({ "nbf": now + 31 }), "token-not-yet-valid"),
        ("of no client", json!({ "azp": null }), "token-invalid"),
        ("of two clients", json!({ "client_id": "helper-client" }), "token-invalid"),
        ("of a client that is no agent", json!({ "azp": "console" }), "agent-unknown"),
        ("of an agent's id instead of its name there", json!({ "azp": "planner" }), "agent-unknown"),
        ("of an agent that is not registered", json!({ "azp": "ghost-client" }), "agent-unknown"),
        ("a subject that is no text", json!({ "sub": 7 }), "token-invalid"),
        ("a scope that is no text", json!({ "scope": [7] }), "token-invalid"),
        ("groups left out", json!({ "groups": null, "_claim_names": { "groups": "s1" } }), "token-invalid"),
        ("groups that are no texts", json!({ "groups": [7] }), "token-invalid"),
        ("bound to a certificate", json!({ "cnf": { "x5t#S256": "x" } }), "token-invalid"),
        ("bound to two", json!({ "cnf": { "jkt": "x", "kid": "y" } }), "token-invalid"),
        ("another issuer", json!({ "iss": "https://evil.example" }), "token-wrong-type"),
        ("our own issuer", json!({ "iss": town.gateway.url("") }), "token-wrong-type"),
    ] {
        let token = town.alice(with);
        town.denied(what, &town.list(&token).await, 401, code).await;
    }
}

#[tokio::test]
async fn a_signature_by_anybody_else_is_refused() {
    let town = Town::new().await;
    let token = town.alice(json!({}));
    let (head, claims) = (token.split('.').next().unwrap(), token.split('.').nth(1).unwrap());
    let stranger = TestIssuer::start().await;
    let payload: Value = serde_json::from_slice(&decoded(claims)).unwrap();
    // The same `kid` at two issuers is two keys.
    let forged = stranger.token("JWT", &payload);
    town.denied("a stranger with the same kid", &town.list(&forged).await, 401, "token-invalid").await;
    let crossed = town.entra.token("JWT", &payload);
    town.denied("another configured issuer", &town.list(&crossed).await, 401, "token-invalid").await;
    for (what, header, code) in [
        ("none", json!({ "alg": "none", "typ": "JWT" }), "token-algorithm-refused"),
        ("a MAC", json!({ "alg": "HS256", "typ": "JWT" }), "token-algorithm-refused"),
        ("an unknown key", json!({ "alg": "ES256", "typ": "JWT", "kid": "x" }), "token-wrong-type"),
        (
            "an extension",
            json!({ "alg": "ES256", "typ": "at+jwt", "kid": "x", "crit": ["exp"] }),
            "token-invalid",
        ),
    ] {
        let forged = town.idp.sign(&header, &payload);
        let reply = town.list(&forged).await;
        let code = if what == "an unknown key" { "token-key-unknown" } else { code };
        // What the header already says is told before anybody asks whose token it is.
        let found = reply.json()["code"].as_str().unwrap().to_owned();
        assert!([code, "token-wrong-type"].contains(&&*found), "{what}: {found}");
        town.denied(what, &reply, 401, &found).await;
    }
    let (other, _) = token.rsplit_once('.').unwrap();
    let cut = format!("{other}.{}", &head[..20]);
    assert_eq!(town.list(&cut).await.status, 401);
}

#[tokio::test]
async fn an_issuer_that_is_not_named_for_it_has_no_callers() {
    let idp = TestIssuer::start().await;
    let sections = format!(
        "  plain: {{ issuer: '{}', jwks_url: '{}', agents: {{ planner: [planner-client] }}, access_token_types: [jwt] }}",
        idp.id(),
        idp.jwks_url()
    );
    let town = Town::with("preset: keycloak", &sections).await;
    let with = json!({ "aud": town.api(), "groups": ["developers"] });
    let token = idp.keycloak("alice", "planner-client", town.now(), &with);
    town.denied("users only", &town.list(&token).await, 401, "token-wrong-type").await;
}

#[tokio::test]
async fn one_credential_and_in_one_place() {
    let town = Town::new().await;
    let token = town.alice(json!({}));
    let reply = town.get(&token).header("authorization", &format!("Bearer {token}")).send().await;
    town.denied("twice", &reply, 400, "credential-malformed").await;
    let url = format!("{}/repos?access_token={token}", town.api());
    let reply = Http::get(&url).send().await;
    town.denied("in the query", &reply, 400, "credential-in-query").await;
    let reply = town.get(&token).header("dpop", "x").send().await;
    town.denied("a proof beside a bearer token", &reply, 400, "credential-malformed").await;
    let reply = Http::get(&format!("{}/repos", town.api())).header("authorization", &format!("DPoP {token}"));
    town.denied("as what it is not", &reply.send().await, 401, "proof-wrong-key").await;
}

fn decoded(part: &str) -> Vec<u8> {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.decode(part).unwrap()
}
