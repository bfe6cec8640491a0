//! The ratchet over the table of routes: every row is refused to everybody whom it is not for, and nothing is served
//! beside the table.

use http::Method;
use serde_json::{Value, json};
use vestibule_server::routes::{ADMIN, DATA, For, Route};
use vestibule_testkit::{Answer, Call, Era, Http, Mcp, TestAgent, TestUpstream};

use crate::gateway::{PERMIT_TESTERS, TestGateway};

/// A gateway with an application of each kind.
struct House {
    web: TestUpstream,
    mcp: TestUpstream,
    gateway: TestGateway,
    agent: TestAgent,
}

impl House {
    async fn new() -> Self {
        let web = TestUpstream::http(Answer::json(&json!([]))).await;
        let mcp = TestUpstream::mcp(Mcp::new(Era::Legacy, Vec::new())).await;
        let config = format!(
            "apps: {{ tools: {{ mcp: {{ url: '{}/mcp' }} }}, web: {{ http: {{ url: '{}', operations: {{ routes: {{ \
             list: {{ route: GET /things }} }} }} }} }} }}",
            mcp.url(),
            web.url()
        );
        let gateway = TestGateway::start(&config, &[("all.cedar", PERMIT_TESTERS)]).await;
        let agent = gateway.agent("a", json!({})).await;
        Self { web, mcp, gateway, agent }
    }

    fn requests(&self) -> usize {
        self.web.requests().len() + self.mcp.requests().len()
    }

    /// What an operator can see of the state: what no stranger may have changed.
    async fn state(&self) -> [Value; 4] {
        let agents = self.gateway.get("/admin/v1/agents").await;
        let keys = self.gateway.get("/admin/v1/keys").await;
        let secrets = self.gateway.get("/admin/v1/secrets").await;
        [agents, keys, secrets, self.gateway.get("/admin/v1/revocations").await]
    }

    fn admin(&self, method: &str, path: &str) -> Call {
        request(method, &format!("{}{path}", self.gateway.running().admin_url()))
    }

    fn data(&self, method: &str, path: &str) -> Call {
        request(method, &self.gateway.url(path))
    }
}

fn request(method: &str, url: &str) -> Call {
    Http::request(method.parse::<Method>().unwrap(), url)
}

/// A path that the row serves, with `id` for what it names.
fn example(route: &Route, id: &str) -> String {
    let app = if route.path.ends_with("/mcp") { "tools" } else { "web" };
    let path = route.path.replace("{app}", app).replace("{*path}", "things").replace("{*resource}", "web");
    path.replace("{id}", id)
}

fn cells(table: &[Route]) -> impl Iterator<Item = (&Route, &str)> {
    table.iter().flat_map(|route| route.methods.iter().map(move |method| (route, *method)))
}

#[tokio::test]
async fn every_row_of_the_data_listener_refuses_nobody_strangers_and_the_revoked() {
    let house = House::new().await;
    let tokens = [
        ("/apps/tools/mcp", house.agent.token(&house.gateway.resource("tools")).await),
        ("/apps/web/things", house.agent.token(&house.gateway.resource("web")).await),
    ];
    house.gateway.revoke("agent", "a").await;
    let before = house.requests();
    for (route, method) in cells(DATA) {
        let path = example(route, "");
        let call = || house.data(method, &path);
        match route.who {
            For::Agent => {
                let (_, revoked) = tokens.iter().find(|(of, _)| *of == path).unwrap();
                for (who, call, code) in [
                    ("nobody", call(), "credential-missing"),
                    ("a stranger", call().bearer("garbage"), "token-invalid"),
                    ("the revoked", call().bearer(revoked), "agent-revoked"),
                ] {
                    let reply = call.send().await;
                    assert_eq!(reply.status, 401, "{method} {path}: {who}");
                    assert!(
                        reply.header("www-authenticate").contains("resource_metadata"),
                        "{method} {path}: {who}"
                    );
                    assert_eq!(
                        house.gateway.attempt_of(&reply).await["denial"],
                        code,
                        "{method} {path}: {who}"
                    );
                }
            }
            For::Client => {
                let form = [("grant_type", "client_credentials")];
                assert_eq!(call().form(&form).send().await.status, 401, "{method} {path}: nobody");
                assert_eq!(call().form(&form).bearer("garbage").send().await.status, 401, "{method} {path}");
                let resource = house.gateway.resource("web");
                assert_eq!(house.agent.request_token(&[("resource", &resource)]).await.status, 401);
            }
            For::Anyone => {
                let reply = call().send().await;
                assert_eq!((reply.status.as_u16(), reply.json().is_object()), (200, true), "{method} {path}");
                assert_eq!(call().bearer("garbage").send().await.body, reply.body, "{method} {path}");
            }
            For::Operator => panic!("{path}: nothing of the operators' is on the agents' listener"),
        }
    }
    assert_eq!(house.requests(), before);
}

#[tokio::test]
async fn every_row_of_the_admin_listener_refuses_everybody_but_the_operator() {
    let house = House::new().await;
    let token = house.agent.token(&house.gateway.resource("web")).await;
    let before = (house.state().await, house.requests());
    for (route, method) in cells(ADMIN) {
        let path = example(route, "a");
        let call = || house.admin(method, &path).json(&json!({ "id": "b", "kind": "agent" }));
        match route.who {
            For::Anyone => {
                let reply = house.admin(method, &path).send().await;
                assert_eq!((reply.status.as_u16(), &*reply.text()), (200, ""), "{path} says more than yes");
            }
            For::Operator => {
                for (who, call) in [
                    ("nobody", call()),
                    ("a stranger", call().bearer("garbage")),
                    ("an empty token", call().header("authorization", "Bearer ")),
                    ("an agent", call().bearer(&token)),
                    ("somebody who guesses", call().bearer("vsa_").header("authorization", "Bearer vsa_")),
                ] {
                    let reply = call.send().await;
                    assert_eq!(reply.status, 401, "{method} {path}: {who}");
                    assert_eq!(
                        reply.header("www-authenticate"),
                        "Bearer realm=\"vestibule-admin\"",
                        "{path}"
                    );
                    assert_eq!(reply.json()["code"], "credential-missing", "{method} {path}: {who}");
                }
            }
            For::Agent | For::Client => {
                panic!("{path}: nothing of the agents' is on the operators' listener")
            }
        }
    }
    assert_eq!((house.state().await, house.requests()), before);
}

#[tokio::test]
async fn every_row_of_the_admin_listener_is_served_to_the_operator() {
    let house = House::new().await;
    house.data("GET", "/apps/web/things").send().await;
    let token = house.agent.token(&house.gateway.resource("web")).await;
    house.data("GET", "/apps/web/things").bearer(&token).send().await;
    let called = house.gateway.attempts("kind=call&agent=a").await.remove(0);
    let part = |key: &str| called[key].as_str().unwrap().to_owned();
    let (attempt, workflow) = (part("attempt"), part("workflow"));
    let node = called["chain"][0]["node"].as_str().unwrap();
    let kept =
        house.gateway.admin("PUT", "/admin/v1/secrets/kept").json(&json!({ "value": "s" })).send().await;
    assert_eq!(kept.status, 200);
    let opened = house.gateway.post("/admin/v1/incidents", &json!({ "agent": "nobody" })).await;
    for (route, method) in cells(ADMIN) {
        let id = match route.path {
            path if path.contains("/agents/") => "a",
            path if path.contains("/apps/") => "web",
            path if path.contains("/delegations/") => node,
            path if path.contains("/incidents/") => opened["id"].as_str().unwrap(),
            path if path.contains("/workflows/") => &workflow,
            path if path.contains("/secrets/") => "kept",
            _ => &attempt,
        };
        let path = example(route, id);
        let reply = house.gateway.admin(method, &path).json(&json!({})).open().await.unwrap();
        assert!(!matches!(reply.status.as_u16(), 401 | 404 | 405), "{method} {path}: {}", reply.status);
        let other = if route.methods.contains(&"DELETE") { "PATCH" } else { "DELETE" };
        let reply = house.gateway.admin(other, &path).send().await;
        assert_eq!(reply.status, 405, "{other} {path}");
    }
}

#[tokio::test]
async fn nothing_is_served_beside_the_table() {
    let house = House::new().await;
    let token = house.agent.token(&house.gateway.resource("web")).await;
    for path in [
        "/",
        "/livez",
        "/readyz",
        "/metrics",
        "/admin/v1/agents",
        "/oauth",
        "/oauth/authorize",
        "/oauth/token/",
        "/OAUTH/jwks",
        "//oauth/jwks",
        "/.well-known",
        "/.well-known/openid-configuration",
        "/apps",
        "/mcp",
        "/apps/",
        "/apps/nobody",
        "/apps/nobody/mcp",
        "/apps/tools",
        "/apps/tools/mcp/",
        "/apps/tools/sse",
        "/apps/WEB/things",
        "/apps//web/things",
    ] {
        for call in
            [house.data("GET", path), house.data("POST", path), house.data("GET", path).bearer(&token)]
        {
            let reply = call.send().await;
            assert_eq!(reply.status, 404, "{path}");
            assert_eq!(reply.json()["code"], "not-found", "{path}");
            assert_eq!(reply.header("www-authenticate"), "", "{path}: there is nothing to log in to");
        }
    }
    for path in [
        "/",
        "/admin",
        "/admin/v1",
        "/admin/v1/",
        "/admin/v2/agents",
        "/admin/v1/agents/a/secret",
        "/oauth/jwks",
    ] {
        assert_eq!(
            house.admin("GET", path).send().await.status,
            401,
            "{path}: which paths there are is for operators"
        );
        assert_eq!(house.gateway.admin("GET", path).send().await.status, 404, "{path}");
    }
    assert_eq!(house.web.requests().len(), 0);
}

#[tokio::test]
async fn an_attempt_at_an_application_that_there_is_not_is_recorded() {
    let house = House::new().await;
    let reply = house.data("POST", "/apps/nobody/mcp").send().await;
    let attempts = house.gateway.attempts("denial=app-unknown").await;
    assert_eq!(attempts.len(), 1);
    assert_eq!(attempts[0]["attempt"], reply.header("x-request-id"));
    assert_eq!(attempts[0]["outcome"], "refused");
}
