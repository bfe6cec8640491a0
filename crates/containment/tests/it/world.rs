//! What the tests speak in.

use std::{sync::Arc, time::Duration};

use vestibule_containment::{Containment, DenyKey, KeyKind, Order, Path, Reason};
use vestibule_model::{Actor, AgentId, Clock, FixedClock, Jti, NodeId, Timestamp};
use vestibule_store::{Follower, Store, Subscriber};

pub(crate) const LEASE: Duration = Duration::from_secs(2);

pub(crate) fn now() -> Timestamp {
    Timestamp::from_seconds(1_800_000_000)
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
    let subscribers: Vec<Arc<dyn Subscriber>> = vec![containment.clone()];
    let follower = Follower::start(store, clock, Duration::from_millis(5), subscribers).await.unwrap();
    containment.attach(&follower, LEASE);
    (containment, follower)
}

/// What a token says about itself.
#[derive(Clone)]
pub(crate) struct Token {
    pub(crate) jti: Jti,
    pub(crate) issued_at: Timestamp,
    pub(crate) agents: Vec<Actor>,
    pub(crate) nodes: Vec<NodeId>,
}

impl Token {
    /// Token number `n` of a chain of agents, each on a node that is named after it.
    pub(crate) fn of(n: u32, agents: &[&str]) -> Self {
        let actor = |agent: &&str| Actor { issuer: "https://us".into(), agent: AgentId::new(agent).unwrap() };
        Self {
            jti: Jti::parse(&format!("{n:032x}")).unwrap(),
            issued_at: now(),
            agents: agents.iter().map(actor).collect(),
            nodes: agents.iter().map(|agent| node(agent)).collect(),
        }
    }

    pub(crate) fn issued_at(self, issued_at: Timestamp) -> Self {
        Self { issued_at, ..self }
    }

    pub(crate) fn path(&self) -> Path<'_> {
        Path { jti: Some(&self.jti), issued_at: self.issued_at, agents: &self.agents, nodes: &self.nodes }
    }

    pub(crate) fn key(&self) -> DenyKey {
        DenyKey::Token(self.jti.clone())
    }
}

/// The node of an agent: its name in hexadecimal, filled up.
pub(crate) fn node(agent: &str) -> NodeId {
    let hex: String = agent.bytes().map(|byte| format!("{byte:02x}")).collect();
    NodeId::parse(&format!("{hex:0>32}")).unwrap()
}

pub(crate) fn agent(id: &str) -> DenyKey {
    DenyKey::new(KeyKind::Agent, id).unwrap()
}

pub(crate) fn order(key: DenyKey) -> Order {
    Order { key, reason: Reason::Compromise, cutoff: None, by: "operator".to_owned(), dry_run: false }
}
