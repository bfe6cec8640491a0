//! A plain HTTP API behind the gateway: its requests are operations with arguments, or nothing.

mod bodies;
mod openapi;
mod replies;
mod requests;

use http::Method;
use serde_json::json;
use vestibule_testkit::{Answer, Call, Http, Reply, TestUpstream};

use crate::gateway::TestGateway;

const OPERATIONS: &str = "
      list_repos: { route: GET /repos, query: { page: { type: integer }, label: { type: string } } }
      show_repo: { route: 'GET /repos/{name}' }
      search_repos: { route: GET /repos/search }
      import_repo: { route: POST /repos/import }
      patch_repo: { route: 'PATCH /repos/{name}', body: { json: { type: object, properties: { label: { type: string } } } } }
      create_repo:
        route: POST /repos
        body: { json: { type: object, required: [name], properties: {
          name: { type: string }, private: { type: boolean },
          settings: { type: object, properties: { label: { type: string } } } } } }
      delete_repo: { route: 'DELETE /repos/{name}' }
      put_tags: { route: 'PUT /repos/{name}/tags', body: { json: { type: array, items: { type: string } } } }
      upload: { route: 'PUT /files/{name}', body: opaque }
";

const POLICIES: &str = r#"
@id("first.pages")
permit (principal in AgentGroup::"testers", action == Action::"api__list_repos", resource)
unless { context.input has page && context.input.page > 10 };
@id("not.internal")
permit (principal in AgentGroup::"testers", action == Action::"api__show_repo", resource)
unless { context.input.name like "internal*" };
@id("private.only")
permit (principal in AgentGroup::"testers", action == Action::"api__create_repo", resource)
when { context.input has private && context.input.private };
@id("plain")
permit (principal in AgentGroup::"testers", action in [Action::"api__put_tags", Action::"api__patch_repo", Action::"api__upload"], resource);
"#;

/// A gateway in front of an API, and an agent with a token for it.
struct Scene {
    upstream: TestUpstream,
    gateway: TestGateway,
    token: String,
}

impl Scene {
    async fn new() -> Self {
        Self::with("").await
    }

    /// `config` is added to the configuration.
    async fn with(config: &str) -> Self {
        let upstream = TestUpstream::http(Answer::json(&json!({ "from": "upstream" }))).await;
        let app = format!(
            "apps:\n  api:\n    http:\n     url: '{}/v1'\n     operations:\n      routes:",
            upstream.url()
        );
        let config = format!("{app}{}\n{config}", OPERATIONS.replace("\n", "\n  "));
        let gateway = TestGateway::start(&config, &[("api.cedar", POLICIES)]).await;
        let token = gateway.token("a", "api").await;
        Self { upstream, gateway, token }
    }

    /// A request with the token. `target` is path and query below the application.
    fn request(&self, method: Method, target: &str) -> Call {
        Http::request(method, &format!("{}{target}", self.gateway.resource("api"))).bearer(&self.token)
    }

    async fn get(&self, target: &str) -> Reply {
        self.request(Method::GET, target).send().await
    }

    /// How many requests the application has seen.
    fn seen(&self) -> usize {
        self.upstream.requests().len()
    }

    /// The reply says no in this way, and so does the record.
    async fn assert_refused(&self, what: &str, reply: &Reply, status: u16, code: &str) {
        assert_eq!(reply.status, status, "{what}: {}", reply.text());
        assert_eq!(reply.header("content-type"), "application/problem+json", "{what}");
        let record = self.gateway.attempt_of(reply).await;
        assert_eq!((&record["denial"], &record["outcome"]), (&json!(code), &json!("refused")), "{what}");
        if status != 404 {
            assert_eq!(reply.json()["code"], code, "{what}");
        }
    }
}
