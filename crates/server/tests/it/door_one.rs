//! Door one: every way of not being who one must be is refused before the application sees a byte, is told in the words
//! that clients look for, and leaves one record with a code of its own.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use vestibule_testkit::{Answer, Http, Reply, TestUpstream};

use crate::gateway::{PERMIT_TESTERS, TestGateway};

mod credentials;
mod mint;
mod tokens;
mod validity;

/// Two applications behind the same upstream, so that there is a token for the wrong one.
fn config(upstream: &TestUpstream) -> String {
    let app = |scope: &str| {
        format!(
            "{{ http: {{ url: '{}', operations: {{ routes: {{ list: {{ route: GET /things, scopes: [{scope}] }} }} }} }} }}",
            upstream.url()
        )
    };
    format!("apps:\n  web: {}\n  other: {}\n", app("read"), app("write"))
}

async fn upstream() -> TestUpstream {
    TestUpstream::http(Answer::json(&json!([]))).await
}

async fn list(url: &str, token: &str) -> Reply {
    Http::get(&format!("{url}/things")).bearer(token).send().await
}

fn decoded(part: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// Header and claims of a token.
fn parts(token: &str) -> (Value, Value) {
    let parts: Vec<&str> = token.split('.').collect();
    (decoded(parts[0]), decoded(parts[1]))
}

/// What the caller is told.
#[derive(Clone, Copy, PartialEq)]
enum Told {
    /// 401, and how to get in.
    Missing,
    /// 401 with `invalid_token` (RFC 6750 §3.1).
    Invalid,
    /// 400: not one credential that could be judged.
    Bad,
}

/// A gateway with an agent, its token, and all that has been refused so far.
struct Door {
    upstream: TestUpstream,
    gateway: TestGateway,
    token: String,
    other: String,
    refused: usize,
}

impl Door {
    async fn new() -> Self {
        let upstream = upstream().await;
        let gateway = TestGateway::start(&config(&upstream), &[("all.cedar", PERMIT_TESTERS)]).await;
        let agent = gateway.agent("a", json!({ "scopes": ["read", "write"] })).await;
        let token = agent.token(&gateway.resource("web")).await;
        let other = agent.token(&gateway.resource("other")).await;
        Self { upstream, gateway, token, other, refused: 0 }
    }

    async fn refuses_token(&mut self, what: &str, token: &str, code: &str) {
        self.refuses(what, "/things", &[&format!("Bearer {token}")], (Told::Invalid, code)).await;
    }

    /// Every refusal: the status, the challenge, no request at the application, one record with that code.
    async fn refuses(&mut self, what: &str, target: &str, authorization: &[&str], expected: (Told, &str)) {
        let (told, code) = expected;
        let call = Http::get(&format!("{}{target}", self.gateway.resource("web")));
        let call = authorization.iter().fold(call, |call, value| call.header("authorization", value));
        let reply = call.send().await;
        assert_eq!(reply.status, if told == Told::Bad { 400 } else { 401 }, "{what}: {}", reply.text());
        let challenge = reply.header("www-authenticate");
        let metadata = self.gateway.url("/.well-known/oauth-protected-resource/apps/web");
        let start = format!("Bearer resource_metadata=\"{metadata}\"");
        match told {
            Told::Missing => assert_eq!(challenge, format!("{start}, scope=\"read\""), "{what}"),
            Told::Invalid => {
                assert!(
                    challenge.starts_with(&format!("{start}, error=\"invalid_token\", ")),
                    "{what}: {challenge}"
                );
                assert!(challenge.ends_with("scope=\"read\""), "{what}: {challenge}");
            }
            Told::Bad => assert_eq!(challenge, "", "{what}"),
        }
        assert_eq!(reply.header("content-type"), "application/problem+json", "{what}");
        assert_eq!(reply.header("cache-control"), "no-store", "{what}");
        assert_eq!(reply.json()["code"], code, "{what}");
        let attempt = self.gateway.attempt_of(&reply).await;
        assert_eq!(attempt["denial"], code, "{what}");
        assert_eq!((&attempt["outcome"], &attempt["app"]), (&json!("refused"), &json!("web")), "{what}");
        self.refused += 1;
        assert_eq!(self.gateway.attempts("app=web&outcome=refused").await.len(), self.refused, "{what}");
        assert_eq!(self.upstream.requests().len(), 0, "{what}: the application saw a request");
    }
}
