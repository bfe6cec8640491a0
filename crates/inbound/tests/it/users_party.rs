//! Whose token it is. This is what a stolen ID token founders on.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use vestibule_inbound::users::UserTokenError;
use vestibule_model::AgentId;

use crate::users_issuer::{CLIENT, GATEWAY, Realm, worker};

fn agent(id: &str) -> AgentId {
    AgentId::new(id).unwrap()
}

fn names(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

/// `worker` has two names at the issuer, `other` has one, `nameless` has none and `stranger` is not in the list.
async fn realm() -> Realm {
    Realm::with(|config| {
        config.agents = BTreeMap::from([
            (worker(), names(&[CLIENT, "api://worker"])),
            (agent("other"), names(&["other-client"])),
            (agent("nameless"), names(&[])),
        ]);
    })
    .await
}

fn with(mut claims: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

/// Which agents may present an ID token with these claims.
async fn of_id(realm: &Realm, changes: Value) -> Vec<&'static str> {
    presenters(&realm.id(&with(realm.id_claims(), &changes)).await.unwrap())
}

/// Which agents may present an access token with these claims.
async fn of_access(realm: &Realm, changes: Value) -> Vec<&'static str> {
    presenters(&realm.access("at+jwt", &with(realm.access_claims(), &changes)).await.unwrap())
}

fn presenters(token: &vestibule_inbound::users::UserToken) -> Vec<&'static str> {
    // `worker-client` is an agent too: it has the name of the other's client, as its id.
    ["worker", "other", "nameless", "stranger", "worker-client"]
        .into_iter()
        .filter(|id| token.is_for(&agent(id)))
        .collect()
}

#[tokio::test]
async fn an_id_token_is_the_one_clients_that_the_user_logged_in_at() {
    let realm = realm().await;
    for (changes, expected) in [
        (json!({"aud": CLIENT}), vec!["worker"]),
        (json!({"aud": [CLIENT]}), vec!["worker"]),
        (json!({"aud": CLIENT, "azp": CLIENT}), vec!["worker"]),
        (json!({"aud": "other-client", "azp": "other-client"}), vec!["other"]),
        // The user logged in at some web shop, and the token leaked from there.
        (json!({"aud": "web-shop"}), vec![]),
        (json!({"aud": ["web-shop"], "azp": "web-shop"}), vec![]),
        (json!({"aud": ["web-shop", "account"], "azp": "web-shop"}), vec![]),
        // Names are compared whole and byte for byte.
        (json!({"aud": "Worker-Client"}), vec![]),
        (json!({"aud": "worker-client "}), vec![]),
        (json!({"aud": "worker-client2"}), vec![]),
        (json!({"aud": "worker"}), vec![]),
        // The id of an agent at our gateway is no name of it at the issuer.
        (json!({"aud": "stranger"}), vec![]),
        // What an access token names its client by says nothing in an ID token.
        (json!({"aud": "web-shop", "client_id": CLIENT, "cid": CLIENT, "appid": CLIENT}), vec![]),
        (json!({"aud": "nameless", "azp": "nameless"}), vec![]),
    ] {
        assert_eq!(of_id(&realm, changes.clone()).await, expected, "{changes}");
    }
}

#[tokio::test]
async fn in_an_id_token_with_several_audiences_azp_alone_says_whose_it_is() {
    let realm = realm().await;
    for (changes, expected) in [
        (json!({"aud": [CLIENT, "web-shop"], "azp": CLIENT}), vec!["worker"]),
        // The web shop's token: that the agent is named beside it is no login at the agent.
        (json!({"aud": ["web-shop", CLIENT], "azp": "web-shop"}), vec![]),
        (json!({"aud": [CLIENT, "other-client"], "azp": "other-client"}), vec!["other"]),
        (json!({"aud": [CLIENT, CLIENT], "azp": "web-shop"}), vec![]),
    ] {
        assert_eq!(of_id(&realm, changes.clone()).await, expected, "{changes}");
    }
    let unsaid = with(realm.id_claims(), &json!({"aud": [CLIENT, "web-shop"], "client_id": CLIENT}));
    let error = realm.id(&unsaid).await.unwrap_err();
    assert!(matches!(error, UserTokenError::Malformed(_)), "{error}");
}

#[tokio::test]
async fn an_id_token_made_by_one_client_for_another_is_that_of_both() {
    let realm = realm().await;
    // A mobile app logs the user in for its backend: the issuer has named the agent, and nobody beside it.
    assert_eq!(of_id(&realm, json!({"aud": CLIENT, "azp": "mobile-app"})).await, ["worker"]);
    assert_eq!(of_id(&realm, json!({"aud": "backend", "azp": CLIENT})).await, ["worker"]);
}

#[tokio::test]
async fn an_access_token_is_its_clients_or_its_audiences() {
    let realm = realm().await;
    for (changes, expected) in [
        (json!({"aud": ["orders", "account"], "client_id": CLIENT}), vec!["worker"]),
        (json!({"aud": ["orders", "account"], "azp": CLIENT, "client_id": "web-shop"}), vec!["worker"]),
        (json!({"aud": ["orders", "api://worker"], "client_id": "web-shop"}), vec!["worker"]),
        (json!({"aud": "api://worker", "client_id": "other-client"}), vec!["worker", "other"]),
        (json!({"aud": "orders", "client_id": "web-shop"}), vec![]),
        // `azp` stands before `client_id`; what it says is not mended by the other.
        (json!({"aud": "orders", "azp": "web-shop", "client_id": CLIENT}), vec![]),
        (json!({"aud": "worker", "client_id": "stranger"}), vec![]),
    ] {
        assert_eq!(of_access(&realm, changes.clone()).await, expected, "{changes}");
    }
}

#[tokio::test]
async fn the_client_by_which_a_token_is_cut_off_is_the_one_it_was_issued_to() {
    let realm = realm().await;
    for (changes, client) in [
        (json!({"aud": "web-shop"}), "web-shop"),
        (json!({"aud": ["web-shop"]}), "web-shop"),
        (json!({"aud": "backend", "azp": "mobile-app"}), "mobile-app"),
        (json!({"aud": ["backend", "mobile-app"], "azp": "mobile-app"}), "mobile-app"),
        // Not what an access token would say it by.
        (json!({"aud": "web-shop", "client_id": "other", "cid": "other", "appid": "other"}), "web-shop"),
    ] {
        let token = realm.id(&with(realm.id_claims(), &changes)).await.unwrap();
        assert_eq!(token.user.client.as_deref(), Some(client), "{changes}");
    }

    let mut claims = with(
        realm.access_claims(),
        &json!({"azp": "by-azp", "client_id": "by-client-id", "cid": "by-cid", "appid": "by-appid"}),
    );
    for (name, client) in
        [("azp", "by-azp"), ("client_id", "by-client-id"), ("cid", "by-cid"), ("appid", "by-appid")]
    {
        let token = realm.access("at+jwt", &claims).await.unwrap();
        assert_eq!(token.user.client.as_deref(), Some(client));
        claims.as_object_mut().unwrap().shift_remove(name).unwrap();
    }
    // An audience is not who asked for an access token.
    assert_eq!(realm.access("at+jwt", &claims).await.unwrap().user.client, None);
}

#[tokio::test]
async fn may_act_names_an_agent_of_ours_only_where_it_says_that_it_is_ours() {
    let realm = realm().await;
    let issuer = realm.issuer.identifier.clone();
    for (may_act, expected) in [
        (json!({"sub": "worker", "iss": GATEWAY}), vec!["worker"]),
        (json!({"sub": "stranger", "iss": GATEWAY}), vec!["stranger"]),
        (json!({"sub": "worker-client", "iss": GATEWAY}), vec!["worker-client"]),
        // Without `iss` it is a name in the world of the user's issuer.
        (json!({"sub": CLIENT}), vec!["worker"]),
        (json!({"sub": "other-client"}), vec!["other"]),
        (json!({"sub": "worker"}), vec![]),
        (json!({"sub": "stranger"}), vec![]),
        (json!({"sub": CLIENT, "iss": issuer}), vec!["worker"]),
        (json!({"sub": "worker", "iss": issuer}), vec![]),
        // Another issuer, and spellings that are not ours.
        (json!({"sub": "worker", "iss": "https://evil.example"}), vec![]),
        (json!({"sub": CLIENT, "iss": "https://evil.example"}), vec![]),
        (json!({"sub": "worker", "iss": format!("{GATEWAY}/")}), vec![]),
        (json!({"sub": "worker", "iss": GATEWAY.to_uppercase()}), vec![]),
        (json!({"sub": "Worker", "iss": GATEWAY}), vec![]),
    ] {
        let stolen = json!({"aud": "web-shop", "azp": "web-shop", "may_act": may_act});
        assert_eq!(of_id(&realm, stolen).await, expected, "{may_act}");
        let stolen = json!({"aud": "orders", "client_id": "web-shop", "may_act": may_act});
        assert_eq!(of_access(&realm, stolen).await, expected, "{may_act}");
        // It adds an actor and takes none away.
        let own = of_id(&realm, json!({"aud": "other-client", "may_act": may_act})).await;
        assert!(own.contains(&"other") && expected.iter().all(|id| own.contains(id)), "{may_act}");
    }
}

#[tokio::test]
async fn a_may_act_that_does_not_say_who_is_refused() {
    let realm = realm().await;
    for may_act in [
        json!({}),
        json!({"iss": GATEWAY}),
        json!({"client_id": "worker"}),
        json!({"sub": ["worker"], "iss": GATEWAY}),
        json!({"sub": "worker", "iss": null}),
        json!({"sub": "worker", "iss": 7}),
        json!({"sub": ""}),
        json!([{"sub": "worker", "iss": GATEWAY}]),
        json!("worker"),
        json!(null),
    ] {
        let error = realm.id(&with(realm.id_claims(), &json!({"may_act": may_act}))).await.unwrap_err();
        assert!(matches!(error, UserTokenError::Malformed(_)), "{may_act}: {error}");
    }
}

#[tokio::test]
async fn an_agents_names_at_one_issuer_say_nothing_at_another() {
    let (a, b) = (realm().await, Realm::with(|config| config.agents.clear()).await);

    assert!(a.id(&a.id_claims()).await.unwrap().is_for(&worker()));
    assert!(!b.id(&b.id_claims()).await.unwrap().is_for(&worker()));
}
