use std::{convert::Infallible, sync::Arc, time::Duration};

use quick_cache::sync::Cache;
use tokio::sync::Mutex;
use vestibule_containment::Containment;
use vestibule_model::{Clock, Delegation, Digest, Entropy, NodeId, Timestamp, TokenId};
use vestibule_store::{By, Expect, Kind, Op, Put, Record, Store, StoreError};

use super::{PAGE, read, room::Room};
use crate::{Backing, IssuerConfig, OAuthError, Reason, lineage::Lineage};

/// Nodes that are remembered to be used again. A root that is forgotten is found in the store.
const REMEMBERED_MAX: usize = 16 * 1024;

/// Parents below which a node is being made. One that is forgotten meanwhile costs a conflict.
const TURNS_MAX: usize = 4096;

/// Conflicts with other gateways before a request is turned away.
const ATTEMPTS_MAX: usize = 8;

type Slot = Arc<Mutex<Option<Delegation>>>;

/// Makes nodes, each in one transaction with its parent, and hands out again those that can be used again.
pub(crate) struct Tree {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    containment: Arc<Containment>,
    issuer: Arc<str>,
    pub(super) token_ttl: Duration,
    children_max: u32,
    room: Room,
    /// A slot is locked while its node is looked for or made: of many requests at once, one does the work.
    remembered: Cache<Digest, Slot>,
    /// Children of one parent are made one after the other: each changes how many the parent has.
    turns: Cache<NodeId, Arc<Mutex<()>>>,
}

/// A node as it stands in the store.
struct Stored {
    node: Delegation,
    record: Record,
}

impl Tree {
    pub(crate) fn new(backing: &Backing, containment: Arc<Containment>, config: &IssuerConfig) -> Self {
        Self {
            store: Arc::clone(&backing.store),
            clock: Arc::clone(&backing.clock),
            entropy: Arc::clone(&backing.entropy),
            containment,
            issuer: config.issuer.as_str().into(),
            token_ttl: config.token_ttl,
            children_max: config.max_children,
            room: Room::new(&backing.store, &backing.clock, config),
            remembered: Cache::new(REMEMBERED_MAX),
            turns: Cache::new(TURNS_MAX),
        }
    }

    /// The node, which must not have ended.
    pub(crate) async fn node(&self, id: &NodeId) -> Result<Delegation, OAuthError> {
        Ok(self.stored(id).await?.node)
    }

    /// Whether a token may be minted under the node now. `token` is the one that is presented for it.
    pub(crate) fn check(
        &self,
        node: &Delegation,
        token: Option<(&TokenId, Timestamp)>,
    ) -> Result<(), OAuthError> {
        Ok(Lineage::of_node(node).check(&self.containment, &self.issuer, Some(&node.app), token)?)
    }

    /// The place of a node that is used again by requests which are alike in what `digest` is over.
    pub(crate) fn slot(&self, digest: &Digest) -> Slot {
        let slot = self.remembered.get_or_insert_with(digest, || Ok::<_, Infallible>(Arc::default()));
        slot.unwrap_or_else(|never| match never {})
    }

    /// Whether the node can be used again. A gateway that cannot tell makes no new one either.
    pub(crate) fn is_open(&self, node: &Delegation) -> Result<bool, OAuthError> {
        match self.check(node, None) {
            Ok(()) => Ok(true),
            Err(error) if error.reason == Reason::ContainmentStale => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// Writes a root, in one transaction with the count of its agent's.
    pub(super) async fn plant(&self, root: &Delegation, above: &str) -> Result<(), OAuthError> {
        for _ in 0..ATTEMPTS_MAX {
            self.check(root, None)?;
            match self.store.commit(vec![Op::Put(put(root, above)?), self.room.take(root)]).await {
                Ok(_) => return self.check(root, None),
                Err(StoreError::Spent { era, .. }) => self.room.make(root, era).await?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(OAuthError::new(Reason::DelegationContended, format!("roots of agent `{}`", root.agent())))
    }

    /// Writes a node below its parent, in one transaction with the parent's count and the tree's. `is_open` asks whether whoever wants
    /// it may still have it: right before and again after, so that an order which was acknowledged in between is
    /// obeyed. One that comes later finds the child by its path.
    pub(crate) async fn grow(
        &self,
        child: &Delegation,
        is_open: impl Fn() -> Result<(), OAuthError>,
    ) -> Result<(), OAuthError> {
        let Some(parent) = &child.parent else {
            return Err(OAuthError::new(Reason::Internal, "a root has no parent to grow below"));
        };
        let turn = self.turns.get_or_insert_with(parent, || Ok::<_, Infallible>(Arc::default()));
        let turn = turn.unwrap_or_else(|never| match never {});
        let _turn = turn.lock().await;
        for _ in 0..ATTEMPTS_MAX {
            let Stored { node, record } = self.stored(parent).await?;
            let children = self.room_below(&node).await?.saturating_add(1);
            let counted = Put::new(Kind::Delegation, parent.as_str(), &Delegation { children, ..node })?;
            let counted = Put {
                expect: Expect::Version(record.version),
                parent: record.parent,
                subject: record.subject,
                expires_at: record.expires_at,
                logged: false,
                ..counted
            };
            is_open()?;
            let ops = vec![Op::Put(counted), Op::Put(put(child, parent.as_str())?), self.room.take(child)];
            match self.store.commit(ops).await {
                Ok(_) => return is_open(),
                // A gateway beside this one made a child at the same moment.
                Err(StoreError::Conflict { .. }) => {}
                Err(StoreError::Spent { era, .. }) => self.room.make(child, era).await?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(OAuthError::new(Reason::DelegationContended, format!("delegation `{parent}`")))
    }

    async fn stored(&self, id: &NodeId) -> Result<Stored, OAuthError> {
        let record = self.store.get(Kind::Delegation, id.as_str()).await?;
        let record =
            record.ok_or_else(|| OAuthError::new(Reason::DelegationEnded, format!("delegation `{id}`")))?;
        Ok(Stored { node: read(&record)?.delegation, record })
    }

    /// How many nodes stand below `parent`, which must be fewer than may. The count only goes up while children end one
    /// by one, so at the limit the living are counted.
    async fn room_below(&self, parent: &Delegation) -> Result<u32, OAuthError> {
        if parent.children < self.children_max {
            return Ok(parent.children);
        }
        let (mut living, mut after): (u32, Option<String>) = (0, None);
        while living < self.children_max {
            let by = By::Parent(parent.id.as_str());
            let page = self.store.scan(Kind::Delegation, by, after.as_deref(), PAGE).await?;
            living = living.saturating_add(u32::try_from(page.len()).unwrap_or(u32::MAX));
            if page.len() < PAGE as usize {
                break;
            }
            after = page.last().map(|record| record.key.clone());
        }
        if living < self.children_max {
            Ok(living)
        } else {
            Err(OAuthError::new(Reason::FanOutExceeded, format!("delegation `{}`", parent.id)))
        }
    }
}

fn put(node: &Delegation, above: &str) -> Result<Put, StoreError> {
    Ok(Put::new(Kind::Delegation, node.id.as_str(), node)?
        .expect(Expect::Absent)
        .parent(above)
        .subject(node.agent().as_str())
        .expires_at(node.expires_at)
        .logged(false))
}
