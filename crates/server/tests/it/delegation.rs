//! Delegation: an agent acts for a human, hands on a part of what it may do, is called by another; and at no step does
//! anybody get more than those above them. Every refusal is one that the application did not see, and that the record
//! explains.

mod actors;
mod again;
mod authority;
mod bounds;
mod confusion;
mod exchange;
mod human_tokens;
mod humans;
mod introspection;
mod narrowing;
mod nonces;
mod permission;
mod possession;
mod proofs;
mod proxied;
mod revocation;
mod spawning;
pub(crate) mod story;
mod tree;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use serde_json::{Value, json};
use vestibule_model::FixedClock;
use vestibule_testkit::{AgentKey, Answer, Call, Holder, Http, Reply, TestAgent, TestIssuer, TestUpstream};

use crate::gateway::{TestGateway, wednesday_noon};

pub(crate) const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub(crate) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
pub(crate) const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
pub(crate) const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// Agents of the group `testers` and users of the group `developers` may do everything, and hand it on.
pub(crate) const PERMIT_ALL: &str = r#"
@id("agents") permit (principal in AgentGroup::"testers", action in Action::"call", resource);
@id("users") permit (principal in UserGroup::"idp:developers", action in Action::"call", resource);
@id("hand-on") permit (principal, action == Action::"delegate", resource);
@id("scope") @challenge("insufficient_scope") forbid (principal, action in Action::"call", resource)
    unless { resource.scopes.isEmpty() || context.token.scopes.containsAny(resource.scopes) };
"#;

/// `{AT}` is the application's address, `{HELPER}` that of an agent that can be called, `{USERS}` the issuer of users;
/// `{TOKENS}` bounds tokens and delegations.
const CONFIG: &str = "
data: { also_known_as: [agents.example] }
tokens: {TOKENS}
user_issuers: {USERS}
apps:
  api:
    http:
      url: '{AT}'
      operations:
        routes:
          list: { route: GET /repos }
          create: { route: POST /repos, body: { json: { type: object, properties: {
            name: { type: string }, size: { type: number }, private: { type: boolean } } } } }
          publish: { route: PUT /repos, scopes: [write] }
          remove: { route: 'DELETE /repos/{name}' }
  other: { http: { url: '{AT}', operations: { routes: { list: { route: GET /repos } } } } }
  helper: { http: { url: '{HELPER}', access: { agent: { id: helper } }, operations: { routes: { ask: { route: GET /ask } } } } }
  trusting: { http: { url: '{AT}', access: { assertion: { audience: helper } }, operations: { routes: { list: { route: GET /repos } } } } }
  domain: { http: { url: '{AT}', access: { txn-token: { trust_domain: helper } }, operations: { routes: { list: { route: GET /repos } } } } }
";

/// A gateway with an API and an agent that can be called behind it, at Wednesday noon UTC until the test moves the clock.
/// Its agents are `planner`, which may have the scopes `read` and `write`, and `helper`, which is the called one.
pub(crate) struct Scene {
    pub(crate) upstream: TestUpstream,
    pub(crate) called: TestUpstream,
    pub(crate) users: TestIssuer,
    pub(crate) gateway: TestGateway,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) planner: TestAgent,
    pub(crate) helper: TestAgent,
    served: AtomicUsize,
}

impl Scene {
    /// With policies that permit everything.
    pub(crate) async fn new() -> Self {
        Self::with("{}", PERMIT_ALL).await
    }

    /// With this section `tokens` and these policies.
    pub(crate) async fn with(tokens: &str, policies: &str) -> Self {
        let users = TestIssuer::start().await;
        let section = users.config(&json!({ "planner": ["planner-client"], "helper": ["helper-client"] }));
        Self::trusting(users, &section, tokens, policies).await
    }

    /// With this section `user_issuers`.
    async fn trusting(users: TestIssuer, section: &str, tokens: &str, policies: &str) -> Self {
        let upstream = TestUpstream::http(Answer::json(&json!([]))).await;
        let called = TestUpstream::http(Answer::json(&json!({}))).await;
        let config = CONFIG
            .replace("{AT}", &upstream.url())
            .replace("{HELPER}", &called.url())
            .replace("{USERS}", section)
            .replace("{TOKENS}", tokens);
        let clock = wednesday_noon();
        let gateway = TestGateway::start_at(&clock, &config, &[("all.cedar", policies)]).await;
        let scopes = json!({ "scopes": ["read", "write"] });
        let planner = gateway.agent("planner", scopes.clone()).await;
        let helper = gateway.agent("helper", scopes).await;
        Self { upstream, called, users, gateway, clock, planner, helper, served: AtomicUsize::new(0) }
    }

    pub(crate) async fn advance(&self, seconds: u64) {
        self.gateway.advance(&self.clock, Duration::from_secs(seconds)).await;
    }

    pub(crate) fn api(&self) -> String {
        self.gateway.resource("api")
    }

    /// An ID token of `user` in these groups, as `planner` gets it.
    pub(crate) fn id_token(&self, user: &str, groups: &[&str]) -> String {
        self.id_token_with(user, &json!({ "groups": groups }))
    }

    fn id_token_with(&self, user: &str, claims: &Value) -> String {
        self.users.id_token(user, "planner-client", self.gateway.clock.now(), claims)
    }

    /// A root of `planner` for the API, bound to a fresh key.
    pub(crate) async fn root(&self) -> Holder {
        self.root_with(&[]).await
    }

    /// As [`Scene::root`], with further fields of the request.
    pub(crate) async fn root_with(&self, fields: &[(&str, &str)]) -> Holder {
        let api = self.api();
        let fields = [&[("resource", &*api)], fields].concat();
        Holder::root(&self.planner, key(), &fields).await
    }

    /// A root of `planner` for the API that acts for `user`.
    pub(crate) async fn root_for(&self, user: &str, groups: &[&str]) -> Holder {
        let id_token = self.id_token(user, groups);
        Holder::for_user(&self.planner, key(), &id_token, &[("resource", &self.api())]).await
    }

    /// A request at the token endpoint, without any proof of who sends it.
    pub(crate) fn form(&self, fields: &[(&str, &str)]) -> Call {
        Http::post(&self.gateway.url("/oauth/token")).form(fields)
    }

    pub(crate) async fn list(&self, agent: &Holder) -> Reply {
        let url = format!("{}/repos", self.api());
        agent.send("GET", &url, || Http::get(&url)).await
    }

    pub(crate) async fn create(&self, agent: &Holder, arguments: &Value) -> Reply {
        let url = format!("{}/repos", self.api());
        agent.send("POST", &url, || Http::post(&url).json(arguments)).await
    }

    pub(crate) async fn remove(&self, agent: &Holder, name: &str) -> Reply {
        let url = format!("{}/repos/{name}", self.api());
        agent.send("DELETE", &url, || Http::request(http::Method::DELETE, &url)).await
    }

    /// The call reached the application; its record.
    pub(crate) async fn served(&self, reply: &Reply) -> Value {
        assert_eq!(reply.status, 200, "{}", reply.text());
        let served = self.served.fetch_add(1, Ordering::SeqCst) + 1;
        assert_eq!(self.upstream.requests().len(), served, "the application saw another number of requests");
        let record = self.gateway.attempt_of(reply).await;
        assert_eq!(
            (&record["decision"], &record["outcome"]),
            (&json!("permit"), &json!("completed")),
            "{record}"
        );
        record
    }

    /// The call was refused with this denial, and the application saw none; its record.
    pub(crate) async fn denied(&self, what: &str, reply: &Reply, status: u16, code: &str) -> Value {
        assert_eq!(reply.status, status, "{what}: {}", reply.text());
        let served = self.served.load(Ordering::SeqCst);
        assert_eq!(self.upstream.requests().len(), served, "{what}: the application saw a request");
        let record = self.gateway.attempt_of(reply).await;
        assert_eq!(
            (&record["denial"], &record["decision"]),
            (&json!(code), &json!("deny")),
            "{what}: {record}"
        );
        assert_eq!(record["outcome"], "refused", "{what}");
        record
    }

    /// The token endpoint, or one beside it, refused with this error; its record has this code.
    pub(crate) async fn refused(&self, what: &str, reply: &Reply, error: &str, code: &str) -> Value {
        let status = match error {
            "invalid_client" => 401,
            "temporarily_unavailable" => 503,
            _ => 400,
        };
        assert_eq!(reply.status, status, "{what}: {}", reply.text());
        assert_eq!(reply.json()["error"], error, "{what}: {}", reply.text());
        assert!(reply.json().get("access_token").is_none(), "{what}");
        let record = self.gateway.attempt_of(reply).await;
        assert_eq!(record["denial"], code, "{what}: {record}");
        assert_eq!((&record["decision"], &record["outcome"]), (&json!("deny"), &json!("refused")), "{what}");
        assert_eq!(record["delegation"], Value::Null, "{what}: a node was made");
        record
    }

    /// How many delegations live.
    pub(crate) async fn nodes(&self) -> usize {
        self.gateway.get("/admin/v1/delegations").await["items"].as_array().unwrap().len()
    }

    /// Calls the helper as `agent` and lets the call wait at it: until `called.release()`, or until the handle is
    /// aborted. With the token that the helper was called with.
    pub(crate) async fn calling(&self, agent: Holder) -> (tokio::task::JoinHandle<Reply>, String) {
        self.called.hold();
        let (url, before) =
            (format!("{}/ask", self.gateway.resource("helper")), self.called.requests().len());
        let call = tokio::spawn(async move { agent.send("GET", &url, || Http::get(&url)).await });
        self.called.wait_for(before + 1).await;
        let seen = self.called.requests().pop().unwrap();
        let token = seen.header("authorization").strip_prefix("Bearer ").unwrap().to_owned();
        (call, token)
    }

    /// A root of `planner` that may call the helper.
    pub(crate) async fn caller(&self) -> Holder {
        Holder::root(&self.planner, key(), &[("resource", &*self.gateway.resource("helper"))]).await
    }
}

/// A fresh key of an agent.
pub(crate) fn key() -> AgentKey {
    AgentKey::generate("key")
}

/// The same fresh key, as often as it is needed.
pub(crate) fn keys<const N: usize>() -> [AgentKey; N] {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    std::array::from_fn(|_| AgentKey::from_pkcs8("key", pkcs8.as_ref()))
}

/// `authorization_details` of these operations, each with the constraints on its arguments.
pub(crate) fn details(operations: &Value) -> String {
    json!([{ "type": "vestibule_operations", "operations": operations }]).to_string()
}
