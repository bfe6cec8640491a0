//! Door two with an authorization server that is told what to do, and an application that is called with its tokens.

use std::collections::BTreeMap;

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use vestibule_model::{NodeId, PathNode, Represented, Stop, UserId};
use vestibule_outbound::{
    Access, AuthorizationServerConfig, Backing, ClientAuthConfig, EndpointsConfig, Shelf, Signer, UserTokens,
};
use vestibule_testkit::{Answer, TestAuthorizationServer, TestUpstream};

use super::*;

pub(crate) fn backing(clock: Arc<dyn Clock>, call_tokens: Arc<dyn CallTokenSource>) -> Backing {
    Backing {
        secrets: secrets(),
        clock,
        entropy: Arc::new(SeededEntropy::new(7)),
        call_tokens,
        signer: Arc::new(Plain),
        shelf: Arc::new(Memory::default()),
        user_tokens: Arc::new(Memory::default()),
    }
}

/// Signs so that everybody sees what was signed.
#[derive(Debug)]
struct Plain;

impl Signer for Plain {
    fn issuer(&self) -> &str {
        "https://gateway.test"
    }

    fn sign(&self, typ: &str, claims: &Value) -> Result<SecretString, Fault> {
        Ok(SecretString::from(token(typ, claims)))
    }
}

pub(crate) fn token(typ: &str, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2ln", part(&json!({ "typ": typ })), part(claims))
}

/// Keeps what it is given, in plain sight.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<BTreeMap<String, (String, Timestamp)>>);

impl Memory {
    pub(crate) fn put_now(&self, key: &str, secret: &str) {
        let until = Timestamp::from_millis(i64::MAX);
        self.0.lock().unwrap().insert(key.to_owned(), (secret.to_owned(), until));
    }

    pub(crate) fn kept(&self) -> Vec<(String, String)> {
        self.0.lock().unwrap().iter().map(|(key, (secret, _))| (key.clone(), secret.clone())).collect()
    }
}

#[async_trait]
impl Shelf for Memory {
    async fn put(&self, key: &str, secret: SecretString, expires_at: Timestamp) -> Result<(), Fault> {
        self.0.lock().unwrap().insert(key.to_owned(), (secret.expose_secret().to_owned(), expires_at));
        Ok(())
    }

    async fn all(&self) -> Result<Vec<(String, SecretString)>, Fault> {
        Ok(self.kept().into_iter().map(|(key, secret)| (key, SecretString::from(secret))).collect())
    }

    async fn remove(&self, key: &str) -> Result<(), Fault> {
        self.0.lock().unwrap().remove(key);
        Ok(())
    }
}

#[async_trait]
impl UserTokens for Memory {
    async fn of_root(&self, root: &NodeId) -> Result<Option<SecretString>, Fault> {
        let tokens = self.0.lock().unwrap();
        Ok(tokens.get(root.as_str()).map(|(secret, _)| SecretString::from(secret.clone())))
    }
}

pub(crate) const USERS_ISSUER: &str = "https://idp.test";

/// Who calls: each agent under a delegation that is named by all of them, for a user or for none.
pub(crate) fn caller(user: Option<&str>, agents: &[&str]) -> Caller {
    let actor =
        |agent: &&str| Actor { issuer: "https://gateway.test".into(), agent: AgentId::new(agent).unwrap() };
    let user = user.map(|subject| Represented {
        id: UserId { issuer: USERS_ISSUER.to_owned(), subject: subject.to_owned() },
        groups: [].into(),
        session: None,
        client: None,
        since: None,
    });
    let now = clock().now();
    let mut facts = TokenFacts::for_test("https://gateway.test/apps/app", now, &SeededEntropy::new(1));
    facts.nodes = (1..=agents.len())
        .map(|depth| PathNode { id: node(user.as_ref(), &agents[..depth]), since: now, keys: Vec::new() })
        .collect();
    Caller::for_test(user, Chain::new(agents.iter().map(actor).collect()).unwrap(), facts)
}

/// The delegation of the last of these agents.
pub(crate) fn node(user: Option<&Represented>, agents: &[&str]) -> NodeId {
    let named = format!("{:?}{agents:?}", user.map(|user| &user.id));
    NodeId::parse(&vestibule_model::Digest::of(named.as_bytes()).to_string()[..32]).unwrap()
}

pub(crate) fn permit_of(caller: Caller, operation: &str) -> Permit {
    Permit::for_test(caller, OperationId::new(app(), operation))
}

pub(crate) fn server_config(issuer: &str) -> AuthorizationServerConfig {
    AuthorizationServerConfig {
        name: "corp".to_owned(),
        endpoints: EndpointsConfig::Given {
            issuer: Some(issuer.to_owned()),
            token: Url::parse(&format!("{issuer}/token")).unwrap(),
            revocation: Some(Url::parse(&format!("{issuer}/revoke")).unwrap()),
            introspection: Some(Url::parse(&format!("{issuer}/introspect")).unwrap()),
        },
        client_id: "gateway".to_owned(),
        auth: ClientAuthConfig::SecretBasic { secret: secret() },
        timeout: Duration::from_secs(10),
    }
}

/// The server is who vouches for the users.
pub(crate) fn is_users_issuer(config: &mut AuthorizationServerConfig) {
    let EndpointsConfig::Given { issuer, .. } = &mut config.endpoints else { panic!("given") };
    *issuer = Some(USERS_ISSUER.to_owned());
}

/// Everything that a call with a token needs.
pub(crate) struct World {
    pub(crate) server: TestAuthorizationServer,
    pub(crate) upstream: TestUpstream,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) shelf: Arc<Memory>,
    pub(crate) users: Arc<Memory>,
    pub(crate) outbound: Outbound,
    strategy: String,
}

impl World {
    /// With this strategy, as YAML; its server is `corp`, and the users' issuer where it is shown their tokens.
    pub(crate) async fn new(strategy: &str) -> Self {
        Self::with(strategy, |config| {
            if strategy.contains("user-token") {
                is_users_issuer(config);
            }
        })
        .await
    }

    /// The same, with a server that is configured in another way.
    pub(crate) async fn with(strategy: &str, change: impl Fn(&mut AuthorizationServerConfig)) -> Self {
        let server = TestAuthorizationServer::start().await;
        let upstream = TestUpstream::http(Answer::json(&json!({}))).await;
        let (clock, shelf, users) = (clock(), Arc::new(Memory::default()), Arc::new(Memory::default()));
        let mut config = server_config(&server.issuer());
        change(&mut config);
        let outbound = open((&upstream, config), strategy, (&clock, &shelf, &users));
        Self { server, upstream, clock, shelf, users, outbound, strategy: strategy.to_owned() }
    }

    /// The same after a restart.
    pub(crate) async fn restarted(self) -> Self {
        let config = server_config(&self.server.issuer());
        let outbound =
            open((&self.upstream, config), &self.strategy, (&self.clock, &self.shelf, &self.users));
        outbound.recall().await.unwrap();
        Self { outbound, ..self }
    }

    /// The token of a user, as the delegation of `agents` rests on it.
    pub(crate) fn user_token(&self, subject: &str, root: &str) -> String {
        let told = token("at+jwt", &json!({ "iss": USERS_ISSUER, "sub": subject }));
        let caller = caller(Some(subject), &[root]);
        self.users.put_now(caller.token().nodes[0].id.as_str(), &told);
        told
    }

    pub(crate) async fn obtain(&self, caller: Caller) -> Result<Access, Stop> {
        self.obtain_for(caller, "read").await
    }

    pub(crate) async fn obtain_for(&self, caller: Caller, operation: &str) -> Result<Access, Stop> {
        self.outbound.obtain(permit_of(caller, operation), &calling(1)).await
    }

    /// Why a call gets no token.
    pub(crate) async fn fault(&self, caller: Caller) -> Fault {
        match self.obtain(caller).await {
            Err(Stop::Failed(fault)) => fault,
            other => panic!("{other:?}"),
        }
    }

    /// The token that the application sees.
    pub(crate) async fn token(&self, caller: Caller) -> String {
        let access = self.obtain(caller).await.unwrap();
        self.outbound.call(access, plain()).await.unwrap();
        let seen = self.upstream.requests().pop().unwrap();
        seen.header("authorization").strip_prefix("Bearer ").unwrap().to_owned()
    }

    /// How many tokens were asked for.
    pub(crate) fn asked(&self) -> usize {
        self.server.asked().len()
    }
}

fn open(
    (upstream, server): (&TestUpstream, AuthorizationServerConfig),
    strategy: &str,
    (clock, shelf, users): (&Arc<FixedClock>, &Arc<Memory>, &Arc<Memory>),
) -> Outbound {
    let strategy = serde_saphyr::from_str::<StrategyConfig>(strategy).unwrap();
    let apps = vec![UpstreamConfig { app: app(), url: Url::parse(&upstream.url()).unwrap(), strategy }];
    let backing = Backing {
        shelf: Arc::<Memory>::clone(shelf),
        user_tokens: Arc::<Memory>::clone(users),
        ..backing(Arc::<FixedClock>::clone(clock), Arc::new(Issued::default()))
    };
    let config = OutboundConfig { apps, servers: vec![server] };
    Outbound::new(config, ways(Duration::from_secs(10)), backing).unwrap()
}
