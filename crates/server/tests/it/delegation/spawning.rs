//! Agents that spawn agents: every one of them is in the token, in the decision and in the record.

use serde_json::{Value, json};
use vestibule_model::{AgentId, Jti, OsEntropy};
use vestibule_testkit::{AgentKey, Holder};

use super::{
    ACCESS_TOKEN, Scene, key, keys,
    possession::{Possession, token_in},
};

/// Four agents, each spawned by the one before.
async fn four(scene: &Scene) -> [Holder; 4] {
    let root = scene.root().await;
    let one = root.spawn(key(), &[]).await;
    let two = one.spawn(key(), &[]).await;
    let three = two.spawn(key(), &[]).await;
    [root, one, two, three]
}

#[tokio::test]
async fn a_chain_of_four_names_every_agent_and_every_node_in_the_token_and_in_the_record() {
    let scene = Scene::new().await;
    let chain = four(&scene).await;
    let (nodes, issuer) = (chain.each_ref().map(Holder::node), scene.gateway.url(""));
    let agents = ["planner".to_owned(), chain[1].id(), chain[2].id(), chain[3].id()];
    let claims = chain[3].claims();
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!("planner"), &json!(agents[3])));
    // RFC 8693 §4.1: the outermost is the one that acts now.
    let act = |agent: &str, before: Value| json!({ "iss": issuer, "sub": agent, "act": before });
    let expected = act(&agents[3], act(&agents[2], json!({ "iss": issuer, "sub": agents[1] })));
    assert_eq!(claims["act"], expected);
    let vst = &claims["vst"];
    assert_eq!((&vst["path"], &vst["node"]), (&json!(nodes), &json!(nodes[3])));
    assert_eq!((&vst["depth"], &vst["max_depth"]), (&json!(4), &json!(4)));
    let jkts = chain.each_ref().map(|agent| vec![agent.key().thumbprint().to_string()]);
    assert_eq!(vst["keys"], json!(jkts));
    assert_eq!(claims["cnf"], json!({ "jkt": jkts[3][0] }));
    assert_eq!(claims["acti"], chain[0].claims()["acti"], "one workflow");
    assert_eq!(
        (&chain[3].answer["token_type"], &chain[3].answer["issued_token_type"]),
        (&json!("DPoP"), &json!(ACCESS_TOKEN))
    );

    let record = scene.served(&scene.list(&chain[3]).await).await;
    let link = |at: usize| json!({ "issuer": issuer, "agent": agents[at], "node": nodes[at] });
    assert_eq!(record["chain"], json!([link(0), link(1), link(2), link(3)]));
    assert_eq!((&record["agent"], &record["key"]), (&json!(agents[3]), &json!(jkts[3][0])));
    assert_eq!(record["workflow"], claims["acti"]);

    let minted = scene.gateway.attempts("kind=token-request&decision=permit").await;
    for (at, node) in nodes.iter().enumerate() {
        let made = minted.iter().find(|record| record["delegation"]["node"] == json!(node)).unwrap();
        let fact = &made["delegation"];
        let parent = if at == 0 { Value::Null } else { json!(nodes[at - 1]) };
        let origin = if at == 0 { "root" } else { "spawned" };
        assert_eq!((&fact["parent"], &fact["origin"]), (&parent, &json!(origin)), "{at}");
        assert_eq!(fact["made_by"], made["attempt"], "{at}");
        assert_eq!(made["agent"], json!(agents[at]), "{at}: whose token it is");
    }
}

const EACH: &str = r#"
@id("planner") permit (principal == Agent::"planner", action in [Action::"api__list", Action::"api__create"], resource);
@id("spawned") permit (principal in AgentGroup::"spawned", action in Action::"call", resource);
@id("no-create") forbid (principal in AgentGroup::"spawned", action == Action::"api__create", resource);
@id("hand-on") permit (principal, action == Action::"delegate", resource);
"#;

#[tokio::test]
async fn invariant_7_every_agent_of_the_chain_must_be_permitted_in_the_same_request() {
    let scene = Scene::with("{}", EACH).await;
    let chain = four(&scene).await;
    let record = scene.served(&scene.create(&chain[0], &json!({})).await).await;
    assert_eq!(record["policies"], json!(["planner"]));
    for agent in &chain[1..] {
        let record = scene.served(&scene.list(agent).await).await;
        assert_eq!(record["policies"], json!(["planner", "spawned"]));
        let reply = scene.create(agent, &json!({})).await;
        let record = scene.denied("a child may not", &reply, 404, "operation-not-permitted").await;
        assert_eq!(record["policies"], json!(["no-create"]));
        let reply = scene.remove(agent, "x").await;
        let record = scene.denied("the root may not", &reply, 404, "operation-not-permitted").await;
        let cause = record["cause"].as_str().unwrap();
        assert!(cause.contains("nothing permits Agent::\"planner\""), "{cause}");
        assert!(!cause.contains("jwk-thumbprint"), "the children could have: {cause}");
    }
}

#[tokio::test]
async fn a_child_acts_for_the_human_of_its_root_who_must_be_permitted_too() {
    let policies = r#"
    @id("agents") permit (principal in AgentGroup::"testers", action in Action::"call", resource);
    @id("users.list") permit (principal in UserGroup::"idp:developers", action == Action::"api__list", resource);
    @id("hand-on") permit (principal, action == Action::"delegate", resource);
    "#;
    let scene = Scene::with("{}", policies).await;
    let root = scene.root_for("alice", &["developers"]).await;
    let child = root.spawn(key(), &[]).await;
    let claims = child.claims();
    assert_eq!((&claims["sub"], &claims["act"]["act"]["sub"]), (&json!("alice"), &json!("planner")));
    assert_eq!(
        (&claims["sub_id"], &claims["vst"]["user"]),
        (&root.claims()["sub_id"], &root.claims()["vst"]["user"])
    );
    let record = scene.served(&scene.list(&child).await).await;
    assert_eq!((&record["user"]["subject"], &record["agent"]), (&json!("alice"), &json!(child.id())));
    let reply = scene.create(&child, &json!({})).await;
    let record = scene.denied("alice may not", &reply, 404, "operation-not-permitted").await;
    assert!(record["cause"].as_str().unwrap().contains("#alice"), "{record}");
}

/// Registers `worker`, which has this key, in these groups.
async fn worker(scene: &Scene, key: &AgentKey, with: Value) {
    let mut agent = json!({ "id": "worker", "groups": ["workers"], "jwks": key.jwks() });
    agent.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
    scene.gateway.post("/admin/v1/agents", &agent).await;
}

/// What an agent with a registered key signs to authenticate (RFC 7523).
fn assertion(scene: &Scene, key: &AgentKey) -> String {
    let now = scene.gateway.clock.now().seconds();
    let claims = json!({
        "iss": "worker", "sub": "worker", "aud": scene.gateway.url(""), "iat": now, "exp": now + 60,
        "jti": Jti::random(&OsEntropy),
    });
    key.sign(&json!({ "alg": "ES256", "typ": "JWT", "kid": "key" }).to_string(), &claims.to_string())
}

#[tokio::test]
async fn a_registered_agent_is_spawned_under_its_own_name_by_its_key_and_is_asked_about_as_itself() {
    let policies = format!(
        "{}\n@id(\"workers\") permit (principal in AgentGroup::\"workers\", action == Action::\"api__list\", resource);",
        super::PERMIT_ALL
    );
    let scene = Scene::with("{}", &policies).await;
    let (root, own, worker_id) = (scene.root().await, key(), AgentId::new("worker").unwrap());
    worker(&scene, &own, json!({})).await;
    for (how, actor) in [
        ("with an actor token", root.actor_token(&own, &worker_id)),
        ("with its client assertion", assertion(&scene, &own)),
    ] {
        let reply = root.exchange(&actor, &[]).await;
        let token = token_in(&reply);
        let minted = scene.gateway.attempt_of(&reply).await;
        assert_eq!((&minted["agent"], &minted["key"]), (&json!("worker"), &json!(own.thumbprint())), "{how}");
        let record =
            scene.served(&Possession::new(&scene, &own, &token, &root.nonce().unwrap()).list().await).await;
        assert_eq!(
            (&record["agent"], &record["chain"][0]["agent"]),
            (&json!("worker"), &json!("planner")),
            "{how}"
        );
        assert_eq!(record["policies"], json!(["agents", "workers"]), "{how}");
        let reply = root.exchange(&actor, &[]).await;
        scene.refused(how, &reply, "invalid_request", "actor-token-replayed").await;
    }
    let used = assertion(&scene, &own);
    let form = [
        ("grant_type", "client_credentials"),
        ("resource", &*scene.api()),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", &used),
    ];
    assert_eq!(scene.form(&form).send().await.status, 200);
    let reply = root.exchange(&used, &[]).await;
    scene.refused("what was its authentication", &reply, "invalid_request", "actor-token-replayed").await;
}

#[tokio::test]
async fn a_registered_agent_is_no_child_without_its_key_nor_for_an_application_that_is_not_its_own() {
    let scene = Scene::new().await;
    let (root, [own, again]) = (scene.root().await, keys());
    worker(&scene, &own, json!({ "apps": ["other"] })).await;
    let worker_id = AgentId::new("worker").unwrap();
    let reply = root.exchange(&root.actor_token(&own, &worker_id), &[]).await;
    scene.refused("not its application", &reply, "invalid_target", "target-not-allowed").await;
    for (what, actor) in [
        ("by a key that it has not registered", root.actor_token(&key(), &worker_id)),
        ("an agent that has no key", root.actor_token(&again, &AgentId::new("helper").unwrap())),
        ("an agent that is not there", root.actor_token(&again, &AgentId::new("ghost").unwrap())),
        ("an assertion by another key", assertion(&scene, &key())),
    ] {
        let reply = root.exchange(&actor, &[]).await;
        let code = if what.starts_with("an assertion") { "actor-token-invalid" } else { "actor-unknown" };
        let record = scene.refused(what, &reply, "invalid_request", code).await;
        assert_eq!(record["agent"], "planner", "{what}");
        assert_eq!(reply.json()["error_description"], "the actor token is not valid here", "{what}");
    }
    assert_eq!(scene.nodes().await, 1);
}

#[tokio::test]
async fn a_child_has_no_key_of_those_above_it() {
    let scene = Scene::new().await;
    let [one, two, three] = keys();
    let root = Holder::root(&scene.planner, one, &[("resource", &scene.api())]).await;
    let child = root.spawn(key(), &[]).await;
    for (what, parent, key) in [("of its parent", &root, two), ("of its grandparent", &child, three)] {
        let reply = parent.try_spawn(key, &[]).await.unwrap_err();
        scene.refused(what, &reply, "invalid_request", "actor-key-of-ancestor").await;
        assert_eq!(reply.json()["error_description"], "the child needs a key of its own", "{what}");
    }
    assert_eq!(scene.nodes().await, 2);
}

#[tokio::test]
async fn an_agent_does_not_spawn_itself_and_lends_nobody_the_key_that_it_has_registered() {
    let scene = Scene::new().await;
    let [own, again] = keys();
    let second = AgentKey::generate("second");
    let both = json!({ "keys": [own.jwk(), second.jwk()] });
    worker(&scene, &own, json!({ "groups": ["testers"], "jwks": both })).await;
    let api = scene.api();
    let clock = std::sync::Arc::clone(&scene.gateway.clock);
    let credential = vestibule_testkit::Credential::PrivateKey(again);
    let agent =
        vestibule_testkit::TestAgent::connect(&scene.gateway.url(""), "worker", credential, clock).await;
    let root = Holder::root(&agent, key(), &[("resource", &api)]).await;
    let reply = root.exchange(&root.actor_token(&second, &AgentId::new("worker").unwrap()), &[]).await;
    scene.refused("itself by its other key", &reply, "invalid_request", "actor-is-parent").await;
    let reply = root.try_spawn(second, &[]).await.unwrap_err();
    scene.refused("its other key as somebody else", &reply, "invalid_request", "actor-key-of-ancestor").await;
    let reply = root.exchange(&root.actor_token(&own, &own.agent()), &[]).await;
    scene
        .refused("the key that it authenticated with", &reply, "invalid_request", "actor-key-of-ancestor")
        .await;
}
