//! Identities that other issuers vouch for: an access token of theirs opens an application, and a workload's token makes
//! an agent that nobody registered. Every refusal is one that the application did not see, and that the record explains.

mod actors;
mod confusion;
mod crowd;
mod entra;
mod keycloak;
mod keys;
mod orders;
mod proofs;
mod workload_orders;
mod workloads;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use vestibule_model::{FixedClock, Timestamp};
use vestibule_testkit::{
    Answer, Call, Credential, Http, Reply, TestAgent, TestIssuer, TestUpstream, Watched,
};

use crate::gateway::{TestGateway, wednesday_noon};

/// The tenant of the Entra-shaped issuer.
const TENANT: &str = "7a6f0d7c-1111-4222-8333-9b9b9b9b9b9b";
/// The client of `planner` there.
const ENTRA_CLIENT: &str = "aa000000-0000-4000-8000-00000000000a";

/// Agents of the group `testers` or `ci`, and users of the group `developers`, may do everything.
const PERMIT: &str = r#"
@id("agents") permit (principal in AgentGroup::"testers", action in Action::"call", resource);
@id("ci") permit (principal in AgentGroup::"ci", action in Action::"call", resource) when { principal.trust >= 2 };
@id("users") permit (principal is User, action in Action::"call", resource)
    when { principal in UserGroup::"idp:developers" || principal in UserGroup::"entra:developers" };
@id("hand-on") permit (principal, action == Action::"delegate", resource);
@id("scope") @challenge("insufficient_scope") forbid (principal, action in Action::"call", resource)
    unless { resource.scopes.isEmpty() || context.token.scopes.containsAny(resource.scopes) };
"#;

const APPS: &str = "
apps:
  api:
    http:
      url: '{AT}'
      operations:
        routes:
          list: { route: GET /repos }
          stream: { route: GET /stream }
          publish: { route: PUT /repos, scopes: [write] }
  other: { http: { url: '{AT}', operations: { routes: { list: { route: GET /repos } } } } }
  called: { http: { url: '{AT}', access: { agent: { id: called } },
    operations: { routes: { ask: { route: GET /repos } } } } }
";

/// A gateway that trusts a Keycloak (`idp`) and an Entra (`entra`), and whose agents nobody else may use: `planner`, who
/// may write and is known at both, `helper`, who is known at `idp` alone and may use `api` alone.
struct Town {
    upstream: TestUpstream,
    idp: TestIssuer,
    entra: TestIssuer,
    gateway: TestGateway,
    clock: Arc<FixedClock>,
    planner: TestAgent,
    served: AtomicUsize,
}

impl Town {
    async fn new() -> Self {
        Self::with("preset: keycloak", "").await
    }

    /// With these `callers` at `idp`, and these further sections.
    async fn with(callers: &str, sections: &str) -> Self {
        let (idp, entra) = (TestIssuer::start().await, TestIssuer::below(&format!("/{TENANT}/v2.0")).await);
        let upstream = TestUpstream::http(Answer::json(&json!([]))).await;
        upstream.answer_at("/stream", Answer::beats("end"));
        let config = format!(
            "user_issuers:
  idp:
    issuer: '{}'
    jwks_url: '{}'
    agents: {{ planner: [planner-client], helper: [helper-client], ghost: [ghost-client] }}
    groups: {{ claim: groups }}
    access_token_types: [jwt, at-jwt]
    callers: {{ {callers} }}
  entra:
    issuer: '{}'
    jwks_url: '{}'
    agents: {{ planner: [{ENTRA_CLIENT}] }}
    groups: {{ claim: groups }}
    access_token_types: [jwt]
    callers: {{ preset: entra, audiences: ['api://vestibule'] }}
{sections}
{}",
            idp.id(),
            idp.jwks_url(),
            entra.id(),
            entra.jwks_url(),
            APPS.replace("{AT}", &upstream.url()),
        );
        let clock = wednesday_noon();
        let gateway = TestGateway::start_at(&clock, &config, &[("all.cedar", PERMIT)]).await;
        let planner = gateway.agent("planner", json!({ "scopes": ["write"] })).await;
        gateway.agent("helper", json!({ "apps": ["api"] })).await;
        Self { upstream, idp, entra, gateway, clock, planner, served: AtomicUsize::new(0) }
    }

    fn now(&self) -> Timestamp {
        self.gateway.clock.now()
    }

    async fn advance(&self, seconds: u64) {
        self.gateway.advance(&self.clock, Duration::from_secs(seconds)).await;
    }

    /// So much later that no issuer's keys are used any more without asking it.
    async fn forget_keys(&self) {
        self.advance(24 * 3600 + 1).await;
    }

    fn api(&self) -> String {
        self.gateway.resource("api")
    }

    /// A token of alice, a developer, which `planner` got for the API at Keycloak; with these further claims.
    fn alice(&self, with: Value) -> String {
        let mut claims = json!({ "aud": ["account", self.api()], "groups": ["developers"] });
        for (name, value) in with.as_object().unwrap() {
            claims[name] = value.clone();
        }
        self.idp.keycloak("alice", "planner-client", self.now(), &claims)
    }

    /// A token that `planner` got for itself at Keycloak.
    fn service(&self, with: Value) -> String {
        let mut claims = json!({ "aud": [self.api()] });
        for (name, value) in with.as_object().unwrap() {
            claims[name] = value.clone();
        }
        self.idp.keycloak_service("planner-client", self.now(), &claims)
    }

    fn get(&self, token: &str) -> Call {
        Http::get(&format!("{}/repos", self.api())).bearer(token)
    }

    async fn list(&self, token: &str) -> Reply {
        self.get(token).send().await
    }

    /// A stream of the API that has begun.
    async fn stream(&self, token: &str) -> Watched {
        let before = self.upstream.requests().len();
        let call = Http::get(&format!("{}/stream", self.api())).bearer(token);
        let watched = call.watch(&self.gateway.clock);
        watched.until(|text| text.contains("beat ")).await;
        assert_eq!(self.upstream.requests().len(), before + 1);
        self.served.fetch_add(1, Ordering::SeqCst);
        watched
    }

    /// The call reached the application, without the token; its record.
    async fn served(&self, reply: &Reply, token: &str) -> Value {
        assert_eq!(reply.status, 200, "{}", reply.text());
        let served = self.served.fetch_add(1, Ordering::SeqCst) + 1;
        let seen = self.upstream.requests();
        assert_eq!(seen.len(), served, "the application saw another number of requests");
        assert!(!format!("{seen:?}").contains(token), "the token went to the application");
        let record = self.gateway.attempt_of(reply).await;
        assert_eq!(
            (&record["decision"], &record["outcome"]),
            (&json!("permit"), &json!("completed")),
            "{record}"
        );
        assert!(!record.to_string().contains(token), "the token is in the record");
        record
    }

    /// The call was refused with this denial, and the application saw none; its record.
    async fn denied(&self, what: &str, reply: &Reply, status: u16, code: &str) -> Value {
        assert_eq!(reply.status, status, "{what}: {}", reply.text());
        let served = self.served.load(Ordering::SeqCst);
        assert_eq!(self.upstream.requests().len(), served, "{what}: the application saw a request");
        let record = self.gateway.attempt_of(reply).await;
        let found = (&record["denial"], &record["decision"], &record["outcome"]);
        assert_eq!(found, (&json!(code), &json!("deny"), &json!("refused")), "{what}: {record}");
        if status == 401 {
            let challenge = reply.header("www-authenticate");
            let metadata = self.gateway.url("/.well-known/oauth-protected-resource/apps/api");
            let is_ours = ["Bearer", "DPoP"]
                .iter()
                .any(|scheme| challenge.starts_with(&format!("{scheme} resource_metadata=\"{metadata}\"")));
            assert!(is_ours, "{what}: {challenge}");
        }
        record
    }

    /// The token endpoint refused with this error; its record.
    async fn no_token(&self, what: &str, reply: &Reply, error: &str, code: &str) -> Value {
        assert_eq!(reply.json()["error"], error, "{what}: {}", reply.text());
        assert!(reply.json().get("access_token").is_none(), "{what}");
        let record = self.gateway.attempt_of(reply).await;
        assert_eq!(record["denial"], code, "{what}: {record}");
        record
    }

    /// `planner` exchanges this access token of a user.
    async fn exchange(&self, token: &str) -> Reply {
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
            ("subject_token", token),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
            ("resource", &self.api()),
        ];
        self.planner.form(&form).send().await
    }

    /// An agent that authenticates with this token of a platform.
    async fn workload(&self, token: &str) -> TestAgent {
        let credential = Credential::Workload(token.to_owned());
        TestAgent::connect(&self.gateway.url(""), "", credential, Arc::clone(&self.gateway.clock)).await
    }
}
