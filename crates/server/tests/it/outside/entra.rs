//! Tokens of Entra, with and without agent identities.

use serde_json::{Value, json};

use super::{ENTRA_CLIENT, Town};

const ALICE: &str = "0a11ce00-0000-4000-8000-000000000001";

#[tokio::test]
async fn a_human_is_their_object_in_the_tenant() {
    let town = Town::new().await;
    let with = json!({ "groups": ["developers"] });
    let token = town.entra.entra(ALICE, ENTRA_CLIENT, town.now(), &with);
    let record = town.served(&town.list(&token).await, &token).await;
    assert_eq!(record["user"], json!({ "issuer": town.entra.id(), "subject": ALICE }));
    assert_eq!(record["agent"], "planner");
    assert!(record["token"].as_str().unwrap().starts_with(&format!("{}#", town.entra.id())), "{record}");
    // Version 1 says `appid`; without the optional `idtyp`, only a delegated token has scopes.
    let old = json!({
        "groups": ["developers"], "appid": ENTRA_CLIENT, "azp": null, "appidacr": "2", "azpacr": null, "idtyp": null,
    });
    let token = town.entra.entra(ALICE, ENTRA_CLIENT, town.now(), &old);
    let record = town.served(&town.list(&token).await, &token).await;
    assert_eq!(record["user"]["subject"], ALICE);
}

#[tokio::test]
async fn an_application_and_an_agents_own_account_are_no_humans() {
    let town = Town::new().await;
    let alone = |with: Value| town.entra.entra(ALICE, ENTRA_CLIENT, town.now(), &with);
    for with in [
        json!({ "idtyp": "app", "scp": null, "roles": ["Tools.Call"], "oid": ENTRA_CLIENT, "sub": ENTRA_CLIENT }),
        json!({ "idtyp": null, "scp": "/", "roles": ["Tools.Call"], "oid": "o", "sub": "o" }),
        json!({ "xms_sub_fct": "13", "idtyp": "user" }),
        json!({ "xms_sub_fct": "7 11", "idtyp": "app" }),
    ] {
        let token = alone(with.clone());
        let record = town.served(&town.list(&token).await, &token).await;
        assert_eq!((&record["agent"], &record["user"]), (&json!("planner"), &Value::Null), "{with}");
    }
}

#[tokio::test]
async fn what_entra_leaves_open_is_refused() {
    let town = Town::new().await;
    let with = |with: Value| town.entra.entra(ALICE, ENTRA_CLIENT, town.now(), &with);
    for (what, claims, code) in [
        ("neither a human nor an application", json!({ "idtyp": null, "scp": null }), "token-invalid"),
        ("a kind of subject that is new", json!({ "idtyp": "robot" }), "token-invalid"),
        ("another tenant", json!({ "tid": "00000000-0000-4000-8000-000000000000" }), "token-invalid"),
        ("no tenant", json!({ "tid": null }), "token-invalid"),
        ("no object", json!({ "oid": null }), "token-invalid"),
        ("two clients", json!({ "appid": "other" }), "token-invalid"),
        ("for somebody else", json!({ "aud": "api://else" }), "token-wrong-audience"),
        ("an application that is no agent", json!({ "azp": "nobody" }), "agent-unknown"),
        (
            "an agent only by its blueprint",
            json!({ "azp": "b1ee5e7f-0000-4000-8000-000000000001" }),
            "agent-unknown",
        ),
    ] {
        let token = with(claims);
        town.denied(what, &town.list(&token).await, 401, code).await;
    }
}

#[tokio::test]
async fn the_same_human_is_one_whether_their_token_is_presented_or_exchanged() {
    let town = Town::new().await;
    let token = town.entra.entra(ALICE, ENTRA_CLIENT, town.now(), &json!({ "groups": ["developers"] }));
    let presented = town.served(&town.list(&token).await, &token).await;
    let reply = town.exchange(&token).await;
    let exchanged = town.gateway.attempt_of(&reply).await;
    assert_eq!(exchanged["user"], presented["user"]);
    let ours = reply.json()["access_token"].as_str().unwrap().to_owned();
    town.served(&town.list(&ours).await, &token).await;
    town.gateway.revoke("user", &format!("{}#{ALICE}", town.entra.id())).await;
    town.denied("presented", &town.list(&token).await, 401, "user-revoked").await;
    town.denied("exchanged", &town.list(&ours).await, 401, "user-revoked").await;
    let app = json!({ "idtyp": "app", "scp": null, "scope": "x" });
    let token = town.entra.entra(ENTRA_CLIENT, ENTRA_CLIENT, town.now(), &app);
    let reply = town.exchange(&token).await;
    town.no_token("an application", &reply, "invalid_request", "user-token-not-a-user").await;
}
