//! `act` in an outside token: whom its issuer says to have acted before. They give nothing, and take away.

use serde_json::{Value, json};

use super::Town;

#[tokio::test]
async fn foreign_actors_give_nothing() {
    let town = Town::new().await;
    // `helper` may not write; if it were asked, or its scopes counted, this would show.
    let token = town.alice(json!({ "act": { "sub": "helper-client", "act": { "sub": "console" } } }));
    let record = town.served(&town.list(&token).await, &token).await;
    let chain = record["chain"].as_array().unwrap();
    assert_eq!((chain.len(), &chain[0]["agent"]), (1, &json!("planner")));
    let stranger = json!({ "azp": "console", "act": { "sub": "planner-client" } });
    let token = town.alice(stranger);
    town.denied("an agent only as an actor", &town.list(&token).await, 401, "agent-unknown").await;
}

#[tokio::test]
async fn an_actor_that_was_cut_off_takes_the_token_along() {
    for (kind, id, code) in [
        ("agent", "helper".to_owned(), "agent-revoked"),
        ("agent", "ours".to_owned(), "agent-revoked"),
        ("client", "{idp}#helper-client".to_owned(), "client-revoked"),
        ("client", "{idp}#planner-client".to_owned(), "client-revoked"),
        ("client", "https://far.example#bot".to_owned(), "client-revoked"),
    ] {
        let town = Town::new().await;
        let act = json!({
            "sub": "helper-client",
            "act": { "iss": town.gateway.url(""), "sub": "ours", "act": { "iss": "https://far.example", "sub": "bot" } },
        });
        let (token, clean) = (town.alice(json!({ "act": act })), town.service(json!({})));
        let running = town.stream(&token).await;
        let id = id.replace("{idp}", &town.idp.id());
        let report = town.gateway.revoke(kind, &id).await;
        let both = kind == "client" && id.ends_with("planner-client");
        assert_eq!(report["cut"]["streams"], 1, "{kind} {id}");
        running.ended().await;
        town.denied(&id, &town.list(&token).await, 401, code).await;
        let reply = town.list(&clean).await;
        if both {
            town.denied("its own client", &reply, 401, "client-revoked").await;
        } else {
            town.served(&reply, &clean).await;
        }
    }
}

#[tokio::test]
async fn actors_that_cannot_be_read_are_refused() {
    let town = Town::new().await;
    let deep = (0..9).fold(Value::Null, |below, n| {
        if below.is_null() { json!({ "sub": "x" }) } else { json!({ "sub": format!("x{n}"), "act": below }) }
    });
    for (what, act) in [
        ("too deep", deep),
        ("a text", json!("planner-client")),
        ("without a subject", json!({ "iss": "https://far.example" })),
        ("a subject that is no text", json!({ "sub": 7 })),
        ("an issuer that is none", json!({ "iss": "far away", "sub": "x" })),
    ] {
        let token = town.alice(json!({ "act": act }));
        town.denied(what, &town.list(&token).await, 401, "token-invalid").await;
    }
}
