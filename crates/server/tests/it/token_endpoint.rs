//! The token endpoint: three ways to prove oneself, every way to fail, one record for each, and tokens that hold what
//! the scopes release and nothing of what policy decides.

use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use vestibule_model::{Jti, OsEntropy};
use vestibule_testkit::{AgentKey, Answer, Call, Http, Reply, TestUpstream};

use crate::gateway::{PERMIT_TESTERS, TestGateway};

mod assertions;
mod clients;
mod requests;
mod tokens;

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

const NOT_PROVEN: &str = "client authentication failed";

/// Status, `error`, `error_description`, and the code in the record.
type Refusal = (u16, &'static str, &'static str, &'static str);

/// An HTTP application with `count` operations.
fn app(upstream: &TestUpstream, count: usize) -> String {
    let routes: Vec<String> =
        (1..=count).map(|at| format!("op{at}: {{ route: GET /things/{at} }}")).collect();
    format!(
        "{{ http: {{ url: '{}', operations: {{ routes: {{ {} }} }} }} }}",
        upstream.url(),
        routes.join(", ")
    )
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
        let body =
            json!({ "id": "shared", "groups": ["testers"], "scopes": ["read", "write"], "apps": ["web"] });
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
    async fn refuses(&self, what: &str, call: Call, expected: Refusal) -> Value {
        let (status, error, description, code) = expected;
        let known: BTreeSet<String> =
            self.records().await.iter().map(|record| record["attempt"].to_string()).collect();
        let reply = call.send().await;
        assert_eq!(reply.status, status, "{what}: {}", reply.text());
        assert_eq!(reply.json(), json!({ "error": error, "error_description": description }), "{what}");
        assert_uncached(what, &reply);
        let challenge = if status == 401 { "Basic realm=\"vestibule\"" } else { "" };
        assert_eq!(reply.header("www-authenticate"), challenge, "{what}");
        let fresh: Vec<Value> = self
            .records()
            .await
            .into_iter()
            .filter(|record| !known.contains(&record["attempt"].to_string()))
            .collect();
        assert_eq!(fresh.len(), 1, "{what}");
        assert_eq!((&fresh[0]["denial"], &fresh[0]["outcome"]), (&json!(code), &json!("refused")), "{what}");
        assert!(!fresh[0].to_string().contains(&self.secret), "{what}: the record has the secret");
        fresh[0].clone()
    }

    async fn refuses_client(&self, what: &str, call: Call, code: &'static str) {
        let record = self.refuses(what, call, (401, "invalid_client", NOT_PROVEN, code)).await;
        assert_eq!(record["agent"], Value::Null, "{what}: nobody has proved to be anybody");
    }
}

fn assert_uncached(what: &str, reply: &Reply) {
    assert_eq!(reply.header("content-type"), "application/json", "{what}");
    assert_eq!(reply.header("cache-control"), "no-store", "{what}");
    assert_eq!(reply.header("pragma"), "no-cache", "{what}");
}
