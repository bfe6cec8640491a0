//! An issuer with everything that it stands on, and the door that its tokens open.

use std::{collections::BTreeSet, path::Path, sync::Arc, time::Duration};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::{HeaderMap, header::AUTHORIZATION};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use tempfile::TempDir;
use vestibule_containment::{Containment, DenyKey, Order, Reason as OrderReason, State};
use vestibule_egress::{Addresses, Client, EgressLimits, Trust};
use vestibule_inbound::{
    Authenticator, Caller, HopTokens, Presented,
    dpop::Proofs,
    users::{IssuerClients, UserIssuerConfig, UserIssuers},
    workloads::WorkloadIssuers,
};
use vestibule_issuer::{
    Backing, Issuer, IssuerConfig, Judges, Keys, NewAgent, OAuthError, Reason, Registry, TokenRequest,
    TokenResponse,
};
use vestibule_model::{AppId, AttemptId, Clock, Denial, FixedClock, OsEntropy, SeededEntropy, Timestamp};
use vestibule_policy::{Lock, Options, PolicyFile, PolicySet};
use vestibule_store::{
    Follower, SqliteStore, Store, Subscriber,
    vault::{KeyFile, KeySource, Vault, unlock},
};

pub(crate) use crate::signer::Signer;

pub(crate) const ISSUER: &str = "https://gw.test";
pub(crate) const TOKEN_ENDPOINT: &str = "https://gw.test/oauth/token";
pub(crate) const SANDBOX: &str = "https://gw.test/apps/sandbox/mcp";
pub(crate) const BILLING: &str = "https://gw.test/apps/billing/mcp";
pub(crate) const NOW: i64 = 1_800_000_000;
const TOKEN_TTL: Duration = Duration::from_secs(120);

/// Who is registered may do everything, and hand it on.
const PERMIT_ALL: &str = r#"@id("all") permit (principal, action, resource);"#;

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

    pub(crate) async fn vault(&self) -> Arc<Vault> {
        let file = KeyFile::new(self.folder.path().join("vault.key"));
        unlock(&*self.open(), &KeySource::File { file, is_ours: true }).await.unwrap()
    }
}

fn open(folder: &Path, clock: &Arc<FixedClock>) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(folder, Arc::<FixedClock>::clone(clock)).unwrap())
}

pub(crate) fn lock(policies: &str) -> Arc<Lock> {
    let file = PolicyFile { name: "test.cedar".into(), text: policies.into() };
    let set = PolicySet::load(&[file], &Vec::new(), &Options { timezone: "UTC".into() });
    Arc::new(Lock::new(Some(set.unwrap()), Arc::default()))
}

pub(crate) fn users(configs: Vec<UserIssuerConfig>, clock: &Arc<FixedClock>) -> Arc<UserIssuers> {
    let clock = Arc::<FixedClock>::clone(clock);
    Arc::new(UserIssuers::new(configs, &clients(), ISSUER, clock).unwrap())
}

fn no_workloads(clock: &Arc<FixedClock>) -> Arc<WorkloadIssuers> {
    let clock = Arc::<FixedClock>::clone(clock);
    Arc::new(WorkloadIssuers::new(Vec::new(), &[], &clients(), ISSUER, clock).unwrap())
}

fn clients() -> IssuerClients {
    let client = |addresses| Client::new(addresses, EgressLimits::default(), Trust::default()).unwrap();
    IssuerClients { operator: client(Addresses::Operator), stranger: client(Addresses::Stranger) }
}

/// What differs from the usual world.
pub(crate) struct Plan {
    pub(crate) config: IssuerConfig,
    pub(crate) seed: u64,
    pub(crate) policies: &'static str,
    pub(crate) user_issuers: Vec<UserIssuerConfig>,
}

impl Default for Plan {
    fn default() -> Self {
        let config = config(&["sandbox", "billing"]);
        Self { config, seed: 1, policies: PERMIT_ALL, user_issuers: Vec::new() }
    }
}

/// A whole issuer, and the door that its tokens open.
pub(crate) struct World {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) judges: Judges,
    pub(crate) issuer: Issuer,
    follower: Arc<Follower>,
    door: Authenticator,
}

impl World {
    pub(crate) async fn on(ground: &Ground) -> Self {
        Self::planned(ground, Plan::default()).await
    }

    pub(crate) async fn with(ground: &Ground, apps: &[&str], seed: u64) -> Self {
        Self::planned(ground, Plan { config: config(apps), seed, ..Plan::default() }).await
    }

    pub(crate) async fn planned(ground: &Ground, plan: Plan) -> Self {
        let (store, clock) = (ground.open(), Arc::clone(&ground.clock));
        let backing = Backing {
            store: Arc::clone(&store),
            clock: Arc::<FixedClock>::clone(&clock),
            entropy: Arc::new(SeededEntropy::new(plan.seed)),
            user_tokens: None,
        };
        let registry = Registry::new(Arc::clone(&store), backing.clock.clone(), backing.entropy.clone());
        let keys = Keys::open(Arc::clone(&store), ground.vault().await, backing.clock.clone(), TOKEN_TTL)
            .await
            .unwrap();
        let judges = Judges {
            containment: Containment::new(Arc::clone(&store), backing.clock.clone()),
            lock: lock(plan.policies),
            proofs: Proofs::new(backing.clock.clone(), &OsEntropy),
            users: users(plan.user_issuers, &clock),
            workloads: no_workloads(&clock),
        };
        let subscribers: Vec<Arc<dyn Subscriber>> = vec![
            Arc::<Registry>::clone(&registry),
            Arc::<Keys>::clone(&keys),
            Arc::<Containment>::clone(&judges.containment),
        ];
        let poll = Duration::from_millis(5);
        let follower =
            Follower::start(Arc::clone(&store), backing.clock.clone(), poll, subscribers).await.unwrap();
        // The clock of these tests jumps by hours, so the age of the view must not matter.
        judges.containment.attach(&follower, Duration::from_secs(1_000_000));
        let lock = Arc::clone(&judges.lock);
        registry.on_change(move |directory| lock.replace_directory(directory));
        let (shared, verification) = (judges.clone(), keys.verification());
        let proofs = Arc::clone(&judges.proofs);
        let hop_tokens = HopTokens::new(ISSUER, verification, backing.clock.clone(), 100, proofs);
        let issuer = Issuer::new(plan.config, backing, Arc::clone(&registry), Arc::clone(&keys), shared);
        let door = Authenticator::new(vec![Box::new(hop_tokens)]);
        Self { store, clock, registry, keys, judges, issuer: issuer.unwrap(), follower, door }
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
        let form = owned(form);
        self.issuer.token(&self.request(headers, &form)).await
    }

    pub(crate) fn request<'a>(
        &self,
        headers: &'a HeaderMap,
        form: &'a [(String, String)],
    ) -> TokenRequest<'a> {
        TokenRequest { headers, form, attempt: self.attempt(), ip: None }
    }

    pub(crate) fn attempt(&self) -> AttemptId {
        AttemptId::new(self.clock.now(), &OsEntropy)
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

    /// Presents a bearer token at an application.
    pub(crate) fn present(&self, response: &TokenResponse, resource: &str) -> Result<Caller, Denial> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, format!("Bearer {}", access_token(response)).parse().unwrap());
        self.enter(&headers, resource)
    }

    /// What door one says.
    pub(crate) fn enter(&self, headers: &HeaderMap, resource: &str) -> Result<Caller, Denial> {
        let app = AppId::new("app").unwrap();
        let presented =
            Presented { headers, query: None, resource, app: &app, method: "POST", url: resource };
        at_once(self.door.authenticate(&presented)).map_err(|refusal| refusal.denial)
    }

    pub(crate) async fn revoke(&self, key: DenyKey) {
        self.order(key, State::Revoked, OrderReason::Compromise, None).await;
    }

    pub(crate) async fn order(
        &self,
        key: DenyKey,
        state: State,
        reason: OrderReason,
        cutoff: Option<Timestamp>,
    ) {
        let (expires_at, by, dry_run) = (None, "test".to_owned(), false);
        let order = Order { key, state, reason, cutoff, expires_at, by, dry_run };
        self.judges.containment.order(order).await.unwrap();
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now().seconds()
    }
}

pub(crate) fn owned(form: &[(&str, &str)]) -> Vec<(String, String)> {
    form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
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

/// What comes without waiting: nothing but the keys of an outside issuer is ever waited for.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let done = match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(done) => Some(done),
        std::task::Poll::Pending => None,
    };
    done.unwrap()
}
