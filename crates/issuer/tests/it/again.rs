//! A token is minted again under its node.

use http::HeaderMap;
use serde_json::json;
use vestibule_containment::DenyKey;
use vestibule_issuer::{NewAgent, Reason};
use vestibule_model::Denial;

use crate::{
    holder::Holder,
    support::{Ground, SANDBOX, Signer, World, access_token, basic, payload, worker},
};

fn pass(world: &World, seconds: u64) {
    world.clock.advance(std::time::Duration::from_secs(seconds));
}

#[tokio::test]
async fn the_key_gets_a_new_token_under_the_same_node_even_for_an_expired_one() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let child = world.spawn(&root, &[("scope", "repo:read")]).await;
    pass(&world, 1000);
    assert_eq!(world.call(&child), Err(Denial::TokenExpired));
    let response = world.exchange(&child, &[]).await.unwrap();
    let minted = &response.minted;
    assert_eq!((minted.made, &minted.decision), (false, &None));
    assert_eq!(minted.delegation, child.minted.delegation);
    assert_ne!(minted.jti, child.minted.jti);
    assert_eq!((minted.bound_to, &minted.scopes), (child.minted.bound_to, &child.minted.scopes));
    assert_eq!(payload(&access_token(&response))["exp"], world.now() + 120);
    assert_eq!(world.call(&Holder::of(child.key, &response)), Ok(()));
}

#[tokio::test]
async fn a_node_that_is_over_mints_nothing() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    pass(&world, 3500);
    let response = world.exchange(&root, &[]).await.unwrap();
    // Not beyond the node.
    assert_eq!(response.minted.expires_at, root.minted.delegation.expires_at);
    pass(&world, 100);
    let error = world.exchange(&root, &[]).await.unwrap_err();
    assert_eq!(
        (error.reason, error.body()["error"].as_str()),
        (Reason::TokenExpired, Some("invalid_request"))
    );
}

#[tokio::test]
async fn less_may_be_asked_for_and_what_was_given_up_does_not_come_back() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let list = json!([{"type": "vestibule_operations", "operations": {"list_repos": {}}}]).to_string();
    let asked = [("scope", "repo:read"), ("authorization_details", list.as_str())];
    let response = world.exchange(&root, &asked).await.unwrap();
    let narrow = Holder::of(root.key, &response);
    let claims = payload(&narrow.token);
    assert_eq!(claims["scope"], "repo:read");
    assert_eq!(claims["authorization_details"][0]["locations"], json!([SANDBOX]));
    assert_eq!(narrow.minted.delegation.authority, None, "the node is as it was");
    for form in [("scope", "repo:write"), ("authorization_details", &list.replace("list", "delete"))] {
        assert!(world.exchange(&narrow, &[form]).await.is_err(), "{form:?}");
    }
    // Nor below.
    let child = world.spawn(&narrow, &[]).await;
    assert_eq!(child.minted.delegation.authority, narrow.minted.authority);
    assert_eq!(child.minted.scopes, narrow.minted.scopes);
}

#[tokio::test]
async fn without_the_key_a_bound_token_is_worth_nothing() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    for (headers, reason) in [
        (HeaderMap::new(), Reason::ProofMissing),
        (basic("worker", &secret), Reason::ProofMissing),
        (world.proof(&Signer::new("x"), Some(&root.token)), Reason::ProofWrongKey),
        (world.proof(&root.key, Some("another token")), Reason::ProofInvalid),
        (world.proof(&root.key, None), Reason::ProofInvalid),
    ] {
        let error = world.exchange_with(&headers, &root.token, &[]).await.unwrap_err();
        assert_eq!(error.reason, reason);
    }
}

#[tokio::test]
async fn an_unbound_token_needs_its_client_and_its_time() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let other = world.add(NewAgent { id: "other".into(), ..worker() }).await;
    let response = world.ask(&secret, &[("resource", SANDBOX)]).await.unwrap();
    let token = access_token(&response);
    for (headers, reason) in [
        (HeaderMap::new(), Reason::ClientMissing),
        (basic("other", &other), Reason::ClientNotOfToken),
        (basic("worker", "vst_wrong"), Reason::ClientSecretWrong),
        // Its node names no key, so nothing under it is bound to one.
        (world.proven("worker", &secret, &Signer::new("k")), Reason::ProofWrongKey),
    ] {
        let error = world.exchange_with(&headers, &token, &[]).await.unwrap_err();
        assert_eq!(error.reason, reason);
    }
    let headers = basic("worker", &secret);
    let again = world.exchange_with(&headers, &token, &[]).await.unwrap();
    assert_eq!(again.minted.delegation, response.minted.delegation);
    assert!(world.present(&again, SANDBOX).is_ok());
    pass(&world, 120);
    let error = world.exchange_with(&headers, &token, &[]).await.unwrap_err();
    assert_eq!(error.reason, Reason::TokenExpired);
}

#[tokio::test]
async fn a_revoked_path_mints_nothing_again() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let (one, two) = (world.spawn(&root, &[]).await, world.spawn(&root, &[]).await);
    world.revoke(DenyKey::Token(one.minted.jti.clone())).await;
    assert_eq!(world.exchange(&one, &[]).await.unwrap_err().reason, Reason::TokenRevoked);
    assert!(world.exchange(&two, &[]).await.is_ok());
    world.revoke(DenyKey::Credential(root.key.thumbprint())).await;
    let error = world.exchange(&two, &[]).await.unwrap_err();
    assert_eq!(
        (error.reason, error.body()["error"].as_str()),
        (Reason::CredentialRevoked, Some("invalid_request"))
    );
    assert_eq!(error.body()["error_description"], "the delegation has ended or was revoked");
}

#[tokio::test]
async fn a_rotated_key_mints_nothing_again_and_its_tree_runs_on() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let child = world.spawn(&root, &[]).await;
    let key = DenyKey::Credential(root.key.thumbprint());
    let (state, reason) = (vestibule_containment::State::Revoked, vestibule_containment::Reason::Superseded);
    world.order(key, state, reason, None).await;
    assert_eq!(world.exchange(&root, &[]).await.unwrap_err().reason, Reason::CredentialRevoked);
    assert_eq!((world.call(&root), world.call(&child)), (Ok(()), Ok(())));
    assert!(world.exchange(&child, &[]).await.is_ok());
    world.spawn(&child, &[]).await;
}
