//! The lock through the real server: what policies can ask, and that whatever goes wrong with them refuses.

mod conditions;
mod desk;
mod failures;
mod guard_rails;
mod reload;

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};
use vestibule_model::FixedClock;
use vestibule_testkit::{Answer, Http, Reply, TestUpstream};

use crate::gateway::{TestGateway, wednesday_noon};

/// `{AT}` is the application's address. The scope `profile` releases the claim `department`.
const CONFIG: &str = "
scopes: { profile: { claims: [department] } }
apps:
  api:
    http:
      url: '{AT}'
      operations:
        routes:
          look: { route: GET /look }
          pay: { route: POST /pay, body: { json: { type: object, properties: {
            amount: { type: integer }, price: { type: number }, note: { type: string } } } } }
          write: { route: PUT /it, scopes: ['repo:write', 'repo:admin'] }
          wipe: { route: DELETE /it }
";

/// A gateway in front of an API, at Wednesday noon UTC until the test moves the clock.
struct Scene {
    upstream: TestUpstream,
    gateway: TestGateway,
    clock: Arc<FixedClock>,
}

impl Scene {
    async fn new(policies: &[(&str, &str)]) -> Self {
        let upstream = TestUpstream::http(Answer::json(&json!({}))).await;
        let clock = wednesday_noon();
        let gateway = TestGateway::start_at(&clock, &CONFIG.replace("{AT}", &upstream.url()), policies).await;
        Self { upstream, gateway, clock }
    }

    /// A token of a new agent, which asks for no scope in particular.
    async fn token(&self, id: &str, with: Value) -> String {
        self.gateway.agent(id, with).await.token(&self.gateway.resource("api")).await
    }

    async fn send(&self, token: &str, method: Method, path: &str) -> Reply {
        Http::request(method, &format!("{}{path}", self.gateway.resource("api"))).bearer(token).send().await
    }

    async fn look(&self, token: &str) -> Reply {
        self.send(token, Method::GET, "/look").await
    }

    /// Pays with these arguments, as they are written.
    async fn pay(&self, token: &str, arguments: &str) -> Reply {
        let url = format!("{}/pay", self.gateway.resource("api"));
        Http::post(&url).bearer(token).body("application/json", arguments.to_owned()).send().await
    }

    /// The call was forwarded, and permitted by these policies.
    async fn assert_permitted(&self, reply: &Reply, by: &[&str]) {
        assert_eq!(reply.status, 200, "{}", reply.text());
        let record = self.gateway.attempt_of(reply).await;
        assert_eq!((&record["decision"], &record["policies"]), (&json!("permit"), &json!(by)));
    }

    /// The call was refused with this denial, and the application saw none.
    async fn assert_refused(&self, reply: &Reply, status: u16, code: &str) {
        assert_eq!(reply.status, status, "{}", reply.text());
        let record = self.gateway.attempt_of(reply).await;
        assert_eq!((&record["denial"], &record["decision"]), (&json!(code), &json!("deny")), "{record}");
        assert_eq!((&record["outcome"], &record["upstream_status"]), (&json!("refused"), &Value::Null));
    }
}
