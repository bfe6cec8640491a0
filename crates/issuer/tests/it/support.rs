use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::{HeaderMap, header::AUTHORIZATION};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use vestibule_containment::{Containment, DenyKey, Order, Reason as RevocationReason};
use vestibule_inbound::{Authenticator, Caller, HopTokens, Presented};
use vestibule_issuer::{
    Backing, Issuer, IssuerConfig, Keys, NewAgent, OAuthError, Reason, Registry, TokenRequest, TokenResponse,
};
use vestibule_model::{AppId, Clock, Denial, FixedClock, SeededEntropy, Timestamp};
use vestibule_store::{Follower, SqliteStore, Store, Subscriber};

pub(crate) const ISSUER: &str = "https://gw.test";
pub(crate) const SANDBOX: &str = "https://gw.test/apps/sandbox/mcp";
pub(crate) const BILLING: &str = "https://gw.test/apps/billing/mcp";
pub(crate) const NOW: i64 = 1_800_000_000;
const TOKEN_TTL: Duration = Duration::from_secs(120);

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(crate) fn app(id: &str) -> AppId {
    AppId::new(id).unwrap()
}

pub(crate) fn set(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// The usual agent: three scopes, three claims, all applications.
pub(crate) fn worker() -> NewAgent {
    NewAgent {
        id: "worker".into(),
        scopes: set(&["repo:read", "repo:write", "profile"]),
        claims: [
            ("department".to_owned(), set(&["platform"])),
            ("role".to_owned(), set(&["builder", "reader"])),
            ("tenant".to_owned(), set(&["acme"])),
        ]
        .into(),
        ..NewAgent::default()
    }
}

/// Issues for these applications; `profile` shows department and role, `repo:write` the role.
pub(crate) fn config(apps: &[&str]) -> IssuerConfig {
    let resources = apps.iter().map(|id| (app(id), format!("{ISSUER}/apps/{id}/mcp"))).collect();
    let mut config = IssuerConfig::new(ISSUER, resources);
    config.scope_claims =
        [("profile".to_owned(), set(&["department", "role"])), ("repo:write".to_owned(), set(&["role"]))]
            .into();
    config
}

/// What several gateways would share, and the clock.
pub(crate) struct Ground {
    pub(crate) folder: TempDir,
    pub(crate) clock: Arc<FixedClock>,
}

impl Ground {
    pub(crate) fn new() -> Self {
        let clock = Arc::new(FixedClock::at(Timestamp::from_seconds(NOW)));
        Self { folder: tempfile::tempdir().unwrap(), clock }
    }

    pub(crate) fn open(&self) -> Arc<dyn Store> {
        open(self.folder.path(), &self.clock)
    }
}

fn open(folder: &Path, clock: &Arc<FixedClock>) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(folder, Arc::<FixedClock>::clone(clock)).unwrap())
}

/// A whole issuer, and the door that its tokens open.
pub(crate) struct World {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) containment: Arc<Containment>,
    pub(crate) issuer: Issuer,
    follower: Arc<Follower>,
    door: Authenticator,
}

impl World {
    pub(crate) async fn on(ground: &Ground) -> Self {
        Self::with(ground, &["sandbox", "billing"], 1).await
    }

    pub(crate) async fn with(ground: &Ground, apps: &[&str], seed: u64) -> Self {
        let (store, clock) = (ground.open(), Arc::clone(&ground.clock));
        let backing = Backing {
            store: Arc::clone(&store),
            clock: Arc::<FixedClock>::clone(&clock),
            entropy: Arc::new(SeededEntropy::new(seed)),
        };
        let registry = Registry::new(Arc::clone(&store), backing.clock.clone(), backing.entropy.clone());
        let keys = Keys::open(Arc::clone(&store), backing.clock.clone(), TOKEN_TTL).await.unwrap();
        let containment = Containment::new(Arc::clone(&store), backing.clock.clone());
        let subscribers: Vec<Arc<dyn Subscriber>> = vec![
            Arc::<Registry>::clone(&registry),
            Arc::<Keys>::clone(&keys),
            Arc::<Containment>::clone(&containment),
        ];
        let poll = Duration::from_millis(5);
        let follower =
            Follower::start(Arc::clone(&store), backing.clock.clone(), poll, subscribers).await.unwrap();
        // The clock of these tests jumps by hours, so the age of the view must not matter.
        containment.attach(&follower, Duration::from_secs(1_000_000));
        let issuer = Issuer::new(
            config(apps),
            backing.clone(),
            Arc::clone(&registry),
            Arc::clone(&keys),
            Arc::clone(&containment),
        );
        let hop_tokens = HopTokens::new(ISSUER, keys.verification(), backing.clock, 100);
        let door = Authenticator::new(vec![Box::new(hop_tokens)]);
        Self { store, clock, registry, keys, containment, issuer: issuer.unwrap(), follower, door }
    }

    /// Registers an agent with a secret and gives the secret.
    pub(crate) async fn add(&self, new: NewAgent) -> String {
        self.registry.add(new).await.unwrap().client_secret.unwrap().expose_secret().to_owned()
    }

    /// Waits until what others have written up to now has been applied here.
    pub(crate) async fn caught_up(&self) {
        let head = self.store.changes(0, 1).await.unwrap().head;
        self.follower.caught_up(head).await;
    }

    pub(crate) async fn token(
        &self,
        headers: &HeaderMap,
        form: &[(&str, &str)],
    ) -> Result<TokenResponse, OAuthError> {
        let form: Vec<_> =
            form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.issuer.token(&TokenRequest { headers, form: &form }).await
    }

    /// A `client_credentials` request of `worker` with its secret, and `more` parameters.
    pub(crate) async fn ask(&self, secret: &str, more: &[(&str, &str)]) -> Result<TokenResponse, OAuthError> {
        let form = [&[("grant_type", "client_credentials")], more].concat();
        self.token(&basic("worker", secret), &form).await
    }

    /// The same, of which a reason is expected.
    pub(crate) async fn refused(&self, secret: &str, more: &[(&str, &str)]) -> Reason {
        self.ask(secret, more).await.unwrap_err().reason
    }

    /// Presents a token at an application.
    pub(crate) fn present(&self, response: &TokenResponse, resource: &str) -> Result<Caller, Denial> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, format!("Bearer {}", access_token(response)).parse().unwrap());
        let presented = Presented { headers: &headers, query: None, resource };
        self.door.authenticate(&presented).map_err(|refusal| refusal.denial)
    }

    pub(crate) async fn revoke(&self, key: DenyKey) {
        let order = Order {
            key,
            reason: RevocationReason::Compromise,
            cutoff: None,
            by: "test".into(),
            dry_run: false,
        };
        self.containment.revoke(order).await.unwrap();
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now().seconds()
    }
}

pub(crate) fn access_token(response: &TokenResponse) -> String {
    response.body()["access_token"].as_str().unwrap().to_owned()
}

/// What a token says, read without checking anything.
pub(crate) fn payload(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

pub(crate) fn basic(id: &str, secret: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let value = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    headers.insert(AUTHORIZATION, value.parse().unwrap());
    headers
}

/// An ES256 key pair of an agent.
pub(crate) struct Signer {
    pair: EcdsaKeyPair,
    pub(crate) jwk: Value,
}

impl Signer {
    pub(crate) fn new(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": b64(x), "y": b64(y), "kid": kid});
        Self { pair, jwk }
    }

    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let input = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
        let signature = self.pair.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
        format!("{input}.{}", b64(signature))
    }
}
