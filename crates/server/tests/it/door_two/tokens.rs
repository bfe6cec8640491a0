//! Applications that are called with tokens of an authorization server.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use vestibule_model::FixedClock;
use vestibule_testkit::{
    AgentKey, Answer, Era, Holder, Http, Mcp, Reply, Seen, TestAgent, TestAuthorizationServer, TestIssuer,
    TestUpstream,
};

use crate::gateway::{TestGateway, folder, rpc, wednesday_noon};

const POLICIES: &str = r#"
@id("agents") permit (principal in AgentGroup::"testers", action in Action::"call", resource);
@id("users") permit (principal in UserGroup::"idp:developers", action in Action::"call", resource);
"#;

/// `{AT}` is the applications' address, `{SERVER}` the authorization server's, `{USERS}` the issuer of users.
const CONFIG: &str = "
user_issuers: {USERS}
authorization_servers:
  corp: { issuer: '{SERVER}', client_id: gateway, auth: { secret-basic: { secret: { file: secret } } } }
apps:
  shared:
    http:
      url: '{AT}/shared'
      access: { client-credentials: { server: corp, scopes: { default: [read], operations: { put: [write] } } } }
      operations: { routes: {
        look: { route: GET /look }, put: { route: PUT /it, body: { json: { type: object } } },
        send: { route: PUT /blob, body: opaque } } }
  personal:
    http:
      url: '{AT}/personal'
      access: { token-exchange: { server: corp, subject: assertion, actor: chain, scopes: { default: [read] } } }
      operations: { routes: { look: { route: GET /look } } }
  tools: { mcp: { url: '{TOOLS}/mcp', access: { client-credentials: { server: corp } } } }
";

struct Scene {
    server: TestAuthorizationServer,
    upstream: TestUpstream,
    tools: TestUpstream,
    users: TestIssuer,
    gateway: TestGateway,
    clock: Arc<FixedClock>,
    /// Whether the HTTP applications take the tokens.
    takes: Arc<AtomicBool>,
    agent: TestAgent,
}

impl Scene {
    async fn new() -> Self {
        let server = TestAuthorizationServer::start().await;
        let takes = Arc::new(AtomicBool::new(true));
        let taken = Arc::clone(&takes);
        let upstream = TestUpstream::deciding(move |_| {
            if taken.load(Ordering::SeqCst) { Answer::json(&json!({})) } else { Answer::new(401, "") }
        })
        .await;
        let tools = TestUpstream::mcp(Mcp::new(Era::Modern, vec![json!({ "name": "work" })])).await;
        let users = TestIssuer::start().await;
        let config = CONFIG
            .replace("{AT}", &upstream.url())
            .replace("{TOOLS}", &tools.url())
            .replace("{SERVER}", &server.issuer())
            .replace("{USERS}", &users.config(&json!({ "agent": ["agent-client"] })));
        let dir = folder(&[("all.cedar", POLICIES)]);
        std::fs::write(dir.path().join("secret"), "hunter2").unwrap();
        let clock = wednesday_noon();
        let gateway = TestGateway::start_in(dir, &config, Arc::<FixedClock>::clone(&clock)).await;
        let agent = gateway.agent("agent", json!({})).await;
        Self { server, upstream, tools, users, gateway, clock, takes, agent }
    }

    async fn for_user(&self, user: &str) -> Holder {
        let claims = json!({ "groups": ["developers"] });
        let id_token = self.users.id_token(user, "agent-client", self.gateway.clock.now(), &claims);
        let resource = self.gateway.resource("personal");
        Holder::for_user(&self.agent, AgentKey::generate("key"), &id_token, &[("resource", &resource)]).await
    }

    async fn look_as(&self, agent: &Holder) -> Reply {
        let url = format!("{}/look", self.gateway.resource("personal"));
        agent.send("GET", &url, || Http::get(&url)).await
    }

    /// The token that the application saw last.
    fn sent(&self) -> String {
        let seen = self.upstream.requests().pop().unwrap();
        seen.header("authorization").strip_prefix("Bearer ").unwrap().to_owned()
    }

    /// What the HTTP applications saw.
    fn seen(&self) -> Vec<Seen> {
        self.upstream.requests()
    }

    /// Token requests for this scope.
    fn asked(&self, scope: &str) -> usize {
        self.server
            .asked()
            .iter()
            .filter(|form| form.get("scope").is_some_and(|asked| asked == scope))
            .count()
    }
}

#[tokio::test]
async fn the_application_sees_a_token_of_the_server_and_the_record_says_which_access_that_was() {
    let scene = Scene::new().await;
    let token = scene.agent.token(&scene.gateway.resource("shared")).await;
    let look = format!("{}/look", scene.gateway.resource("shared"));
    let reply = Http::get(&look).bearer(&token).send().await;
    assert_eq!(reply.status, 200);
    assert_ne!(scene.sent(), token);
    assert_eq!(TestAuthorizationServer::claims(&scene.sent())["sub"], "gateway");
    let record = scene.gateway.attempt_of(&reply).await;
    let expected =
        json!({ "strategy": "client-credentials", "server": "corp", "scopes": ["read"], "wider": [] });
    assert_eq!(record["access"], expected);
    assert!(!record.to_string().contains(&scene.sent()));

    // Another operation, other scopes.
    let put = format!("{}/it", scene.gateway.resource("shared"));
    let reply = Http::request(http::Method::PUT, &put).bearer(&token).json(&json!({})).send().await;
    assert_eq!(scene.gateway.attempt_of(&reply).await["access"]["scopes"], json!(["write"]));
    assert_eq!((scene.asked("read"), scene.asked("write")), (1, 1));
}

#[tokio::test]
async fn the_application_sees_who_asks_for_whom_and_a_call_without_a_user_is_refused() {
    let scene = Scene::new().await;
    let reply = scene.look_as(&scene.for_user("ana").await).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let claims = TestAuthorizationServer::claims(&scene.sent());
    assert_eq!((&claims["sub"], &claims["act"]), (&json!("ana"), &json!({ "sub": "agent" })));
    let told = TestAuthorizationServer::claims(&scene.server.asked().pop().unwrap()["subject_token"]);
    assert_eq!((&told["iss"], &told["aud"]), (&json!(scene.gateway.url("")), &json!(scene.server.issuer())));
    // Whoever believes our word can verify it with our keys.
    let subject = scene.server.asked().pop().unwrap()["subject_token"].clone();
    let header = header_of(&subject);
    let keys = Http::get(&scene.gateway.url("/oauth/jwks")).send().await.json();
    assert!(keys["keys"].as_array().unwrap().iter().any(|key| key["kid"] == header["kid"]), "{keys}");

    let before = scene.seen().len();
    let token = scene.agent.token(&scene.gateway.resource("personal")).await;
    let look = format!("{}/look", scene.gateway.resource("personal"));
    let refused = Http::get(&look).bearer(&token).send().await;
    assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (403, &json!("user-required")));
    assert!(refused.text().contains("exchange a token of the user"), "{}", refused.text());
    let record = scene.gateway.attempt_of(&refused).await;
    assert_eq!((&record["denial"], &record["outcome"]), (&json!("user-required"), &json!("refused")));
    assert_eq!(scene.seen().len(), before);
}

/// The header of a JWT.
fn header_of(token: &str) -> Value {
    let header = token.split('.').next().unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap()
}

#[tokio::test]
async fn a_call_that_is_refused_with_401_is_sent_once_more_with_another_token() {
    let scene = Scene::new().await;
    let token = scene.agent.token(&scene.gateway.resource("shared")).await;
    let put = format!("{}/it", scene.gateway.resource("shared"));
    let send = || Http::request(http::Method::PUT, &put).bearer(&token).json(&json!({ "a": 1 })).send();
    assert_eq!(send().await.status, 200);
    let first = scene.sent();

    scene.takes.store(false, Ordering::SeqCst);
    let refused = send().await;
    // The second 401 is about the gateway's credential, too, and goes no further.
    assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (502, &json!("access-unavailable")));
    let seen = scene.seen();
    assert_eq!(seen.len(), 3, "one retry and no more");
    assert_eq!(
        (seen[1].header("authorization"), &seen[1].body),
        (seen[0].header("authorization"), &seen[2].body)
    );
    assert_ne!(scene.sent(), first);
    assert_eq!(scene.asked("write"), 2);

    // The fresh one is refused as well: that is not asked again and again.
    send().await;
    assert_eq!((scene.seen().len(), scene.asked("write")), (4, 2));
    scene.takes.store(true, Ordering::SeqCst);
    assert_eq!(send().await.status, 200);
}

#[tokio::test]
async fn a_body_that_is_streamed_is_not_sent_twice() {
    let scene = Scene::new().await;
    scene.takes.store(false, Ordering::SeqCst);
    let token = scene.agent.token(&scene.gateway.resource("shared")).await;
    let blob = format!("{}/blob", scene.gateway.resource("shared"));
    let reply =
        Http::request(http::Method::PUT, &blob).bearer(&token).body("text/plain", "much").send().await;
    assert_eq!(reply.status, 502, "{}", reply.text());
    assert_eq!((scene.seen().len(), scene.asked("read")), (1, 1));
}

#[tokio::test]
async fn a_server_that_is_down_or_wrong_is_told_apart_and_closes_its_own_applications_only() {
    let scene = Scene::new().await;
    let token = scene.agent.token(&scene.gateway.resource("shared")).await;
    let look = format!("{}/look", scene.gateway.resource("shared"));
    for (answer, status, code) in [
        (Answer::new(503, "hunter3"), 502, "authorization-server-unavailable"),
        (Answer::new(200, "hunter3"), 502, "authorization-server-invalid"),
        (
            Answer::new(400, r#"{"error":"invalid_client","error_description":"hunter3"}"#),
            502,
            "access-unavailable",
        ),
    ] {
        scene.server.refuse(answer);
        let reply = Http::get(&look).bearer(&token).send().await;
        assert_eq!((reply.status.as_u16(), &reply.json()["code"]), (status, &json!(code)));
        assert!(!reply.text().contains("hunter") && !reply.text().contains("corp"), "{}", reply.text());
        let record = scene.gateway.attempt_of(&reply).await;
        assert!(record["cause"].as_str().unwrap().contains("authorization server `corp`"), "{record}");
        assert!(!record.to_string().contains("hunter2"));
        assert_eq!(record["outcome"], "failed");
        scene.gateway.advance(&scene.clock, Duration::from_secs(3)).await;
    }
    assert!(scene.seen().is_empty());
    scene.server.be_honest();
    assert_eq!(Http::get(&look).bearer(&token).send().await.status, 200);
}

#[tokio::test]
async fn tokens_of_what_is_revoked_are_given_back_and_the_record_says_so() {
    let scene = Scene::new().await;
    scene.look_as(&scene.for_user("ana").await).await;
    let anas = scene.sent();
    scene.look_as(&scene.for_user("ben").await).await;
    let bens = scene.sent();

    let user = format!("{}#ana", scene.users.id());
    scene.gateway.revoke("user", &user).await;
    while scene.server.revoked().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(scene.server.revoked(), [anas]);
    assert_ne!(scene.server.revoked(), [bens]);
    let given = loop {
        let found = scene.gateway.attempts("kind=administration").await;
        if let Some(given) = found.into_iter().find(|it| it["action"] == "tokens-give-back") {
            break given;
        }
    };
    assert_eq!(
        (&given["target"], &given["outcome"]),
        (&json!("authorization-server/corp"), &json!("completed"))
    );
    let detail: Value = serde_json::from_str(given["detail"].as_str().unwrap()).unwrap();
    assert_eq!(detail, json!({ "tokens": 1, "given_back": 1, "of": ["personal: agent"] }));
}

#[tokio::test]
async fn operations_are_read_with_the_gateways_own_token_and_a_test_tells_each_step() {
    let scene = Scene::new().await;
    let token = scene.agent.token(&scene.gateway.resource("tools")).await;
    let url = scene.gateway.resource("tools");
    rpc(&url, &token, &json!({ "jsonrpc": "2.0", "id": 1, "method": "ping" })).await;
    let seen = scene.tools.requests();
    assert_eq!(seen.last().unwrap().json()["method"], "ping");
    assert!(seen.len() > 1, "its tools were read");
    assert!(seen.iter().all(|seen| seen.header("authorization").starts_with("Bearer ")));

    let tested = scene.gateway.post("/admin/v1/apps/shared/test", &json!({})).await;
    let names: Vec<_> = tested["steps"].as_array().unwrap().iter().map(|step| step["name"].clone()).collect();
    let expected = [
        "application",
        "addresses",
        "metadata",
        "client auth",
        "grant",
        "scopes",
        "credential",
        "exchange",
        "answer",
    ];
    assert_eq!(names, expected, "{tested}");
    assert_eq!(tested["ok"], true);
    assert!(!tested.to_string().contains("hunter2") && !tested.to_string().contains("eyJ"), "{tested}");
}
