//! Nothing widens: scopes, authority, resource, life, depth and number.

use serde_json::json;
use vestibule_issuer::{Delegations, NewAgent, Reason};
use vestibule_model::Denial;
use vestibule_store::{Kind, Op, Put};

use crate::holder::Holder;
use crate::support::{BILLING, Ground, Plan, SANDBOX, Signer, World, app, config, payload, set, worker};

fn details(operations: &serde_json::Value) -> String {
    json!([{"type": "vestibule_operations", "operations": operations}]).to_string()
}

#[tokio::test]
async fn scopes_only_shrink() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[("scope", "repo:read repo:write")]).await;
    // Of the token, although the node may have more.
    assert!(root.minted.delegation.scopes.contains("profile"));
    for asked in ["profile", "repo:read profile", "admin", "repo:read  repo:write", "REPO:READ"] {
        let error = world.try_spawn(&root, &Signer::new("c"), &[("scope", asked)]).await.unwrap_err();
        assert_eq!(
            (error.reason, error.body()["error"].as_str()),
            (Reason::ScopeNotAllowed, Some("invalid_scope"))
        );
    }
    let child = world.spawn(&root, &[]).await;
    assert_eq!(payload(&child.token)["scope"], "repo:read repo:write");
    let child = world.spawn(&root, &[("scope", "repo:read")]).await;
    assert_eq!(payload(&child.token)["scope"], "repo:read");
    assert_eq!(world.not_spawned(&child, &[("scope", "repo:write")]).await, Reason::ScopeNotAllowed);
    let error = world.exchange(&child, &[("scope", "repo:write")]).await.unwrap_err();
    assert_eq!(error.reason, Reason::ScopeNotAllowed);
}

#[tokio::test]
async fn authority_only_shrinks_and_is_for_the_resource_of_the_token() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let some = details(&json!({"list_repos": {}, "create_repo": {"name": {"prefix": "tmp-"}}}));
    let child = world.spawn(&root, &[("authorization_details", &some)]).await;
    let located = json!([{
        "type": "vestibule_operations", "locations": [SANDBOX],
        "operations": {"create_repo": {"name": {"prefix": "tmp-"}}, "list_repos": {}},
    }]);
    assert_eq!(payload(&child.token)["authorization_details"], located);
    assert_eq!(child.minted.delegation.authority, child.minted.authority);

    for more in [
        json!({"delete_repo": {}}),
        json!({"create_repo": {}}),
        json!({"create_repo": {"name": {"prefix": "tm"}}}),
        json!({"create_repo": {"name": {"prefix": "tmp-a"}, "private": {"exact": true}}}),
        json!({"list_repos": {}, "delete_repo": {}}),
    ] {
        let asked = details(&more);
        for error in [
            world
                .try_spawn(&child, &Signer::new("c"), &[("authorization_details", &asked)])
                .await
                .unwrap_err(),
            world.exchange(&child, &[("authorization_details", &asked)]).await.unwrap_err(),
        ] {
            assert_eq!(error.reason, Reason::AuthorityNotSubset, "{more}");
            assert_eq!(error.body()["error"], "invalid_authorization_details");
        }
    }
    let elsewhere = json!([{
        "type": "vestibule_operations", "locations": [BILLING], "operations": {"list_repos": {}},
    }]);
    let asked = [("authorization_details", elsewhere.to_string())];
    let asked = [(asked[0].0, asked[0].1.as_str())];
    assert_eq!(world.not_spawned(&child, &asked).await, Reason::AuthorityNotSubset);

    // Nothing asked: all of it, and no more.
    let same = world.spawn(&child, &[]).await;
    assert_eq!(payload(&same.token)["authorization_details"], located);
    let less = details(&json!({"create_repo": {"name": {"exact": "tmp-1"}}}));
    let less = world.spawn(&child, &[("authorization_details", &less)]).await;
    assert_eq!(
        payload(&less.token)["authorization_details"][0]["operations"],
        json!({"create_repo": {"name": {"exact": "tmp-1"}}})
    );
}

#[tokio::test]
async fn what_is_no_authority_of_ours_is_refused() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    for text in [
        "{}",
        "[]",
        "not json",
        r#"[{"type":"payment"}]"#,
        r#"[{"type":"vestibule_operations"}]"#,
        r#"[{"type":"vestibule_operations","operations":{"a":{}},"operations":{"b":{}}}]"#,
        r#"[{"type":"vestibule_operations","operations":{"a":{"x":{"cel":"true"}}}}]"#,
    ] {
        let asked = [("authorization_details", text)];
        assert_eq!(world.not_spawned(&root, &asked).await, Reason::AuthorityMalformed, "{text}");
        let asked = [("resource", SANDBOX), asked[0]];
        assert_eq!(world.refused(&secret, &asked).await, Reason::AuthorityMalformed, "{text}");
    }
}

#[tokio::test]
async fn a_root_with_less_authority_is_another_root_and_is_used_again_by_who_asks_for_the_same() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let list = details(&json!({"list_repos": {}}));
    let narrow = [("resource", SANDBOX), ("authorization_details", list.as_str())];
    let wide = world.ask(&secret, &[("resource", SANDBOX)]).await.unwrap();
    let one = world.ask(&secret, &narrow).await.unwrap();
    let two = world.ask(&secret, &narrow).await.unwrap();
    assert_ne!(one.minted.delegation.id, wide.minted.delegation.id);
    assert_eq!(one.minted.delegation, two.minted.delegation);
    let located = json!([{
        "type": "vestibule_operations", "locations": [SANDBOX], "operations": {"list_repos": {}},
    }]);
    // RFC 9396 §7: the answer says what was granted.
    assert_eq!(one.body()["authorization_details"], located);
    assert_eq!(wide.body().get("authorization_details"), None);
    let caller = world.present(&one, SANDBOX).unwrap();
    assert_eq!(caller.token().authority, one.minted.authority);
}

#[tokio::test]
async fn a_child_is_for_the_resource_of_its_parent() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    for same in [SANDBOX, "HTTPS://gw.TEST/apps/sandbox/mcp/"] {
        let child = world.spawn(&root, &[("resource", same)]).await;
        assert_eq!(child.minted.delegation.resource, SANDBOX);
    }
    for (asked, reason) in [
        (vec![("resource", BILLING)], Reason::TargetNotOfSubject),
        (vec![("resource", "sandbox")], Reason::TargetNotOfSubject),
        (vec![("resource", SANDBOX), ("resource", BILLING)], Reason::TargetRepeated),
    ] {
        let error = world.try_spawn(&root, &Signer::new("c"), &asked).await.unwrap_err();
        assert_eq!((error.reason, error.body()["error"].as_str()), (reason, Some("invalid_target")));
        assert_eq!(world.exchange(&root, &asked).await.unwrap_err().reason, reason);
    }
}

#[tokio::test]
async fn a_registered_child_is_only_for_its_own_applications() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let key = Signer::new("k");
    let jwks = Some(json!({"keys": [key.jwk]}));
    let clerk = NewAgent { id: "clerk".into(), jwks, apps: [app("billing")].into(), ..NewAgent::default() };
    world.registry.add(clerk).await.unwrap();
    let mut claims = key.actor_claims(&root.token, world.now());
    claims["iss"] = json!("clerk");
    claims["sub"] = json!("clerk");
    let error = world.spawn_with(&root, &key.actor_token(&claims), &[]).await.unwrap_err();
    assert_eq!(error.reason, Reason::TargetNotAllowed);
}

#[tokio::test]
async fn a_registered_child_has_no_scopes_but_its_own() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let key = Signer::new("k");
    let jwks = Some(json!({"keys": [key.jwk]}));
    let scopes = set(&["repo:read", "bill:read"]);
    world.registry.add(NewAgent { id: "clerk".into(), jwks, scopes, ..NewAgent::default() }).await.unwrap();
    let actor = || {
        let mut claims = key.actor_claims(&root.token, world.now());
        claims["iss"] = json!("clerk");
        claims["sub"] = json!("clerk");
        key.actor_token(&claims)
    };
    for asked in ["repo:write", "repo:read repo:write", "bill:read"] {
        let error = world.spawn_with(&root, &actor(), &[("scope", asked)]).await.unwrap_err();
        assert_eq!(error.reason, Reason::ScopeNotAllowed, "{asked}");
    }
    let child = world.spawn_with(&root, &actor(), &[]).await.unwrap().minted;
    assert_eq!((child.scopes, child.delegation.scopes), (set(&["repo:read"]), set(&["repo:read"])));
    // Who is known by a key alone has no registration to be bounded by.
    assert_eq!(world.spawn(&root, &[]).await.minted.scopes, worker().scopes);
}

#[tokio::test]
async fn nothing_is_handed_on_for_an_application_that_an_agent_above_may_not_reach_any_more() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let child = world.spawn(&root, &[]).await;
    let record = world.store.get(Kind::Agent, "worker").await.unwrap().unwrap();
    let mut agent = record.decode::<serde_json::Value>().unwrap();
    agent["apps"] = json!(["billing"]);
    world.store.commit(vec![Op::Put(Put::new(Kind::Agent, "worker", &agent).unwrap())]).await.unwrap();
    world.caught_up().await;
    for parent in [&root, &child] {
        assert_eq!(world.not_spawned(parent, &[]).await, Reason::TargetNotAllowed);
    }
}

#[tokio::test]
async fn a_node_lives_as_long_as_asked_and_never_beyond_the_one_above() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let end = root.minted.delegation.expires_at.seconds();
    world.clock.advance(std::time::Duration::from_secs(60));
    let long = world.spawn(&root, &[("expires_in", "86400")]).await;
    assert_eq!(long.minted.delegation.expires_at.seconds(), end);
    let short = world.spawn(&root, &[("expires_in", "30")]).await;
    assert_eq!(short.minted.delegation.expires_at.seconds(), world.now() + 30);
    // Nor does a token outlive its node.
    assert_eq!(payload(&short.token)["exp"], world.now() + 30);
    let below = world.spawn(&short, &[("expires_in", "600")]).await;
    assert_eq!(below.minted.delegation.expires_at.seconds(), world.now() + 30);
    assert_eq!(payload(&below.token)["vst"]["node_exp"], world.now() + 30);
    for bad in ["0", "-1", "1.5", "1e3", "+60", " 60", "soon", "99999999999999999999"] {
        assert_eq!(
            world.not_spawned(&root, &[("expires_in", bad)]).await,
            Reason::LifetimeMalformed,
            "{bad}"
        );
    }
    world.clock.advance(std::time::Duration::from_secs(30));
    assert_eq!(world.call(&below), Err(Denial::TokenExpired));
    assert_eq!(world.exchange(&below, &[]).await.unwrap_err().reason, Reason::TokenExpired);
}

#[tokio::test]
async fn a_chain_becomes_no_deeper_than_its_tree_may() {
    let ground = Ground::new();
    let mut config = config(&["sandbox"]);
    config.max_depth = 3;
    let world = World::planned(&ground, Plan { config, ..Plan::default() }).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let child = world.spawn(&root, &[]).await;
    let grandchild = world.spawn(&child, &[]).await;
    let error = world.try_spawn(&grandchild, &Signer::new("c"), &[]).await.unwrap_err();
    assert_eq!((error.reason, error.status()), (Reason::DepthExceeded, 400));
    // A sibling is as deep as the others.
    assert_eq!(world.spawn(&child, &[]).await.minted.delegation.depth(), 3);
}

#[tokio::test]
async fn only_so_many_children_live_at_once() {
    let ground = Ground::new();
    let mut config = config(&["sandbox"]);
    config.max_children = 2;
    let world = World::planned(&ground, Plan { config, ..Plan::default() }).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let first = world.spawn(&root, &[("expires_in", "60")]).await;
    world.spawn(&root, &[("expires_in", "90")]).await;
    let error = world.try_spawn(&root, &Signer::new("c"), &[]).await.unwrap_err();
    assert_eq!((error.reason, error.status()), (Reason::FanOutExceeded, 400));
    // Others have their own room.
    world.spawn(&first, &[]).await;
    // The first one has ended, and there is room again; once.
    world.clock.advance(std::time::Duration::from_secs(60));
    world.spawn(&root, &[]).await;
    assert_eq!(world.not_spawned(&root, &[]).await, Reason::FanOutExceeded);
}

#[tokio::test]
async fn a_tree_has_so_many_living_nodes_wherever_they_stand() {
    let ground = Ground::new();
    let mut config = config(&["sandbox"]);
    config.max_tree_nodes = 4;
    let world = World::planned(&ground, Plan { config, ..Plan::default() }).await;
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let child = world.spawn(&root, &[]).await;
    world.spawn(&root, &[("expires_in", "60")]).await;
    let grandchild = world.spawn(&child, &[]).await;
    for parent in [&root, &child, &grandchild] {
        assert_eq!(world.not_spawned(parent, &[]).await, Reason::TreeNodesExceeded);
    }
    let nodes = Delegations::new(std::sync::Arc::clone(&world.store)).all(None, 10).await.unwrap();
    assert_eq!(nodes.items.len(), 4, "what is refused is not written");
    // Another tree has its own room.
    let other = world.root(&secret, &[]).await;
    world.spawn(&other, &[]).await;
    // One has ended, and there is room again; once.
    world.clock.advance(std::time::Duration::from_secs(60));
    world.spawn(&grandchild, &[]).await;
    assert_eq!(world.not_spawned(&root, &[]).await, Reason::TreeNodesExceeded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_of_a_tree_that_are_made_at_once_are_all_counted() {
    let ground = Ground::new();
    let mut config = config(&["sandbox"]);
    config.max_tree_nodes = 13;
    let world = std::sync::Arc::new(World::planned(&ground, Plan { config, ..Plan::default() }).await);
    let secret = world.add(worker()).await;
    let root = world.root(&secret, &[]).await;
    let mut parents = Vec::new();
    for life in ["60", "600"] {
        parents.push(std::sync::Arc::new(world.spawn(&root, &[("expires_in", life)]).await));
    }
    let spawn_all = async |parents: Vec<std::sync::Arc<Holder>>| {
        let spawns: Vec<_> = parents
            .iter()
            .cycle()
            .take(32)
            .map(|parent| {
                let (world, parent) = (std::sync::Arc::clone(&world), std::sync::Arc::clone(parent));
                tokio::spawn(async move { world.try_spawn(&parent, &Signer::new("c"), &[]).await.is_ok() })
            })
            .collect();
        let mut made = 0;
        for spawn in spawns {
            made += u32::from(spawn.await.unwrap());
        }
        made
    };
    assert_eq!(spawn_all(parents.clone()).await, 10);
    let first = parents.remove(0);
    let gone = first.minted.delegation.id.clone();
    let nodes = Delegations::new(std::sync::Arc::clone(&world.store));
    let below = nodes.subtree(&gone, 100).await.unwrap().unwrap().nodes.len() as u32;
    // The first parent ends with all that it has made, and as many have room again, whoever asks first.
    world.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(spawn_all(parents).await, below);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_agent_has_so_many_living_roots_over_restarts_and_races() {
    let ground = Ground::new();
    let plan = || {
        let mut config = config(&["sandbox"]);
        (config.max_roots, config.node_ttl) = (5, std::time::Duration::from_secs(600));
        Plan { config, ..Plan::default() }
    };
    let world = std::sync::Arc::new(World::planned(&ground, plan()).await);
    let (secret, other) = (world.add(worker()).await, {
        let other = NewAgent { id: "other".into(), ..worker() };
        world.add(other).await
    });
    // Each key makes a root of its own.
    let ask = |world: &std::sync::Arc<World>, agent: &'static str, secret: &str| {
        let (world, secret) = (std::sync::Arc::clone(world), secret.to_owned());
        tokio::spawn(async move {
            let headers = world.proven(agent, &secret, &Signer::new("key"));
            let form = [("grant_type", "client_credentials"), ("resource", SANDBOX)];
            world.token(&headers, &form).await.map(|_| ()).map_err(|error| (error.reason, error.status()))
        })
    };
    let mut made = 0;
    for asked in (0..16).map(|_| ask(&world, "worker", &secret)).collect::<Vec<_>>() {
        match asked.await.unwrap() {
            Ok(()) => made += 1,
            Err(error) => assert_eq!(error, (Reason::RootsExceeded, 400)),
        }
    }
    assert_eq!(made, 5);
    assert_eq!(ask(&world, "other", &other).await.unwrap(), Ok(()), "others have their own room");
    drop(world);
    let world = std::sync::Arc::new(World::planned(&ground, plan()).await);
    assert_eq!(ask(&world, "worker", &secret).await.unwrap(), Err((Reason::RootsExceeded, 400)));
    world.clock.advance(std::time::Duration::from_secs(600));
    assert_eq!(ask(&world, "worker", &secret).await.unwrap(), Ok(()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn children_that_are_made_at_once_are_all_counted() {
    let ground = Ground::new();
    let mut config = config(&["sandbox"]);
    config.max_children = 10;
    let world = std::sync::Arc::new(World::planned(&ground, Plan { config, ..Plan::default() }).await);
    let secret = world.add(worker()).await;
    let root = std::sync::Arc::new(world.root(&secret, &[]).await);
    let spawns: Vec<_> = (0..24)
        .map(|_| {
            let (world, root) = (std::sync::Arc::clone(&world), std::sync::Arc::clone(&root));
            tokio::spawn(async move { world.try_spawn(&root, &Signer::new("c"), &[]).await.is_ok() })
        })
        .collect();
    let mut made = 0;
    for spawn in spawns {
        made += u32::from(spawn.await.unwrap());
    }
    assert_eq!(made, 10);
}

#[tokio::test]
async fn a_token_that_nobody_would_read_is_not_issued() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let role: Vec<String> = (0..20).map(|n| format!("{n:090}")).collect();
    let role = crate::support::set(&role.iter().map(String::as_str).collect::<Vec<_>>());
    let big = NewAgent { id: "big".into(), claims: [("role".to_owned(), role)].into(), ..worker() };
    let big = world.add(big).await;
    let values: Vec<String> = (0..60).map(|n| format!("{n:060}")).collect();
    let bulky = details(&json!({"list_repos": {"name": {"one_of": values}}}));
    let key = Signer::new("k");
    let form = [
        ("grant_type", "client_credentials"),
        ("resource", SANDBOX),
        ("authorization_details", bulky.as_str()),
    ];
    let error = world.token(&world.proven("big", &big, &key), &form).await.unwrap_err();
    assert_eq!((error.reason, error.status()), (Reason::TokenTooLong, 400));
    let small = [&form[..], &[("scope", "repo:read")]].concat();
    assert!(world.token(&world.proven("big", &big, &key), &small).await.is_ok());
}
