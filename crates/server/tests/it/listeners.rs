//! The listeners: which names they answer to, what they bind, TLS, and what never passes.

use std::{path::Path, sync::Arc};

use http::Method;
use serde_json::json;
use tempfile::TempDir;
use vestibule_model::{OsEntropy, SystemClock};
use vestibule_server::{
    Running, StartError, Surroundings,
    config::{GatewayConfig, Settings},
};
use vestibule_testkit::{Answer, Http, TestUpstream};

use crate::{
    gateway::{PERMIT_TESTERS, TestGateway},
    wire::exchange,
};

mod connections;
mod http2;
mod tls;

async fn upstream() -> TestUpstream {
    TestUpstream::http(Answer::json(&json!([]))).await
}

/// This configuration, and one application.
fn with_app(config: &str, upstream: &TestUpstream) -> String {
    format!(
        "{config}\napps: {{ web: {{ http: {{ url: '{}', operations: {{ routes: {{ list: {{ route: GET /things }} }} }} }} }} }}",
        upstream.url()
    )
}

async fn start(config: &str, upstream: &TestUpstream) -> TestGateway {
    TestGateway::start(&with_app(config, upstream), &[("all.cedar", PERMIT_TESTERS)]).await
}

#[tokio::test]
async fn a_listener_answers_to_its_own_names_only() {
    let upstream = upstream().await;
    let gateway = start("data: { also_known_as: ['gateway.internal:8700'] }", &upstream).await;
    let token = gateway.token("a", "web").await;
    let port = gateway.running().data_address().port();
    let app = format!("{}/things", gateway.resource("web"));
    let document = gateway.url("/.well-known/oauth-authorization-server");
    for host in ["gateway.internal:8700", "GATEWAY.internal:8700", &format!("localhost:{port}")] {
        assert_eq!(Http::get(&app).bearer(&token).header("host", host).send().await.status, 200, "{host}");
        let told = Http::get(&document).header("host", host).send().await.json();
        assert_eq!(told["issuer"], gateway.url(""), "{host}: the request chose the issuer");
    }
    let seen = upstream.requests().len();
    for host in ["evil.example", "gateway.internal", "localhost", "127.0.0.1:1", ""] {
        let reply = Http::get(&app).bearer(&token).header("host", host).send().await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["code"]),
            (421, &json!("host-not-allowed")),
            "{host}"
        );
        assert_eq!(gateway.attempt_of(&reply).await["denial"], "host-not-allowed", "{host}");
        assert_eq!(Http::get(&document).header("host", host).send().await.status, 421, "{host}");
        let mut admin = gateway.admin("GET", "/admin/v1/agents").header("host", host).send().await;
        assert_eq!(
            (admin.status.as_u16(), &admin.json()["code"]),
            (421, &json!("host-not-allowed")),
            "{host}"
        );
        admin =
            Http::get(&format!("{}/livez", gateway.running().admin_url())).header("host", host).send().await;
        assert_eq!(admin.status, 421, "{host}");
    }
    let own = app.split('/').nth(2).unwrap();
    let two = Http::get(&app).bearer(&token).header("host", own).header("host", "evil.example").send().await;
    assert_eq!(two.status, 421, "two names");
    let none =
        exchange(&app, format!("GET /apps/web/things HTTP/1.0\r\nauthorization: Bearer {token}\r\n\r\n"))
            .await;
    assert!(none.split(' ').nth(1) == Some("421"), "{none}");
    assert_eq!(upstream.requests().len(), seen);
}

#[tokio::test]
async fn a_page_of_another_origin_is_refused_by_both_listeners() {
    let upstream = upstream().await;
    let gateway = start("data: { allowed_origins: ['https://console.example'] }", &upstream).await;
    let token = gateway.token("a", "web").await;
    let app = format!("{}/things", gateway.resource("web"));
    let call = |origin: &str| Http::get(&app).bearer(&token).header("origin", origin).send();
    for origin in ["https://console.example", &gateway.url("")] {
        assert_eq!(call(origin).await.status, 200, "{origin}");
    }
    let seen = upstream.requests().len();
    for origin in
        ["https://evil.example", "http://console.example", "https://console.example.evil.example", "null", ""]
    {
        let reply = call(origin).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["code"]),
            (403, &json!("origin-not-allowed")),
            "{origin}"
        );
        assert_eq!(gateway.attempt_of(&reply).await["denial"], "origin-not-allowed", "{origin}");
        let form = [("grant_type", "client_credentials")];
        let token =
            Http::post(&gateway.url("/oauth/token")).header("origin", origin).form(&form).send().await;
        assert_eq!(token.status, 403, "{origin}");
        let admin = gateway.admin("GET", "/admin/v1/agents").header("origin", origin).send().await;
        assert_eq!(
            (admin.status.as_u16(), &admin.json()["code"]),
            (403, &json!("origin-not-allowed")),
            "{origin}"
        );
    }
    let console =
        gateway.admin("GET", "/admin/v1/agents").header("origin", "https://console.example").send().await;
    assert_eq!(console.status, 403, "an origin of the agents' listener is none of the operators'");
    assert_eq!(upstream.requests().len(), seen);
}

#[tokio::test]
async fn connect_trace_and_upgrades_never_pass() {
    let upstream = upstream().await;
    let gateway = start("", &upstream).await;
    let token = gateway.token("a", "web").await;
    let app = format!("{}/things", gateway.resource("web"));
    let trace = Http::request(Method::TRACE, &app).bearer(&token).send().await;
    let upgrade =
        Http::get(&app).bearer(&token).header("connection", "upgrade").header("upgrade", "websocket");
    let custom = Http::request("PURGE".parse().unwrap(), &app).bearer(&token).send().await;
    for (what, reply) in [("TRACE", trace), ("an upgrade", upgrade.send().await), ("an own method", custom)] {
        assert_eq!(reply.status, 405, "{what}");
        assert_eq!(reply.header("allow"), "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS", "{what}");
        assert_eq!(reply.header("upgrade"), "", "{what}");
        assert_eq!(gateway.attempt_of(&reply).await["denial"], "method-not-allowed", "{what}");
        assert!(!reply.text().contains(&token), "{what}: the token is echoed");
    }
    let authority = gateway.running().data_address();
    for target in
        [authority.to_string(), upstream.url().replace("http://", ""), "evil.example:443".to_owned()]
    {
        let request = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\nconnection: close\r\n\r\n");
        let reply = exchange(&app, request).await;
        assert!(reply.starts_with("HTTP/1.1 4"), "{target}: {reply}");
    }
    assert_eq!(upstream.requests().len(), 0);
}

fn check(config: &str) -> Result<Settings, String> {
    let folder = Path::new("/nowhere");
    Settings::check(GatewayConfig::parse(config).unwrap(), folder).map_err(|error| error.to_string())
}

#[test]
fn a_bind_that_is_not_loopback_needs_tls_or_a_loud_key() {
    for listener in ["data", "admin"] {
        for address in ["0.0.0.0:0", "192.0.2.1:0", "'[::]:0'"] {
            let refused = check(&format!("{listener}: {{ listen: {address} }}")).unwrap_err();
            let bare = address.trim_matches('\'');
            assert_eq!(
                refused,
                format!(
                    "`{listener}.listen`: {bare} is not loopback and there is no `tls`: set `{listener}.tls`, bind \
                     127.0.0.1, or say `dangerous_plain_http: true`"
                )
            );
            check(&format!("{listener}: {{ listen: {address}, dangerous_plain_http: true }}")).unwrap();
            check(&format!("{listener}: {{ listen: {address}, tls: {{ cert: c, key: k }} }}")).unwrap();
        }
        check(&format!("{listener}: {{ listen: '[::1]:0' }}")).unwrap();
    }
}

#[tokio::test]
async fn the_public_url_is_what_tokens_and_documents_say() {
    let upstream = upstream().await;
    let gateway = start("data: { public_url: 'https://gw.example' }", &upstream).await;
    let bound = format!("http://{}", gateway.running().data_address());
    let public = "https://gw.example";
    let get = async |path: &str| {
        Http::get(&format!("{bound}{path}")).header("host", "gw.example").send().await.json()
    };
    let server = get("/.well-known/oauth-authorization-server").await;
    assert_eq!(server["issuer"], public);
    assert_eq!(server["token_endpoint"], format!("{public}/oauth/token"));
    assert_eq!(server["jwks_uri"], format!("{public}/oauth/jwks"));
    let resource = get("/.well-known/oauth-protected-resource/apps/web").await;
    assert_eq!(resource["resource"], format!("{public}/apps/web"));
    assert_eq!(resource["authorization_servers"], json!([public]));
    assert_eq!(gateway.resource("web"), format!("{public}/apps/web"));

    let added = gateway.post("/admin/v1/agents", &json!({ "id": "a", "groups": ["testers"] })).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "a"),
        ("client_secret", added["client_secret"].as_str().unwrap()),
    ];
    let ask = |resource: &str| {
        let form = [&form[..], &[("resource", resource)]].concat();
        Http::post(&format!("{bound}/oauth/token")).form(&form).send()
    };
    assert_eq!(ask(&format!("{bound}/apps/web")).await.json()["error"], "invalid_target");
    let token = ask(&format!("{public}/apps/web")).await.json()["access_token"].as_str().unwrap().to_owned();
    let app = format!("{bound}/apps/web/things");
    assert_eq!(Http::get(&app).bearer(&token).send().await.status, 200);
    let challenge = Http::get(&app).send().await.header("www-authenticate").to_owned();
    let metadata = format!("resource_metadata=\"{public}/.well-known/oauth-protected-resource/apps/web\"");
    assert!(challenge.contains(&metadata), "{challenge}");
}

/// Why a gateway with a wrong configuration does not start.
async fn does_not_start(config: &str, dir: &Path) -> String {
    let settings = Settings::check(GatewayConfig::parse(config).unwrap(), dir).unwrap();
    let outside =
        Surroundings { clock: Arc::new(SystemClock::default()), entropy: Arc::new(OsEntropy), env: |_| None };
    let refused = Running::start(settings, outside).await.unwrap_err();
    assert!(matches!(refused, StartError::Configuration(_)), "{refused:?}");
    refused.to_string()
}

#[tokio::test]
async fn a_short_or_missing_admin_token_is_no_admin_token() {
    let refused = async |token: Option<&str>| {
        let dir = TempDir::new().unwrap();
        if let Some(token) = token {
            std::fs::write(dir.path().join("operators"), token).unwrap();
        }
        let config =
            "data: { listen: '127.0.0.1:0' }\nadmin: { listen: '127.0.0.1:0', token: { file: operators } }";
        does_not_start(config, dir.path()).await
    };
    assert_eq!(refused(Some("short")).await, "`admin.token`: must have at least 32 characters");
    assert!(refused(None).await.starts_with("`admin.token`: "));
}
