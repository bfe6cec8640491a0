//! What the tests speak in.

use std::{path::Path as Folder, sync::Arc, time::Duration};

use vestibule_containment::{Containment, DenyKey, Foreign, KeyKind, Order, Passage, Path, Reason, State};
use vestibule_model::{
    Actor, AgentId, AppId, AttemptId, Behind, Clock, Denial, FixedClock, NodeId, PathNode, Represented,
    Thumbprint, Timestamp, TokenId, UserId,
};
use vestibule_store::{Follower, SqliteStore, Store, Subscriber};

use crate::shelf::Shelf;

pub(crate) const LEASE: Duration = Duration::from_secs(2);

pub(crate) fn now() -> Timestamp {
    Timestamp::from_seconds(1_800_000_000)
}

/// So many seconds later.
pub(crate) fn at(seconds: u64) -> Timestamp {
    now().plus(Duration::from_secs(seconds))
}

pub(crate) fn clock() -> Arc<FixedClock> {
    Arc::new(FixedClock::at(now()))
}

/// A containment that follows its store.
pub(crate) async fn following(
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
) -> (Arc<Containment>, Arc<Follower>) {
    let containment = Containment::new(Arc::clone(&store), Arc::clone(&clock));
    let subscribers: Vec<Arc<dyn Subscriber>> = vec![containment.clone(), containment.breakers().clone()];
    let follower = Follower::start(store, clock, Duration::from_millis(5), subscribers).await.unwrap();
    containment.attach(&follower, LEASE);
    (containment, follower)
}

/// A gateway with a real store.
pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) containment: Arc<Containment>,
    pub(crate) follower: Arc<Follower>,
}

impl World {
    pub(crate) async fn open() -> Self {
        let (folder, clock) = (tempfile::tempdir().unwrap(), clock());
        let store = open(folder.path(), &clock);
        let (containment, follower) = following(store.clone(), clock.clone()).await;
        Self { folder, clock, store, containment, follower }
    }
}

/// A gateway with a store that obeys.
pub(crate) struct Shelved {
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) containment: Arc<Containment>,
    pub(crate) follower: Arc<Follower>,
}

impl Shelved {
    pub(crate) async fn open() -> Self {
        let (shelf, clock) = (Arc::new(Shelf::default()), clock());
        let (containment, follower) = following(shelf.clone(), clock.clone()).await;
        Self { clock, shelf, containment, follower }
    }

    /// So much later, and still in step with the store.
    pub(crate) async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.shelf.polled(2).await;
    }
}

pub(crate) fn open(folder: &Folder, clock: &Arc<FixedClock>) -> Arc<SqliteStore> {
    Arc::new(SqliteStore::open(folder, clock.clone()).unwrap())
}

/// What a token says about itself.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) n: u32,
    pub(crate) jti: TokenId,
    pub(crate) issued_at: Timestamp,
    pub(crate) agents: Vec<Actor>,
    pub(crate) nodes: Vec<PathNode>,
    pub(crate) user: Option<Represented>,
    pub(crate) behind: Option<Behind>,
    pub(crate) app: AppId,
    pub(crate) calls: Vec<AttemptId>,
}

impl Token {
    /// Token number `n` of a chain of agents, each on a node and with a key that are named after it. All of it came to
    /// be now.
    pub(crate) fn of(n: u32, agents: &[&str]) -> Self {
        let actor = |agent: &&str| Actor { issuer: "https://us".into(), agent: AgentId::new(agent).unwrap() };
        let on_node = |agent: &&str| PathNode { id: node(agent), since: now(), keys: vec![key_of(agent)] };
        Self {
            n,
            jti: TokenId::parse(&format!("{n:032x}")).unwrap(),
            issued_at: now(),
            agents: agents.iter().map(actor).collect(),
            nodes: agents.iter().map(on_node).collect(),
            user: None,
            behind: None,
            app: AppId::new("github").unwrap(),
            calls: Vec::new(),
        }
    }

    pub(crate) fn issued_at(self, issued_at: Timestamp) -> Self {
        Self { issued_at, ..self }
    }

    /// When its nodes were made, root first.
    pub(crate) fn since(mut self, since: &[Timestamp]) -> Self {
        for (node, since) in self.nodes.iter_mut().zip(since) {
            node.since = *since;
        }
        self
    }

    /// On behalf of a human, in a session, by a client.
    pub(crate) fn of_user(self, subject: &str, session: &str, client: &str) -> Self {
        let user = Represented {
            id: UserId { issuer: "https://idp".to_owned(), subject: subject.to_owned() },
            groups: Default::default(),
            session: Some(session.to_owned()),
            client: Some(client.to_owned()),
            since: None,
        };
        Self { user: Some(user), ..self }
    }

    /// When the token of its human was issued.
    pub(crate) fn login(self, since: Timestamp) -> Self {
        let user = self.user.map(|user| Represented { since: Some(since), ..user });
        Self { user, ..self }
    }

    pub(crate) fn to(self, app: &str) -> Self {
        Self { app: AppId::new(app).unwrap(), ..self }
    }

    /// Within calls that are under way.
    pub(crate) fn within(self, calls: &[&Passage]) -> Self {
        Self { calls: calls.iter().map(|call| call.attempt()).collect(), ..self }
    }

    pub(crate) fn path(&self) -> Path<'_> {
        Path {
            jti: Some(&self.jti),
            issued_at: self.issued_at,
            agents: &self.agents,
            nodes: &self.nodes,
            user: self.user.as_ref(),
            behind: self.behind.as_ref(),
            app: Some(&self.app),
            calls: &self.calls,
        }
    }

    /// The attempt of the token's number.
    pub(crate) fn admit(&self, containment: &Containment) -> Result<Passage, Denial> {
        containment.admit(&self.path(), attempt(self.n))
    }

    /// What becomes of a request with it now.
    pub(crate) fn fate(&self, containment: &Containment) -> Option<Denial> {
        self.admit(containment).err()
    }

    pub(crate) fn key(&self) -> DenyKey {
        DenyKey::Token(self.jti.clone())
    }
}

pub(crate) fn attempt(n: u32) -> AttemptId {
    AttemptId::parse(&format!("{n:032x}")).unwrap()
}

/// The node of an agent: its name in hexadecimal, filled up.
pub(crate) fn node(agent: &str) -> NodeId {
    let hex: String = agent.bytes().map(|byte| format!("{byte:02x}")).collect();
    NodeId::parse(&format!("{hex:0>32}")).unwrap()
}

/// The key of an agent: its name, filled up.
pub(crate) fn key_of(agent: &str) -> Thumbprint {
    let mut bytes = [0; 32];
    bytes[..agent.len()].copy_from_slice(agent.as_bytes());
    Thumbprint::from_bytes(bytes)
}

pub(crate) fn agent(id: &str) -> DenyKey {
    DenyKey::new(KeyKind::Agent, id).unwrap()
}

pub(crate) fn foreign(name: &str) -> Foreign {
    Foreign { issuer: "https://idp".to_owned(), name: name.to_owned() }
}

/// To revoke.
pub(crate) fn order(key: DenyKey) -> Order {
    Order {
        key,
        state: State::Revoked,
        reason: Reason::Compromise,
        cutoff: None,
        expires_at: None,
        by: "operator".to_owned(),
        dry_run: false,
    }
}

pub(crate) fn suspend(key: DenyKey) -> Order {
    Order { state: State::Suspended, ..order(key) }
}
