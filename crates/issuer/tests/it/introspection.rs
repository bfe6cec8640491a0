//! Token introspection (RFC 7662).

use http::HeaderMap;
use serde_json::{Value, json};
use vestibule_containment::{DenyKey, Reason as OrderReason, State};
use vestibule_issuer::{Introspection, NewAgent, OAuthError, Reason};
use vestibule_model::AgentId;
use vestibule_store::{Kind, Op, Put};

use crate::{
    holder::Holder,
    support::{Ground, ISSUER, SANDBOX, World, access_token, basic, owned, worker},
};

const ENDPOINT: &str = "https://gw.test/oauth/introspect";

async fn ask(world: &World, headers: &HeaderMap, token: &str) -> Result<Introspection, OAuthError> {
    let form = owned(&[("token", token), ("token_type_hint", "refresh_token")]);
    world.issuer.introspect(&world.request(headers, &form)).await
}

/// With a proof of the holder's own key.
async fn by_key(world: &World, holder: &Holder, token: &str) -> Result<Introspection, OAuthError> {
    ask(world, &world.proof_at(&holder.key, ENDPOINT, Some(token)), token).await
}

fn inactive() -> Value {
    json!({"active": false})
}

/// Why the answer says no.
fn why(answer: &Introspection) -> Option<Reason> {
    answer.inactive.as_ref().map(|(reason, _)| *reason)
}

#[tokio::test]
async fn an_agent_of_the_chain_learns_what_the_token_is_good_for() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let list = json!([{"type": "vestibule_operations", "operations": {"list": {}}}]).to_string();
    let root = world.root(&secret, &[]).await;
    let asked = [("scope", "repo:read repo:write"), ("authorization_details", list.as_str())];
    let child = world.spawn(&root, &asked).await;
    let expected = json!({
        "active": true, "iss": ISSUER, "sub": "worker", "client_id": child.key.id(), "aud": SANDBOX,
        "jti": child.minted.jti, "iat": world.now(), "exp": world.now() + 120, "token_type": "DPoP",
        "cnf": {"jkt": child.key.thumbprint()}, "act": {"iss": ISSUER, "sub": child.key.id()},
        "scope": "repo:read repo:write",
        "authorization_details":
            [{"type": "vestibule_operations", "locations": [SANDBOX], "operations": {"list": {}}}],
    });
    let by_client = ask(&world, &basic("worker", &secret), &child.token).await.unwrap();
    assert_eq!(by_client.body, expected);
    assert_eq!(by_client.inquiry.agent.as_str(), "worker");
    assert_eq!(by_client.inquiry.jti, Some(child.minted.jti.clone()));
    assert_eq!(by_client.inquiry.node, Some(child.minted.delegation.id.clone()));
    assert_eq!((by_client.inactive, by_client.nonce), (None, None));
    let by_key = by_key(&world, &child, &child.token).await.unwrap();
    assert_eq!((by_key.body, by_key.inquiry.agent), (expected, child.key.id()));
    assert!(by_key.nonce.is_some());
}

#[tokio::test]
async fn a_bearer_token_is_described_too() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let token = access_token(&world.ask(&secret, &[("resource", SANDBOX)]).await.unwrap());
    let body = ask(&world, &basic("worker", &secret), &token).await.unwrap().body;
    assert_eq!((&body["active"], &body["token_type"]), (&json!(true), &json!("Bearer")));
    assert_eq!((body.get("cnf"), body.get("act"), body.get("vst")), (None, None, None));
}

#[tokio::test]
async fn to_whom_it_does_not_concern_a_token_is_as_if_it_never_was() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let other = world.add(NewAgent { id: "other".into(), ..worker() }).await;
    let root = world.root(&secret, &[]).await;
    let child = world.spawn(&root, &[]).await;
    let stranger = basic("other", &other);
    let answer = ask(&world, &stranger, &child.token).await.unwrap();
    assert_eq!((&answer.body, why(&answer)), (&inactive(), Some(Reason::ClientNotOfToken)));
    for rubbish in ["rubbish", "a.b.c", &child.token[1..], &"x".repeat(10_000)] {
        let answer = ask(&world, &stranger, rubbish).await.unwrap();
        assert_eq!((&answer.body, &answer.inquiry.jti), (&inactive(), &None));
        assert!(why(&answer).is_some());
    }
}

#[tokio::test]
async fn who_does_not_say_who_they_are_gets_no_answer() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let (root, other) = (world.root(&secret, &[]).await, world.root(&secret, &[]).await);
    let bearer = access_token(&world.ask(&secret, &[("resource", SANDBOX)]).await.unwrap());
    for (headers, token, reason) in [
        (HeaderMap::new(), &root.token, Reason::ClientMissing),
        (basic("worker", "vst_wrong"), &root.token, Reason::ClientSecretWrong),
        (world.proof_at(&other.key, ENDPOINT, Some(&root.token)), &root.token, Reason::ProofWrongKey),
        (world.proof_at(&root.key, ENDPOINT, Some(&other.token)), &root.token, Reason::ProofInvalid),
        (world.proof(&root.key, Some(&root.token)), &root.token, Reason::ProofInvalid),
        (world.proof_at(&root.key, ENDPOINT, Some(&bearer)), &bearer, Reason::ClientMissing),
        (world.proof_at(&root.key, ENDPOINT, Some("rubbish")), &"rubbish".to_owned(), Reason::ClientMissing),
    ] {
        let error = ask(&world, &headers, token).await.unwrap_err();
        assert_eq!(error.reason, reason);
    }
    let error = world.issuer.introspect(&world.request(&HeaderMap::new(), &[])).await.unwrap_err();
    assert_eq!((error.reason, error.status()), (Reason::ClientMissing, 401));
    let error = world.issuer.introspect(&world.request(&basic("worker", &secret), &[])).await.unwrap_err();
    assert_eq!((error.reason, error.status()), (Reason::RequestMalformed, 400));
}

#[tokio::test]
async fn what_the_door_would_refuse_is_not_active() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let child = world.spawn(&root, &[]).await;
    let client = basic("worker", &secret);
    world.revoke(DenyKey::Token(child.minted.jti.clone())).await;
    let answer = ask(&world, &client, &child.token).await.unwrap();
    assert_eq!((&answer.body, why(&answer)), (&inactive(), Some(Reason::TokenRevoked)));
    assert_eq!(by_key(&world, &child, &child.token).await.unwrap().body, inactive());

    let below = world.spawn(&root, &[]).await;
    world.revoke(DenyKey::Delegation(root.minted.delegation.id.clone())).await;
    let answer = ask(&world, &client, &below.token).await.unwrap();
    assert_eq!((&answer.body, why(&answer)), (&inactive(), Some(Reason::DelegationRevoked)));

    let fresh = world.root(&secret, &[]).await;
    let bearer = access_token(&world.ask(&secret, &[("resource", SANDBOX)]).await.unwrap());
    world.clock.advance(std::time::Duration::from_secs(120));
    for token in [&fresh.token, &bearer] {
        let answer = ask(&world, &client, token).await.unwrap();
        assert_eq!((&answer.body, why(&answer)), (&inactive(), Some(Reason::TokenExpired)));
    }
    // Its key still says who asks.
    assert_eq!(by_key(&world, &fresh, &fresh.token).await.unwrap().body, inactive());
}

#[tokio::test]
async fn a_rotated_key_leaves_its_tokens_active() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let key = DenyKey::Credential(root.key.thumbprint());
    world.order(key, State::Revoked, OrderReason::Superseded, None).await;
    assert_eq!(world.call(&root), Ok(()));
    assert_eq!(ask(&world, &basic("worker", &secret), &root.token).await.unwrap().body["active"], true);
}

#[tokio::test]
async fn a_revoked_agent_learns_nothing() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    world.revoke(DenyKey::Agent(AgentId::new("worker").unwrap())).await;
    let error = ask(&world, &basic("worker", &secret), &root.token).await.unwrap_err();
    assert_eq!((error.reason, error.status()), (Reason::AgentRevoked, 401));
}

#[tokio::test]
async fn a_token_is_not_active_while_an_agent_above_is_out_of_use_or_gone() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let child = world.spawn(&root, &[]).await;
    assert_eq!(by_key(&world, &child, &child.token).await.unwrap().body["active"], true);
    let record = world.store.get(Kind::Agent, "worker").await.unwrap().unwrap();
    let mut agent = record.decode::<Value>().unwrap();
    agent["state"] = json!("retired");
    let retired = Op::Put(Put::new(Kind::Agent, "worker", &agent).unwrap());
    let gone = Op::Delete { kind: Kind::Agent, key: "worker".into() };
    for (op, reason) in [(retired, Reason::AgentRetired), (gone, Reason::AgentUnknown)] {
        world.store.commit(vec![op]).await.unwrap();
        world.caught_up().await;
        for holder in [&child, &root] {
            let answer = by_key(&world, holder, &holder.token).await.unwrap();
            assert_eq!((&answer.body, why(&answer)), (&inactive(), Some(reason)));
        }
    }
}

#[tokio::test]
async fn the_caller_and_the_called_may_ask_about_the_token_between_them() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let called = world.add(NewAgent { id: "helper".into(), ..worker() }).await;
    let other = world.add(NewAgent { id: "other".into(), ..worker() }).await;
    let root = world.root(&secret, &[]).await;
    let caller = world.caller(&root);
    let call = world.attempt();
    let path = vestibule_containment::Path {
        jti: None,
        issued_at: caller.token().issued_at,
        agents: caller.chain().actors(),
        nodes: &caller.token().nodes,
        user: None,
        behind: None,
        app: None,
        calls: &[],
    };
    let passage = world.judges.containment.admit(&path, call).unwrap();
    let (agent, life) = (AgentId::new("helper").unwrap(), std::time::Duration::from_secs(60));
    let token = world.issuer.call_token(&caller, &agent, call, life).unwrap();
    let token = secrecy::ExposeSecret::expose_secret(&token).to_owned();
    for (id, secret, active) in
        [("worker", &secret, true), ("helper", &called, true), ("other", &other, false)]
    {
        let body = ask(&world, &basic(id, secret), &token).await.unwrap().body;
        assert_eq!(body["active"], active, "{id}");
        if active {
            assert_eq!((&body["aud"], body.get("token_type")), (&json!("helper"), None));
        }
    }
    drop(passage);
    let answer = ask(&world, &basic("helper", &called), &token).await.unwrap();
    assert_eq!((&answer.body, why(&answer)), (&inactive(), Some(Reason::CallEnded)));
    assert!(!format!("{answer:?}").contains(&token[..40]));
}

#[tokio::test]
async fn a_proof_is_used_once_here_too() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let headers = world.proof_at(&root.key, ENDPOINT, Some(&root.token));
    assert!(ask(&world, &headers, &root.token).await.is_ok());
    assert_eq!(ask(&world, &headers, &root.token).await.unwrap_err().reason, Reason::ProofReplayed);
}
