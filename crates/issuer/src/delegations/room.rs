use std::{convert::Infallible, sync::Arc};

use quick_cache::sync::Cache;
use tokio::sync::Mutex;
use vestibule_model::{Clock, Delegation, Timestamp};
use vestibule_store::{By, Charge, Kind, Op, Recount, Store, StoreError};

use super::{PAGE, roots::is_root};
use crate::{IssuerConfig, OAuthError, Reason};

/// The store's counters of nodes below a root, by the tree.
const TREE_NODES: &str = "tree-nodes";
/// The store's counters of roots, by the agent.
const AGENT_ROOTS: &str = "agent-roots";

/// Counters that were found full, and of which that is remembered.
const COUNTED_MAX: usize = 4096;
/// A full counter is not counted again within this time, in milliseconds: whoever is refused and asks again at once makes
/// the store walk no tree. As long a node that has ended may still be in the way of the next.
const COUNTED_AGAIN_MS: i64 = 1_000;

type Turn = Arc<Mutex<Option<Counted>>>;

/// How many nodes may live in a tree, and how many roots an agent may have.
///
/// Each node is counted in the transaction that writes it, so the bounds hold however many are made at once, and by
/// however many gateways. The counts only go up while nodes end one by one, so at the limit the living are counted.
pub(super) struct Room {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    tree_nodes_max: u32,
    roots_max: u32,
    /// Of many that find a counter full, one counts the living.
    turns: Cache<(&'static str, String), Turn>,
}

/// What came of the last count of the living.
struct Counted {
    era: i64,
    at: Timestamp,
    has_room: bool,
}

impl Room {
    pub(super) fn new(store: &Arc<dyn Store>, clock: &Arc<dyn Clock>, config: &IssuerConfig) -> Self {
        Self {
            store: Arc::clone(store),
            clock: Arc::clone(clock),
            tree_nodes_max: config.max_tree_nodes,
            roots_max: config.max_roots,
            turns: Cache::new(COUNTED_MAX),
        }
    }

    /// Takes a place for `node`, as a step of the commit that writes it. A root has its place among the roots of its
    /// agent, a node below one in its tree.
    pub(super) fn take(&self, node: &Delegation) -> Op {
        let (realm, key, most) = self.place(node);
        Op::Charge(Charge { realm: realm.to_owned(), key, most: most.into(), expires_at: node.expires_at })
    }

    /// After a commit has found no place for `node`: returns when there may be one by now.
    pub(super) async fn make(&self, node: &Delegation, era: i64) -> Result<(), OAuthError> {
        let (realm, key, most) = self.place(node);
        let turn =
            self.turns.get_or_insert_with(&(realm, key.clone()), || Ok::<_, Infallible>(Arc::default()));
        let turn = turn.unwrap_or_else(|never| match never {});
        let mut counted = turn.lock().await;
        let now = self.clock.now();
        match &*counted {
            Some(last) if last.era == era && last.has_room => return Ok(()),
            Some(last) if last.era == era && now.millis() < last.at.millis() + COUNTED_AGAIN_MS => {
                return Err(full(node));
            }
            Some(_) | None => {}
        }
        let living = match node.path.split_first() {
            Some((root, below)) if !below.is_empty() => self.below(root.id.as_str(), most).await?,
            Some(_) | None => self.roots(node.agent().as_str(), most).await?,
        };
        let has_room = living < most;
        *counted = Some(Counted { era, at: now, has_room });
        if !has_room {
            return Err(full(node));
        }
        let recount = Recount { realm: realm.to_owned(), key, era, living: living.into() };
        match self.store.commit(vec![Op::Recount(recount)]).await {
            // A gateway beside this one was faster.
            Ok(_) | Err(StoreError::Recounted { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn place(&self, node: &Delegation) -> (&'static str, String, u32) {
        if node.parent.is_some() {
            // The root is one of the nodes of its tree.
            (TREE_NODES, node.workflow.as_str().to_owned(), self.tree_nodes_max.saturating_sub(1))
        } else {
            (AGENT_ROOTS, node.agent().as_str().to_owned(), self.roots_max)
        }
    }

    /// How many nodes live below one, at most `most`. Nobody outlives a parent, so the walk finds all of them.
    async fn below(&self, root: &str, most: u32) -> Result<u32, OAuthError> {
        let (mut living, mut waiting) = (0, vec![root.to_owned()]);
        while let Some(parent) = waiting.pop() {
            let mut after: Option<String> = None;
            loop {
                let by = By::Parent(&parent);
                let page = self.store.scan(Kind::Delegation, by, after.as_deref(), PAGE).await?;
                let is_last = page.len() < PAGE as usize;
                after = page.last().map(|record| record.key.clone());
                living += u32::try_from(page.len()).unwrap_or(u32::MAX);
                if living >= most {
                    return Ok(living);
                }
                waiting.extend(page.into_iter().map(|record| record.key));
                if is_last {
                    break;
                }
            }
        }
        Ok(living)
    }

    /// How many roots of an agent live, at most `most`.
    async fn roots(&self, agent: &str, most: u32) -> Result<u32, OAuthError> {
        let (mut living, mut after): (u32, Option<String>) = (0, None);
        while living < most {
            let by = By::Subject(agent);
            let page = self.store.scan(Kind::Delegation, by, after.as_deref(), PAGE).await?;
            living += u32::try_from(page.iter().filter(|record| is_root(record)).count()).unwrap_or(u32::MAX);
            if page.len() < PAGE as usize {
                break;
            }
            after = page.last().map(|record| record.key.clone());
        }
        Ok(living)
    }
}

fn full(node: &Delegation) -> OAuthError {
    if node.parent.is_some() {
        OAuthError::new(Reason::TreeNodesExceeded, format!("tree `{}`", node.workflow))
    } else {
        OAuthError::new(Reason::RootsExceeded, format!("agent `{}`", node.agent()))
    }
}
