use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{Answer, Seen, TestUpstream};

/// An authorization server that does what RFCs 6749, 7009, 7523, 7662, 8414 and 8693 say, until it is told to lie. It
/// records every request, and stops and goes on at the test's command: [`TestAuthorizationServer::served`].
#[derive(Debug)]
pub struct TestAuthorizationServer {
    served: TestUpstream,
    rules: Arc<Rules>,
}

/// A token that is about to be given.
#[derive(Debug)]
pub struct Issue {
    /// Its claims.
    pub claims: Value,
    /// The rest of the answer.
    pub answer: Value,
}

type Twist = Box<dyn Fn(&mut Issue) + Send>;

#[derive(Default)]
struct Rules {
    twist: Mutex<Option<Twist>>,
    refusal: Mutex<Option<Answer>>,
    metadata: Mutex<Option<Answer>>,
    revoked: Mutex<Vec<String>>,
    count: AtomicU64,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules").finish_non_exhaustive()
    }
}

impl TestAuthorizationServer {
    /// One that knows every client.
    pub async fn start() -> Self {
        let rules = Arc::new(Rules::default());
        let behind = Arc::clone(&rules);
        let served = TestUpstream::deciding(move |seen| behind.answer(seen)).await;
        Self { served, rules }
    }

    /// Its identifier; its endpoints are below it, at `/token`, `/revoke` and `/introspect`.
    #[must_use]
    pub fn issuer(&self) -> String {
        self.served.url()
    }

    /// What it sees, and when it answers.
    #[must_use]
    pub fn served(&self) -> &TestUpstream {
        &self.served
    }

    /// From now on each token is changed so before it is given.
    pub fn twist(&self, twist: impl Fn(&mut Issue) + Send + 'static) {
        *lock(&self.rules.twist) = Some(Box::new(twist));
    }

    /// From now on it tells the truth again.
    pub fn be_honest(&self) {
        *lock(&self.rules.twist) = None;
        *lock(&self.rules.refusal) = None;
    }

    /// From now on token requests are answered so.
    pub fn refuse(&self, answer: Answer) {
        *lock(&self.rules.refusal) = Some(answer);
    }

    /// From now on requests for the metadata of RFC 8414 are answered so.
    pub fn say(&self, metadata: Answer) {
        *lock(&self.rules.metadata) = Some(metadata);
    }

    /// The parameters of the token requests so far.
    #[must_use]
    pub fn asked(&self) -> Vec<BTreeMap<String, String>> {
        self.served.requests().iter().filter(|seen| seen.path == "/token").map(form).collect()
    }

    /// The tokens that were given back so far.
    #[must_use]
    pub fn revoked(&self) -> Vec<String> {
        lock(&self.rules.revoked).clone()
    }

    /// The claims of a JWT, unverified.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn claims(token: &str) -> Value {
        claims(token).unwrap_or_else(|| panic!("`{token}` is no JWT"))
    }
}

impl Rules {
    fn answer(&self, seen: &Seen) -> Answer {
        let issuer = format!("http://{}", seen.header("host"));
        match seen.path.as_str() {
            "/.well-known/oauth-authorization-server" => {
                let said = lock(&self.metadata).clone();
                said.unwrap_or_else(|| Answer::json(&metadata(&issuer)))
            }
            "/.well-known/openid-configuration" => Answer::json(&metadata(&issuer)),
            "/token" => {
                let refusal = lock(&self.refusal).clone();
                refusal.unwrap_or_else(|| self.token(&issuer, &form(seen)))
            }
            "/introspect" => Answer::json(&self.introspected(&form(seen)["token"])),
            "/revoke" => {
                lock(&self.revoked).push(form(seen)["token"].clone());
                Answer::new(200, "")
            }
            _ => Answer::new(404, "nothing is here"),
        }
    }

    fn token(&self, issuer: &str, form: &BTreeMap<String, String>) -> Answer {
        let value = |name: &str| form.get(name).cloned();
        let said = |name: &str| form.get(name).and_then(|token| claims(token));
        let mut claims = json!({ "iss": issuer, "jti": self.count.fetch_add(1, Ordering::SeqCst) });
        let mut answer = json!({ "token_type": "Bearer", "expires_in": 300 });
        let grant = value("grant_type").unwrap_or_default();
        match grant.rsplit(':').next().unwrap_or_default() {
            "client_credentials" => {
                claims["sub"] = json!(value("client_id").unwrap_or_else(|| "gateway".to_owned()));
            }
            "jwt-bearer" => {
                let Some(assertion) = said("assertion") else { return refused("invalid_grant") };
                claims["sub"] = assertion["sub"].clone();
                if assertion.get("act").is_some() {
                    claims["act"] = assertion["act"].clone();
                }
            }
            "token-exchange" => {
                let Some(subject) = said("subject_token") else { return refused("invalid_request") };
                claims["sub"] = subject["sub"].clone();
                let before = subject.get("act").cloned();
                claims["act"] = match said("actor_token") {
                    Some(actor) => json!({ "sub": actor["sub"] }),
                    None => before.clone().unwrap_or_default(),
                };
                // RFC 8693 §4.1: who acted before stands inside of who acts now.
                if let (Some(before), true) = (before, form.contains_key("actor_token")) {
                    claims["act"]["act"] = before;
                }
                if claims["act"].is_null() {
                    claims.as_object_mut().expect("an object").remove("act");
                }
                answer["issued_token_type"] = json!("urn:ietf:params:oauth:token-type:access_token");
            }
            _ => return refused("unsupported_grant_type"),
        }
        if let Some(audience) = value("audience").or_else(|| value("resource")) {
            claims["aud"] = json!(audience);
        }
        if let Some(scope) = value("scope") {
            claims["scope"] = json!(scope);
            answer["scope"] = json!(scope);
        }
        let mut issue = Issue { claims, answer };
        if let Some(twist) = &*lock(&self.twist) {
            twist(&mut issue);
        }
        if issue.answer.get("access_token").is_none() {
            issue.answer["access_token"] = json!(jwt(&issue.claims));
        }
        Answer::json(&issue.answer)
    }

    fn introspected(&self, token: &str) -> Value {
        match claims(token) {
            Some(mut claims) if !lock(&self.revoked).iter().any(|revoked| revoked == token) => {
                claims["active"] = json!(true);
                claims
            }
            Some(_) | None => json!({ "active": false }),
        }
    }
}

fn refused(error: &str) -> Answer {
    Answer::new(400, json!({ "error": error }).to_string()).header("content-type", "application/json")
}

fn metadata(issuer: &str) -> Value {
    json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}/token"),
        "revocation_endpoint": format!("{issuer}/revoke"),
        "introspection_endpoint": format!("{issuer}/introspect"),
        "grant_types_supported": ["client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "private_key_jwt"],
        "scopes_supported": ["read"],
    })
}

fn form(seen: &Seen) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(&seen.body).into_owned().collect()
}

/// A JWT that nobody verifies.
fn jwt(claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2ln", part(&json!({ "alg": "ES256" })), part(claims))
}

fn claims(token: &str) -> Option<Value> {
    let payload = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
