//! Servers that answer 200 with another token than was asked for.

use serde_json::{Value, json};
use vestibule_model::FaultKind;
use vestibule_testkit::Issue;

use super::{
    world::{World, caller},
    *,
};

fn exchange(with: &str) -> String {
    format!(
        "token-exchange: {{ server: corp, subject: assertion, actor: chain, audience: orders, scopes: {{ default: [read] }}, {with} }}"
    )
}

type Lie = fn(&mut Issue);

/// What the cause of the fault must say of a server that twists its tokens so.
const LIES: [(Lie, &str); 14] = [
    (|it| it.claims["sub"] = json!("somebody"), "in the name of somebody else"),
    (|it| remove(&mut it.claims, "sub"), "in the name of somebody else"),
    // Keycloak.
    (|it| remove(&mut it.claims, "act"), "the server ignores who acts"),
    (|it| it.claims["act"] = json!({ "sub": "root", "act": { "sub": "last" } }), "in another order"),
    (|it| it.claims["act"] = json!({ "sub": "last" }), "with other agents in `act`"),
    (|it| it.claims["act"]["act"]["act"] = json!({ "sub": "x" }), "with other agents in `act`"),
    (|it| it.claims["act"] = json!({ "iss": "x" }), "an `act` that has no `sub`"),
    (|it| it.claims["aud"] = json!("payments"), "for another audience"),
    (|it| remove(&mut it.claims, "aud"), "for another audience"),
    (|it| it.claims["aud"] = json!(["orders", "payments"]), "with 1 scopes or audiences"),
    (|it| it.answer["scope"] = json!("read write admin"), "with 2 scopes or audiences"),
    (|it| it.claims["cnf"] = json!({ "jkt": "x" }), "bound to a key"),
    (
        |it| it.answer["issued_token_type"] = json!("urn:ietf:params:oauth:token-type:refresh_token"),
        "`issued_token_type`",
    ),
    (|it| it.answer["token_type"] = json!("N_A"), "`token_type` Bearer"),
];

fn remove(value: &mut Value, name: &str) {
    value.as_object_mut().unwrap().remove(name);
}

#[tokio::test]
async fn a_token_that_is_not_the_one_that_was_asked_for_is_refused_by_its_claims_and_by_introspection() {
    for check in ["check: claims", "check: introspection"] {
        for (lie, cause) in LIES {
            let world = World::new(&exchange(check)).await;
            world.server.twist(lie);
            let fault = world.fault(caller(Some("u"), &["root", "last"])).await;
            assert_eq!(fault.kind, FaultKind::AuthorizationServerInvalid, "{check}: {fault}");
            assert!(fault.cause.contains(cause), "{check}, {cause}: {fault}");
            assert!(world.upstream.requests().is_empty());
            // None of what the server said of others is told.
            assert!(!fault.cause.contains("somebody\"") && !fault.cause.contains("payments"), "{fault}");
        }
    }
}

#[tokio::test]
async fn honest_answers_pass_and_fewer_scopes_are_no_fault() {
    for check in ["claims", "introspection", "none"] {
        let world = World::new(&exchange(&format!("check: {check}"))).await;
        world.server.twist(|it| it.answer["scope"] = json!(""));
        let access = world.obtain(caller(Some("u"), &["root", "last"])).await.unwrap();
        assert_eq!(access.facts().scopes, Vec::<String>::new());
        assert_eq!(access.facts().wider, Vec::<String>::new());
    }
}

#[tokio::test]
async fn what_is_wider_is_recorded_where_the_operator_lets_it_be() {
    let world = World::new(&exchange("wider: record")).await;
    world.server.twist(|it| {
        it.claims["aud"] = json!(["account", "orders"]);
        it.answer["scope"] = json!("profile read");
    });
    let access = world.obtain(caller(Some("u"), &["root", "last"])).await.unwrap();
    assert_eq!(access.facts().scopes, ["profile", "read"]);
    assert_eq!(access.facts().wider, ["profile", "aud:account"]);
}

#[tokio::test]
async fn scopes_that_only_the_token_tells_are_compared_too() {
    let world = World::new(&exchange("check: claims")).await;
    world.server.twist(|it| {
        remove(&mut it.answer, "scope");
        it.claims["scope"] = json!("read write");
    });
    let fault = world.fault(caller(Some("u"), &["root", "last"])).await;
    assert!(fault.cause.contains("with 1 scopes"), "{fault}");
}

#[tokio::test]
async fn client_credentials_with_more_scopes_than_asked_for_are_refused() {
    let world = World::new("client-credentials: { server: corp, scopes: { default: [read] } }").await;
    world.server.twist(|it| it.answer["scope"] = json!("read admin"));
    assert_eq!(world.fault(caller(None, &["a"])).await.kind, FaultKind::AuthorizationServerInvalid);
}

#[tokio::test]
async fn a_users_token_may_name_who_acted_before() {
    let world = World::new("token-exchange: { server: corp, subject: user-token, actor: chain }").await;
    world.user_token("u", "root");
    world.server.twist(|it| {
        let innermost = it.claims["act"]["act"].clone();
        if innermost.is_null() {
            it.claims["act"]["act"] = json!({ "sub": "portal" });
        }
    });
    let got = world.token(caller(Some("u"), &["root", "last"])).await;
    let claims = vestibule_testkit::TestAuthorizationServer::claims(&got);
    assert_eq!(claims["act"]["act"], json!({ "sub": "root", "act": { "sub": "portal" } }));
}

#[tokio::test]
async fn a_token_that_says_that_it_has_ended_is_not_used() {
    let world = World::new(&exchange("check: claims")).await;
    let past = clock().now().seconds() - 1;
    world.server.twist(move |it| it.claims["exp"] = json!(past));
    assert_eq!(
        world.fault(caller(Some("u"), &["root", "last"])).await.kind,
        FaultKind::AuthorizationServerInvalid
    );
}

#[tokio::test]
async fn an_opaque_token_has_no_claims_and_needs_introspection() {
    let world = World::new(&exchange("check: claims")).await;
    world.server.twist(|it| it.answer["access_token"] = json!("opaque"));
    let fault = world.fault(caller(Some("u"), &["root", "last"])).await;
    assert!(fault.cause.contains("`check: introspection`"), "{fault}");
    let world = World::new(&exchange("check: introspection")).await;
    world.server.twist(|it| it.answer["access_token"] = json!("opaque"));
    let fault = world.fault(caller(Some("u"), &["root", "last"])).await;
    assert!(fault.cause.contains("not active"), "{fault}");
}
