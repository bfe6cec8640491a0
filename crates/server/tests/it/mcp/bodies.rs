//! The application reads what the gateway has read: the body is said to be nothing else, and has no second reading.

use serde_json::{Value, json};
use vestibule_testkit::{Era, Mcp, TestUpstream};

use super::{config, in_front_of, legacy, modern, modern_message, seen, upstream};
use crate::gateway::{TestGateway, call};

#[tokio::test]
async fn a_body_that_is_said_to_be_more_than_json_in_utf_8_is_refused() {
    let upstream = upstream(Era::Legacy).await;
    let gateway = in_front_of(&upstream).await;
    let (token, url) = (gateway.token("a", "app").await, gateway.resource("app"));
    let body = call("read", json!({})).to_string();
    let sent = |content_type: &str| legacy(&url, &token).body(content_type, body.clone());
    let refused = [
        ("a charset", sent("application/json; charset=utf-7")),
        ("a charset after a space", sent("application/json; charset =utf-7")),
        ("two charsets", sent("application/json; charset=utf-8; charset=utf-7")),
        ("a parameter", sent("application/json; boundary=x")),
        ("another kind of JSON", sent("application/problem+json")),
        ("two types", sent("application/json").header("content-type", "application/json; charset=utf-7")),
        ("a coding", sent("application/json").header("content-encoding", "gzip")),
        ("no coding", sent("application/json").header("content-encoding", "identity")),
    ];
    for (what, call) in refused {
        let reply = call.send().await;
        assert_eq!(reply.status, 415, "{what}");
        assert_eq!(gateway.attempt_of(&reply).await["denial"], "media-type-unsupported", "{what}");
    }
    assert_eq!(seen(&upstream, "tools/call"), 0);
}

#[tokio::test]
async fn the_application_is_told_what_the_body_was_read_as() {
    let upstream = upstream(Era::Legacy).await;
    let gateway = in_front_of(&upstream).await;
    let (token, url) = (gateway.token("a", "app").await, gateway.resource("app"));
    let body = call("read", json!({})).to_string();
    for content_type in ["application/json", "Application/JSON ;charset=\"UTF-8\""] {
        legacy(&url, &token).body(content_type, body.clone()).send().await;
        let told = upstream.requests().pop().unwrap();
        assert_eq!(told.body, body);
        let told: Vec<_> = told.headers.get_all("content-type").into_iter().collect();
        assert_eq!(told, ["application/json"], "{content_type}");
    }
}

#[tokio::test]
async fn an_argument_that_differs_from_a_declared_one_only_in_case_is_refused_on_every_level() {
    let filter = json!({ "type": "object", "additionalProperties": true, "properties": {
        "repo": { "type": "string" }, "task": { "type": "string" } } });
    let find = json!({ "name": "find", "inputSchema": { "type": "object", "additionalProperties": true,
        "properties": { "filter": filter, "also": { "type": "array", "items": filter } } } });
    let upstream = TestUpstream::mcp(Mcp::new(Era::Modern, vec![find])).await;
    let safe = r#"@id("safe") permit (principal, action == Action::"app__find", resource)
        when { context.input has filter && context.input.filter has repo && context.input.filter.repo == "safe" };"#;
    let gateway = TestGateway::start(&config(&upstream), &[("find.cedar", safe)]).await;
    let (token, url) = (gateway.token("a", "app").await, gateway.resource("app"));
    let find = async |arguments: Value| {
        let message = modern_message("tools/call", json!({ "name": "find", "arguments": arguments }));
        modern(&url, &token, &message).send().await
    };
    for (name, arguments) in [
        ("Repo", json!({ "filter": { "repo": "safe", "Repo": "prod" } })),
        ("ta\u{17f}\u{212a}", json!({ "filter": { "repo": "safe", "ta\u{17f}\u{212a}": "wipe" } })),
        ("FILTER", json!({ "filter": { "repo": "safe" }, "FILTER": { "repo": "prod" } })),
        ("rEPO", json!({ "filter": { "repo": "safe" }, "also": [{ "repo": "safe" }, { "rEPO": "prod" }] })),
    ] {
        let error = find(arguments).await.json()["error"].clone();
        let authorization = &error["data"]["authorization"];
        assert_eq!((&error["code"], &authorization["code"]), (&json!(4030), &json!("argument-undeclared")));
        assert!(
            authorization["hints"][0].as_str().unwrap().contains(&format!("`{name}`")),
            "{authorization}"
        );
    }
    assert_eq!(seen(&upstream, "tools/call"), 0);

    let welcome = json!({ "filter": { "repo": "safe", "repository": "x" }, "limit": 7 });
    assert_eq!(find(welcome.clone()).await.json()["result"]["content"][0]["text"], welcome.to_string());
    assert_eq!(seen(&upstream, "tools/call"), 1);
}

#[tokio::test]
async fn a_body_of_too_many_values_is_refused() {
    let upstream = upstream(Era::Legacy).await;
    let gateway = in_front_of(&upstream).await;
    let (token, url) = (gateway.token("a", "app").await, gateway.resource("app"));
    let many = call("read", json!({ "x": vec![0; 100_000] }));
    let reply = legacy(&url, &token).json(&many).send().await;
    assert_eq!((reply.status.as_u16(), &reply.json()["code"]), (413, &json!("json-too-large")));
    assert_eq!(gateway.attempt_of(&reply).await["denial"], "json-too-large");
    assert_eq!(seen(&upstream, "tools/call"), 0);
}
