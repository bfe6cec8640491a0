//! Token revocation (RFC 7009).

use http::HeaderMap;
use vestibule_containment::{DenyKey, KeyKind, State};
use vestibule_issuer::{NewAgent, OAuthError, Reason, Revocation};
use vestibule_model::{AgentId, Clock as _, Denial};

use crate::{
    holder::Holder,
    support::{Ground, SANDBOX, World, access_token, basic, owned, worker},
};

const ENDPOINT: &str = "https://gw.test/oauth/revoke";

async fn revoke(world: &World, headers: &HeaderMap, token: &str) -> Result<Revocation, OAuthError> {
    let form = owned(&[("token", token), ("token_type_hint", "refresh_token")]);
    world.issuer.revoke(&world.request(headers, &form)).await
}

async fn by_key(world: &World, holder: &Holder) -> Result<Revocation, OAuthError> {
    revoke(world, &world.proof_at(&holder.key, ENDPOINT, Some(&holder.token)), &holder.token).await
}

#[tokio::test]
async fn an_agent_of_the_chain_ends_a_token_and_not_its_node() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let (one, two) = (world.spawn(&root, &[]).await, world.spawn(&root, &[]).await);
    let below = world.spawn(&one, &[]).await;
    let done = revoke(&world, &basic("worker", &secret), &one.token).await.unwrap();
    let report = done.report.unwrap();
    assert_eq!((report.kind, report.state), (KeyKind::Token, State::Revoked));
    assert_eq!(report.id, one.minted.jti.to_string());
    assert_eq!((done.inquiry.agent.as_str(), done.nothing), ("worker", None));
    assert_eq!(world.call(&one), Err(Denial::TokenRevoked));
    assert_eq!((world.call(&two), world.call(&below), world.call(&root)), (Ok(()), Ok(()), Ok(())));
    assert_eq!(world.exchange(&one, &[]).await.unwrap_err().reason, Reason::TokenRevoked);

    let done = by_key(&world, &below).await.unwrap();
    assert_eq!(done.inquiry.agent, below.key.id());
    assert!(done.report.is_some() && done.nonce.is_some());
    assert_eq!(world.call(&below), Err(Denial::TokenRevoked));
    // Again is no error.
    assert!(by_key(&world, &below).await.unwrap().report.is_some());
}

#[tokio::test]
async fn an_expired_token_whose_key_could_renew_it_is_revoked_all_the_same() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    world.clock.advance(std::time::Duration::from_secs(120));
    assert!(revoke(&world, &basic("worker", &secret), &root.token).await.unwrap().report.is_some());
    assert_eq!(world.exchange(&root, &[]).await.unwrap_err().reason, Reason::TokenRevoked);
}

#[tokio::test]
async fn a_revocation_is_kept_until_the_token_is_good_for_nothing() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let bearer = access_token(&world.ask(&secret, &[("resource", SANDBOX)]).await.unwrap());
    let ends =
        || world.judges.containment.list().into_iter().map(|entry| entry.expires_at).collect::<Vec<_>>();
    let minute = std::time::Duration::from_secs(60);
    // Nothing renews it once it has expired.
    revoke(&world, &basic("worker", &secret), &bearer).await.unwrap();
    assert_eq!(ends(), [Some(world.clock.now().plus(minute * 3))]);
    world.clock.advance(minute * 3);
    assert!(ends().is_empty());
    // Its key renews it as long as the node lives.
    revoke(&world, &basic("worker", &secret), &root.token).await.unwrap();
    assert_eq!(ends(), [Some(root.minted.delegation.expires_at.plus(minute))]);
    world.clock.advance(minute * 56);
    assert_eq!(world.exchange(&root, &[]).await.unwrap_err().reason, Reason::TokenRevoked);
}

#[tokio::test]
async fn a_revoked_agent_ends_no_tokens() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let child = world.spawn(&root, &[]).await;
    world.revoke(DenyKey::Agent(AgentId::new("worker").unwrap())).await;
    world.revoke(DenyKey::Agent(child.key.id())).await;
    for answer in [revoke(&world, &basic("worker", &secret), &root.token).await, by_key(&world, &child).await]
    {
        let error = answer.unwrap_err();
        assert_eq!((error.reason, error.status()), (Reason::AgentRevoked, 401));
    }
    assert_eq!(world.judges.containment.list().len(), 2);
}

#[tokio::test]
async fn what_is_no_token_needs_no_revoking() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let client = basic("worker", &secret);
    for rubbish in ["rubbish", "a.b.c"] {
        let done = revoke(&world, &client, rubbish).await.unwrap();
        assert!(done.report.is_none() && done.inquiry.jti.is_none());
        assert_eq!(done.nothing.unwrap().0, Reason::TokenInvalid);
    }
    let bearer = access_token(&world.ask(&secret, &[("resource", SANDBOX)]).await.unwrap());
    world.clock.advance(std::time::Duration::from_secs(120));
    let done = revoke(&world, &client, &bearer).await.unwrap();
    assert_eq!(done.nothing.unwrap().0, Reason::TokenExpired);
    assert!(world.judges.containment.list().is_empty());
}

#[tokio::test]
async fn nobody_else_may() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let other = world.add(NewAgent { id: "other".into(), ..worker() }).await;
    let root = world.root(&secret, &[]).await;
    let child = world.spawn(&root, &[]).await;
    let error = revoke(&world, &basic("other", &other), &root.token).await.unwrap_err();
    assert_eq!((error.reason, error.status()), (Reason::ClientNotOfToken, 400));
    assert_eq!(error.body()["error"], "unauthorized_client");
    assert_eq!(error.agent.unwrap().as_str(), "other");
    for (headers, reason) in [
        (HeaderMap::new(), Reason::ClientMissing),
        (basic("worker", "vst_wrong"), Reason::ClientSecretWrong),
        // A child is not in its parent's chain, and its key is not the parent's.
        (world.proof_at(&child.key, ENDPOINT, Some(&root.token)), Reason::ProofWrongKey),
        (world.proof(&root.key, Some(&root.token)), Reason::ProofInvalid),
    ] {
        assert_eq!(revoke(&world, &headers, &root.token).await.unwrap_err().reason, reason);
    }
    let error = world.issuer.revoke(&world.request(&basic("worker", &secret), &[])).await.unwrap_err();
    assert_eq!(error.reason, Reason::RequestMalformed);
    assert_eq!(world.call(&root), Ok(()));
}
