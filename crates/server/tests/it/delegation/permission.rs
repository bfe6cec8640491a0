//! Handing on is itself decided by policy: whether this agent, for this human, may have this child, this deep, for so long,
//! with these operations.

use serde_json::{Value, json};
use vestibule_testkit::Holder;

use super::{Scene, details, key};

const CALLS: &str = r#"
@id("agents") permit (principal in AgentGroup::"testers", action in Action::"call", resource);
@id("users") permit (principal is User, action in Action::"call", resource);
"#;

async fn refuses(
    scene: &Scene,
    what: &str,
    parent: &Holder,
    fields: &[(&str, &str)],
    policies: Value,
) -> Value {
    let before = scene.nodes().await;
    let reply = parent.try_spawn(key(), fields).await.unwrap_err();
    let record = scene.refused(what, &reply, "invalid_request", "delegation-not-permitted").await;
    assert_eq!(
        reply.json()["error_description"],
        "the delegation is not permitted",
        "{what}: no reason is told"
    );
    assert_eq!(record["policies"], policies, "{what}: {record}");
    assert!(record["policy_set"].is_string(), "{what}");
    assert_eq!(scene.nodes().await, before, "{what}: a node was made");
    record
}

#[tokio::test]
async fn nobody_spawns_unless_a_policy_says_so() {
    let scene = Scene::with("{}", CALLS).await;
    let root = scene.root().await;
    let record = refuses(&scene, "no policy", &root, &[], json!([])).await;
    assert!(record["cause"].as_str().unwrap().contains("nothing permits Agent::\"planner\""), "{record}");
    assert_eq!(
        record["chain"][0]["node"],
        json!(root.node()),
        "the refusal stands in the tree it belongs to"
    );
    scene.served(&scene.list(&root).await).await;
}

#[tokio::test]
async fn what_is_asked_about_is_the_child_and_all_that_it_would_get() {
    let hand_on = r#"
    @id("hand-on") permit (principal, action == Action::"delegate", resource in AgentGroup::"spawned")
    when {
        context.input.depth <= 2 && context.input.expires <= 600
        && ["list", "create"].containsAll(context.input.operations)
    };
    @id("no-helper") forbid (principal, action == Action::"delegate", resource == Agent::"helper");
    @id("no-create") forbid (principal, action == Action::"delegate", resource)
    when { context.input.operations.contains("create") && context.token.scopes.contains("write") };
    "#;
    let scene = Scene::with("{}", &format!("{CALLS}{hand_on}")).await;
    let root = scene.root().await;
    let list = details(&json!({ "list": {} }));
    let brief = [("authorization_details", &*list), ("expires_in", "600")];
    let child = root.spawn(key(), &brief).await;
    let made = scene.gateway.attempts("kind=token-request&decision=permit").await;
    let made = made.iter().find(|record| record["agent"] == json!(child.id())).unwrap();
    assert_eq!(made["policies"], json!(["hand-on"]), "the record says who let it");
    let remove = details(&json!({ "remove": {} }));
    let create = details(&json!({ "list": {}, "create": {} }));
    for (what, parent, fields, policies) in [
        ("for longer", &root, &[("authorization_details", &*list), ("expires_in", "601")][..], json!([])),
        ("for as long as may be", &root, &[("authorization_details", &*list)], json!([])),
        (
            "another operation",
            &root,
            &[("authorization_details", &*remove), ("expires_in", "600")],
            json!([]),
        ),
        ("everything", &root, &[("expires_in", "600")], json!(["no-create"])),
        ("deeper", &child, &[("expires_in", "60")], json!([])),
        (
            "a forbidden one",
            &root,
            &[("authorization_details", &*create), ("expires_in", "60")],
            json!(["no-create"]),
        ),
    ] {
        refuses(&scene, what, parent, fields, policies).await;
    }
    let reader = scene.root_with(&[("scope", "read")]).await;
    reader.spawn(key(), &[("authorization_details", &*create), ("expires_in", "60")]).await;
}

#[tokio::test]
async fn the_human_must_let_it_be_handed_on_too_and_so_must_every_agent_above() {
    let hand_on = r#"
    @id("agents.on") permit (principal is Agent, action == Action::"delegate", resource)
        unless { principal in AgentGroup::"spawned" };
    @id("users.on") permit (principal in UserGroup::"idp:developers", action == Action::"delegate", resource);
    "#;
    let scene = Scene::with("{}", &format!("{CALLS}{hand_on}")).await;
    let developer = scene.root_for("alice", &["developers"]).await;
    let child = developer.spawn(key(), &[]).await;
    let guest = scene.root_for("gus", &["guests"]).await;
    let record = refuses(&scene, "for a guest", &guest, &[], json!([])).await;
    let cause = record["cause"].as_str().unwrap();
    assert!(cause.contains("#gus") && !cause.contains("Agent::"), "{cause}");
    assert_eq!(record["user"]["subject"], "gus");
    let record = refuses(&scene, "by a child", &child, &[], json!([])).await;
    let cause = record["cause"].as_str().unwrap();
    assert!(cause.contains("jwk-thumbprint") && !cause.contains("\"planner\""), "{cause}");
    assert_eq!((&record["agent"], &record["user"]["subject"]), (&json!(child.id()), &json!("alice")));
    scene.served(&scene.list(&child).await).await;
}

#[tokio::test]
async fn a_refused_spawn_does_not_use_up_what_the_child_has_signed() {
    let policies = format!(
        "{CALLS}@id(\"brief\") permit (principal, action == Action::\"delegate\", resource) \
         when {{ context.input.expires <= 60 }};"
    );
    let scene = Scene::with("{}", &policies).await;
    let (root, child) = (scene.root().await, key());
    let actor = root.actor_token(&child, &child.agent());
    let reply = root.exchange(&actor, &[]).await;
    scene.refused("for long", &reply, "invalid_request", "delegation-not-permitted").await;
    let reply = root.exchange(&actor, &[("expires_in", "60")]).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}
