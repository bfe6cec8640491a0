//! The delegation tree: how it is read, and how nodes are made.

mod room;
mod roots;
mod seed;
mod tree;

use std::{fmt, sync::Arc};

use vestibule_model::{AgentId, Delegation, NodeId};
use vestibule_store::{By, Kind, Record, Store, StoreError};

pub(crate) use roots::RootTerms;
pub(crate) use seed::Seed;
pub(crate) use tree::Tree;

/// Records that one page of roots looks at, at most: between two roots lie all the nodes below other ones.
const SCANNED_MAX: usize = 2000;

const PAGE: u32 = 200;

/// The tree as operators see it: living nodes, revoked or not. What is revoked is containment's to say.
#[derive(Clone)]
pub struct Delegations {
    store: Arc<dyn Store>,
}

/// A node and the version of its record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The node.
    pub delegation: Delegation,
    /// 1 when it was made; one more whenever a node was made below it.
    pub version: u64,
}

/// Some nodes, in the order of their identifiers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Nodes {
    /// The nodes. May be fewer than asked for, and even none, when there are more.
    pub items: Vec<Node>,
    /// Where to go on; none: that was all.
    pub next: Option<NodeId>,
}

/// A node and what lives below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subtree {
    /// Each node before the ones below it.
    pub nodes: Vec<Node>,
    /// False when the bound was reached before the end.
    pub is_complete: bool,
}

impl Delegations {
    /// The tree in that store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store }
    }

    /// The node, unless it has ended.
    ///
    /// # Errors
    /// When the store fails, or holds something else than a node.
    pub async fn get(&self, node: &NodeId) -> Result<Option<Node>, StoreError> {
        self.store.get(Kind::Delegation, node.as_str()).await?.map(|record| read(&record)).transpose()
    }

    /// At most `limit` nodes directly below one, after the node `after`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn children(
        &self,
        node: &NodeId,
        after: Option<&NodeId>,
        limit: u32,
    ) -> Result<Nodes, StoreError> {
        self.page(By::Parent(node.as_str()), after, limit).await
    }

    /// At most `limit` nodes under which the agent itself acts, after the node `after`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn of_agent(
        &self,
        agent: &AgentId,
        after: Option<&NodeId>,
        limit: u32,
    ) -> Result<Nodes, StoreError> {
        self.page(By::Subject(agent.as_str()), after, limit).await
    }

    /// At most `limit` nodes of all trees, after the node `after`.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn all(&self, after: Option<&NodeId>, limit: u32) -> Result<Nodes, StoreError> {
        self.page(By::All, after, limit).await
    }

    /// At most `limit` roots, after the node `after`. Looks at 2,000 nodes at most.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn roots(&self, after: Option<&NodeId>, limit: u32) -> Result<Nodes, StoreError> {
        let mut found = Nodes { items: Vec::new(), next: after.cloned() };
        let mut scanned = 0;
        while scanned < SCANNED_MAX {
            let page = self.page(By::All, found.next.as_ref(), PAGE).await?;
            scanned += page.items.len();
            found.next = page.next;
            for node in page.items.into_iter().filter(|node| node.delegation.parent.is_none()) {
                let id = node.delegation.id.clone();
                found.items.push(node);
                if found.items.len() >= limit as usize {
                    found.next = Some(id);
                    return Ok(found);
                }
            }
            if found.next.is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// The node and what lives below it, at most `nodes_max` nodes in all; none when it has ended.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub async fn subtree(&self, node: &NodeId, nodes_max: usize) -> Result<Option<Subtree>, StoreError> {
        let Some(top) = self.get(node).await? else { return Ok(None) };
        let (mut nodes, mut waiting) = (Vec::new(), vec![top]);
        while let Some(one) = waiting.pop() {
            if nodes.len() >= nodes_max {
                return Ok(Some(Subtree { nodes, is_complete: false }));
            }
            let mut below = Nodes::default();
            // INVARIANT: what is held stays below the bound and a page, however wide the tree is.
            while nodes.len() + waiting.len() + below.items.len() < nodes_max {
                let page = self.children(&one.delegation.id, below.next.as_ref(), PAGE).await?;
                below.items.extend(page.items);
                below.next = page.next;
                if below.next.is_none() {
                    break;
                }
            }
            // Taken from the end: the first child is to come first.
            waiting.extend(below.items.into_iter().rev());
            nodes.push(one);
        }
        Ok(Some(Subtree { nodes, is_complete: true }))
    }

    async fn page(&self, by: By<'_>, after: Option<&NodeId>, limit: u32) -> Result<Nodes, StoreError> {
        let records = self.store.scan(Kind::Delegation, by, after.map(NodeId::as_str), limit).await?;
        let is_full = records.len() >= limit as usize;
        let items: Vec<_> = records.iter().map(read).collect::<Result<_, _>>()?;
        let next = items.last().filter(|_| is_full).map(|node| node.delegation.id.clone());
        Ok(Nodes { items, next })
    }
}

/// A record that is no node, or whose parts contradict each other, is nothing to go by: whatever it leaves out of its
/// path would escape a revocation.
fn read(record: &Record) -> Result<Node, StoreError> {
    let delegation: Delegation = record.decode()?;
    if delegation.is_consistent() && delegation.id.as_str() == record.key {
        return Ok(Node { delegation, version: record.version });
    }
    let contradiction = vestibule_model::Malformed { what: "delegation", rule: "must not contradict itself" };
    Err(StoreError::Unreadable {
        kind: record.kind,
        key: record.key.clone(),
        source: Box::new(contradiction),
    })
}

impl fmt::Debug for Delegations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delegations").finish_non_exhaustive()
    }
}
