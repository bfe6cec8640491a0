//! What of the application's reply reaches the caller.

use http::Method;
use vestibule_testkit::Answer;

use super::Scene;

#[tokio::test]
async fn cookies_and_challenges_of_the_application_stay_with_the_gateway() {
    let scene = Scene::new().await;
    let answer = Answer::new(200, "body")
        .header("content-type", "text/plain")
        .header("etag", "\"7\"")
        .header("x-of-the-app", "yes")
        .header("set-cookie", "session=1")
        .header("www-authenticate", "Bearer")
        .header("proxy-authenticate", "Basic")
        .header("connection", "x-of-the-connection")
        .header("x-of-the-connection", "yes");
    scene.upstream.answer(answer);
    let reply = scene.get("/repos").await;
    assert_eq!((reply.status.as_u16(), reply.text().as_str()), (200, "body"));
    assert_eq!(
        (reply.header("etag"), reply.header("x-of-the-app"), reply.header("content-type")),
        ("\"7\"", "yes", "text/plain")
    );
    for name in ["set-cookie", "www-authenticate", "proxy-authenticate", "x-of-the-connection"] {
        assert_eq!(reply.header(name), "", "{name}");
    }
}

#[tokio::test]
async fn a_redirect_is_the_callers_to_follow_never_the_gateways() {
    let scene = Scene::new().await;
    let target = format!("{}/elsewhere", scene.upstream.url());
    scene.upstream.answer(Answer::new(307, "").header("location", &target));
    let reply = scene.get("/repos").await;
    assert_eq!((reply.status.as_u16(), reply.header("location")), (307, target.as_str()));
    assert_eq!(scene.seen(), 1);
}

#[tokio::test]
async fn a_status_of_the_application_passes_except_its_401() {
    let scene = Scene::new().await;
    for status in [201, 204, 400, 403, 404, 409, 429, 500, 503] {
        scene.upstream.answer(Answer::new(status, ""));
        let reply = scene.request(Method::GET, "/repos").send().await;
        assert_eq!(reply.status, status);
        let record = scene.gateway.attempt_of(&reply).await;
        assert_eq!((&record["upstream_status"], &record["outcome"]), (&status.into(), &"completed".into()));
    }
    scene.upstream.answer(Answer::new(401, "log in as root").header("www-authenticate", "Basic"));
    let reply = scene.get("/repos").await;
    assert_eq!((reply.status.as_u16(), &reply.json()["code"]), (502, &"access-unavailable".into()));
    assert!(!reply.text().contains("root"), "{}", reply.text());
}
