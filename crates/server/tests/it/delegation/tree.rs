//! The tree as operators see it, and what the record still knows of it when it is gone.

use serde_json::{Value, json};

use super::story::Story;

async fn show(story: &Story, node: &str) -> Value {
    story.scene.gateway.get(&format!("/admin/v1/delegations/{node}")).await
}

/// The states of the root, of what was spawned below it, and of what was invoked below that.
async fn states(story: &Story) -> [String; 3] {
    let mut states = [const { String::new() }; 3];
    for (state, node) in states.iter_mut().zip([&story.root.node(), &story.child.1, &story.inner.node()]) {
        *state = show(story, node).await["state"].as_str().unwrap().to_owned();
    }
    states
}

#[tokio::test]
async fn a_delegation_is_shown_with_all_that_it_rests_on() {
    let story = Story::new().await;
    let (root, child, inner) = (story.root.node(), &story.child.1, story.inner.node());
    let shown = show(&story, &inner).await;
    assert_eq!(
        (&shown["kind"], &shown["agent"], &shown["state"]),
        (&json!("delegation"), &json!("helper"), &json!("active"))
    );
    assert_eq!((&shown["parent"], &shown["path"]), (&json!(child), &json!([root, child, inner])));
    assert_eq!(shown["chain"], json!(["planner", story.child.0, "helper"]));
    assert_eq!((&shown["origin"], &shown["calls"]), (&json!("invoked"), &json!([story.outer_call])));
    assert_eq!((&shown["app"], &shown["resource"]), (&json!("api"), &json!(story.scene.api())));
    assert_eq!(shown["keys"], json!([story.inner.key().thumbprint()]));
    assert_eq!(shown["workflow"], json!(story.workflow()));
    let user = &shown["user"];
    assert_eq!(user["id"], format!("{}#alice", story.scene.users.id()));
    assert_eq!((&user["groups"], &user["session"]), (&json!(["idp:developers"]), &json!("session-of-alice")));
    let made =
        story.scene.gateway.get(&format!("/admin/v1/attempts/{}", shown["made_by"].as_str().unwrap())).await;
    assert_eq!((&made["kind"], &made["delegation"]["node"]), (&json!("token-request"), &json!(inner)));
    let top = show(&story, &root).await;
    assert_eq!((&top["children"], &top["parent"], &top["origin"]), (&json!(1), &Value::Null, &json!("root")));
    let listed = story.scene.gateway.get("/admin/v1/delegations").await;
    assert_eq!((listed["items"].as_array().unwrap().len(), &listed["next"]), (3, &Value::Null));
    assert!(listed["items"].as_array().unwrap().contains(&shown));
    assert!(!listed.to_string().contains(story.inner.token()));
    for (path, status) in [("0".repeat(32), 404), ("nonsense".to_owned(), 400)] {
        let reply = story.scene.gateway.admin("GET", &format!("/admin/v1/delegations/{path}")).send().await;
        assert_eq!(reply.status, status, "{path}");
    }
}

#[tokio::test]
async fn a_state_is_that_of_everything_above() {
    let story = Story::new().await;
    let resume = async |kind: &str, id: &str| {
        let name = json!({ "kind": kind, "id": id });
        story.scene.gateway.post("/admin/v1/revocations/resume", &name).await;
    };
    assert_eq!(states(&story).await, ["active", "active", "active"]);
    let rotated = json!({
        "kind": "credential", "id": story.root.key().thumbprint(), "reason": "superseded",
    });
    story.scene.gateway.post("/admin/v1/revocations", &rotated).await;
    assert_eq!(states(&story).await, ["active", "active", "active"], "what was superseded runs on");
    story.order("suspended", "delegation", &story.child.1).await;
    // The call of the child was cut, and what was done within it has ended for good.
    assert_eq!(states(&story).await[..2], ["active", "suspended"]);
    resume("delegation", &story.child.1).await;
    assert_eq!(states(&story).await, ["active", "active", "ended"]);
    story.order("suspended", "user", &format!("{}#alice", story.scene.users.id())).await;
    assert_eq!(states(&story).await[..2], ["suspended", "suspended"]);
    story.order("revoked", "agent", &story.child.0).await;
    assert_eq!(states(&story).await[1], "revoked", "revoked weighs more than suspended");
    resume("user", &format!("{}#alice", story.scene.users.id())).await;
    assert_eq!(states(&story).await[..2], ["active", "revoked"]);
    story.order("revoked", "credential", &story.root.key().thumbprint().to_string()).await;
    assert_eq!(states(&story).await[..2], ["revoked", "revoked"]);
}

#[tokio::test]
async fn what_was_done_within_a_call_ends_with_the_call() {
    let mut story = Story::new().await;
    story.end().await;
    assert_eq!(states(&story).await, ["active", "active", "ended"]);
}

/// Every node of the trace with the attempts of its agent, as `(depth, agent, what was attempted)`: a node stands one
/// deeper than the attempt that brought it about.
fn flat(node: &Value, depth: usize, into: &mut Vec<(usize, String, String)>) {
    let agent = node["agent"].as_str().unwrap().to_owned();
    for step in node["steps"].as_array().unwrap() {
        let record = &step["record"];
        let what = if record["operation"].is_string() { &record["operation"] } else { &record["kind"] };
        into.push((depth, agent.clone(), what.as_str().unwrap().to_owned()));
        for below in step["nodes"].as_array().unwrap() {
            flat(below, depth + 1, into);
        }
    }
}

#[tokio::test]
async fn a_trace_shows_each_spawn_and_each_call_below_who_asked_for_it() {
    let mut story = Story::new().await;
    story.end().await;
    let child = story.child.0.clone();
    let expected = |rows: &[(usize, &str, &str)]| -> Vec<(usize, String, String)> {
        rows.iter().map(|(depth, agent, what)| (*depth, (*agent).to_owned(), (*what).to_owned())).collect()
    };
    let (token, ask) = ("token-request", "ask");
    for path in [
        format!("/admin/v1/attempts/{}/trace", story.inner_call),
        format!("/admin/v1/workflows/{}/trace", story.workflow()),
    ] {
        let trace = story.scene.gateway.get(&path).await;
        assert_eq!((&trace["workflow"], &trace["left_out"]), (&json!(story.workflow()), &json!(0)), "{path}");
        assert_eq!(trace["user"]["subject"], "alice", "{path}");
        assert_eq!(trace["roots"].as_array().unwrap().len(), 1, "{path}");
        let mut rows = Vec::new();
        flat(&trace["roots"][0], 0, &mut rows);
        let told = expected(&[
            (0, "planner", token),
            (0, "planner", token),
            (1, &child, ask),
            (2, "helper", token),
            (2, "helper", "list"),
        ]);
        assert_eq!(rows, told, "{path}");
        let called = &trace["roots"][0]["steps"][1]["nodes"][0]["steps"][0];
        assert_eq!(
            (&called["attempt"], &called["nodes"][0]["origin"]),
            (&json!(story.outer_call), &json!("invoked")),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_tree_that_has_ended_is_gone_and_the_record_still_tells_it() {
    let mut story = Story::new().await;
    story.end().await;
    let path = format!("/admin/v1/workflows/{}/trace", story.workflow());
    let before = story.scene.gateway.get(&path).await;
    story.scene.advance(3600).await;
    assert_eq!(story.scene.nodes().await, 0);
    for node in [story.root.node(), story.child.1.clone(), story.inner.node()] {
        let reply = story.scene.gateway.admin("GET", &format!("/admin/v1/delegations/{node}")).send().await;
        assert_eq!(reply.status, 404, "{node}");
    }
    assert_eq!(story.scene.gateway.get(&path).await, before);
    let Story { scene, root, .. } = story;
    let workflow = root.claims()["acti"].clone();
    let gateway = scene.gateway.restart().await;
    assert_eq!(gateway.get("/admin/v1/delegations").await["items"], json!([]));
    assert_eq!(
        gateway.get(&format!("/admin/v1/workflows/{}/trace", workflow.as_str().unwrap())).await,
        before
    );
}
