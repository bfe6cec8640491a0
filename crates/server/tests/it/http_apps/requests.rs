//! Path, query and body become the arguments that policies read, and what has two readings is refused.

use http::Method;
use serde_json::{Value, json};

use super::Scene;

#[tokio::test]
async fn path_query_and_body_are_arguments_that_policies_decide_about() {
    let scene = Scene::new().await;
    let create = |body: Value| scene.request(Method::POST, "/repos").json(&body).send();
    let permitted = [
        ("query", scene.get("/repos?page=10").await),
        ("no query", scene.get("/repos").await),
        ("path", scene.get("/repos/intern%61tional").await),
        ("body", create(json!({ "name": "x", "private": true })).await),
    ];
    for (what, reply) in &permitted {
        assert_eq!(reply.status, 200, "{what}: {}", reply.text());
    }
    assert_eq!(scene.seen(), permitted.len());
    let refused = [
        ("query", scene.get("/repos?page=11").await),
        ("path", scene.get("/repos/internal-7").await),
        ("path, encoded", scene.get("/repos/%69nternal-7").await),
        ("body", create(json!({ "name": "x", "private": false })).await),
        ("body without it", create(json!({ "name": "x" })).await),
    ];
    for (what, reply) in &refused {
        scene.assert_refused(what, reply, 403, "arguments-not-permitted").await;
    }
    assert!(refused[0].1.json()["hints"][0].as_str().unwrap().contains("`page`"), "{}", refused[0].1.text());
    assert_eq!(scene.seen(), permitted.len());
}

#[tokio::test]
async fn invariant_9_what_is_forwarded_is_what_came_below_the_base_of_the_application() {
    let scene = Scene::new().await;
    let body = "{ \"priv\\u0061te\":true,\"name\" : \"x\", \"settings\": {\"n\":1.0e0} }";
    let reply =
        scene.request(Method::POST, "/repos").body("application/json; charset=UTF-8", body).send().await;
    assert_eq!(reply.json(), json!({ "from": "upstream" }));
    let seen = scene.upstream.requests().pop().unwrap();
    assert_eq!((seen.method, seen.path.as_str(), seen.query), (Method::POST, "/v1/repos", None));
    assert_eq!(
        (seen.body, seen.headers["content-type"].to_str().unwrap()),
        (body.into(), "application/json")
    );

    scene.get("/repos?label=a%20b+c&p%61ge=3").await;
    let seen = scene.upstream.requests().pop().unwrap();
    assert_eq!((seen.path.as_str(), seen.query.as_deref()), ("/v1/repos", Some("label=a%20b+c&p%61ge=3")));
}

#[tokio::test]
async fn what_is_not_an_operation_or_not_visible_is_one_and_the_same_404() {
    let scene = Scene::new().await;
    let request = async |method: Method, target: &str| scene.request(method, target).send().await;
    let not_permitted = request(Method::DELETE, "/repos/x").await;
    scene.assert_refused("not permitted", &not_permitted, 404, "operation-not-permitted").await;
    let without_id = |reply: &vestibule_testkit::Reply| {
        let mut problem = reply.json();
        problem["request_id"] = Value::Null;
        problem
    };
    for (method, target) in [
        (Method::GET, "/admin"),
        (Method::GET, "/repos/x/tags"),
        (Method::DELETE, "/repos"),
        (Method::PUT, "/repos/x"),
        (Method::HEAD, "/repos"),
    ] {
        let reply = request(method.clone(), target).await;
        assert_eq!(reply.status, 404, "{method} {target}");
        if method != Method::HEAD {
            assert_eq!(without_id(&reply), without_id(&not_permitted), "{method} {target}");
            scene.assert_refused(target, &reply, 404, "operation-unknown").await;
        }
    }
    assert_eq!(scene.seen(), 0);
}

#[tokio::test]
async fn a_path_that_is_read_in_two_ways_is_refused() {
    let scene = Scene::new().await;
    for target in [
        "/repos/a%2fb",
        "/repos/a%2Fb",
        "/repos/a%5cb",
        "/repos/../admin",
        "/repos/./x",
        "/repos/%2e%2e",
        "/repos/%2e%2e/admin",
        "/repos/%252e%252e",
        "//repos",
        "/repos//x",
        "/repos/",
        "/repos/a;b",
        "/repos/%00",
        "/repos/%ff",
        "/repos/%zz",
    ] {
        let reply = scene.get(target).await;
        scene.assert_refused(target, &reply, 400, "path-invalid").await;
    }
    assert_eq!(scene.seen(), 0);
}

#[tokio::test]
async fn a_path_that_some_routers_take_for_another_operation_is_refused() {
    let scene = Scene::new().await;
    for target in [
        "/repos/Search",
        "/repos/%53earch",
        "/repos/search.json",
        "/repos/SEARCH.",
        "/repos/import",
        "/repos/Import.xml",
    ] {
        let reply = scene.get(target).await;
        scene.assert_refused(target, &reply, 400, "path-invalid").await;
    }
    let not_permitted = scene.get("/repos/search").await;
    scene.assert_refused("itself", &not_permitted, 404, "operation-not-permitted").await;
    assert_eq!(scene.seen(), 0);
    assert_eq!(scene.get("/repos/research").await.status, 200);
    assert_eq!(scene.upstream.requests().pop().unwrap().path, "/v1/repos/research");
}

#[tokio::test]
async fn a_query_that_is_read_in_two_ways_is_refused_and_an_undeclared_key_too() {
    let scene = Scene::new().await;
    for target in [
        "/repos?page=1&page=2",
        "/repos?page=1&%70age=11",
        "/repos?page=1;page=11",
        "/repos?page",
        "/repos?page=1&",
        "/repos?page=%ff",
        "/repos/x?name=internal",
    ] {
        let reply = scene.get(target).await;
        scene.assert_refused(target, &reply, 400, "query-invalid").await;
    }
    for target in
        ["/repos?_method=DELETE", "/repos?page=1&admin=true", "/repos?page%5B%5D=11", "/repos?PAGE=11"]
    {
        let reply = scene.get(target).await;
        scene.assert_refused(target, &reply, 403, "argument-undeclared").await;
    }
    // A number in another spelling is a text, and the policy reads a number.
    for target in
        ["/repos?page=011", "/repos?page=1e1", "/repos?page=%2B9", "/repos?page=9223372036854775808"]
    {
        let reply = scene.get(target).await;
        scene.assert_refused(target, &reply, 403, "argument-inexact").await;
    }
    assert_eq!(scene.seen(), 0);
}
