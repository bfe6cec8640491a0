//! Finding attempts: by every filter, and live.

use http::Method;
use serde_json::{Value, json};

use super::{Scene, ids};

#[tokio::test]
async fn each_filter_finds_the_attempts_that_fit_and_no_others() {
    let scene = Scene::new().await;
    let (a, b) = (scene.gateway.agent("a", json!({})).await, scene.gateway.agent("b", json!({})).await);
    let (one, two) = (scene.gateway.resource("one"), scene.gateway.resource("two"));
    let calls = [
        scene.look(&a.token(&one).await, "one").await,
        scene.send(&a.token(&one).await, "one", Method::DELETE, "/all").await,
        scene.look(&a.token(&two).await, "two").await,
        scene.look(&b.token(&two).await, "two").await,
    ];
    let mut records = Vec::new();
    for call in &calls {
        records.push(scene.gateway.attempt_of(call).await);
    }
    let text = |at: usize, pointer: &str| records[at].pointer(pointer).unwrap().as_str().unwrap().to_owned();
    let node = text(0, "/chain/0/node");
    assert_eq!(node, text(1, "/chain/0/node"), "the live root is used again");
    let workflow = text(3, "/workflow");
    let (first, third) = (&records[0]["at"], &records[2]["at"]);
    for (query, expected) in [
        (String::new(), vec![0, 1, 2, 3]),
        ("agent=a".into(), vec![0, 1, 2]),
        ("app=two".into(), vec![2, 3]),
        ("agent=a&app=two".into(), vec![2]),
        ("operation=look".into(), vec![0, 2, 3]),
        ("operation=wipe".into(), vec![1]),
        ("decision=permit".into(), vec![0, 2, 3]),
        ("decision=deny".into(), vec![1]),
        ("denial=operation-not-permitted".into(), vec![1]),
        ("outcome=completed".into(), vec![0, 2, 3]),
        (format!("attempt={}", text(2, "/attempt")), vec![2]),
        (format!("node={node}"), vec![0, 1]),
        (format!("ancestor={node}"), vec![0, 1]),
        ("ancestor=b".into(), vec![3]),
        (format!("workflow={workflow}"), vec![3]),
        (format!("since={first}"), vec![0, 1, 2, 3]),
        (format!("until={first}"), vec![]),
        (
            format!("until={third}"),
            (0..4).filter(|at| records[*at]["at"].as_i64() < third.as_i64()).collect(),
        ),
        ("user=alice".into(), vec![]),
        ("agent=nobody".into(), vec![]),
        ("agent=a&decision=deny&operation=look".into(), vec![]),
    ] {
        let mut found = scene.gateway.attempts(&query).await;
        found.retain(|attempt| attempt["kind"] == "call");
        let expected: Vec<Value> = expected.into_iter().map(|at| records[at].clone()).collect();
        assert_eq!(ids(&found), ids(&expected), "{query}");
        assert_eq!(found, expected, "{query}");
    }
    let limited = scene.gateway.get("/admin/v1/attempts?limit=2&operation=look").await;
    let newest = [records[2].clone(), records[3].clone()];
    assert_eq!(ids(limited["items"].as_array().unwrap()), ids(&newest));
    for bad in ["agentt=a", "decision=maybe", "since=yesterday", "attempt=1"] {
        assert_eq!(
            scene.gateway.admin("GET", &format!("/admin/v1/attempts?{bad}")).send().await.status,
            400,
            "{bad}"
        );
    }
}

#[tokio::test]
async fn the_live_view_shows_an_attempt_as_it_ends() {
    let scene = Scene::new().await;
    let token = scene.gateway.token("a", "one").await;
    let mut live = scene.gateway.admin("GET", "/admin/v1/attempts/live?operation=look").open().await.unwrap();
    assert_eq!(live.headers["content-type"], "application/x-ndjson");
    scene.send(&token, "one", Method::DELETE, "/all").await;
    let reply = scene.look(&token, "one").await;
    let line = live.read_until("\n").await;
    let attempt: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(attempt, scene.gateway.attempt_of(&reply).await);
}

#[tokio::test]
async fn an_attempt_that_does_not_exist_is_not_found() {
    let scene = Scene::new().await;
    let token = scene.gateway.token("a", "one").await;
    let reply = scene.look(&token, "one").await;
    let id = reply.header("x-request-id");
    let other = format!("f{}", &id[1..]);
    assert_eq!(scene.gateway.admin("GET", &format!("/admin/v1/attempts/{other}")).send().await.status, 404);
    assert_eq!(scene.gateway.admin("GET", "/admin/v1/attempts/nonsense").send().await.status, 400);
}
