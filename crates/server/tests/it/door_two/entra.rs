//! Agent identities of Microsoft Entra, through the whole gateway.

use serde_json::{Value, json};
use vestibule_testkit::{
    Answer, Http, TestUpstream,
    entra::{AGENT, BLUEPRINT, OTHER_AGENT, SECRET, TENANT, TestEntra},
};

use crate::gateway::{PERMIT_TESTERS, TestGateway, folder, wednesday_noon};

struct Scene {
    entra: TestEntra,
    upstream: TestUpstream,
    gateway: TestGateway,
}

impl Scene {
    async fn new() -> Self {
        let clock = wednesday_noon();
        let entra = TestEntra::start(clock.clone()).await;
        let upstream = TestUpstream::http(Answer::json(&json!({}))).await;
        let dir = folder(&[("all.cedar", PERMIT_TESTERS)]);
        std::fs::write(dir.path().join("blueprint"), SECRET).unwrap();
        let app = |mode: &str, scope: &str| {
            json!({ "http": {
                "url": upstream.url(), "operations": { "routes": { "look": { "route": "GET /look" } } },
                "access": { "entra-obo": {
                    "tenant": TENANT, "mode": mode, "scopes": { "default": [scope] }, "authority": entra.authority(),
                    "blueprint": { "client_id": BLUEPRINT, "auth": { "secret-post": { "secret": { "file": "blueprint" } } } },
                    "agents": { "a": AGENT, "b": OTHER_AGENT },
                } },
            } })
        };
        let apps = json!({ "apps": {
            "own": app("autonomous", "api://files/.default"), "human": app("on-behalf-of", "api://files/Files.Read"),
        } });
        let gateway = TestGateway::start_in(dir, &apps.to_string(), clock).await;
        Self { entra, upstream, gateway }
    }

    async fn look(&self, agent: &str, app: &str) -> (u16, Value) {
        let agent = self.gateway.agent(agent, json!({})).await;
        let token = agent.token(&self.gateway.resource(app)).await;
        let reply = Http::get(&format!("{}/look", self.gateway.resource(app))).bearer(&token).send().await;
        (reply.status.as_u16(), self.gateway.attempt_of(&reply).await)
    }
}

#[tokio::test]
async fn each_agent_calls_as_its_own_agent_identity() {
    let scene = Scene::new().await;
    for (agent, identity) in [("a", AGENT), ("b", OTHER_AGENT)] {
        let (status, record) = scene.look(agent, "own").await;
        assert_eq!(status, 200, "{record}");
        let seen = scene.upstream.requests().pop().unwrap();
        let token = seen.header("authorization").strip_prefix("Bearer ").unwrap();
        let claims = scene.entra.claims(token);
        assert_eq!((&claims["azp"], &claims["oid"]), (&json!(identity), &json!(identity)));
        assert_eq!(record["agent"], agent);
        assert_eq!(record["access"]["strategy"], "entra-obo", "{record}");
        assert!(!record.to_string().contains(token));
    }
}

#[tokio::test]
async fn without_an_agent_identity_or_a_user_the_application_sees_nothing() {
    let scene = Scene::new().await;
    let (status, record) = scene.look("stranger", "own").await;
    assert_eq!((status, &record["denial"]), (502, &json!("access-unavailable")), "{record}");
    assert!(record["cause"].as_str().unwrap().contains("`stranger` has no agent identity"), "{record}");
    let (_, record) = scene.look("a", "human").await;
    assert_eq!(record["denial"], "user-required", "{record}");
    assert!(scene.upstream.requests().is_empty() && scene.entra.forms().is_empty());
}

#[tokio::test]
async fn a_token_of_another_agent_is_not_used() {
    let scene = Scene::new().await;
    scene.entra.meddle(json!({ "azp": OTHER_AGENT }));
    let (_, record) = scene.look("a", "own").await;
    assert_eq!(record["denial"], "authorization-server-invalid", "{record}");
    assert!(scene.upstream.requests().is_empty());
}
