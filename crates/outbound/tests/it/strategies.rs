//! What each strategy tells the server.

use serde_json::{Value, json};
use vestibule_model::{Denial, Stop};
use vestibule_outbound::EndpointsConfig;
use vestibule_testkit::TestAuthorizationServer;

use super::{
    world::{World, caller},
    *,
};

fn claims(token: &str) -> Value {
    TestAuthorizationServer::claims(token)
}

#[tokio::test]
async fn client_credentials_ask_for_what_is_configured_and_say_nothing_of_the_caller() {
    let strategy = "client-credentials: { server: corp, audience: orders, resource: 'https://orders.test/', scopes: { default: [a, b] } }";
    let world = World::new(strategy).await;
    world.server.twist(|issue| issue.claims["aud"] = json!("orders"));
    let access = world.obtain(caller(Some("u"), &["agent"])).await.unwrap();
    let facts = access.facts();
    assert_eq!((facts.strategy, facts.server.as_deref()), ("client-credentials", Some("corp")));
    assert_eq!(facts.scopes, ["a", "b"]);
    let form = &world.server.asked()[0];
    let expected = [
        ("audience", "orders"),
        ("grant_type", "client_credentials"),
        ("resource", "https://orders.test/"),
        ("scope", "a b"),
    ];
    assert_eq!(form.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn an_exchange_by_our_word_tells_the_user_in_the_subject_and_the_agents_in_their_order() {
    let world =
        World::new("token-exchange: { server: corp, subject: assertion, actor: chain, audience: orders }")
            .await;
    let got = claims(&world.token(caller(Some("u"), &["root", "middle", "last"])).await);
    assert_eq!(got["sub"], "u");
    assert_eq!(
        got["act"],
        json!({ "sub": "last", "act": { "iss": "https://gateway.test", "sub": "middle",
        "act": { "iss": "https://gateway.test", "sub": "root" } } })
    );

    let form = &world.server.asked()[0];
    assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:token-exchange");
    assert_eq!(form["requested_token_type"], "urn:ietf:params:oauth:token-type:access_token");
    for name in ["subject_token_type", "actor_token_type"] {
        assert_eq!(form[name], "urn:ietf:params:oauth:token-type:jwt");
    }
    let (subject, actor) = (claims(&form["subject_token"]), claims(&form["actor_token"]));
    assert_eq!(subject["sub_id"], json!({ "format": "iss_sub", "iss": "https://idp.test", "sub": "u" }));
    for told in [&subject, &actor] {
        assert_eq!(told["iss"], "https://gateway.test");
        assert_eq!(told["aud"], world.server.issuer());
        assert_eq!(told["exp"].as_i64().unwrap() - told["iat"].as_i64().unwrap(), 60);
        assert!(told.get("client_id").is_none());
    }
    assert_ne!(subject["jti"], actor["jti"]);
    assert_eq!(actor["sub"], "last");
}

#[tokio::test]
async fn only_the_agents_that_the_configuration_names_are_told() {
    for (actor, act) in [("none", Value::Null), ("agent", json!({ "sub": "last" }))] {
        let strategy = format!("token-exchange: {{ server: corp, subject: assertion, actor: {actor} }}");
        let world = World::new(&strategy).await;
        let got = claims(&world.token(caller(Some("u"), &["root", "last"])).await);
        assert_eq!((got["sub"].as_str(), &got["act"]), (Some("u"), &act), "{actor}");
    }
}

#[tokio::test]
async fn with_the_users_own_token_a_chain_takes_an_exchange_for_each_agent_and_those_before_are_kept() {
    let world = World::new("token-exchange: { server: corp, subject: user-token, actor: chain }").await;
    let users = world.user_token("u", "root");
    let got = claims(&world.token(caller(Some("u"), &["root", "middle", "last"])).await);
    assert_eq!(got["act"], json!({ "sub": "last", "act": { "sub": "middle", "act": { "sub": "root" } } }));
    let asked = world.server.asked();
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[0]["subject_token"], users);
    let actors: Vec<_> = asked.iter().map(|form| claims(&form["actor_token"])["sub"].clone()).collect();
    assert_eq!(actors, ["root", "middle", "last"]);

    // A sibling of the last begins where the others were, and so does the one in the middle.
    world.token(caller(Some("u"), &["root", "middle", "other"])).await;
    world.token(caller(Some("u"), &["root", "middle"])).await;
    assert_eq!(world.asked(), 4);
}

#[tokio::test]
async fn a_user_whose_token_is_not_at_hand_is_asked_for_a_fresh_one() {
    let world = World::new("token-exchange: { server: corp, subject: user-token, actor: agent }").await;
    let Err(Stop::Denied(refusal)) = world.obtain(caller(Some("u"), &["a"])).await else { panic!("refused") };
    assert_eq!(refusal.denial, Denial::UserRequired);
    assert!(refusal.hints[0].contains("a fresh token of the user"), "{:?}", refusal.hints);
    assert_eq!(world.asked(), 0);
}

#[tokio::test]
async fn the_kind_of_the_users_token_is_what_the_configuration_says() {
    let strategy =
        "token-exchange: { server: corp, subject: user-token, subject_token_type: id-token, actor: agent }";
    let world = World::new(strategy).await;
    world.user_token("u", "a");
    world.token(caller(Some("u"), &["a"])).await;
    assert_eq!(world.server.asked()[0]["subject_token_type"], "urn:ietf:params:oauth:token-type:id_token");
}

#[tokio::test]
async fn a_bearer_grant_rests_on_our_word_about_the_user_and_all_agents() {
    let world = World::new("jwt-bearer: { server: corp, scopes: { default: [read] } }").await;
    let got = claims(&world.token(caller(Some("u"), &["root", "last"])).await);
    assert_eq!(
        (&got["sub"], &got["act"]["sub"], &got["act"]["act"]["sub"]),
        (&json!("u"), &json!("last"), &json!("root"))
    );
    let form = &world.server.asked()[0];
    assert_eq!(form["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
    assert_eq!(claims(&form["assertion"])["aud"], world.server.issuer());
    assert!(matches!(world.obtain(caller(None, &["root"])).await, Err(Stop::Denied(_))));
}

#[tokio::test]
async fn a_bearer_grant_for_agents_names_no_user() {
    let world = World::new("jwt-bearer: { server: corp, subject: agent }").await;
    let got = claims(&world.token(caller(Some("u"), &["root", "last"])).await);
    assert_eq!((&got["sub"], &got["act"]["sub"]), (&json!("root"), &json!("last")));
    assert!(world.obtain(caller(None, &["root"])).await.is_ok());
}

#[tokio::test]
async fn the_gateways_own_questions_go_without_a_token_unless_it_is_said_otherwise() {
    for (own, expected) in [("", None), (", own: client-credentials", Some("client_credentials"))] {
        let strategy = format!("token-exchange: {{ server: corp, subject: assertion, actor: chain{own} }}");
        let world = World::new(&strategy).await;
        let access = world.outbound.obtain_own(&app()).await.unwrap();
        world.outbound.call(access, plain()).await.unwrap();
        let asked = world.server.asked();
        assert_eq!(asked.first().map(|form| form["grant_type"].as_str()), expected);
        let is_sent = world.upstream.requests()[0].headers.contains_key("authorization");
        assert_eq!(is_sent, expected.is_some());
        // And what answers them never answers for a caller.
        assert!(matches!(world.obtain(caller(None, &["a"])).await, Err(Stop::Denied(_))));
    }
}

#[tokio::test]
async fn the_users_own_token_is_shown_to_its_issuer_and_to_nobody_else() {
    let strategy = "token-exchange: { server: corp, subject: user-token, actor: agent }";
    for world in [
        World::with(strategy, |_| {}).await,
        World::with(strategy, |config| {
            let EndpointsConfig::Given { issuer, .. } = &mut config.endpoints else { panic!("given") };
            *issuer = None;
        })
        .await,
    ] {
        world.user_token("alice", "a");
        let refused = world.obtain(caller(Some("alice"), &["a"])).await.unwrap_err();
        assert!(matches!(refused, Stop::Denied(refusal) if refusal.denial == Denial::UserRequired));
        assert_eq!(world.asked(), 0);
    }
}
