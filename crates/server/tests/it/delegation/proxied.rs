//! Proofs at a gateway that has another name outside than the address it is bound to, and over its restart.

use base64::{Engine, engine::general_purpose::STANDARD};
use http::Method;
use serde_json::json;
use vestibule_model::{Jti, OsEntropy};
use vestibule_testkit::{AgentKey, Answer, Call, Http, Reply, TestUpstream, token_hash};

use super::key;
use crate::gateway::{PERMIT_TESTERS, TestGateway, wednesday_noon};

const PUBLIC: &str = "https://gw.example";
const LIST: &str = "/apps/api/repos";

/// Reached at its address, as behind a proxy that keeps the host.
struct Proxied {
    upstream: TestUpstream,
    gateway: TestGateway,
    basic: String,
    key: AgentKey,
}

impl Proxied {
    async fn new() -> Self {
        let upstream = TestUpstream::http(Answer::json(&json!([]))).await;
        let config = format!(
            "data: {{ public_url: '{PUBLIC}', also_known_as: [agents.example] }}\n\
             apps: {{ api: {{ http: {{ url: '{}', operations: {{ routes: {{ list: {{ route: GET /repos }} }} }} }} }} }}",
            upstream.url()
        );
        let gateway =
            TestGateway::start_at(&wednesday_noon(), &config, &[("all.cedar", PERMIT_TESTERS)]).await;
        let agent = json!({ "id": "a", "groups": ["testers"] });
        let added = gateway.post("/admin/v1/agents", &agent).await;
        let pair = format!("a:{}", added["client_secret"].as_str().unwrap());
        Self { upstream, gateway, basic: format!("Basic {}", STANDARD.encode(pair)), key: key() }
    }

    fn call(&self, method: Method, host: &str, path: &str) -> Call {
        let url = format!("http://{}{path}", self.gateway.running().data_address());
        Http::request(method, &url).header("host", host)
    }

    fn proof(&self, method: &str, url: &str, nonce: &str, token: Option<&str>) -> String {
        let mut claims = json!({
            "jti": Jti::random(&OsEntropy), "htm": method, "htu": url,
            "iat": self.gateway.clock.now().seconds(), "nonce": nonce,
        });
        if let Some(token) = token {
            claims["ath"] = json!(token_hash(token));
        }
        self.key.proof(&claims)
    }

    async fn ask(&self, host: &str, url: &str, nonce: &str) -> Reply {
        let form = [("grant_type", "client_credentials")];
        let call = self.call(Method::POST, host, "/oauth/token").header("authorization", &self.basic);
        call.header("dpop", &self.proof("POST", url, nonce, None)).form(&form).send().await
    }

    /// A bound token, and the nonce of that moment.
    async fn token(&self) -> (String, String) {
        let url = format!("{PUBLIC}/oauth/token");
        let nonce = self.ask("gw.example", &url, "").await.header("dpop-nonce").to_owned();
        let reply = self.ask("gw.example", &url, &nonce).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
        (reply.json()["access_token"].as_str().unwrap().to_owned(), nonce)
    }

    async fn list(&self, host: &str, token: &str, proof: &str) -> Reply {
        let call = self.call(Method::GET, host, LIST).header("authorization", &format!("DPoP {token}"));
        call.header("dpop", proof).send().await
    }

    async fn refuses(&self, what: &str, reply: &Reply, code: &str) {
        assert_eq!(self.gateway.attempt_of(reply).await["denial"], code, "{what}: {}", reply.text());
    }
}

#[tokio::test]
async fn a_proof_names_the_public_url_whatever_host_the_request_names() {
    let proxied = Proxied::new().await;
    let (token, nonce) = proxied.token().await;
    let address = proxied.gateway.running().data_address();
    let public = format!("{PUBLIC}{LIST}");
    let mut served = 0;
    for (host, url, is_good) in [
        ("gw.example", public.clone(), true),
        ("gw.example", format!("http://gw.example{LIST}"), false),
        ("gw.example", format!("http://{address}{LIST}"), false),
        ("agents.example", format!("https://agents.example{LIST}"), false),
        ("agents.example", format!("http://agents.example{LIST}"), false),
        ("agents.example", public, true),
    ] {
        let proof = proxied.proof("GET", &url, &nonce, Some(&token));
        let reply = proxied.list(host, &token, &proof).await;
        if is_good {
            assert_eq!(reply.status, 200, "{host} {url}: {}", reply.text());
            served += 1;
        } else {
            proxied.refuses(&format!("{host} {url}"), &reply, "proof-invalid").await;
        }
        assert_eq!(proxied.upstream.requests().len(), served, "{host} {url}");
    }
    for (host, url) in [
        ("agents.example", "https://agents.example/oauth/token".to_owned()),
        ("gw.example", format!("http://{address}/oauth/token")),
    ] {
        proxied.refuses(&url, &proxied.ask(host, &url, &nonce).await, "proof-invalid").await;
    }
    let reply = proxied.ask("agents.example", &format!("{PUBLIC}/oauth/token"), &nonce).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}

#[tokio::test]
async fn after_a_restart_no_proof_and_no_nonce_from_before_is_good() {
    let mut proxied = Proxied::new().await;
    let (token, old) = proxied.token().await;
    let url = format!("{PUBLIC}{LIST}");
    let used = proxied.proof("GET", &url, &old, Some(&token));
    assert_eq!(proxied.list("gw.example", &token, &used).await.status, 200);
    proxied.gateway = proxied.gateway.restart().await;
    let kept = proxied.proof("GET", &url, &old, Some(&token));
    for (what, proof) in [("one that was used", used), ("one that was kept back", kept)] {
        let reply = proxied.list("gw.example", &token, &proof).await;
        proxied.refuses(what, &reply, "proof-nonce-needed").await;
    }
    let reply = proxied.ask("gw.example", &format!("{PUBLIC}/oauth/token"), &old).await;
    proxied.refuses("at the token endpoint", &reply, "proof-nonce-needed").await;
    assert_eq!(proxied.upstream.requests().len(), 1);
    let fresh = proxied.proof("GET", &url, reply.header("dpop-nonce"), Some(&token));
    assert_eq!(proxied.list("gw.example", &token, &fresh).await.status, 200, "the token itself is good");
}
