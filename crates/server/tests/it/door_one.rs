//! Door one: every way of not being who one must be is refused before the application sees a byte, is told in the words
//! that clients look for, and leaves one record with a code of its own.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use vestibule_model::SystemClock;
use vestibule_store::{By, Kind, SqliteStore, Store};
use vestibule_testkit::{AgentKey, Answer, Era, Http, Mcp, Reply, TestUpstream};

use crate::gateway::{PERMIT_TESTERS, TestGateway, wednesday_noon};

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

/// A real token with the very key that signed it: header and claims can be changed and signed again, so that a token
/// that is refused is refused for that change and for nothing else.
struct Mint {
    key: AgentKey,
    header: Value,
    claims: Value,
}

impl Mint {
    async fn of(gateway: &TestGateway, token: &str) -> Self {
        let clock = Arc::new(SystemClock::default());
        let store = SqliteStore::open(&gateway.dir.path().join("state"), clock).unwrap();
        let records = store.scan(Kind::SigningKey, By::All, None, 2).await.unwrap();
        assert_eq!(records.len(), 1);
        let stored: Value = records[0].decode().unwrap();
        let pkcs8 = URL_SAFE_NO_PAD.decode(stored["pkcs8"].as_str().unwrap()).unwrap();
        let (header, claims) = parts(token);
        Self { key: AgentKey::from_pkcs8(&records[0].key, &pkcs8), header, claims }
    }

    fn with(&self, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        self.by(&self.key, change)
    }

    fn by(&self, key: &AgentKey, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let (mut header, mut claims) = (self.header.clone(), self.claims.clone());
        change(&mut header, &mut claims);
        key.sign(&header.to_string(), &claims.to_string())
    }

    /// With a member of the header replaced, or removed by `null`.
    fn header(&self, name: &str, value: Value) -> String {
        self.with(|header, _| replace(header, name, value))
    }

    /// With a claim replaced, or removed by `null`.
    fn claim(&self, name: &str, value: Value) -> String {
        self.with(|_, claims| replace(claims, name, value))
    }

    /// With another algorithm in the header, and a signature that a verifier of that algorithm would accept.
    fn unsigned(&self, alg: &str, sign: impl FnOnce(&str) -> Vec<u8>) -> String {
        let mut header = self.header.clone();
        replace(&mut header, "alg", json!(alg));
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", part(&header), part(&self.claims));
        let signature = URL_SAFE_NO_PAD.encode(sign(&input));
        format!("{input}.{signature}")
    }
}

fn replace(object: &mut Value, name: &str, value: Value) {
    let members = object.as_object_mut().unwrap();
    if value.is_null() {
        members.shift_remove(name);
    } else {
        members.insert(name.to_owned(), value);
    }
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
        self.refuses(what, "/things", &[format!("Bearer {token}")], (Told::Invalid, code)).await;
    }

    /// Every refusal: the status, the challenge, no request at the application, one record with that code.
    async fn refuses(&mut self, what: &str, target: &str, authorization: &[String], expected: (Told, &str)) {
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
                assert!(challenge.starts_with(&format!("{start}, error=\"invalid_token\", ")), "{what}: {challenge}");
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

#[tokio::test]
async fn what_is_no_single_bearer_token_is_refused_and_never_anonymous() {
    let mut door = Door::new().await;
    let bearer = format!("Bearer {}", door.token);
    let basic = "Basic YTpi".to_owned();
    let malformed = (Told::Bad, "credential-malformed");
    door.refuses("no credential", "/things", &[], (Told::Missing, "credential-missing")).await;
    door.refuses("a secret", "/things", &[basic.clone()], (Told::Missing, "credential-unsupported")).await;
    door.refuses("an unknown scheme", "/things", &["Magic x".to_owned()], (Told::Missing, "credential-unsupported"))
        .await;
    door.refuses("an empty bearer", "/things", &["Bearer ".to_owned()], malformed).await;
    door.refuses("a token without a scheme", "/things", &[door.token.clone()], malformed).await;
    door.refuses("the same token twice", "/things", &[bearer.clone(), bearer.clone()], malformed).await;
    door.refuses("a token and a secret", "/things", &[bearer.clone(), basic], malformed).await;
    door.refuses("a huge token", "/things", &[format!("{bearer}{}", "A".repeat(9_000))], malformed).await;
    let in_query = (Told::Bad, "credential-in-query");
    let target = format!("/things?access_token={}", door.token);
    door.refuses("a token in the query", &target, &[], in_query).await;
    door.refuses("a token in the query too", &target, &[bearer.clone()], in_query).await;
    door.refuses("an encoded name", "/things?access%5Ftoken=x", &[bearer], in_query).await;
    assert_eq!(list(&door.gateway.resource("web"), &door.token).await.status, 200);
}

#[tokio::test]
async fn a_token_whose_form_or_signature_is_not_ours_is_refused() {
    let mut door = Door::new().await;
    let token = door.token.clone();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let swapped = if signature.starts_with('A') { "B" } else { "A" };
    let other_claims = door.other.split('.').nth(1).unwrap().to_owned();
    for (what, forged) in [
        ("no token at all", "garbage".to_owned()),
        ("two parts", signed.to_owned()),
        ("five parts, as an encrypted token", format!("{token}.a.b")),
        ("cut short", token[..token.len() - 8].to_owned()),
        ("a signature with another first character", format!("{signed}.{swapped}{}", &signature[1..])),
        ("no signature", format!("{signed}.")),
        ("the claims of another token", format!("{header}.{other_claims}.{signature}")),
        ("padding", format!("{token}=")),
        ("a longer second spelling", format!("{header}.{claims}=.{signature}")),
        ("more than 8 KiB", format!("{}{}", "A".repeat(8_000), &token[..200])),
    ] {
        door.refuses_token(what, &forged, "token-invalid").await;
    }
}

#[tokio::test]
async fn each_header_and_claim_of_a_signed_token_must_be_the_right_one() {
    let mut door = Door::new().await;
    let mint = Mint::of(&door.gateway, &door.token).await;
    let now = mint.claims["iat"].as_i64().unwrap();
    let web = door.gateway.resource("web");
    let other = door.other.clone();
    door.refuses_token("for another application", &other, "token-wrong-audience").await;
    for (what, forged, code) in [
        ("an ID token", mint.header("typ", json!("JWT")), "token-wrong-type"),
        ("no type", mint.header("typ", Value::Null), "token-wrong-type"),
        ("a proof of possession", mint.header("typ", json!("dpop+jwt")), "token-wrong-type"),
        ("an unknown key", mint.header("kid", json!("unknown")), "token-key-unknown"),
        ("no key", mint.header("kid", Value::Null), "token-key-unknown"),
        ("an extension", mint.header("crit", json!(["exp"])), "token-invalid"),
        ("for two applications", mint.claim("aud", json!([web, "https://b.example"])), "token-wrong-audience"),
        ("for nobody", mint.claim("aud", Value::Null), "token-wrong-audience"),
        ("for a longer name", mint.claim("aud", json!(format!("{web}/"))), "token-wrong-audience"),
        ("another issuer", mint.claim("iss", json!("https://evil.example")), "token-wrong-issuer"),
        ("expired", mint.claim("exp", json!(now - 1)), "token-expired"),
        ("without an end", mint.claim("exp", Value::Null), "token-invalid"),
        ("issued in the future", mint.claim("iat", json!(now + 600)), "token-not-yet-valid"),
        ("not before later", mint.claim("nbf", json!(now + 600)), "token-not-yet-valid"),
        ("bound to a key", mint.claim("cnf", json!({ "jkt": "x" })), "token-invalid"),
        ("issued to another client", mint.claim("client_id", json!("b")), "token-invalid"),
        ("without its delegation", mint.claim("vst", Value::Null), "token-invalid"),
    ] {
        door.refuses_token(what, &forged, code).await;
    }
    let unregistered = mint.with(|_, claims| {
        replace(claims, "sub", json!("ghost"));
        replace(claims, "client_id", json!("ghost"));
    });
    door.refuses_token("an agent that is not registered", &unregistered, "agent-unknown").await;
    assert_eq!(list(&web, &mint.with(|_, _| {})).await.status, 200, "the forger is not at fault");
}

#[tokio::test]
async fn neither_the_algorithm_nor_the_key_is_the_tokens_to_choose() {
    let mut door = Door::new().await;
    let mint = Mint::of(&door.gateway, &door.token).await;
    let secret = hmac::Key::new(hmac::HMAC_SHA256, mint.key.jwk().to_string().as_bytes());
    let mac = |input: &str| hmac::sign(&secret, input.as_bytes()).as_ref().to_vec();
    for (what, forged) in [
        ("no signature", mint.unsigned("none", |_| Vec::new())),
        ("no signature, in another case", mint.unsigned("None", |_| Vec::new())),
        ("a MAC by the public key", mint.unsigned("HS256", mac)),
        ("an algorithm of clients", mint.unsigned("RS256", |_| vec![0; 256])),
    ] {
        door.refuses_token(what, &forged, "token-algorithm-refused").await;
    }
    let stranger = AgentKey::generate("stranger");
    let carried = |header: &mut Value, _: &mut Value| {
        replace(header, "jwk", stranger.jwk());
        replace(header, "kid", json!("stranger"));
    };
    let ours = mint.by(&stranger, |_, _| {});
    door.refuses_token("a stranger's signature under our key's name", &ours, "token-invalid").await;
    let own = mint.by(&stranger, carried);
    door.refuses_token("a stranger's key that travels in the token", &own, "token-key-unknown").await;
}

#[tokio::test]
async fn a_token_of_another_gateway_opens_nothing_here() {
    let mut door = Door::new().await;
    let elsewhere = Door::new().await;
    door.refuses_token("the same agent, registered elsewhere", &elsewhere.token, "token-key-unknown").await;
    assert_eq!(list(&elsewhere.gateway.resource("web"), &elsewhere.token).await.status, 200);
}

#[tokio::test]
async fn a_token_that_was_accepted_a_moment_ago_is_not_accepted_beyond_its_expiry() {
    let (upstream, clock) = (upstream().await, wednesday_noon());
    let gateway = TestGateway::start_at(&clock, &config(&upstream), &[("all.cedar", PERMIT_TESTERS)]).await;
    let agent = gateway.agent("a", json!({ "scopes": ["read"] })).await;
    let (web, token) = (gateway.resource("web"), agent.token(&gateway.resource("web")).await);
    assert_eq!(list(&web, &token).await.status, 200);
    gateway.advance(&clock, Duration::from_millis(119_999)).await;
    assert_eq!(list(&web, &token).await.status, 200);
    clock.advance(Duration::from_millis(1));
    let refused = list(&web, &token).await;
    assert_eq!(refused.status, 401);
    assert!(refused.header("www-authenticate").contains("error=\"invalid_token\""));
    assert_eq!(gateway.attempt_of(&refused).await["denial"], "token-expired");
    assert_eq!(upstream.requests().len(), 2);
    assert_eq!(list(&web, &agent.token(&web).await).await.status, 200);
}

#[tokio::test]
async fn a_rotated_key_signs_at_once_and_the_old_one_verifies_what_it_has_signed() {
    let upstream = upstream().await;
    let gateway = TestGateway::start(&config(&upstream), &[("all.cedar", PERMIT_TESTERS)]).await;
    let agent = gateway.agent("a", json!({ "scopes": ["read"] })).await;
    let web = gateway.resource("web");
    let old = agent.token(&web).await;
    let status = gateway.post("/admin/v1/keys/rotate", &json!({})).await;
    let new = agent.token(&web).await;
    let (old_kid, new_kid) = (parts(&old).0["kid"].clone(), parts(&new).0["kid"].clone());
    assert_ne!(old_kid, new_kid);
    assert_eq!(status["signing"], new_kid);
    assert!(status["retiring"].get(old_kid.as_str().unwrap()).is_some());
    assert_eq!(list(&web, &old).await.status, 200);
    assert_eq!(list(&web, &new).await.status, 200);
    let keys = Http::get(&gateway.url("/oauth/jwks")).send().await.json();
    let mut kids: Vec<&Value> = keys["keys"].as_array().unwrap().iter().map(|key| &key["kid"]).collect();
    kids.sort_by_key(|kid| **kid == new_kid);
    assert_eq!(kids, [&old_kid, &new_kid]);
    assert!(!keys.to_string().contains("\"d\""), "the key set has a private part");
    let gateway = gateway.restart().await;
    let keys = gateway.get("/admin/v1/keys").await;
    assert_eq!(keys["signing"], new_kid);
}

#[tokio::test]
async fn each_application_tells_where_tokens_for_it_come_from() {
    let (web, mcp) = (upstream().await, TestUpstream::mcp(Mcp::new(Era::Modern, Vec::new())).await);
    let config = format!("{}  tools: {{ mcp: {{ url: '{}/mcp' }} }}\n", config(&web), mcp.url());
    let gateway = TestGateway::start(&config, &[("all.cedar", PERMIT_TESTERS)]).await;
    for (app, path, scopes) in [("web", "/apps/web", json!(["read"])), ("tools", "/apps/tools/mcp", json!([]))] {
        let reply = Http::get(&gateway.url(&format!("/.well-known/oauth-protected-resource{path}"))).send().await;
        assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, "application/json"));
        assert_eq!(
            reply.json(),
            json!({
                // RFC 9728 §3.3: exactly the identifier that the URL was made from.
                "resource": gateway.url(path),
                "authorization_servers": [gateway.url("")],
                "bearer_methods_supported": ["header"],
                "scopes_supported": scopes,
                "resource_name": app,
            })
        );
        assert_eq!(gateway.resource(app), gateway.url(path));
    }
    for path in ["", "/", "/apps", "/apps/", "/apps/web/", "/apps/web/mcp", "/apps/tools", "/apps/nobody", "/web"] {
        let url = gateway.url(&format!("/.well-known/oauth-protected-resource{path}"));
        let reply = Http::get(&url).send().await;
        assert_eq!(reply.status, 404, "{url}");
        assert_eq!(reply.json()["code"], "not-found");
    }
    assert_eq!(web.requests().len(), 0);
}
