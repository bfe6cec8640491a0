//! Where the credential is put, and that the caller's own never comes along.

use http::Method;
use serde_json::json;
use vestibule_testkit::{Call, Http, Seen};

use super::{STRATEGIES, Scene};

#[tokio::test]
async fn each_strategy_shows_the_application_exactly_its_credential() {
    let scene = Scene::new().await;
    let agent = scene.gateway.agent("a", json!({})).await;
    // RFC 7617: base64 of `gateway:the-basic-secret`.
    let basic = "Basic Z2F0ZXdheTp0aGUtYmFzaWMtc2VjcmV0";
    for (app, api_key, authorization, query) in [
        ("open", "", "", None),
        ("header", "the-header-secret", "", None),
        ("bearer", "", "Bearer the-bearer-secret", None),
        ("basic", "", basic, None),
        ("query", "", "", Some("key=the-query-secret")),
    ] {
        let token = agent.token(&scene.gateway.resource(app)).await;
        assert_eq!(scene.look(app, &token).send().await.status, 200, "{app}");
        let seen = scene.seen();
        assert_eq!(
            (seen.path.as_str(), seen.query.as_deref()),
            (format!("/{app}/look").as_str(), query),
            "{app}"
        );
        assert_eq!(
            (seen.header("x-api-key"), seen.header("authorization")),
            (api_key, authorization),
            "{app}"
        );
    }
}

#[tokio::test]
async fn a_caller_cannot_put_a_credential_of_its_own_in_the_place_of_the_gateways() {
    let scene = Scene::new().await;
    let agent = scene.gateway.agent("a", json!({})).await;
    let token = agent.token(&scene.gateway.resource("header")).await;
    assert_eq!(scene.look("header", &token).header("x-api-key", "mine").send().await.status, 200);
    assert_eq!(scene.seen().headers.get_all("x-api-key").iter().collect::<Vec<_>>(), ["the-header-secret"]);

    let token = agent.token(&scene.gateway.resource("query")).await;
    for query in ["key=mine", "k%65y=mine"] {
        let url = format!("{}/look?{query}", scene.gateway.resource("query"));
        assert_eq!(Http::get(&url).bearer(&token).send().await.status, 200, "{query}");
        assert_eq!(scene.seen().query.as_deref(), Some("key=the-query-secret"), "{query}");
    }
}

#[tokio::test]
async fn invariant_1_no_inbound_token_cookie_or_trace_of_the_way_reaches_an_application() {
    let scene = Scene::new().await;
    let agent = scene.gateway.agent("a", json!({})).await;
    let mut tokens = Vec::new();
    let kept = [
        ("cookie", "session=of-the-caller"),
        ("forwarded", "for=of-the-caller"),
        ("x-forwarded-for", "of-the-caller"),
        ("x-forwarded-host", "of-the-caller"),
        ("x-real-ip", "of-the-caller"),
        ("via", "of-the-caller"),
        ("x-api-key", "of-the-caller"),
        ("x_api_key", "of-the-caller"),
        ("client-cert", "of-the-caller"),
        ("txn-token", "of-the-caller"),
        ("signature", "of-the-caller"),
        ("x-http-method-override", "DELETE-of-the-caller"),
        ("x-original-url", "/of-the-caller"),
        ("baggage", "user=of-the-caller"),
        ("user-agent", "of-the-caller"),
        ("referer", "http://of-the-caller/"),
    ];
    let dressed = |call: Call| kept.iter().fold(call, |call, (name, value)| call.header(name, value));
    for (app, _) in STRATEGIES {
        let token = agent.token(&scene.gateway.resource(app)).await;
        assert_eq!(dressed(scene.look(app, &token)).send().await.status, 200, "{app}");
        let put = Http::request(Method::PUT, &format!("{}/it", scene.gateway.resource(app))).bearer(&token);
        assert_eq!(dressed(put).json(&json!({})).send().await.status, 200, "{app}");
        tokens.push(token);
    }
    let (token, url) = (agent.token(&scene.gateway.resource("tools")).await, scene.gateway.resource("tools"));
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" });
    let ping = dressed(Http::post(&url).bearer(&token).header("accept", "application/json")).json(&message);
    ping.send().await;
    assert_eq!(scene.mcp.requests().pop().unwrap().json()["method"], "ping");
    tokens.push(token);

    let all: Vec<Seen> = [scene.upstream.requests(), scene.mcp.requests()].concat();
    assert!(all.len() > 11, "{}", all.len());
    for seen in &all {
        let text = text(seen);
        assert!(!text.contains("of-the-caller"), "{text}");
        for token in &tokens {
            let signature = token.rsplit('.').next().unwrap();
            assert!(!text.contains(token.as_str()) && !text.contains(signature), "{text}");
        }
    }
    let credentials = scene
        .mcp
        .requests()
        .iter()
        .filter(|seen| seen.header("authorization") == "Bearer the-tools-secret")
        .count();
    assert_eq!(credentials, scene.mcp.requests().len());
}

#[tokio::test]
async fn invariant_1_a_call_that_is_refused_sends_no_credential_anywhere() {
    let scene = Scene::new().await;
    let url = scene.gateway.resource("bearer");
    let stranger = scene.gateway.agent("stranger", json!({ "groups": [] })).await.token(&url).await;
    let before = scene.upstream.requests().len();
    assert_eq!(scene.look("bearer", &stranger).send().await.status, 404);
    assert_eq!(scene.look("bearer", "forged").send().await.status, 401);
    assert_eq!(Http::get(&format!("{url}/look")).send().await.status, 401);
    let elsewhere = scene.gateway.token("a", "header").await;
    assert_eq!(scene.look("bearer", &elsewhere).send().await.status, 401);
    assert_eq!(scene.upstream.requests().len(), before);
}

/// Everything of a request, as one text.
fn text(seen: &Seen) -> String {
    format!(
        "{} {}?{:?} {:?} {}",
        seen.method,
        seen.path,
        seen.query,
        seen.headers,
        String::from_utf8_lossy(&seen.body)
    )
}
