//! The credential of the application is the gateway's, and the caller's goes no further.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use secrecy::ExposeSecret;
use serde_json::json;
use tempfile::TempDir;
use vestibule_model::{OsEntropy, SystemClock};
use vestibule_server::{
    Running, Surroundings,
    config::{GatewayConfig, Settings},
};
use vestibule_testkit::{Answer, Call, Era, Http, Mcp, Seen, TestUpstream};

use crate::gateway::{PERMIT_TESTERS, TestGateway, call, folder, rpc, wednesday_noon};

const STRATEGIES: [(&str, &str); 5] = [
    ("open", "none"),
    ("header", "{ static: { header: { name: X-Api-Key, value: { file: secrets/header } } } }"),
    ("bearer", "{ static: { bearer: { token: { file: secrets/bearer } } } }"),
    ("basic", "{ static: { basic: { username: gateway, password: { file: secrets/basic } } } }"),
    ("query", "{ static: { query: { name: key, value: { file: secrets/query } } } }"),
];

fn secret(app: &str) -> String {
    format!("the-{app}-secret")
}

/// An HTTP application for each strategy, all at one upstream below their names, and an MCP one with a bearer token.
fn config(upstream: &TestUpstream, mcp: &TestUpstream) -> String {
    let apps = STRATEGIES.map(|(app, access)| {
        let routes = "{ look: { route: GET /look, query: { key: {} } }, put: { route: PUT /it, body: { json: { type: object } } } }";
        let at = upstream.url();
        format!("  {app}: {{ http: {{ url: '{at}/{app}', access: {access}, operations: {{ routes: {routes} }} }} }}\n")
    });
    let access = "{ static: { bearer: { token: { file: secrets/tools } } } }";
    format!("apps:\n{}  tools: {{ mcp: {{ url: '{}/mcp', access: {access} }} }}", apps.concat(), mcp.url())
}

fn secrets(dir: &TempDir) {
    std::fs::create_dir(dir.path().join("secrets")).unwrap();
    for app in ["header", "bearer", "basic", "query", "tools"] {
        std::fs::write(dir.path().join("secrets").join(app), format!("{}\n", secret(app))).unwrap();
    }
}

struct Scene {
    upstream: TestUpstream,
    mcp: TestUpstream,
    gateway: TestGateway,
    clock: Arc<vestibule_model::FixedClock>,
}

impl Scene {
    async fn new() -> Self {
        let upstream = TestUpstream::http(Answer::json(&json!({}))).await;
        let mcp = TestUpstream::mcp(Mcp::new(Era::Modern, vec![json!({ "name": "work" })])).await;
        let dir = folder(&[("all.cedar", PERMIT_TESTERS)]);
        secrets(&dir);
        let clock = wednesday_noon();
        let gateway = TestGateway::start_in(dir, &config(&upstream, &mcp), Arc::<vestibule_model::FixedClock>::clone(&clock)).await;
        Self { upstream, mcp, gateway, clock }
    }

    fn look(&self, app: &str, token: &str) -> Call {
        Http::get(&format!("{}/look", self.gateway.resource(app))).bearer(token)
    }

    /// What the application saw last.
    fn seen(&self) -> Seen {
        self.upstream.requests().pop().unwrap()
    }
}

/// Everything of a request, as one text.
fn text(seen: &Seen) -> String {
    format!("{} {}?{:?} {:?} {}", seen.method, seen.path, seen.query, seen.headers, String::from_utf8_lossy(&seen.body))
}

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
        assert_eq!((seen.path.as_str(), seen.query.as_deref()), (format!("/{app}/look").as_str(), query), "{app}");
        assert_eq!((seen.header("x-api-key"), seen.header("authorization")), (api_key, authorization), "{app}");
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
    assert_eq!(ping.send().await.status, 404, "a modern server knows no ping, so it was asked");
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
    let credentials = scene.mcp.requests().iter().filter(|seen| seen.header("authorization") == "Bearer the-tools-secret").count();
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

#[tokio::test]
async fn a_secret_that_is_rotated_in_its_file_is_used_without_a_restart() {
    let scene = Scene::new().await;
    let token = scene.gateway.token("a", "bearer").await;
    let file = scene.gateway.dir.path().join("secrets/bearer");
    std::fs::write(&file, "rotated").unwrap();
    scene.gateway.advance(&scene.clock, Duration::from_secs(6)).await;
    assert_eq!(scene.look("bearer", &token).send().await.status, 200);
    assert_eq!(scene.seen().header("authorization"), "Bearer rotated");
}

#[tokio::test]
async fn a_secret_that_is_taken_away_closes_its_application_and_no_other() {
    let scene = Scene::new().await;
    let agent = scene.gateway.agent("a", json!({})).await;
    let bearer = agent.token(&scene.gateway.resource("bearer")).await;
    let header = agent.token(&scene.gateway.resource("header")).await;
    let file = scene.gateway.dir.path().join("secrets/bearer");
    for spoilt in ["", "two\nlines"] {
        std::fs::write(&file, spoilt).unwrap();
        scene.gateway.advance(&scene.clock, Duration::from_secs(6)).await;
        assert_eq!(scene.look("bearer", &bearer).send().await.status, 502, "{spoilt:?}");
    }
    std::fs::remove_file(&file).unwrap();
    scene.gateway.advance(&scene.clock, Duration::from_secs(6)).await;
    let before = scene.upstream.requests().len();
    let refused = scene.look("bearer", &bearer).send().await;
    assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (502, &json!("access-unavailable")));
    assert!(!refused.text().contains("secrets"), "where secrets lie is not the caller's business: {}", refused.text());
    assert_eq!(scene.upstream.requests().len(), before);
    let attempt = scene.gateway.attempt_of(&refused).await;
    assert_eq!((&attempt["denial"], &attempt["outcome"]), (&json!("access-unavailable"), &json!("failed")));
    assert_eq!(scene.look("header", &header).send().await.status, 200);

    std::fs::write(&file, secret("bearer")).unwrap();
    scene.gateway.advance(&scene.clock, Duration::from_secs(6)).await;
    assert_eq!(scene.look("bearer", &bearer).send().await.status, 200);
}

#[tokio::test]
async fn a_gateway_without_one_of_its_secrets_does_not_start_and_says_which() {
    let upstream = TestUpstream::http(Answer::json(&json!({}))).await;
    let mcp = TestUpstream::mcp(Mcp::new(Era::Modern, Vec::new())).await;
    let dir = folder(&[]);
    secrets(&dir);
    std::fs::remove_file(dir.path().join("secrets/basic")).unwrap();
    let mut parsed = GatewayConfig::parse(&config(&upstream, &mcp)).unwrap();
    (parsed.data.listen, parsed.admin.listen) = (([127, 0, 0, 1], 0).into(), ([127, 0, 0, 1], 0).into());
    let settings = Settings::check(parsed, dir.path()).unwrap();
    let outside = Surroundings { clock: Arc::new(SystemClock::default()), entropy: Arc::new(OsEntropy), env: |_| None };
    let error = Running::start(settings, outside).await.unwrap_err().to_string();
    assert!(error.contains("secrets/basic"), "{error}");
    assert_eq!(upstream.requests().len() + mcp.requests().len(), 0);
}

#[test]
fn invariant_8_a_secret_in_the_configuration_itself_is_refused_and_not_repeated() {
    for access in [
        "{ static: { bearer: { token: hunter2 } } }",
        "{ static: { header: { name: x-api-key, value: 'hunter2' } } }",
        "{ static: { basic: { username: u, password: hunter2 } } }",
        "{ static: { query: { name: key, value: hunter2 } } }",
    ] {
        let config = format!("apps: {{ app: {{ mcp: {{ url: 'http://127.0.0.1:1', access: {access} }} }} }}");
        let error = GatewayConfig::parse(&config).unwrap_err();
        assert!(error.contains("by reference"), "{access}: {error}");
        assert!(!error.contains("hunter2"), "{access}: {error}");
    }
    let error = GatewayConfig::parse("admin:\n  token: hunter2-hunter2-hunter2-hunter2").unwrap_err();
    assert!(error.contains("by reference") && !error.contains("hunter2"), "{error}");
    assert!(error.contains("line 2"), "{error}");
}

#[tokio::test]
async fn invariant_8_no_secret_is_in_anything_that_the_gateway_shows() {
    let scene = Scene::new().await;
    let agent = scene.gateway.agent("a", json!({})).await;
    let mut shown = Vec::new();
    for app in ["open", "header", "bearer", "basic", "query", "tools"] {
        let url = scene.gateway.resource(app);
        let token = agent.token(&url).await;
        shown.push(if app == "tools" {
            rpc(&url, &token, &call("work", json!({}))).await.text()
        } else {
            scene.look(app, &token).send().await.text()
        });
        shown.push(scene.gateway.get(&format!("/admin/v1/apps/{app}")).await.to_string());
        let tested = scene.gateway.post(&format!("/admin/v1/apps/{app}/test"), &json!({})).await;
        assert_eq!(tested["steps"][2]["name"], "credential", "{tested}");
        shown.push(tested.to_string());
    }
    // When the application is gone, errors tell of it.
    drop(scene.upstream);
    for app in ["header", "bearer", "basic", "query"] {
        let token = agent.token(&scene.gateway.resource(app)).await;
        let url = format!("{}/look", scene.gateway.resource(app));
        let reply = Http::get(&url).bearer(&token).send().await;
        assert_eq!((reply.status.as_u16(), &reply.json()["code"]), (502, &json!("upstream-unreachable")), "{app}");
        shown.push(reply.text());
        let tested = scene.gateway.post(&format!("/admin/v1/apps/{app}/test"), &json!({})).await;
        assert_eq!(tested["ok"], false, "{tested}");
        shown.push(tested.to_string());
    }
    for path in ["/admin/v1/attempts?limit=1000", "/admin/v1/apps", "/admin/v1/agents", "/metrics"] {
        shown.push(scene.gateway.admin("GET", path).send().await.text());
    }
    let mut secrets = ["header", "bearer", "basic", "query", "tools"].map(secret).to_vec();
    secrets.push("Z2F0ZXdheTp0aGUtYmFzaWMtc2VjcmV0".to_owned());
    secrets.push(scene.gateway.running().admin_token().expose_secret().to_owned());
    for (text, secret) in shown.iter().flat_map(|text| secrets.iter().map(move |secret| (text, secret))) {
        assert!(!text.contains(secret.as_str()), "{secret} in {text}");
    }
}
