use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use vestibule_model::{AgentId, Clock, Digest, Jti, OsEntropy, Thumbprint};

use crate::{
    AgentKey,
    agent::TestAgent,
    http::{Call, Cut, OpenReply, Reply},
};

const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// An agent that holds a key and a token that is bound to it (RFC 9449): what it sends comes with a proof, and where the
/// gateway wants another nonce, it is sent once more.
#[derive(Debug)]
pub struct Holder {
    key: Arc<AgentKey>,
    token: String,
    /// The last answer of the token endpoint.
    pub answer: Value,
    place: Place,
}

/// Where tokens come from, and what was learned there.
#[derive(Debug, Clone)]
struct Place {
    issuer: String,
    token_endpoint: String,
    nonce: Arc<Mutex<Option<String>>>,
    clock: Arc<dyn Clock>,
}

impl AgentKey {
    /// RFC 7638 §3.
    #[must_use]
    pub fn thumbprint(&self) -> Thumbprint {
        let jwk = self.jwk();
        let text = format!(r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#, jwk["x"], jwk["y"]);
        Thumbprint::from_bytes(*Digest::of(text.as_bytes()).bytes())
    }

    /// Who an agent is that is known by this key alone.
    #[must_use]
    pub fn agent(&self) -> AgentId {
        AgentId::of_key(&self.thumbprint())
    }

    /// Its public half as it travels: without what only a registry needs.
    #[must_use]
    pub fn public(&self) -> Value {
        let jwk = self.jwk();
        json!({ "kty": jwk["kty"], "crv": jwk["crv"], "x": jwk["x"], "y": jwk["y"] })
    }

    /// A `DPoP` proof with these claims.
    #[must_use]
    pub fn proof(&self, claims: &Value) -> String {
        let header = json!({ "alg": "ES256", "typ": "dpop+jwt", "jwk": self.public() });
        self.sign(&header.to_string(), &claims.to_string())
    }
}

/// Of a token: SHA-256 in base64url.
#[must_use]
pub fn token_hash(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(Digest::of(token.as_bytes()).bytes())
}

impl Holder {
    /// A root of `agent`, bound to `key`.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn root(agent: &TestAgent, key: impl Into<Arc<AgentKey>>, fields: &[(&str, &str)]) -> Self {
        let form = [&[("grant_type", "client_credentials")], fields].concat();
        Self::granted(agent, key, &form).await
    }

    /// A root of `agent` that acts for the user of this ID token.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn for_user(
        agent: &TestAgent,
        key: impl Into<Arc<AgentKey>>,
        id_token: &str,
        fields: &[(&str, &str)],
    ) -> Self {
        let form = [
            &[("grant_type", EXCHANGE), ("subject_token", id_token), ("subject_token_type", ID_TOKEN)],
            fields,
        ]
        .concat();
        Self::granted(agent, key, &form).await
    }

    /// `agent`, called with a call token, as the agent that acts below its caller.
    ///
    /// # Errors
    /// The answer, when it is refused.
    pub async fn invoked(
        agent: &TestAgent,
        key: impl Into<Arc<AgentKey>>,
        call_token: &str,
        fields: &[(&str, &str)],
    ) -> Result<Self, Box<Reply>> {
        let form =
            [&[("grant_type", EXCHANGE), ("subject_token", call_token), ("subject_token_type", JWT)], fields]
                .concat();
        Self::ask(agent, key, &form).await
    }

    async fn granted(agent: &TestAgent, key: impl Into<Arc<AgentKey>>, form: &[(&str, &str)]) -> Self {
        Self::ask(agent, key, form).await.unwrap_or_else(|reply| panic!("no token: `{}`", reply.text()))
    }

    /// What the token endpoint gives `agent` for this form and a proof by `key`.
    ///
    /// # Errors
    /// The answer, when it is refused.
    pub async fn ask(
        agent: &TestAgent,
        key: impl Into<Arc<AgentKey>>,
        form: &[(&str, &str)],
    ) -> Result<Self, Box<Reply>> {
        let (issuer, token_endpoint, clock) = agent.place();
        let place = Place { issuer, token_endpoint, nonce: Arc::default(), clock };
        let key = key.into();
        let reply = place
            .proven(&key, None, "POST", &place.token_endpoint, || agent.form(form))
            .await
            .expect("the token endpoint answers");
        Self::of(key, place, reply)
    }

    /// An agent that holds a token which somebody else than the gateway gave it, bound to `key`.
    #[must_use]
    pub fn holding(key: impl Into<Arc<AgentKey>>, token: &str, clock: Arc<dyn Clock>) -> Self {
        let (issuer, token_endpoint) = (String::new(), String::new());
        let place = Place { issuer, token_endpoint, nonce: Arc::default(), clock };
        Self { key: key.into(), token: token.to_owned(), answer: Value::Null, place }
    }

    fn of(key: Arc<AgentKey>, place: Place, reply: Reply) -> Result<Self, Box<Reply>> {
        if reply.status != 200 {
            return Err(Box::new(reply));
        }
        let answer = reply.json();
        let token = answer["access_token"].as_str().expect("a token response has one").to_owned();
        Ok(Self { key, token, answer, place })
    }

    /// Spawns an agent that is known by `child` alone, with these further fields.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn spawn(&self, child: impl Into<Arc<AgentKey>>, fields: &[(&str, &str)]) -> Self {
        let spawned = self.try_spawn(child, fields).await;
        spawned.unwrap_or_else(|reply| panic!("not spawned: `{}`", reply.text()))
    }

    /// As [`Holder::spawn`].
    ///
    /// # Errors
    /// The answer, when it is refused.
    pub async fn try_spawn(
        &self,
        child: impl Into<Arc<AgentKey>>,
        fields: &[(&str, &str)],
    ) -> Result<Self, Box<Reply>> {
        let child = child.into();
        let actor = self.actor_token(&child, &child.agent());
        let reply = self.exchange(&actor, fields).await;
        Self::of(child, self.place.clone(), reply)
    }

    /// What an agent signs with `key` so that this one may spawn it under `id`.
    #[must_use]
    pub fn actor_token(&self, key: &AgentKey, id: &AgentId) -> String {
        let now = self.place.clock.now();
        let header = json!({ "alg": "ES256", "typ": "vst-actor+jwt" });
        let claims = json!({
            "iss": id, "sub": id, "aud": self.place.issuer, "iat": now.seconds(),
            "exp": now.plus(Duration::from_secs(60)).seconds(), "jti": Jti::random(&OsEntropy),
            "cnf": { "jwk": key.public() }, "sth": token_hash(&self.token),
        });
        key.sign(&header.to_string(), &claims.to_string())
    }

    /// The answer to an exchange of this agent's token with this actor token.
    pub async fn exchange(&self, actor: &str, fields: &[(&str, &str)]) -> Reply {
        self.exchange_form(&[&[("actor_token", actor), ("actor_token_type", JWT)], fields].concat()).await
    }

    /// The same delegation, with a new token.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn again(self) -> Self {
        self.try_again().await.unwrap_or_else(|reply| panic!("no token: `{}`", reply.text()))
    }

    /// As [`Holder::again`], beside the token that it has.
    ///
    /// # Errors
    /// The answer, when it is refused.
    pub async fn try_again(&self) -> Result<Self, Box<Reply>> {
        let reply = self.exchange_form(&[]).await;
        Self::of(Arc::clone(&self.key), self.place.clone(), reply)
    }

    /// The answer to an exchange of this agent's token with these fields.
    pub async fn exchange_form(&self, fields: &[(&str, &str)]) -> Reply {
        let form = [
            &[
                ("grant_type", EXCHANGE),
                ("subject_token", self.token.as_str()),
                ("subject_token_type", ACCESS_TOKEN),
            ],
            fields,
        ]
        .concat();
        let endpoint = &self.place.token_endpoint;
        let call = || crate::Http::post(endpoint).form(&form);
        let reply = self.place.proven(&self.key, Some(&self.token), "POST", endpoint, call).await;
        reply.expect("the token endpoint answers")
    }

    /// Sends a request with this agent's token and a proof, and reads the whole reply.
    ///
    /// # Panics
    /// When there is none.
    pub async fn send(&self, method: &str, url: &str, call: impl Fn() -> Call) -> Reply {
        let call = || call().header("authorization", &format!("DPoP {}", self.token));
        self.place.proven(&self.key, Some(&self.token), method, url, call).await.expect("a reply")
    }

    /// As [`Holder::send`], returning when the head of the reply is there. The proof has the nonce that is known.
    ///
    /// # Errors
    /// [`Cut`] when the connection ends before there is a head.
    pub async fn open(&self, method: &str, url: &str, call: impl Fn() -> Call) -> Result<OpenReply, Cut> {
        self.signed(method, url, call()).open().await
    }

    /// A request with this agent's token and a proof, which has the nonce that is known: to be sent once.
    pub fn signed(&self, method: &str, url: &str, call: Call) -> Call {
        let proof = self.proof(method, url);
        call.header("authorization", &format!("DPoP {}", self.token)).header("dpop", &proof)
    }

    /// The proof for one request, with the nonce that is known.
    #[must_use]
    pub fn proof(&self, method: &str, url: &str) -> String {
        self.place.proof(&self.key, Some(&self.token), method, url)
    }

    /// The nonce that is known.
    #[must_use]
    pub fn nonce(&self) -> Option<String> {
        self.place.nonce()
    }

    /// Its token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> &Arc<AgentKey> {
        &self.key
    }

    /// Its id as an agent that is known by its key.
    #[must_use]
    pub fn id(&self) -> String {
        self.key.agent().to_string()
    }

    /// What its token claims.
    #[must_use]
    pub fn claims(&self) -> Value {
        let payload = self.token.split('.').nth(1).expect("a JWS has a payload");
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64url")).expect("claims")
    }

    /// The node that its token was minted under.
    #[must_use]
    pub fn node(&self) -> String {
        self.claims()["vst"]["node"].as_str().expect("a hop token names its node").to_owned()
    }
}

impl Place {
    fn nonce(&self) -> Option<String> {
        self.nonce.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn proof(&self, key: &AgentKey, token: Option<&str>, method: &str, url: &str) -> String {
        let url = url.split('?').next().unwrap_or_default();
        let mut claims = json!({
            "jti": Jti::random(&OsEntropy), "htm": method, "htu": url, "iat": self.clock.now().seconds(),
        });
        if let Some(nonce) = self.nonce() {
            claims["nonce"] = json!(nonce);
        }
        if let Some(token) = token {
            claims["ath"] = json!(token_hash(token));
        }
        key.proof(&claims)
    }

    /// Sends with a proof; once more where the answer has another nonce and asks for it (RFC 9449 §8, §9).
    async fn proven(
        &self,
        key: &AgentKey,
        token: Option<&str>,
        method: &str,
        url: &str,
        call: impl Fn() -> Call,
    ) -> Result<Reply, Cut> {
        let mut reply = call().header("dpop", &self.proof(key, token, method, url)).send().await;
        for _ in 0..2 {
            let nonce = reply.header("dpop-nonce").to_owned();
            if !nonce.is_empty() {
                *self.nonce.lock().unwrap_or_else(PoisonError::into_inner) = Some(nonce);
            }
            let wants_nonce = reply.header("www-authenticate").contains("use_dpop_nonce")
                || (reply.status == 400 && reply.text().contains("use_dpop_nonce"));
            if !wants_nonce {
                break;
            }
            reply = call().header("dpop", &self.proof(key, token, method, url)).send().await;
        }
        Ok(reply)
    }
}
