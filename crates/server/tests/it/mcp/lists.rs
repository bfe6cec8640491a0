//! Lists show what the caller could be permitted, and what they show they show byte for byte.

use http::Method;
use serde_json::{Value, json};
use vestibule_testkit::{Answer, Era, Http};

use super::{in_front_of, in_front_of_answer, initialize, legacy, upstream};
use crate::gateway::{TestGateway, rpc};

/// Spacing, escapes, numbers and keywords that a reader and writer of JSON would not give back.
const READ: &str = r#"{"name":"re\u0061d",  "_meta":{"sig" :"1.00","n":1.0e0}, "inputSchema":{"$defs":{"a":{"$anchor":"x"}},"type":"object" }}"#;
const PAY: &str = r#"{ "inputSchema" : {"type":"object"} ,"name":"pay","icons":[ ]}"#;
const WIPE: &str = r#"{"name":"wipe","inputSchema":{"type":"object"},"description":"name: read"}"#;
const NAMELESS: &str = r#"{"title":"read"}"#;

fn around(items: &str) -> String {
    format!(
        r#"{{ "jsonrpc":"2.0","id":5, "result": {{"_meta":{{"k":"v"}}, "tools": [{items}] , "ttlMs":5}}}}"#
    )
}

fn whole() -> String {
    around(&[READ, WIPE, NAMELESS, PAY].join(",\n "))
}

fn filtered() -> String {
    around(&[READ, PAY].join(","))
}

async fn list(gateway: &TestGateway, method: &str) -> String {
    let (token, url) = (gateway.token("a", "app").await, gateway.resource("app"));
    let reply = rpc(&url, &token, &json!({ "jsonrpc": "2.0", "id": 5, "method": method })).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.text()
}

#[tokio::test]
async fn a_list_of_tools_keeps_what_could_be_permitted_byte_for_byte() {
    let (_upstream, gateway) =
        in_front_of_answer(Answer::new(200, whole()).header("content-type", "application/json")).await;
    assert_eq!(list(&gateway, "tools/list").await, filtered());
}

#[tokio::test]
async fn a_list_of_tools_in_a_stream_is_filtered_too() {
    let event = |data: &str| format!("id: 3\nevent: message\ndata: {data}\n\n");
    let progress = event(r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{ "progress":1 }}"#);
    let streamed = Answer::stream("text/event-stream", [progress.clone(), event(&whole().replace('\n', ""))]);
    let (_upstream, gateway) = in_front_of_answer(streamed).await;
    assert_eq!(list(&gateway, "tools/list").await, progress + &event(&filtered()));
}

#[tokio::test]
async fn a_resumed_stream_that_replays_a_list_is_filtered_too() {
    let event = |items: &str| format!("id: 9\ndata: {}\n\n", around(items));
    let replay = Answer::stream("text/event-stream", [event(&[READ, WIPE].join(",")), event(WIPE)]);
    let (upstream, gateway) = in_front_of_answer(replay).await;
    let (token, url) = (gateway.token("a", "app").await, gateway.resource("app"));
    let resumed =
        Http::get(&url).bearer(&token).header("accept", "text/event-stream").header("last-event-id", "8");
    let reply = resumed.send().await;
    assert_eq!(reply.text(), event(READ) + &event(""));
    let seen = upstream.requests().pop().unwrap();
    assert_eq!((seen.method.clone(), seen.header("last-event-id")), (Method::GET, "8"));
}

#[tokio::test]
async fn resources_and_prompts_are_listed_as_far_as_reading_them_is_permitted() {
    let list_of = |member: &str, items: Value| {
        Answer::json(&json!({ "jsonrpc": "2.0", "id": 5, "result": { member: items } }))
    };
    let resources =
        json!([{ "uri": "file:///public/a", "name": "a" }, { "uri": "file:///private/b", "name": "b" }]);
    let (upstream, gateway) = in_front_of_answer(list_of("resources", resources.clone())).await;
    let (token, url) = (gateway.token("a", "app").await, gateway.resource("app"));
    let ask = async |method: &str, params: Value| {
        rpc(&url, &token, &json!({ "jsonrpc": "2.0", "id": 5, "method": method, "params": params }))
            .await
            .json()
    };
    assert_eq!(ask("resources/list", json!({})).await["result"]["resources"], json!([resources[0]]));

    let prompts = json!([{ "name": "greet" }, { "name": "confess" }]);
    upstream.answer(list_of("prompts", prompts));
    assert_eq!(ask("prompts/list", json!({})).await["result"]["prompts"], json!([{ "name": "greet" }]));

    // Listing is no gate: the call is decided again.
    upstream.answer(Answer::json(&json!({ "jsonrpc": "2.0", "id": 5, "result": { "contents": [] } })));
    let before = upstream.requests().len();
    let private = ask("resources/read", json!({ "uri": "file:///private/b" })).await;
    assert_eq!(private["error"]["code"], 4030, "{private}");
    let confess = ask("prompts/get", json!({ "name": "confess" })).await;
    assert_eq!(confess["error"]["code"], 4030, "{confess}");
    assert_eq!(upstream.requests().len(), before);
    assert_eq!(
        ask("resources/read", json!({ "uri": "file:///public/a" })).await["result"]["contents"],
        json!([])
    );
    assert_eq!(upstream.requests().len(), before + 1);
}

#[tokio::test]
async fn an_agent_to_whom_nothing_is_permitted_sees_an_empty_list() {
    let upstream = upstream(Era::Legacy).await;
    let gateway = in_front_of(&upstream).await;
    let url = gateway.resource("app");
    let token = gateway.agent("stranger", json!({ "groups": [] })).await.token(&url).await;
    let session = initialize(&url, &token).await;
    let message = json!({ "jsonrpc": "2.0", "id": 5, "method": "tools/list" });
    let reply = legacy(&url, &token).header("mcp-session-id", &session).json(&message).send().await;
    assert_eq!(reply.json()["result"]["tools"], json!([]));
}
