//! An OpenID Connect issuer on loopback, and a gateway that trusts it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Notify, RwLock, RwLockWriteGuard},
};
use vestibule_egress::{Addresses, Client, EgressLimits, Trust};
use vestibule_inbound::users::{
    AccessTokenType, IssuerClients, UserIssuerConfig, UserIssuers, UserToken, UserTokenError, UserTokenKind,
};
use vestibule_model::{AgentId, FixedClock, Timestamp};

use crate::support::{Signer, b64};

pub(crate) const NOW: i64 = 1_800_000_000;
/// Our own issuer, in whose namespace agents are named.
pub(crate) const GATEWAY: &str = "https://gw.test";
/// The client of the agent `worker` at the issuer.
pub(crate) const CLIENT: &str = "worker-client";

/// What the issuer says at a path.
#[derive(Clone)]
pub(crate) enum Answer {
    Document(String),
    Status(u16, &'static str),
    /// The head and a bit of the body, and then nothing for ever.
    Stalls,
}

pub(crate) struct TestIssuer {
    pub(crate) identifier: String,
    pub(crate) origin: String,
    path: &'static str,
    served: Arc<Served>,
}

#[derive(Default)]
struct Served {
    answers: Mutex<HashMap<String, Answer>>,
    requests: Mutex<Vec<String>>,
    is_down: AtomicBool,
    /// Held for writing, nothing is answered.
    gate: RwLock<()>,
    arrived: Notify,
}

impl TestIssuer {
    /// An issuer below `path`, with a discovery document and no keys yet.
    pub(crate) async fn start(path: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let served = Arc::<Served>::default();
        let issuer =
            Self { identifier: format!("{origin}{path}"), origin, path, served: Arc::clone(&served) };
        issuer.discovery(&json!({"issuer": issuer.identifier, "jwks_uri": issuer.jwks_url()}));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(Arc::clone(&served).serve(stream));
            }
        });
        issuer
    }

    pub(crate) fn jwks_url(&self) -> String {
        format!("{}{}/jwks", self.origin, self.path)
    }

    pub(crate) fn discovery(&self, document: &Value) {
        let path = format!("{}/.well-known/openid-configuration", self.path);
        self.answer(&path, Answer::Document(document.to_string()));
    }

    pub(crate) fn publish(&self, keys: &[Value]) {
        self.answer_keys(Answer::Document(json!({"keys": keys}).to_string()));
    }

    pub(crate) fn answer_keys(&self, answer: Answer) {
        self.answer(&format!("{}/jwks", self.path), answer);
    }

    pub(crate) fn answer(&self, path: &str, answer: Answer) {
        self.served.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    /// Down, it hangs up on everybody.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.served.is_down.store(is_down, Ordering::SeqCst);
    }

    /// How often its keys were asked for.
    pub(crate) fn fetches(&self) -> usize {
        self.requests_for(&format!("{}/jwks", self.path))
    }

    pub(crate) fn requests_for(&self, path: &str) -> usize {
        self.served.requests.lock().unwrap().iter().filter(|asked| *asked == path).count()
    }

    pub(crate) fn requests(&self) -> usize {
        self.served.requests.lock().unwrap().len()
    }

    /// Until the guard is dropped, requests arrive and are not answered.
    pub(crate) async fn hold(&self) -> RwLockWriteGuard<'_, ()> {
        self.served.gate.write().await
    }

    /// A request has arrived since the last time that somebody waited for one.
    pub(crate) async fn arrival(&self) {
        self.served.arrived.notified().await;
    }
}

impl Served {
    async fn serve(self: Arc<Self>, mut stream: TcpStream) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        self.requests.lock().unwrap().push(path.clone());
        self.arrived.notify_one();
        let _open = self.gate.read().await;
        if self.is_down.load(Ordering::SeqCst) {
            return;
        }
        let answer = self.answers.lock().unwrap().get(&path).cloned();
        let text = match answer.unwrap_or(Answer::Status(404, "")) {
            Answer::Document(body) => format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            ),
            Answer::Status(status, headers) => {
                format!("HTTP/1.1 {status} X\r\n{headers}content-length: 0\r\nconnection: close\r\n\r\n")
            }
            Answer::Stalls => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{").await.unwrap();
                self.arrived.notify_one();
                return std::future::pending().await;
            }
        };
        // The gateway hangs up on a body that is too long.
        let _ = stream.write_all(text.as_bytes()).await;
    }
}

pub(crate) fn clients() -> IssuerClients {
    let client = |addresses| Client::new(addresses, EgressLimits::default(), Trust::default()).unwrap();
    IssuerClients { operator: client(Addresses::Operator), stranger: client(Addresses::Stranger) }
}

/// How an issuer is configured of which the agent `worker` is the client [`CLIENT`].
pub(crate) fn config(name: &str, identifier: &str) -> UserIssuerConfig {
    UserIssuerConfig {
        name: name.to_owned(),
        issuer: identifier.to_owned(),
        jwks_url: None,
        dangerous_plain_http: false,
        agents: BTreeMap::from([(worker(), BTreeSet::from([CLIENT.to_owned()]))]),
        groups_claim: Some("groups".to_owned()),
        groups: None,
        access_token_types: BTreeSet::from([AccessTokenType::AtJwt, AccessTokenType::Jwt]),
        callers: None,
    }
}

pub(crate) fn worker() -> AgentId {
    AgentId::new("worker").unwrap()
}

/// An issuer with one key, `k1`, and a gateway that trusts it, at a clock that stands still.
pub(crate) struct Realm {
    pub(crate) issuer: TestIssuer,
    pub(crate) signer: Signer,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) users: Arc<UserIssuers>,
}

impl Realm {
    pub(crate) async fn start() -> Self {
        Self::with(|_| ()).await
    }

    /// With another configuration.
    pub(crate) async fn with(change: impl FnOnce(&mut UserIssuerConfig)) -> Self {
        let issuer = TestIssuer::start("").await;
        let signer = Signer::new();
        issuer.publish(&[named(&signer.jwk, "k1")]);
        let mut config = config("corp", &issuer.identifier);
        change(&mut config);
        let clock = Arc::new(FixedClock::at(Timestamp::from_seconds(NOW)));
        let users =
            UserIssuers::new(vec![config], &clients(), GATEWAY, Arc::<FixedClock>::clone(&clock)).unwrap();
        Self { issuer, signer, clock, users: Arc::new(users) }
    }

    /// The claims of a good ID token.
    pub(crate) fn id_claims(&self) -> Value {
        json!({"iss": self.issuer.identifier, "sub": "alice", "aud": CLIENT, "iat": NOW, "exp": NOW + 900})
    }

    /// The claims of a good access token (RFC 9068 §2.2).
    pub(crate) fn access_claims(&self) -> Value {
        let mut claims = self.id_claims();
        claims["client_id"] = json!(CLIENT);
        claims["scope"] = json!("openid");
        claims
    }

    pub(crate) fn id_token(&self, claims: &Value) -> String {
        self.signer.sign(&header("JWT", "k1"), claims)
    }

    /// The good ID token, signed by `signer` under `kid`.
    pub(crate) fn signed_by(&self, signer: &Signer, kid: &str) -> String {
        signer.sign(&header("JWT", kid), &self.id_claims())
    }

    /// Presents a token as an ID token.
    pub(crate) async fn present(&self, token: &str) -> Result<UserToken, UserTokenError> {
        self.present_as(UserTokenKind::IdToken, token).await
    }

    pub(crate) async fn present_as(
        &self,
        kind: UserTokenKind,
        token: &str,
    ) -> Result<UserToken, UserTokenError> {
        let outcome = self.users.verify(token, kind).await;
        if let Err(error) = &outcome {
            // Nothing of a token gets into an error: not its text and not its subject.
            let shown = format!("{error} {error:?}");
            let mut parts = token.split('.').filter(|part| !part.is_empty());
            assert!(!shown.contains("alice") && parts.all(|part| !shown.contains(part)), "{shown}");
        }
        outcome
    }

    /// Presents an ID token with these claims.
    pub(crate) async fn id(&self, claims: &Value) -> Result<UserToken, UserTokenError> {
        self.present(&self.id_token(claims)).await
    }

    /// Presents an access token with this `typ` and these claims.
    pub(crate) async fn access(&self, typ: &str, claims: &Value) -> Result<UserToken, UserTokenError> {
        self.present_as(UserTokenKind::AccessToken, &self.signer.sign(&header(typ, "k1"), claims)).await
    }

    pub(crate) fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

pub(crate) fn header(typ: &str, kid: &str) -> Value {
    json!({"alg": "ES256", "typ": typ, "kid": kid})
}

/// A JWK with a `kid`.
pub(crate) fn named(jwk: &Value, kid: &str) -> Value {
    let mut jwk = jwk.clone();
    jwk["kid"] = json!(kid);
    jwk
}

/// An RS256 key pair, as Keycloak signs with.
pub(crate) struct RsaSigner(RsaKeyPair);

impl RsaSigner {
    pub(crate) fn new() -> Self {
        Self(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    pub(crate) fn jwk(&self) -> Value {
        let key = self.0.public_key();
        let (n, e) = (key.modulus(), key.exponent());
        json!({"kty": "RSA", "alg": "RS256", "use": "sig",
            "n": b64(n.big_endian_without_leading_zero()), "e": b64(e.big_endian_without_leading_zero())})
    }

    pub(crate) fn sign(&self, kid: &str, claims: &Value) -> String {
        let header = json!({"alg": "RS256", "typ": "JWT", "kid": kid});
        let input = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input.as_bytes(), &mut signature).unwrap();
        format!("{input}.{}", b64(signature))
    }
}
