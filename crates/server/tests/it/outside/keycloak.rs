//! Tokens of Keycloak, and of issuers that the operator describes by their claims.

use serde_json::{Value, json};
use vestibule_testkit::Http;

use super::Town;

#[tokio::test]
async fn a_token_of_a_human_is_its_agent_and_the_human() {
    let town = Town::new().await;
    let token = town.alice(json!({ "jti": "onrtac:1" }));
    let record = town.served(&town.list(&token).await, &token).await;
    let user = json!({ "issuer": town.idp.id(), "subject": "alice" });
    assert_eq!((&record["agent"], &record["user"]), (&json!("planner"), &user));
    assert_eq!(record["policies"], json!(["agents", "users"]), "one policy for each of the two");
    assert_eq!(record["token"], json!(format!("{}#onrtac:1", town.idp.id())));
    assert_eq!(record["scopes"], json!([]), "what its issuer calls scopes gives nothing here");
    let chain = record["chain"].as_array().unwrap();
    assert_eq!((chain.len(), &chain[0]["issuer"]), (1, &json!(town.gateway.url(""))));
    // Remembered, and told once more.
    let again = town.served(&town.list(&token).await, &token).await;
    assert_eq!((&again["user"], &again["workflow"]), (&user, &record["workflow"]));
    assert_eq!(town.idp.fetches(), 1, "its keys were asked for once");
    let other = town.alice(json!({}));
    assert_ne!(town.served(&town.list(&other).await, &other).await["workflow"], record["workflow"]);
}

#[tokio::test]
async fn a_service_account_is_the_agent_alone() {
    let town = Town::new().await;
    for with in [json!({}), json!({ "preferred_username": null }), json!({ "client_id": null })] {
        let token = town.service(with.clone());
        let record = town.served(&town.list(&token).await, &token).await;
        assert_eq!((&record["agent"], &record["user"]), (&json!("planner"), &Value::Null), "{with}");
        assert_eq!(record["policies"], json!(["agents"]), "{with}");
    }
    let token = town.service(json!({ "client_id": null, "preferred_username": null }));
    let record = town.denied("neither", &town.list(&token).await, 401, "token-invalid").await;
    assert!(record["cause"].as_str().unwrap().contains("whether it was issued for a human"), "{record}");
}

#[tokio::test]
async fn what_the_agent_may_and_the_human_may_not_is_refused() {
    let town = Town::new().await;
    let token = town.alice(json!({ "groups": ["guests"] }));
    let record = town.denied("a guest", &town.list(&token).await, 404, "operation-not-permitted").await;
    assert_eq!((&record["agent"], &record["user"]["subject"]), (&json!("planner"), &json!("alice")));
    let helper = json!({ "aud": town.api(), "groups": ["developers"] });
    let token = town.idp.keycloak("alice", "helper-client", town.now(), &helper);
    town.served(&town.list(&token).await, &token).await;
}

#[tokio::test]
async fn a_scope_of_the_token_counts_only_where_the_agent_may_have_it() {
    let town = Town::new().await;
    let put =
        |token: &str| Http::request(http::Method::PUT, &format!("{}/repos", town.api())).bearer(token).send();
    let token = town.alice(json!({ "scope": "openid write admin" }));
    let record = town.served(&put(&token).await, &token).await;
    assert_eq!(record["scopes"], json!(["write"]), "`admin` is none of the agent's");
    let token = town.alice(json!({}));
    let reply = put(&token).await;
    town.denied("without the scope", &reply, 403, "scope-insufficient").await;
    assert!(reply.header("www-authenticate").contains("insufficient_scope"));
    let claims = json!({ "aud": town.api(), "groups": ["developers"], "scope": "write" });
    let token = town.idp.keycloak("alice", "helper-client", town.now(), &claims);
    town.denied("of an agent that has none", &put(&token).await, 403, "scope-insufficient").await;
}

#[tokio::test]
async fn an_agent_reaches_no_application_but_its_own() {
    let town = Town::new().await;
    let other = town.gateway.resource("other");
    let claims = json!({ "aud": [town.api(), other], "groups": ["developers"] });
    let list = |token: &str| Http::get(&format!("{other}/repos")).bearer(token).send();
    let helper = town.idp.keycloak("alice", "helper-client", town.now(), &claims);
    town.served(&town.list(&helper).await, &helper).await;
    let reply = list(&helper).await;
    assert_eq!(
        (reply.status, &reply.json()["code"]),
        (401.try_into().unwrap(), &json!("token-wrong-audience"))
    );
    let planner = town.idp.keycloak("alice", "planner-client", town.now(), &claims);
    assert_eq!(list(&planner).await.status, 200);
}

#[tokio::test]
async fn claims_that_the_operator_names_say_who_calls() {
    let callers = "claims: { agent: /actor/app, user: [org, uid], alone: { kind: machine }, token_id: tok }, \
                   audiences: ['urn:tools']";
    let town = Town::with(callers, "").await;
    let now = town.now().seconds();
    let token = |with: Value| {
        let mut claims = json!({
            "iss": town.idp.id(), "aud": "urn:tools", "iat": now, "exp": now + 60, "tok": "t1", "kind": "human",
            "actor": { "app": "planner-client" }, "org": "acme", "uid": "u1", "groups": ["developers"],
        });
        for (name, value) in with.as_object().unwrap() {
            claims[name] = value.clone();
        }
        town.idp.token("at+jwt", &claims)
    };
    let human = token(json!({}));
    let record = town.served(&town.list(&human).await, &human).await;
    assert_eq!(record["user"], json!({ "issuer": town.idp.id(), "subject": "acme/u1" }));
    assert_eq!(record["token"], json!(format!("{}#t1", town.idp.id())));
    let machine = token(json!({ "kind": "machine" }));
    let record = town.served(&town.list(&machine).await, &machine).await;
    assert_eq!((&record["agent"], &record["user"]), (&json!("planner"), &Value::Null));
    let client = token(json!({ "sub": "c", "client_id": "c" }));
    let record = town.served(&town.list(&client).await, &client).await;
    assert_eq!(record["user"], Value::Null, "a subject that is a client is nobody's, whatever else is said");
    for (what, with) in [
        ("a part of a name with the separator", json!({ "org": "acme/u1" })),
        ("no user", json!({ "uid": null })),
        ("no agent", json!({ "actor": {} })),
        ("an agent that is no text", json!({ "actor": { "app": 7 } })),
    ] {
        let bad = token(with);
        town.denied(what, &town.list(&bad).await, 401, "token-invalid").await;
    }
    let unnamed = token(json!({ "tok": null }));
    let bad =
        town.denied("an identifier that is no text", &town.list(&unnamed).await, 401, "token-invalid").await;
    assert!(bad["cause"].as_str().unwrap().contains("identifier"), "{bad}");
}

#[tokio::test]
async fn a_token_without_an_identifier_is_named_by_its_hash() {
    let town = Town::new().await;
    let token = town.alice(json!({ "jti": null }));
    let record = town.served(&town.list(&token).await, &token).await;
    let id = record["token"].as_str().unwrap();
    assert!(id.starts_with(&format!("{}#sha-256:", town.idp.id())), "{id}");
    town.gateway.revoke("token", id).await;
    town.denied("revoked", &town.list(&token).await, 401, "token-revoked").await;
}
