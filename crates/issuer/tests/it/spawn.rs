//! An agent hands on a part of what it may to a child.

use serde_json::json;
use vestibule_containment::{DenyKey, Reason as OrderReason, State};
use vestibule_issuer::{NewAgent, Reason};
use vestibule_model::{AgentId, Denial, FixedClock, Origin, Timestamp};
use vestibule_store::{Kind, Op, Put};

use crate::{
    holder::Holder,
    support::{
        BILLING, Ground, ISSUER, NOW, Plan, SANDBOX, Signer, World, app, basic, config, payload, worker,
    },
};

#[tokio::test]
async fn a_child_has_its_own_key_and_names_everybody_above_it() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    world.clock.advance(std::time::Duration::from_secs(10));
    let child = world.spawn(&root, &[]).await;
    let grandchild = world.spawn(&child, &[]).await;
    let (above, node) = (&root.minted.delegation, &child.minted.delegation);
    assert_eq!(node.parent.as_ref(), Some(&above.id));
    assert_eq!((node.origin, &node.workflow, node.depth()), (Origin::Spawned, &above.workflow, 2));
    assert_eq!((child.minted.made, child.minted.bound_to), (true, Some(child.key.thumbprint())));
    assert!(node.made_by.is_some());
    assert!(child.minted.decision.as_ref().unwrap().allow);

    let claims = payload(&grandchild.token);
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!("worker"), &json!(grandchild.key.id())));
    let act = json!({
        "iss": ISSUER, "sub": grandchild.key.id(), "act": {"iss": ISSUER, "sub": child.key.id()},
    });
    assert_eq!(claims["act"], act);
    assert_eq!(claims["cnf"], json!({"jkt": grandchild.key.thumbprint()}));
    let path = json!([above.id, node.id, grandchild.minted.delegation.id]);
    assert_eq!((&claims["vst"]["path"], &claims["vst"]["depth"]), (&path, &json!(3)));
    let since = world.now();
    assert_eq!(claims["vst"]["since"], json!([since - 10, since, since]));
    let keys = [&root.key, &child.key, &grandchild.key].map(|key| [key.thumbprint()]);
    assert_eq!(claims["vst"]["keys"], json!(keys));
    for holder in [&root, &child, &grandchild] {
        assert_eq!(world.call(holder), Ok(()));
    }
}

#[tokio::test]
async fn a_child_shows_the_claims_of_the_registered_agent_above_it_that_its_scopes_show() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let child = world.spawn(&root, &[("scope", "repo:write repo:read")]).await;
    let claims = payload(&child.token);
    assert_eq!((&claims["role"], claims.get("department")), (&json!(["builder", "reader"]), None));
    let narrow = world.spawn(&child, &[("scope", "repo:read")]).await;
    assert_eq!(payload(&narrow.token).get("role"), None);
}

#[tokio::test]
async fn a_bearer_token_cannot_spawn() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let response = world.ask(&secret, &[("resource", SANDBOX)]).await.unwrap();
    let holder = Holder::of(Signer::new("finder"), &response);
    let error = world.try_spawn(&holder, &Signer::new("child"), &[]).await.unwrap_err();
    assert_eq!((error.reason, error.status()), (Reason::SpawnNeedsBoundToken, 400));
    assert_eq!(error.body()["error_description"], "to spawn, ask for a DPoP-bound token first");
}

#[tokio::test]
async fn only_who_proves_the_key_of_the_token_about_that_very_token_spawns() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let (root, other) = (world.root(&secret, &[]).await, world.root(&secret, &[]).await);
    let child = Signer::new("child");
    let actor = child.actor_token(&child.actor_claims(&root.token, world.now()));
    let actor = [("actor_token", actor.as_str()), ("actor_token_type", crate::holder::JWT)];
    for (headers, reason) in [
        (http::HeaderMap::new(), Reason::ProofMissing),
        // The client alone proves nothing about the key.
        (basic("worker", &secret), Reason::ProofMissing),
        (world.proof(&other.key, Some(&root.token)), Reason::ProofWrongKey),
        (world.proof(&child, Some(&root.token)), Reason::ProofWrongKey),
        (world.proof(&root.key, Some(&other.token)), Reason::ProofInvalid),
        (world.proof(&root.key, None), Reason::ProofInvalid),
        (world.proof_at(&root.key, SANDBOX, Some(&root.token)), Reason::ProofInvalid),
    ] {
        let error = world.exchange_with(&headers, &root.token, &actor).await.unwrap_err();
        assert_eq!((error.reason, error.body()["error"].as_str()), (reason, Some("invalid_dpop_proof")));
        assert!(error.nonce.is_some());
    }
    let headers = world.proof(&root.key, Some(&root.token));
    assert!(world.exchange_with(&headers, &root.token, &actor).await.is_ok());
    assert_eq!(
        world.exchange_with(&headers, &root.token, &actor).await.unwrap_err().reason,
        Reason::ProofReplayed
    );
}

#[tokio::test]
async fn a_client_that_authenticates_beside_the_key_must_be_the_agent_of_the_token() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let others = world.add(NewAgent { id: "other".into(), ..worker() }).await;
    let root = world.root(&secret, &[]).await;
    for (client, more, expected) in [
        (Some(("worker", &secret)), vec![], None),
        (Some(("other", &others)), vec![], Some(Reason::ClientNotOfToken)),
        (Some(("other", &secret)), vec![], Some(Reason::ClientSecretWrong)),
        (None, vec![("client_id", "worker")], None),
        (None, vec![("client_id", "other")], Some(Reason::ClientNotOfToken)),
    ] {
        let child = Signer::new("child");
        let actor = child.actor_token(&child.actor_claims(&root.token, world.now()));
        let mut headers = world.proof(&root.key, Some(&root.token));
        headers.extend(client.map(|(id, secret)| basic(id, secret)).unwrap_or_default());
        let form = [vec![("actor_token", actor.as_str()), ("actor_token_type", crate::holder::JWT)], more];
        let answer = world.exchange_with(&headers, &root.token, &form.concat()).await;
        let error = answer.err();
        assert_eq!(error.as_ref().map(|error| error.reason), expected);
        if expected == Some(Reason::ClientNotOfToken) {
            // RFC 8693 §2.2.2: the token is the matter, and not the client.
            let body = error.unwrap().body();
            assert_eq!(body["error"], "invalid_request");
            assert_eq!(body["error_description"], "the token was not issued to this client");
        }
    }
}

#[tokio::test]
async fn an_expired_token_hands_nothing_on() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    world.clock.advance(std::time::Duration::from_secs(120));
    assert_eq!(world.not_spawned(&root, &[]).await, Reason::TokenExpired);
}

#[tokio::test]
async fn nobody_spawns_whose_path_is_revoked_or_suspended() {
    let child_of = |root: &Holder| root.minted.delegation.id.clone();
    for (kind, expected) in [
        ("token", Reason::TokenRevoked),
        ("delegation", Reason::DelegationRevoked),
        ("agent", Reason::AgentRevoked),
        ("credential", Reason::CredentialRevoked),
        ("app", Reason::AppRevoked),
        ("all", Reason::AllRevoked),
        ("suspended", Reason::AgentSuspended),
        ("superseded", Reason::CredentialRevoked),
    ] {
        let ground = Ground::new();
        let world = World::on(&ground).await;
        let secret = world.add(worker()).await;
        let root = world.root(&secret, &[]).await;
        let agent = DenyKey::Agent(AgentId::new("worker").unwrap());
        let key = DenyKey::Credential(root.key.thumbprint());
        match kind {
            "token" => world.revoke(DenyKey::Token(root.minted.jti.clone())).await,
            "delegation" => world.revoke(DenyKey::Delegation(child_of(&root))).await,
            "agent" => world.revoke(agent).await,
            "credential" => world.revoke(key).await,
            "app" => world.revoke(DenyKey::App(app("sandbox"))).await,
            "all" => world.revoke(DenyKey::All).await,
            "suspended" => world.order(agent, State::Suspended, OrderReason::Unspecified, None).await,
            _ => world.order(key, State::Revoked, OrderReason::Superseded, None).await,
        }
        let error = world.try_spawn(&root, &Signer::new("child"), &[]).await.unwrap_err();
        assert_eq!(error.reason, expected, "{kind}");
        // RFC 8693 §2.2.2: an unacceptable token is no failed client authentication.
        assert_ne!(error.body()["error"], "invalid_client", "{kind}");
        // Nobody has proved to be the agent, and it stands in its tree all the same.
        assert_eq!(error.agent, None, "{kind}");
        assert_eq!(error.subject.unwrap().workflow, root.minted.delegation.workflow, "{kind}");
    }
}

#[tokio::test]
async fn who_holds_a_dead_token_uses_up_no_proof() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let agent = DenyKey::Agent(AgentId::new("worker").unwrap());
    let child = Signer::new("child");
    let actor = child.actor_token(&child.actor_claims(&root.token, world.now()));
    let spawn = [("actor_token", actor.as_str()), ("actor_token_type", crate::holder::JWT)];
    for form in [&spawn[..], &[]] {
        world.order(agent.clone(), State::Suspended, OrderReason::Unspecified, None).await;
        let headers = world.proof(&root.key, Some(&root.token));
        let error = world.exchange_with(&headers, &root.token, form).await.unwrap_err();
        assert_eq!(error.reason, Reason::AgentSuspended);
        assert!(error.nonce.is_some());
        // Somebody who found it learns as much, and nothing of the agent.
        let error = world.exchange_with(&http::HeaderMap::new(), &root.token, form).await.unwrap_err();
        assert_eq!((error.reason, error.agent.as_ref()), (Reason::AgentSuspended, None));
        world.judges.containment.resume(&agent, "test").await.unwrap();
        assert!(world.exchange_with(&headers, &root.token, form).await.is_ok());
    }
}

#[tokio::test]
async fn a_revoked_key_or_agent_is_nobodys_child() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let child = Signer::new("child");
    world.revoke(DenyKey::Credential(child.thumbprint())).await;
    let error = world.try_spawn(&root, &child, &[]).await.unwrap_err();
    assert_eq!(error.reason, Reason::CredentialRevoked);
    let child = Signer::new("child");
    world.revoke(DenyKey::Agent(child.id())).await;
    assert_eq!(world.try_spawn(&root, &child, &[]).await.unwrap_err().reason, Reason::AgentRevoked);
    assert!(world.try_spawn(&root, &Signer::new("child"), &[]).await.is_ok());
}

#[tokio::test]
async fn revoking_one_link_ends_exactly_what_is_below_it() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let (left, right) = (world.spawn(&root, &[]).await, world.spawn(&root, &[]).await);
    let below = world.spawn(&left, &[]).await;
    world.revoke(DenyKey::Delegation(left.minted.delegation.id.clone())).await;
    assert_eq!(world.call(&left), Err(Denial::DelegationRevoked));
    assert_eq!(world.call(&below), Err(Denial::DelegationRevoked));
    assert_eq!((world.call(&root), world.call(&right)), (Ok(()), Ok(())));
    assert_eq!(world.not_spawned(&below, &[]).await, Reason::DelegationRevoked);
    world.revoke(DenyKey::Agent(right.key.id())).await;
    assert_eq!(world.call(&right), Err(Denial::AgentRevoked));
    assert_eq!(world.call(&root), Ok(()));
}

#[tokio::test]
async fn a_retired_agent_above_ends_handing_on() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let child = world.spawn(&root, &[]).await;
    let record = world.store.get(Kind::Agent, "worker").await.unwrap().unwrap();
    let mut agent = record.decode::<serde_json::Value>().unwrap();
    agent["state"] = json!("retired");
    world.store.commit(vec![Op::Put(Put::new(Kind::Agent, "worker", &agent).unwrap())]).await.unwrap();
    world.caught_up().await;
    let error = world.try_spawn(&child, &Signer::new("x"), &[]).await.unwrap_err();
    assert_eq!(
        (error.reason, error.body()["error"].as_str()),
        (Reason::AgentRetired, Some("invalid_request"))
    );
    assert_eq!(world.exchange(&child, &[]).await.unwrap_err().reason, Reason::AgentRetired);
}

#[tokio::test]
async fn a_registration_that_is_gone_above_ends_handing_on() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let child = world.spawn(&root, &[]).await;
    let gone = Op::Delete { kind: Kind::Agent, key: "worker".into() };
    world.store.commit(vec![gone]).await.unwrap();
    world.caught_up().await;
    assert_eq!(world.not_spawned(&child, &[]).await, Reason::AgentUnknown);
    assert_eq!(world.exchange(&child, &[]).await.unwrap_err().reason, Reason::AgentUnknown);
}

#[tokio::test]
async fn policy_decides_who_may_have_which_child() {
    let policies = r#"
        @id("hand-on")
        permit (principal, action == Action::"delegate", resource)
        when { context.input.depth <= 2 && context.input.expires <= 600
            && ["list_repos"].containsAll(context.input.operations) };
    "#;
    let ground = Ground::new();
    let world = World::planned(&ground, Plan { policies, ..Plan::default() }).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let list = json!([{"type": "vestibule_operations", "operations": {"list_repos": {}}}]).to_string();
    let delete = list.replace("list_repos", "delete_repo");
    let refused = [
        vec![("expires_in", "600")],
        vec![("authorization_details", list.as_str())],
        vec![("expires_in", "600"), ("authorization_details", delete.as_str())],
    ];
    for form in refused {
        let error = world.try_spawn(&root, &Signer::new("child"), &form).await.unwrap_err();
        assert_eq!(error.reason, Reason::DelegationNotPermitted, "{form:?}");
        assert_eq!(error.body()["error"], "invalid_request");
        assert!(!error.decision.unwrap().allow);
    }
    let form = [("expires_in", "600"), ("authorization_details", list.as_str())];
    let child = world.spawn(&root, &form).await;
    assert!(!child.minted.decision.as_ref().unwrap().policies.is_empty());
    // One deeper.
    assert_eq!(world.not_spawned(&child, &form).await, Reason::DelegationNotPermitted);
}

#[tokio::test]
async fn an_application_that_is_gone_is_handed_on_to_nobody() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root_of("worker", &secret, &[("resource", BILLING)]).await;
    let world =
        World::planned(&ground, Plan { config: config(&["sandbox"]), seed: 2, ..Plan::default() }).await;
    assert_eq!(world.not_spawned(&root, &[]).await, Reason::TargetNotAllowed);
    assert_eq!(world.exchange(&root, &[]).await.unwrap_err().reason, Reason::TargetNotAllowed);
}

#[tokio::test]
async fn a_node_that_has_ended_or_was_lost_takes_no_child() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let key = root.minted.delegation.id.to_string();
    world.store.commit(vec![Op::Delete { kind: Kind::Delegation, key }]).await.unwrap();
    assert_eq!(world.not_spawned(&root, &[]).await, Reason::DelegationEnded);
}

#[tokio::test]
async fn a_gateway_whose_clock_is_behind_mints_what_the_door_reads() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    drop(world);
    let behind = std::sync::Arc::new(FixedClock::at(Timestamp::from_seconds(NOW - 3)));
    let ground = Ground { clock: behind, ..ground };
    let world = World::planned(&ground, Plan { seed: 2, ..Plan::default() }).await;
    let response = world.exchange(&root, &[]).await.unwrap();
    let root = Holder::of(root.key, &response);
    assert_eq!(payload(&root.token)["iat"], NOW);
    let child = world.spawn(&root, &[]).await;
    assert_eq!(payload(&child.token)["vst"]["since"], json!([NOW, NOW]));
    assert_eq!((world.call(&root), world.call(&child)), (Ok(()), Ok(())));
}
