//! The record: one attempt a request, whatever came of it, and nothing in it that could be used.

mod contents;
mod durability;
mod search;

use std::path::{Path, PathBuf};

use http::Method;
use serde_json::{Value, json};
use vestibule_testkit::{Answer, Http, Reply, TestUpstream};

use crate::gateway::TestGateway;

/// `{AT}` is the application's address.
const CONFIG: &str = "
evidence: { mode: required }
apps:
  one:
    http:
      url: '{AT}'
      record: { arguments: true, redact: [pin] }
      operations: { routes: {
        look: { route: 'GET /look/{name}' },
        pay: { route: POST /pay, body: { json: { type: object, properties: { amount: { type: number }, pin: { type: string } } } } },
        wipe: { route: DELETE /all } } }
  two:
    http:
      url: '{AT}'
      operations: { routes: { look: { route: 'GET /look/{name}' } } }
";

const POLICIES: &str = r#"
@id("work") permit (principal in AgentGroup::"testers", action, resource)
unless { action == Action::"one__wipe" };
"#;

struct Scene {
    upstream: TestUpstream,
    gateway: TestGateway,
}

impl Scene {
    async fn new() -> Self {
        let upstream = TestUpstream::http(Answer::json(&json!({}))).await;
        let gateway =
            TestGateway::start(&CONFIG.replace("{AT}", &upstream.url()), &[("p.cedar", POLICIES)]).await;
        Self { upstream, gateway }
    }

    async fn send(&self, token: &str, app: &str, method: Method, target: &str) -> Reply {
        let url = format!("{}{target}", self.gateway.resource(app));
        Http::request(method, &url).bearer(token).send().await
    }

    async fn look(&self, token: &str, app: &str) -> Reply {
        self.send(token, app, Method::GET, "/look/x").await
    }

    /// All records of this kind: `call`, `token-request` or `administration`.
    async fn all(&self, kind: &str) -> Vec<Value> {
        let mut all = self.gateway.attempts("").await;
        all.retain(|attempt| attempt["kind"] == kind);
        all
    }
}

/// The identifiers of attempts, in their order.
fn ids(attempts: &[Value]) -> Vec<&str> {
    attempts.iter().map(|attempt| attempt["attempt"].as_str().unwrap()).collect()
}

/// Every file below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
