//! A body is what its operation declares, or the request is refused.

use http::Method;
use serde_json::json;
use vestibule_model::{Digest, json::parse};

use super::Scene;

#[tokio::test]
async fn a_body_of_another_kind_is_refused() {
    let scene = Scene::new().await;
    let good = r#"{"name":"x","private":true}"#;
    let json = |content_type: &str| scene.request(Method::POST, "/repos").body(content_type, good);
    let refused = [
        ("a body on GET", scene.request(Method::GET, "/repos").body("application/json", good)),
        ("text", scene.request(Method::POST, "/repos").body("text/plain", good)),
        ("a form", scene.request(Method::POST, "/repos").form(&[("name", "x"), ("private", "true")])),
        ("another charset", json("application/json; charset=utf-7")),
        ("another charset after a space", json("application/json; charset =utf-7")),
        ("two charsets", json("application/json; charset=utf-8; charset=utf-7")),
        ("a parameter", json("application/json; x=1")),
        ("two names that end like one", json("application/x, text/plain+json")),
        ("a coding", json("application/json").header("content-encoding", "gzip")),
        ("no coding", json("application/json").header("content-encoding", "identity")),
        ("two types", json("application/json").header("content-type", "application/json; charset=utf-7")),
        (
            "two types of an opaque body",
            scene
                .request(Method::PUT, "/files/f")
                .body("image/png", good)
                .header("content-type", "text/html"),
        ),
    ];
    for (what, call) in refused {
        scene.assert_refused(what, &call.send().await, 415, "media-type-unsupported").await;
    }
    assert_eq!(scene.seen(), 0);
}

#[tokio::test]
async fn the_application_is_told_what_a_body_was_read_as() {
    let scene = Scene::new().await;
    for (given, told) in [
        ("Application/JSON;Charset=UTF-8", "application/json"),
        ("application/Merge-Patch+json; charset=\"utf-8\"", "application/merge-patch+json"),
    ] {
        let call = scene.request(Method::PATCH, "/repos/x").body(given, r#"{"label":"a"}"#);
        assert_eq!(call.send().await.status, 200, "{given}");
        let seen = scene.upstream.requests().pop().unwrap();
        assert_eq!(seen.headers.get_all("content-type").into_iter().collect::<Vec<_>>(), [told]);
    }
    let empty = scene.request(Method::GET, "/repos").header("content-type", "text/plain; charset=utf-7");
    assert_eq!(empty.send().await.status, 200);
    assert_eq!(scene.upstream.requests().pop().unwrap().header("content-type"), "", "there is no body");
}

#[tokio::test]
async fn a_member_that_differs_from_a_declared_one_only_in_case_is_refused() {
    let scene = Scene::new().await;
    for body in [
        r#"{"name":"x","private":true,"Private":false}"#,
        r#"{"name":"x","private":true,"settings":{"label":"a","LABEL":"b"}}"#,
        r#"{"name":"x","private":true,"settings":{"\u0130":1,"Label":"b"}}"#,
    ] {
        let reply = scene.request(Method::POST, "/repos").body("application/json", body).send().await;
        scene.assert_refused(body, &reply, 403, "argument-undeclared").await;
    }
    assert_eq!(scene.seen(), 0);
}

#[tokio::test]
async fn json_of_too_many_values_is_refused() {
    let scene = Scene::new().await;
    let tags = |count| scene.request(Method::PUT, "/repos/x/tags").json(&json!(vec!["a"; count])).send();
    scene.assert_refused("100,001 elements", &tags(100_001).await, 413, "json-too-large").await;
    assert_eq!(scene.seen(), 0);
    assert_eq!((tags(100_000).await.status.as_u16(), scene.seen()), (200, 1));
}

#[tokio::test]
async fn json_that_two_readers_would_read_differently_is_refused() {
    let scene = Scene::new().await;
    let deep =
        format!("{{\"name\":\"x\",\"private\":true,\"settings\":{}1{}}}", "[".repeat(70), "]".repeat(70));
    for (code, body) in [
        ("json-duplicate-key", r#"{"name":"x","private":true,"private":false}"#),
        ("json-duplicate-key", r#"{"name":"x","private":true,"priv\u0061te":false}"#),
        ("json-duplicate-key", r#"{"name":"x","private":true,"settings":{"a":1,"a":2}}"#),
        ("json-invalid", r#"{"name":"\ud800","private":true}"#),
        ("json-invalid", r#"{"name":"x","private":true} {}"#),
        ("json-invalid", r#"{"name":"x","private":true,}"#),
        ("json-invalid", "{\"name\":\"x\",\"private\":true} // {}"),
        ("json-too-deep", &deep),
    ] {
        let reply =
            scene.request(Method::POST, "/repos").body("application/json", body.to_owned()).send().await;
        scene.assert_refused(body, &reply, 400, code).await;
    }
    let both = scene.request(Method::PUT, "/repos/x/tags?body=1").json(&json!(["a"])).send().await;
    scene.assert_refused("one name in query and body", &both, 400, "json-duplicate-key").await;
    let undeclared = json!({ "name": "x", "private": true, "owner": "acme" });
    let reply = scene.request(Method::POST, "/repos").json(&undeclared).send().await;
    scene.assert_refused("undeclared", &reply, 403, "argument-undeclared").await;
    assert_eq!(scene.seen(), 0);
}

#[tokio::test]
async fn invariant_12_a_body_that_is_too_large_is_refused_before_the_application_sees_it() {
    let scene = Scene::with("limits: { body_max_bytes: 1024, opaque_body_max_bytes: 2048 }").await;
    let json = json!({ "name": "x".repeat(1024), "private": true });
    let reply = scene.request(Method::POST, "/repos").json(&json).send().await;
    scene.assert_refused("json", &reply, 413, "body-too-large").await;
    let reply =
        scene.request(Method::PUT, "/files/f").body("application/octet-stream", vec![0; 2049]).send().await;
    scene.assert_refused("opaque", &reply, 413, "body-too-large").await;
    assert_eq!(scene.seen(), 0);
    let reply =
        scene.request(Method::PUT, "/files/f").body("application/octet-stream", vec![0; 2048]).send().await;
    assert_eq!((reply.status.as_u16(), scene.seen()), (200, 1));
}

#[tokio::test]
async fn an_opaque_body_passes_unread_and_is_digested_for_the_record() {
    let scene = Scene::new().await;
    let body: Vec<u8> = (0..300_000u32).flat_map(u32::to_le_bytes).collect();
    let reply = scene.request(Method::PUT, "/files/f").body("image/png", body.clone()).send().await;
    assert_eq!(reply.status, 200);
    let seen = scene.upstream.requests().pop().unwrap();
    assert_eq!((seen.body == body, seen.headers["content-type"].to_str().unwrap()), (true, "image/png"));
    let record = scene.gateway.attempt_of(&reply).await;
    assert_eq!(record["args_digest"], Digest::of(&body).to_string());
    assert_eq!(record["bytes_in"], body.len());
}

#[tokio::test]
async fn a_value_that_is_no_object_is_the_argument_body() {
    let scene = Scene::new().await;
    let reply = scene.request(Method::PUT, "/repos/x/tags").json(&json!(["a", "b"])).send().await;
    assert_eq!(reply.status, 200);
    let arguments = parse(br#"{"body":["a","b"],"name":"x"}"#, 8).unwrap().canonical();
    assert_eq!(
        scene.gateway.attempt_of(&reply).await["args_digest"],
        Digest::of(arguments.as_bytes()).to_string()
    );
}
