//! What was handed on to an agent (`authorization_details`, RFC 9396) is held at the lock, beside policy: both must say
//! yes. The world is closed: what is not listed is not allowed.

use serde_json::{Value, json};
use vestibule_testkit::{Call, Era, Holder, Http, Mcp, Reply, TestUpstream};

use super::{PERMIT_ALL, Scene, details, key};
use crate::gateway::{PERMIT_TESTERS, TestGateway};

/// A child of `root` that may create with these constraints, and nothing else.
async fn creator(root: &Holder, constraints: &Value) -> Holder {
    let create = details(&json!({ "create": constraints }));
    root.spawn(key(), &[("authorization_details", &create)]).await
}

#[tokio::test]
async fn each_kind_of_constraint_is_held_against_the_arguments_that_are_forwarded() {
    let scene = Scene::new().await;
    let root = scene.root().await;
    let (team, prefix) = (json!({ "one_of": ["team-a", "b"] }), json!({ "prefix": "team-" }));
    for (argument, constraint, inside, outside) in [
        ("name", json!({ "exact": "a" }), json!(["a"]), json!(["b", "A", "", "a ", "aa"])),
        ("name", json!({ "one_of": ["a", "b"] }), json!(["a", "b"]), json!(["c", "ab"])),
        ("size", json!({ "exact": 1 }), json!([1]), json!([2, 1.5, -1])),
        ("size", json!({ "one_of": [1, 2] }), json!([1, 2]), json!([3])),
        ("private", json!({ "exact": true }), json!([true]), json!([false])),
        (
            "size",
            json!({ "range": { "min": 1, "max": 10 } }),
            json!([1, 2.5, 10]),
            json!([0, 0.9999, 10.0001, -2]),
        ),
        ("size", json!({ "range": { "min": 1.5 } }), json!([1.5, 1e6]), json!([1.4999])),
        ("size", json!({ "range": { "max": 0 } }), json!([0, -5]), json!([0.0001])),
        ("name", prefix.clone(), json!(["team-", "team-x"]), json!(["team", "Team-x", "x-team-", ""])),
        ("name", json!({ "all_of": [prefix, team] }), json!(["team-a"]), json!(["team-b", "b"])),
    ] {
        let child = creator(&root, &json!({ argument: constraint })).await;
        for value in inside.as_array().unwrap() {
            scene.served(&scene.create(&child, &json!({ argument: value })).await).await;
        }
        let refuses = async |what: &str, arguments: &Value| {
            let what = format!("{constraint} {what}: {arguments}");
            let reply = scene.create(&child, arguments).await;
            let record = scene.denied(&what, &reply, 403, "authority-exceeded").await;
            let cause = record["cause"].as_str().unwrap();
            assert!(cause.starts_with("outside of authorization_details: the argument `"), "{what}: {cause}");
            assert_eq!(record["policies"], json!([]), "{what}: no policy determined it");
        };
        for value in outside.as_array().unwrap() {
            refuses("outside", &json!({ argument: value })).await;
        }
        refuses("the argument is absent", &json!({})).await;
        let extra = if argument == "private" { "name" } else { "private" };
        let more = if extra == "private" { json!(true) } else { json!("x") };
        refuses("an argument more", &json!({ argument: inside[0], extra: more })).await;
    }
}

#[tokio::test]
async fn an_operation_that_was_not_handed_on_does_not_exist_for_the_child() {
    let scene = Scene::new().await;
    let root = scene.root().await;
    let child = creator(&root, &json!({})).await;
    let any = json!({ "name": "x", "size": 1, "private": true });
    scene.served(&scene.create(&child, &any).await).await;
    for (what, reply) in
        [("a list", scene.list(&child).await), ("a removal", scene.remove(&child, "x").await)]
    {
        let record = scene.denied(what, &reply, 404, "operation-not-permitted").await;
        assert!(
            record["cause"].as_str().unwrap().contains("outside of authorization_details"),
            "{what}: {record}"
        );
        let unknown = scene.gateway.attempt_of(&reply).await;
        assert_eq!(unknown["upstream_status"], Value::Null);
    }
    scene.served(&scene.remove(&root, "x").await).await;
}

#[tokio::test]
async fn what_was_handed_on_grants_nothing_that_policy_refuses() {
    let policies = format!(
        "{PERMIT_ALL}\n@id(\"small\") forbid (principal, action == Action::\"api__create\", resource) \
         when {{ context.input has name && context.input.name == \"huge\" }};\n\
         @id(\"never\") forbid (principal, action == Action::\"api__remove\", resource);"
    );
    let scene = Scene::with("{}", &policies).await;
    let root = scene.root().await;
    let both = details(&json!({ "create": { "name": { "prefix": "" } }, "remove": {} }));
    let refused = root.try_spawn(key(), &[("authorization_details", &both)]).await.unwrap_err();
    scene.refused("an empty prefix", &refused, "invalid_authorization_details", "authority-malformed").await;
    let both = details(&json!({ "create": { "name": { "one_of": ["huge", "tiny"] } }, "remove": {} }));
    let child = root.spawn(key(), &[("authorization_details", &both)]).await;
    scene.served(&scene.create(&child, &json!({ "name": "tiny" })).await).await;
    let reply = scene.create(&child, &json!({ "name": "huge" })).await;
    let record = scene.denied("inside, and forbidden", &reply, 403, "arguments-not-permitted").await;
    assert_eq!(record["policies"], json!(["small"]));
    let reply = scene.remove(&child, "x").await;
    scene.denied("handed on, and forbidden", &reply, 404, "operation-not-permitted").await;
}

#[tokio::test]
async fn an_agent_may_bind_itself_and_acts_within_that() {
    let scene = Scene::new().await;
    let asked = details(&json!({ "list": {} }));
    let root = scene.root_with(&[("authorization_details", &asked)]).await;
    let located =
        json!([{ "type": "vestibule_operations", "operations": { "list": {} }, "locations": [scene.api()] }]);
    assert_eq!(
        (&root.claims()["authorization_details"], &root.answer["authorization_details"]),
        (&located, &located)
    );
    scene.served(&scene.list(&root).await).await;
    let reply = scene.create(&root, &json!({})).await;
    scene.denied("the agent itself", &reply, 404, "operation-not-permitted").await;
    let child = root.spawn(key(), &[]).await;
    assert_eq!(
        child.claims()["authorization_details"],
        located,
        "without a word a child has what its parent has"
    );
    let reply = scene.create(&child, &json!({})).await;
    scene.denied("its child", &reply, 404, "operation-not-permitted").await;
}

#[tokio::test]
async fn what_was_handed_on_for_another_resource_is_worth_nothing_here() {
    let scene = Scene::new().await;
    let root = scene.root().await;
    let elsewhere = json!([{
        "type": "vestibule_operations", "operations": { "list": {} }, "locations": [scene.gateway.resource("other")],
    }]);
    let child = root.spawn(key(), &[("authorization_details", &elsewhere.to_string())]).await;
    let reply = scene.list(&child).await;
    scene.denied("an operation of the same name", &reply, 404, "operation-not-permitted").await;
}

/// A request as a client of MCP 2026-07-28 sends it, without its credential.
fn message(url: &str, method: &str, mut params: Value) -> Call {
    const VERSION: &str = "2026-07-28";
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": VERSION, "io.modelcontextprotocol/clientCapabilities": {},
    });
    let call = Http::post(url)
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", VERSION)
        .header("mcp-method", method);
    let call = if let Some(name) = params["name"].as_str() { call.header("mcp-name", name) } else { call };
    call.json(&json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }))
}

#[tokio::test]
async fn a_list_shows_a_child_what_was_handed_on_and_a_call_is_decided_again() {
    let tool = |name: &str| {
        let properties = json!({ "repo": { "type": "string" } });
        json!({ "name": name, "inputSchema": { "type": "object", "properties": properties } })
    };
    let tools = ["read_repo", "drop_repo", "list_repos"].map(tool);
    let upstream = TestUpstream::mcp(Mcp::new(Era::Modern, tools.to_vec())).await;
    let config = format!("apps: {{ tools: {{ mcp: {{ url: '{}/mcp' }} }} }}", upstream.url());
    let policies = format!(
        "{PERMIT_TESTERS} @id(\"hand-on\") permit (principal, action == Action::\"delegate\", resource);"
    );
    let gateway = TestGateway::start(&config, &[("all.cedar", &policies)]).await;
    let (planner, url) = (gateway.agent("planner", json!({})).await, gateway.resource("tools"));
    let root = Holder::root(&planner, key(), &[("resource", &*url)]).await;
    let asked = details(&json!({ "read_repo": { "repo": { "exact": "mine" } }, "not_there": {} }));
    let child = root.spawn(key(), &[("authorization_details", &asked)]).await;
    let rpc = async |agent: &Holder, method: &str, params: Value| {
        agent.send("POST", &url, || message(&url, method, params.clone())).await
    };
    let call = async |agent: &Holder, tool: &str, repo: &str| {
        rpc(agent, "tools/call", json!({ "name": tool, "arguments": { "repo": repo } })).await
    };
    let names = |reply: &Reply| -> Vec<Value> {
        let body = reply.json();
        body["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].clone()).collect()
    };
    assert_eq!(names(&rpc(&root, "tools/list", json!({})).await).len(), 3);
    assert_eq!(names(&rpc(&child, "tools/list", json!({})).await), ["read_repo"]);
    let calls = || upstream.requests().iter().filter(|seen| seen.json()["method"] == "tools/call").count();
    let mine = call(&child, "read_repo", "mine").await;
    assert_eq!((mine.json()["result"]["isError"].clone(), calls()), (json!(false), 1));
    let yours = call(&child, "read_repo", "yours").await;
    let error = &yours.json()["error"];
    assert_eq!(
        (&error["code"], &error["data"]["authorization"]["code"]),
        (&json!(4030), &json!("authority-exceeded"))
    );
    assert_eq!(gateway.attempt_of(&yours).await["denial"], "authority-exceeded");
    let (hidden, unknown) =
        (call(&child, "drop_repo", "mine").await, call(&child, "no_such_tool", "mine").await);
    assert_eq!(hidden.json()["error"]["code"], -32602, "{}", hidden.text());
    assert_eq!(
        unknown.text(),
        hidden
            .text()
            .replace("drop_repo", "no_such_tool")
            .replace(hidden.header("x-request-id"), unknown.header("x-request-id")),
        "as one that there is not"
    );
    assert_eq!(calls(), 1);
}
