//! The credential of the application is the gateway's, and the caller's goes no further.

mod entra;
mod judge;
mod secrets;
mod signed;
mod strategies;
mod tokens;

use std::{path::Path, sync::Arc};

use serde_json::json;
use vestibule_model::FixedClock;
use vestibule_testkit::{Answer, Call, Era, Http, Mcp, Seen, TestUpstream};

use crate::gateway::{PERMIT_TESTERS, TestGateway, folder, wednesday_noon};

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

fn write_secrets(dir: &Path) {
    std::fs::create_dir(dir.join("secrets")).unwrap();
    for app in ["header", "bearer", "basic", "query", "tools"] {
        std::fs::write(dir.join("secrets").join(app), format!("{}\n", secret(app))).unwrap();
    }
}

struct Scene {
    upstream: TestUpstream,
    mcp: TestUpstream,
    gateway: TestGateway,
    clock: Arc<FixedClock>,
}

impl Scene {
    async fn new() -> Self {
        let upstream = TestUpstream::http(Answer::json(&json!({}))).await;
        let mcp = TestUpstream::mcp(Mcp::new(Era::Modern, vec![json!({ "name": "work" })])).await;
        let dir = folder(&[("all.cedar", PERMIT_TESTERS)]);
        write_secrets(dir.path());
        let clock = wednesday_noon();
        let gateway =
            TestGateway::start_in(dir, &config(&upstream, &mcp), Arc::<FixedClock>::clone(&clock)).await;
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
