//! The real gateway, on port 0, in a folder of its own.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tempfile::TempDir;
use vestibule_model::{Clock, FixedClock, OsEntropy, SystemClock, Timestamp};
use vestibule_server::{
    Running, Surroundings,
    config::{GatewayConfig, Settings},
};
use vestibule_testkit::{AgentKey, Call, Credential, Http, Reply, TestAgent};

/// Policies under which agents of the group `testers` may do everything with every application.
pub(crate) const PERMIT_TESTERS: &str =
    r#"@id("testers") permit (principal in AgentGroup::"testers", action in Action::"call", resource);"#;

/// A running gateway.
pub(crate) struct TestGateway {
    running: Running,
    pub(crate) dir: Arc<TempDir>,
    pub(crate) clock: Arc<dyn Clock>,
    config: String,
}

impl TestGateway {
    /// Starts with this configuration (listeners are set to port 0) and these policy files.
    pub(crate) async fn start(config: &str, policies: &[(&str, &str)]) -> Self {
        Self::start_in(folder(policies), config, Arc::new(SystemClock::default())).await
    }

    /// As [`TestGateway::start`], at the time of a clock that the test moves with [`TestGateway::advance`].
    pub(crate) async fn start_at(clock: &Arc<FixedClock>, config: &str, policies: &[(&str, &str)]) -> Self {
        Self::start_in(folder(policies), config, Arc::<FixedClock>::clone(clock)).await
    }

    /// Starts in a folder that is there, at the time of `clock`.
    pub(crate) async fn start_in(dir: Arc<TempDir>, config: &str, clock: Arc<dyn Clock>) -> Self {
        Self::start_on(([127, 0, 0, 1], 0).into(), dir, config, clock).await
    }

    /// As [`TestGateway::start_in`], with the data listener at this address.
    pub(crate) async fn start_on(
        listen: SocketAddr,
        dir: Arc<TempDir>,
        config: &str,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let mut parsed = GatewayConfig::parse(config).unwrap();
        parsed.data.listen = listen;
        parsed.admin.listen = ([127, 0, 0, 1], 0).into();
        let settings = Settings::check(parsed, dir.path()).unwrap();
        let outside = Surroundings { clock: Arc::clone(&clock), entropy: Arc::new(OsEntropy), env: |_| None };
        let running = Running::start(settings, outside).await.unwrap();
        Self { running, dir, clock, config: config.to_owned() }
    }

    /// Stops, as SIGTERM does, and starts again in the same folder.
    pub(crate) async fn restart(self) -> Self {
        let (dir, config, clock) = (Arc::clone(&self.dir), self.config.clone(), Arc::clone(&self.clock));
        self.running.stop().await;
        Self::start_in(dir, &config, clock).await
    }

    /// As [`TestGateway::restart`], at the same URL: what it has issued stays good. For a gateway that was started at an
    /// address of the loopback network which nobody else takes ports of, see [`TestGateway::start_on`].
    pub(crate) async fn restart_in_place(self) -> Self {
        let (dir, config, clock) = (Arc::clone(&self.dir), self.config.clone(), Arc::clone(&self.clock));
        let listen = self.running.gateway_url().strip_prefix("http://").unwrap().parse().unwrap();
        self.running.stop().await;
        Self::start_on(listen, dir, &config, clock).await
    }

    /// Stops, as SIGTERM does.
    pub(crate) async fn stop(self) {
        self.running.stop().await;
    }

    /// Moves the clock and waits until the view of revocations is fresh again: nobody followed the store in the time
    /// that was skipped.
    pub(crate) async fn advance(&self, clock: &FixedClock, by: Duration) {
        clock.advance(by);
        while self.admin("GET", "/readyz").send().await.status != 200 {
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn running(&self) -> &Running {
        &self.running
    }

    /// A URL of the data listener.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.running.gateway_url())
    }

    /// The resource identifier of an application.
    pub(crate) fn resource(&self, app: &str) -> String {
        self.running.apps().into_iter().find(|(id, _, _)| id == app).map(|(_, _, url)| url).unwrap()
    }

    /// A request to the admin API with the operators' token.
    pub(crate) fn admin(&self, method: &str, path: &str) -> Call {
        let url = format!("{}{path}", self.running.admin_url());
        Http::request(method.parse().unwrap(), &url).bearer(self.running.admin_token().expose_secret())
    }

    /// An administrative POST that must succeed.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Value {
        let reply = self.admin("POST", path).json(body).send().await;
        assert!(reply.status.is_success(), "{path}: {} {}", reply.status, reply.text());
        reply.json()
    }

    /// An administrative GET that must succeed.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let reply = self.admin("GET", path).send().await;
        assert!(reply.status.is_success(), "{path}: {} {}", reply.status, reply.text());
        reply.json()
    }

    /// Registers an agent with a secret. `with` adds to or replaces its defaults: group `testers`, trust 1.
    pub(crate) async fn agent(&self, id: &str, with: Value) -> TestAgent {
        let added = self.register(id, with).await;
        let secret = added["client_secret"].as_str().unwrap().to_owned();
        self.connect(id, Credential::Basic(secret)).await
    }

    /// Registers an agent that signs assertions with `key`.
    pub(crate) async fn agent_with_key(&self, id: &str, key: AgentKey) -> TestAgent {
        self.register(id, json!({ "jwks": key.jwks() })).await;
        self.connect(id, Credential::PrivateKey(key)).await
    }

    async fn register(&self, id: &str, with: Value) -> Value {
        let mut body = json!({ "id": id, "groups": ["testers"], "trust": 1 });
        for (key, value) in with.as_object().unwrap() {
            body[key] = value.clone();
        }
        self.post("/admin/v1/agents", &body).await
    }

    async fn connect(&self, id: &str, credential: Credential) -> TestAgent {
        TestAgent::connect(self.running.gateway_url(), id, credential, Arc::clone(&self.clock)).await
    }

    /// A registered agent's token for one application.
    pub(crate) async fn token(&self, id: &str, app: &str) -> String {
        self.agent(id, json!({})).await.token(&self.resource(app)).await
    }

    /// The attempts in the record that fit `query`, as `agent=a&app=b`.
    pub(crate) async fn attempts(&self, query: &str) -> Vec<Value> {
        self.get(&format!("/admin/v1/attempts?limit=1000&{query}")).await["items"].as_array().unwrap().clone()
    }

    /// The attempt that `reply` is the answer to.
    pub(crate) async fn attempt_of(&self, reply: &Reply) -> Value {
        self.get(&format!("/admin/v1/attempts/{}", reply.header("x-request-id"))).await
    }

    /// Revokes; `kind` is `agent`, `token` or `delegation`.
    pub(crate) async fn revoke(&self, kind: &str, id: &str) -> Value {
        self.post("/admin/v1/revocations", &json!({ "kind": kind, "id": id, "reason": "compromise" })).await
    }
}

/// A folder for a gateway with these policy files.
pub(crate) fn folder(policies: &[(&str, &str)]) -> Arc<TempDir> {
    let dir = Arc::new(TempDir::new().unwrap());
    std::fs::create_dir(dir.path().join("policies")).unwrap();
    for (name, text) in policies {
        std::fs::write(dir.path().join("policies").join(name), text).unwrap();
    }
    dir
}

/// Wednesday, 2026-01-07, noon UTC, until the test moves it.
pub(crate) fn wednesday_noon() -> Arc<FixedClock> {
    Arc::new(FixedClock::at(Timestamp::from_seconds(1_767_787_200)))
}

/// A tool call in JSON-RPC, as a legacy client sends it without a session.
pub(crate) fn call(tool: &str, arguments: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": tool, "arguments": arguments } })
}

/// Sends one JSON-RPC message as a legacy client.
pub(crate) async fn rpc(url: &str, token: &str, message: &Value) -> Reply {
    Http::post(url)
        .bearer(token)
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2025-11-25")
        .json(message)
        .send()
        .await
}
