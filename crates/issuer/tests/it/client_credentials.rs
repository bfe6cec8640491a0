use serde_json::json;
use vestibule_containment::DenyKey;
use vestibule_issuer::{NewAgent, Reason};
use vestibule_model::{AgentId, Denial};
use vestibule_store::{Kind, Op, Put};

use crate::support::{BILLING, Ground, ISSUER, SANDBOX, World, access_token, app, payload, set, worker};

const RESOURCE: (&str, &str) = ("resource", SANDBOX);

#[tokio::test]
async fn a_token_says_who_for_what_and_under_which_node_and_opens_that_door_only() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let response = world.ask(&secret, &[RESOURCE, ("scope", "repo:read")]).await.unwrap();
    let body = response.body();
    assert_eq!(
        (&body["token_type"], &body["expires_in"], &body["scope"]),
        (&json!("Bearer"), &json!(120), &json!("repo:read"))
    );
    let minted = &response.minted;
    let node = &minted.delegation;
    assert_eq!(
        payload(&access_token(&response)),
        json!({
            "iss": ISSUER, "sub": "worker", "aud": SANDBOX, "client_id": "worker",
            "jti": minted.jti, "iat": world.now(), "exp": world.now() + 120,
            "scope": "repo:read", "acti": node.workflow,
            "vst": {"rev": 2, "node": node.id, "path": [node.id], "since": [world.now()], "keys": [[]],
                "depth": 1, "max_depth": 4, "node_exp": world.now() + 3600},
        })
    );
    let caller = world.present(&response, SANDBOX).unwrap();
    assert_eq!(caller.token().nodes, node.path);
    assert_eq!((&caller.token().jti, &caller.token().workflow), (&minted.jti, &node.workflow));
    assert_eq!(world.present(&response, BILLING).unwrap_err(), Denial::TokenWrongAudience);
}

#[tokio::test]
async fn a_scope_is_at_most_what_the_agent_may_have() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    for (asked, granted) in [
        (vec![], "profile repo:read repo:write"),
        (vec![("scope", "")], "profile repo:read repo:write"),
        (vec![("scope", "repo:write repo:read")], "repo:read repo:write"),
    ] {
        let response = world.ask(&secret, &[vec![RESOURCE], asked].concat()).await.unwrap();
        assert_eq!(response.body()["scope"], granted);
    }
    for asked in
        ["admin", "repo:read admin", "repo:read  repo:write", " ", "REPO:READ", "repo:read\trepo:write"]
    {
        let error = world.ask(&secret, &[RESOURCE, ("scope", asked)]).await.unwrap_err();
        assert_eq!((error.reason, error.status()), (Reason::ScopeNotAllowed, 400), "{asked}");
        assert_eq!(error.body()["error"], "invalid_scope");
        assert_eq!(error.agent.unwrap().as_str(), "worker");
    }
}

#[tokio::test]
async fn without_a_scope_there_is_no_scope_in_answer_and_token() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(NewAgent { scopes: set(&[]), ..worker() }).await;
    let response = world.ask(&secret, &[RESOURCE]).await.unwrap();
    assert_eq!(response.body().get("scope"), None);
    assert!(world.present(&response, SANDBOX).unwrap().token().scopes.is_empty());
}

#[tokio::test]
async fn a_claim_is_in_the_token_only_if_a_granted_scope_shows_it() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    for (scope, expected) in [
        ("repo:read", json!({})),
        ("repo:write", json!({"role": ["builder", "reader"]})),
        ("profile repo:write", json!({"department": ["platform"], "role": ["builder", "reader"]})),
    ] {
        let response = world.ask(&secret, &[RESOURCE, ("scope", scope)]).await.unwrap();
        let caller = world.present(&response, SANDBOX).unwrap();
        assert_eq!(serde_json::to_value(&caller.token().claims).unwrap(), expected, "{scope}");
    }
}

#[tokio::test]
async fn a_token_is_for_exactly_one_resource_in_the_words_of_the_configuration() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    for same in [SANDBOX, "HTTPS://GW.TEST/apps/sandbox/mcp", "https://gw.test/apps/sandbox/mcp/"] {
        let response = world.ask(&secret, &[("resource", same)]).await.unwrap();
        assert_eq!(response.minted.delegation.resource, SANDBOX);
    }
    for (resources, reason) in [
        (vec![], Reason::TargetMissing),
        (vec![("resource", "")], Reason::TargetMissing),
        (vec![("resource", SANDBOX), ("resource", BILLING)], Reason::TargetRepeated),
        (vec![("resource", SANDBOX), ("resource", SANDBOX)], Reason::TargetRepeated),
        (vec![("resource", "https://gw.test/apps/other/mcp")], Reason::TargetNotAllowed),
        (vec![("resource", "https://gw.test/apps/sandbox/mcp#x")], Reason::TargetNotAllowed),
        (vec![("resource", "https://evil.test/apps/sandbox/mcp")], Reason::TargetNotAllowed),
        (vec![("resource", "sandbox")], Reason::TargetNotAllowed),
    ] {
        let error = world.ask(&secret, &resources).await.unwrap_err();
        assert_eq!(error.reason, reason, "{resources:?}");
        assert_eq!(error.body()["error"], "invalid_target");
    }
}

#[tokio::test]
async fn an_agent_of_one_application_need_not_name_it_and_gets_no_other() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(NewAgent { apps: [app("billing")].into(), ..worker() }).await;
    assert_eq!(world.ask(&secret, &[]).await.unwrap().minted.delegation.resource, BILLING);
    assert_eq!(world.refused(&secret, &[RESOURCE]).await, Reason::TargetNotAllowed);
}

#[tokio::test]
async fn a_gateway_with_one_application_needs_no_name_for_it() {
    let ground = Ground::new();
    let world = World::with(&ground, &["sandbox"], 1).await;
    let secret = world.add(worker()).await;
    assert_eq!(world.ask(&secret, &[]).await.unwrap().minted.delegation.resource, SANDBOX);
}

#[tokio::test]
async fn another_grant_a_missing_one_and_a_repeated_parameter_are_refused() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let headers = crate::support::basic("worker", &secret);
    for grant in ["password", "authorization_code", "CLIENT_CREDENTIALS"] {
        let error = world.token(&headers, &[("grant_type", grant)]).await.unwrap_err();
        assert_eq!(error.body()["error"], "unsupported_grant_type");
        assert_eq!(error.agent.unwrap().as_str(), "worker");
    }
    assert_eq!(world.token(&headers, &[RESOURCE]).await.unwrap_err().reason, Reason::RequestMalformed);
    for twice in [("scope", "repo:read"), ("grant_type", "client_credentials"), ("unknown", "")] {
        assert_eq!(world.refused(&secret, &[RESOURCE, twice, twice]).await, Reason::RequestMalformed);
    }
    assert!(world.ask(&secret, &[RESOURCE, ("unknown", "x")]).await.is_ok());
}

#[tokio::test]
async fn a_revoked_agent_gets_no_token() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    world.revoke(DenyKey::Agent(AgentId::new("worker").unwrap())).await;
    let error = world.ask(&secret, &[RESOURCE]).await.unwrap_err();
    assert_eq!((error.reason, error.status()), (Reason::AgentRevoked, 401));
    assert_eq!(error.agent.unwrap().as_str(), "worker");
}

#[tokio::test]
async fn a_retired_agent_gets_no_token() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let mut agent =
        world.store.get(Kind::Agent, "worker").await.unwrap().unwrap().decode::<serde_json::Value>().unwrap();
    agent["state"] = json!("retired");
    world.store.commit(vec![Op::Put(Put::new(Kind::Agent, "worker", &agent).unwrap())]).await.unwrap();
    world.caught_up().await;
    assert_eq!(world.refused(&secret, &[RESOURCE]).await, Reason::AgentRetired);
}

#[tokio::test]
async fn a_token_is_as_long_for_an_application_with_a_thousand_neighbours_as_for_a_lonely_one() {
    let many: Vec<String> = (0..1000).map(|n| format!("app-{n:04}")).collect();
    let mut lengths = Vec::new();
    for apps in [vec!["sandbox"], many.iter().map(String::as_str).chain(["sandbox"]).collect()] {
        let ground = Ground::new();
        let world = World::with(&ground, &apps, 1).await;
        let apps = apps.iter().map(|id| app(id)).collect();
        let secret = world.add(NewAgent { apps, ..worker() }).await;
        lengths.push(access_token(&world.ask(&secret, &[RESOURCE]).await.unwrap()).len());
    }
    assert_eq!(lengths[0], lengths[1]);
    assert!(lengths[0] < 1000, "{lengths:?}");
}

#[tokio::test]
async fn the_largest_agent_that_can_be_registered_still_gets_a_token_that_is_read() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let scopes: Vec<String> = (0..59).map(|n| format!("scope-{n:08}")).collect();
    let mut scopes = set(&scopes.iter().map(String::as_str).collect::<Vec<_>>());
    scopes.insert("profile".into());
    let values: Vec<String> = (0..20).map(|n| format!("{n:096}")).collect();
    let claims = [("role".to_owned(), set(&values.iter().map(String::as_str).collect::<Vec<_>>()))];
    let secret = world.add(NewAgent { scopes, claims: claims.into(), ..worker() }).await;
    let response = world.ask(&secret, &[RESOURCE]).await.unwrap();
    assert_eq!(world.present(&response, SANDBOX).unwrap().token().claims["role"].len(), 20);
}
