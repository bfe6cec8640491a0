//! The token endpoint: three ways to prove oneself, every way to fail, one record for each, and tokens that hold what
//! the scopes release and nothing of what policy decides.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use vestibule_model::{Jti, OsEntropy};
use vestibule_testkit::{AgentKey, Answer, Call, Credential, Http, Reply, TestAgent, TestUpstream};

use crate::gateway::{PERMIT_TESTERS, TestGateway};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

const NOT_PROVEN: &str = "client authentication failed";

/// An HTTP application with `count` operations.
fn app(upstream: &TestUpstream, count: usize) -> String {
    let routes: Vec<String> = (1..=count).map(|at| format!("op{at}: {{ route: GET /things/{at} }}")).collect();
    format!("{{ http: {{ url: '{}', operations: {{ routes: {{ {} }} }} }} }}", upstream.url(), routes.join(", "))
}

/// A gateway with two applications and two agents: one with a secret, one with a key.
struct Desk {
    upstream: TestUpstream,
    gateway: TestGateway,
    secret: String,
    key: AgentKey,
}

impl Desk {
    async fn new() -> Self {
        let upstream = TestUpstream::http(Answer::json(&json!([]))).await;
        let config = format!("apps:\n  web: {}\n  other: {}\n", app(&upstream, 1), app(&upstream, 1));
        let gateway = TestGateway::start(&config, &[("all.cedar", PERMIT_TESTERS)]).await;
        let body = json!({ "id": "shared", "groups": ["testers"], "scopes": ["read", "write"], "apps": ["web"] });
        let added = gateway.post("/admin/v1/agents", &body).await;
        let secret = added["client_secret"].as_str().unwrap().to_owned();
        let key = AgentKey::generate("k1");
        let keyed = gateway.post("/admin/v1/agents", &json!({ "id": "keyed", "jwks": key.jwks() })).await;
        assert!(keyed.get("client_secret").is_none(), "an agent with a key needs no secret");
        Self { upstream, gateway, secret, key }
    }

    fn endpoint(&self) -> Call {
        Http::post(&self.gateway.url("/oauth/token"))
    }

    fn basic(&self) -> String {
        format!("Basic {}", STANDARD.encode(format!("shared:{}", self.secret)))
    }

    /// A good request of the agent with a secret, with these fields beside the grant.
    fn shared(&self, fields: &[(&str, &str)]) -> Call {
        let fields = [&[("grant_type", "client_credentials")], fields].concat();
        self.endpoint().header("authorization", &self.basic()).form(&fields)
    }

    /// A request of the agent with a key, for the application `web`.
    fn keyed(&self, assertion: &str) -> Call {
        self.endpoint().form(&[
            ("grant_type", "client_credentials"),
            ("resource", &self.gateway.resource("web")),
            ("client_assertion_type", ASSERTION_TYPE),
            ("client_assertion", assertion),
        ])
    }

    /// A good assertion of the agent with a key, with header and claims changed, signed by `key`.
    fn assertion(&self, key: &AgentKey, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let now = self.gateway.clock.now().seconds();
        let mut header = json!({ "alg": "ES256", "typ": "JWT", "kid": "k1" });
        let mut claims = json!({
            "iss": "keyed", "sub": "keyed", "aud": self.gateway.url(""), "iat": now, "exp": now + 60,
            "jti": Jti::random(&OsEntropy),
        });
        change(&mut header, &mut claims);
        key.sign(&header.to_string(), &claims.to_string())
    }

    /// The records of token requests.
    async fn records(&self) -> Vec<Value> {
        let attempts = self.gateway.attempts("").await;
        attempts.into_iter().filter(|attempt| attempt["kind"] == "token-request").collect()
    }

    /// Every refusal: exactly this status and body (RFC 6749 §5.2), nothing cached, one record with that code.
    async fn refuses(&self, what: &str, call: Call, expected: (u16, &str, &str, &str)) -> Value {
        let (status, error, description, code) = expected;
        let known: BTreeSet<String> = self.records().await.iter().map(|record| record["attempt"].to_string()).collect();
        let reply = call.send().await;
        assert_eq!(reply.status, status, "{what}: {}", reply.text());
        assert_eq!(reply.json(), json!({ "error": error, "error_description": description }), "{what}");
        assert_uncached(what, &reply);
        let challenge = if status == 401 { "Basic realm=\"vestibule\"" } else { "" };
        assert_eq!(reply.header("www-authenticate"), challenge, "{what}");
        let fresh: Vec<Value> =
            self.records().await.into_iter().filter(|record| !known.contains(&record["attempt"].to_string())).collect();
        assert_eq!(fresh.len(), 1, "{what}");
        assert_eq!((&fresh[0]["denial"], &fresh[0]["outcome"]), (&json!(code), &json!("refused")), "{what}");
        assert!(!fresh[0].to_string().contains(&self.secret), "{what}: the record has the secret");
        fresh[0].clone()
    }

    async fn refuses_client(&self, what: &str, call: Call, code: &str) {
        let record = self.refuses(what, call, (401, "invalid_client", NOT_PROVEN, code)).await;
        assert_eq!(record["agent"], Value::Null, "{what}: nobody has proved to be anybody");
    }
}

fn assert_uncached(what: &str, reply: &Reply) {
    assert_eq!(reply.header("content-type"), "application/json", "{what}");
    assert_eq!(reply.header("cache-control"), "no-store", "{what}");
    assert_eq!(reply.header("pragma"), "no-cache", "{what}");
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn each_method_of_proving_oneself_gives_a_token_that_opens_the_application() {
    let desk = Desk::new().await;
    let web = desk.gateway.resource("web");
    let post = [
        ("grant_type", "client_credentials"),
        ("resource", &*web),
        ("client_id", "shared"),
        ("client_secret", &*desk.secret),
    ];
    let assertion = desk.assertion(&desk.key, |_, _| {});
    let calls = [
        ("client_secret_basic", "shared", json!("read write"), desk.shared(&[("resource", &web)])),
        ("client_secret_post", "shared", json!("read write"), desk.endpoint().form(&post)),
        ("private_key_jwt", "keyed", Value::Null, desk.keyed(&assertion)),
    ];
    let metadata = Http::get(&desk.gateway.url("/.well-known/oauth-authorization-server")).send().await.json();
    let methods: Vec<&str> = calls.iter().map(|(method, ..)| *method).collect();
    assert_eq!(metadata["token_endpoint_auth_methods_supported"], json!(methods));
    for (method, agent, scope, call) in calls {
        let reply = call.send().await;
        assert_eq!(reply.status, 200, "{method}: {}", reply.text());
        assert_uncached(method, &reply);
        let body = reply.json();
        assert_eq!((&body["token_type"], &body["expires_in"]), (&json!("Bearer"), &json!(120)), "{method}");
        assert_eq!(body["scope"], scope, "{method}");
        let token = body["access_token"].as_str().unwrap();
        let claims = claims(token);
        assert_eq!((&claims["sub"], &claims["aud"]), (&json!(agent), &json!(web)), "{method}");
        let record = desk.records().await.into_iter().find(|record| record["token"] == claims["jti"]).unwrap();
        assert_eq!((&record["agent"], &record["app"]), (&json!(agent), &json!("web")), "{method}");
        assert_eq!((&record["outcome"], &record["decision"]), (&json!("completed"), &json!("permit")), "{method}");
        assert!(!record.to_string().contains(token), "{method}: the record has the token");
    }
    assert_eq!(desk.records().await.len(), 3);
    let token = desk.shared(&[("resource", &web)]).send().await.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(Http::get(&format!("{web}/things/1")).bearer(&token).send().await.status, 200);
    assert_eq!(desk.upstream.requests().len(), 1);
}

#[tokio::test]
async fn a_client_that_does_not_prove_itself_learns_nothing() {
    let desk = Desk::new().await;
    let web = desk.gateway.resource("web");
    let form = |fields: &[(&str, &str)]| {
        let always = [("grant_type", "client_credentials"), ("resource", &*web)];
        desk.endpoint().form(&[&always, fields].concat())
    };
    let basic = |pair: &str| form(&[]).header("authorization", &format!("Basic {}", STANDARD.encode(pair)));
    let secret = desk.secret.as_str();
    for (what, call, code) in [
        ("a wrong secret", basic("shared:wrong"), "client-secret-wrong"),
        ("no secret", basic("shared:"), "client-secret-wrong"),
        ("an unknown client", basic(&format!("nobody:{secret}")), "client-unknown"),
        ("no client", basic(&format!(":{secret}")), "client-unknown"),
        ("a wrong secret in the form", form(&[("client_id", "shared"), ("client_secret", "x")]), "client-secret-wrong"),
        ("a secret of an agent that has a key", basic(&format!("keyed:{secret}")), "client-method-wrong"),
        ("no pair", basic("shared"), "client-malformed"),
        ("no base64", form(&[]).header("authorization", "Basic !"), "client-malformed"),
        ("a bearer token", form(&[]).header("authorization", "Bearer x"), "client-malformed"),
        ("a secret without a client", form(&[("client_secret", secret)]), "client-missing"),
        ("another client beside the header", form(&[("client_id", "keyed")]).header("authorization", &desk.basic()), "client-malformed"),
    ] {
        if code == "client-missing" {
            let expected = (401, "invalid_client", "client authentication is needed", code);
            desk.refuses(what, call, expected).await;
        } else {
            desk.refuses_client(what, call, code).await;
        }
    }
    let missing = (401, "invalid_client", "client authentication is needed", "client-missing");
    desk.refuses("nothing", form(&[]), missing).await;
    let url = desk.gateway.url(&format!("/oauth/token?client_id=shared&client_secret={secret}"));
    let in_query = Http::post(&url).form(&[("grant_type", "client_credentials"), ("resource", &web)]);
    desk.refuses("a secret in the query", in_query, missing).await;
    let mixed = (400, "invalid_request", "use exactly one method of client authentication", "client-mixed");
    let twice = form(&[("client_id", "shared"), ("client_secret", secret)]).header("authorization", &desk.basic());
    desk.refuses("a secret in header and form", twice, mixed).await;
    let assertion = desk.assertion(&desk.key, |_, _| {});
    let both = desk.keyed(&assertion).header("authorization", &desk.basic());
    desk.refuses("a secret and an assertion", both, mixed).await;
}

#[tokio::test]
async fn a_request_that_can_be_read_in_two_ways_or_in_none_is_refused() {
    let desk = Desk::new().await;
    let web = desk.gateway.resource("web");
    let other = desk.gateway.resource("other");
    let malformed = "a parameter is missing, repeated or malformed";
    let scope = "the scope is malformed or exceeds what the client may have";
    let target = "the resource is unknown or not for this client";
    let raw = |grant: &[(&str, &str)]| desk.endpoint().header("authorization", &desk.basic()).form(grant);
    for (what, call, agent, expected) in [
        ("a scope twice", desk.shared(&[("scope", "read"), ("scope", "write")]), false, (400, "invalid_request", malformed, "token-request-malformed")),
        ("the grant twice", desk.shared(&[("grant_type", "client_credentials")]), false, (400, "invalid_request", malformed, "token-request-malformed")),
        ("no grant", raw(&[("resource", &web)]), true, (400, "invalid_request", malformed, "token-request-malformed")),
        ("an empty grant", raw(&[("grant_type", "")]), true, (400, "invalid_request", malformed, "token-request-malformed")),
        ("a password", raw(&[("grant_type", "password")]), true, (400, "unsupported_grant_type", "the grant type is not supported", "grant-unsupported")),
        ("more scope", desk.shared(&[("scope", "read admin")]), true, (400, "invalid_scope", scope, "scope-not-allowed")),
        ("two spaces", desk.shared(&[("scope", "read  write")]), true, (400, "invalid_scope", scope, "scope-not-allowed")),
        ("an unknown resource", desk.shared(&[("resource", "https://evil.example")]), true, (400, "invalid_target", target, "target-not-allowed")),
        ("a fragment", desk.shared(&[("resource", &format!("{web}#x"))]), true, (400, "invalid_target", target, "target-not-allowed")),
        ("an application of others", desk.shared(&[("resource", &other)]), true, (400, "invalid_target", target, "target-not-allowed")),
        ("two resources", desk.shared(&[("resource", &web), ("resource", &other)]), true, (400, "invalid_target", "name one resource only", "target-repeated")),
    ] {
        let record = desk.refuses(what, call, expected).await;
        assert_eq!(record["agent"], if agent { json!("shared") } else { Value::Null }, "{what}");
    }
    let assertion = desk.assertion(&desk.key, |_, _| {});
    let untargeted = desk.endpoint().form(&[
        ("grant_type", "client_credentials"),
        ("client_assertion_type", ASSERTION_TYPE),
        ("client_assertion", &assertion),
    ]);
    let missing = (400, "invalid_target", "name the resource that the token is for", "target-missing");
    desk.refuses("no resource, and two would do", untargeted, missing).await;
    assert_eq!(desk.shared(&[]).send().await.status, 200, "an agent with one application need not name it");
}

#[tokio::test]
async fn only_a_small_form_that_is_posted_is_a_token_request() {
    let desk = Desk::new().await;
    let form = "grant_type=client_credentials";
    let typed = |kind: &str, body: String| desk.endpoint().header("authorization", &desk.basic()).body(kind, body);
    let media = (400, "invalid_request", "the content type is not accepted here", "media-type-unsupported");
    desk.refuses("JSON", typed("application/json", "{}".into()), media).await;
    desk.refuses("plain text", typed("text/plain", form.into()), media).await;
    let large = format!("{form}&x={}", "a".repeat(64 << 10));
    let expected = (400, "invalid_request", "the body is larger than this gateway accepts", "body-too-large");
    desk.refuses("a large form", typed("application/x-www-form-urlencoded", large), expected).await;
    let before = desk.records().await.len();
    for method in ["GET", "PUT", "DELETE", "TRACE"] {
        let url = desk.gateway.url(&format!("/oauth/token?{form}"));
        let reply = Http::request(method.parse().unwrap(), &url).header("authorization", &desk.basic()).send().await;
        assert_eq!(reply.status, 405, "{method}");
        // RFC 9110 §15.5.6: a 405 MUST say what is allowed.
        assert_eq!(reply.header("allow"), "POST", "{method}");
        assert!(!reply.text().contains("access_token"), "{method}");
    }
    assert_eq!(desk.records().await.len(), before, "what asks for no token is no token request");
}

#[tokio::test]
async fn an_assertion_is_for_us_by_the_client_for_now_and_for_once() {
    let desk = Desk::new().await;
    let now = desk.gateway.clock.now().seconds();
    let claim = |name: &'static str, value: Value| {
        desk.assertion(&desk.key, move |_, claims| claims[name] = value)
    };
    let header = |name: &'static str, value: Value| {
        desk.assertion(&desk.key, move |header, _| header[name] = value)
    };
    let stranger = AgentKey::generate("k1");
    for (what, assertion, code) in [
        ("for another server", claim("aud", json!("https://evil.example")), "assertion-wrong-audience"),
        ("for two servers", claim("aud", json!([desk.gateway.url(""), "https://evil.example"])), "assertion-wrong-audience"),
        ("issued by somebody else", claim("iss", json!("shared")), "assertion-wrong-subject"),
        ("about an agent that has a secret", claim("sub", json!("shared")), "client-method-wrong"),
        ("about nobody known", claim("sub", json!("nobody")), "client-unknown"),
        ("about nobody", claim("sub", Value::Null), "assertion-wrong-subject"),
        ("expired", claim("exp", json!(now - 60)), "assertion-expired"),
        ("without an end", claim("exp", json!("never")), "assertion-invalid"),
        ("valid for a day", claim("exp", json!(now + 86_400)), "assertion-too-long"),
        ("issued in the future", claim("iat", json!(now + 600)), "assertion-not-yet-valid"),
        ("not before later", claim("nbf", json!(now + 600)), "assertion-not-yet-valid"),
        ("without an identifier", claim("jti", Value::Null), "assertion-invalid"),
        ("an access token", header("typ", json!("at+jwt")), "assertion-invalid"),
        ("without a signature", header("alg", json!("none")), "assertion-invalid"),
        ("with a MAC", header("alg", json!("HS256")), "assertion-invalid"),
        ("with an algorithm that the key is not for", header("alg", json!("ES384")), "assertion-invalid"),
        ("of an unknown key", header("kid", json!("k2")), "assertion-invalid"),
        ("of a stranger's key", desk.assertion(&stranger, |_, _| {}), "assertion-invalid"),
        ("no assertion", "x".to_owned(), "assertion-invalid"),
    ] {
        desk.refuses_client(what, desk.keyed(&assertion), code).await;
    }
    let good = desk.assertion(&desk.key, |_, _| {});
    let other_type = desk.endpoint().form(&[
        ("grant_type", "client_credentials"),
        ("client_assertion_type", "urn:example:saml"),
        ("client_assertion", &good),
    ]);
    desk.refuses_client("of another type", other_type, "client-malformed").await;
    assert_eq!(desk.keyed(&good).send().await.status, 200, "refused attempts do not use it up");
    desk.refuses_client("replayed", desk.keyed(&good), "assertion-replayed").await;
}

#[tokio::test]
async fn an_unknown_client_and_a_wrong_secret_look_alike() {
    let desk = Desk::new().await;
    let answer = async |pair: &str| {
        let basic = format!("Basic {}", STANDARD.encode(pair));
        let form = [("grant_type", "client_credentials")];
        let mut reply = desk.endpoint().header("authorization", &basic).form(&form).send().await;
        reply.headers.remove("date");
        (reply.status, reply.headers, reply.body)
    };
    assert_eq!(answer("shared:wrong").await, answer("nobody:wrong").await);
}

#[tokio::test]
async fn a_rotated_secret_is_dead_at_once_and_a_revoked_agent_gets_nothing() {
    let desk = Desk::new().await;
    let rotated = desk.gateway.post("/admin/v1/agents/shared/rotate", &json!({})).await;
    desk.refuses_client("the old secret", desk.shared(&[]), "client-secret-wrong").await;
    let fresh = rotated["client_secret"].as_str().unwrap().to_owned();
    assert_ne!(fresh, desk.secret);
    let clock = std::sync::Arc::clone(&desk.gateway.clock);
    let agent = TestAgent::connect(&desk.gateway.url(""), "shared", Credential::Basic(fresh), clock).await;
    assert_eq!(agent.request_token(&[]).await.status, 200);
    desk.gateway.revoke("agent", "shared").await;
    let refused = agent.request_token(&[]).await;
    assert_eq!(refused.status, 401);
    assert_eq!(refused.json(), json!({ "error": "invalid_client", "error_description": NOT_PROVEN }));
    let records = desk.gateway.attempts("denial=agent-revoked").await;
    assert_eq!((records.len(), &records[0]["agent"]), (1, &json!("shared")));
}

#[tokio::test]
async fn a_claim_is_in_the_token_only_with_a_scope_that_releases_it() {
    let upstream = TestUpstream::http(Answer::json(&json!([]))).await;
    let config = format!("scopes: {{ profile: {{ claims: [role] }} }}\napps: {{ web: {} }}", app(&upstream, 1));
    let gateway = TestGateway::start(&config, &[("all.cedar", PERMIT_TESTERS)]).await;
    let with = json!({ "scopes": ["profile", "read"], "claims": { "role": ["auditor"], "salary": ["9"] } });
    let agent = gateway.agent("a", with).await;
    for (scope, role, granted) in [
        (Some("profile"), json!(["auditor"]), "profile"),
        (Some("read"), Value::Null, "read"),
        (Some("read profile"), json!(["auditor"]), "profile read"),
        (None, json!(["auditor"]), "profile read"),
    ] {
        let fields: Vec<(&str, &str)> = scope.iter().map(|scope| ("scope", *scope)).collect();
        let reply = agent.request_token(&fields).await.json();
        let claims = claims(reply["access_token"].as_str().unwrap());
        assert_eq!(claims["role"], role, "{scope:?}");
        assert_eq!(claims["scope"], granted, "{scope:?}");
        assert_eq!(claims.get("salary"), None, "no scope releases it");
    }
}

#[tokio::test]
async fn a_token_does_not_grow_with_what_its_agent_may_do() {
    let upstream = TestUpstream::http(Answer::json(&json!([]))).await;
    let config = format!("apps:\n  wide: {}\n  slim: {}\n", app(&upstream, 500), app(&upstream, 1));
    let gateway = TestGateway::start(&config, &[("all.cedar", PERMIT_TESTERS)]).await;
    let agent = gateway.agent("a", json!({})).await;
    let (wide, slim) = (gateway.resource("wide"), gateway.resource("slim"));
    let (for_all, for_one) = (agent.token(&wide).await, agent.token(&slim).await);
    assert_eq!(for_all.len(), for_one.len());
    assert!(for_all.len() < 1024, "{} bytes", for_all.len());
    for (url, token) in [(format!("{wide}/things/500"), &for_all), (format!("{slim}/things/1"), &for_one)] {
        assert_eq!(Http::get(&url).bearer(token).send().await.status, 200, "{url}");
    }
    assert_eq!(upstream.requests().len(), 2);
}

#[tokio::test]
async fn a_change_of_policy_needs_no_new_token() {
    let desk = Desk::new().await;
    let (web, reply) = (desk.gateway.resource("web"), desk.shared(&[]).send().await.json());
    let token = reply["access_token"].as_str().unwrap();
    let url = format!("{web}/things/1");
    assert_eq!(Http::get(&url).bearer(token).send().await.status, 200);
    let file = desk.gateway.dir.path().join("policies/no.cedar");
    std::fs::write(file, r#"@id("no") forbid (principal, action in Action::"call", resource);"#).unwrap();
    desk.gateway.running().reload().await;
    assert_eq!(Http::get(&url).bearer(token).send().await.status, 404);
    assert_eq!(desk.upstream.requests().len(), 1);
}
