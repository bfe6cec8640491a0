//! Which delegation nodes an order kills. For the report only: the check needs no tree, for a token names its ancestors.

use std::collections::HashSet;

use vestibule_model::{Actor, Delegation, Timestamp};
use vestibule_store::{By, Kind, Record, Store, StoreError};

use crate::{DenyEntry, DenyKey, Path};

/// Counting ends here: the answer must not take much longer than the cut.
const NODES_MAX: usize = 10_000;
/// Of names by which the store finds no nodes, so many nodes are looked at.
const LOOKED_AT_MAX: usize = 20_000;

const PAGE: u32 = 500;

/// The nodes that came to be at or before the cutoff with the name on their path, and all that is below them.
pub(crate) async fn nodes(store: &dyn Store, entry: &DenyEntry) -> Result<u64, StoreError> {
    if !entry.reason.cascades() {
        return Ok(0);
    }
    let mut reach = Reach { store, counted: HashSet::new(), waiting: Vec::new() };
    match &entry.key {
        DenyKey::Agent(agent) => reach.add(By::Subject(agent.as_str()), entry.cutoff).await?,
        DenyKey::Delegation(node) => {
            let record = store.get(Kind::Delegation, node.as_str()).await?;
            reach.take(record.into_iter().collect(), entry.cutoff)?;
        }
        DenyKey::User(_)
        | DenyKey::Session(_)
        | DenyKey::Client(_)
        | DenyKey::Credential(_)
        | DenyKey::App(_)
        | DenyKey::All => return looked_at(store, entry).await,
        // No node bears the name of a token.
        DenyKey::Token(_) => {}
    }
    while let Some(parent) = reach.waiting.pop() {
        // Whatever is below is dead with it, and younger than its own parent.
        reach.add(By::Parent(&parent), None).await?;
    }
    Ok(reach.counted.len() as u64)
}

/// Each node by itself: it names all that stands above it, so no tree is walked.
async fn looked_at(store: &dyn Store, entry: &DenyEntry) -> Result<u64, StoreError> {
    let (mut count, mut looked_at) = (0, 0);
    let mut after: Option<String> = None;
    while count < NODES_MAX && looked_at < LOOKED_AT_MAX {
        let page = store.scan(Kind::Delegation, By::All, after.as_deref(), PAGE).await?;
        looked_at += page.len();
        for record in &page {
            count += usize::from(kills(entry, &record.decode()?));
        }
        if page.len() < PAGE as usize {
            break;
        }
        after = page.last().map(|record| record.key.clone());
    }
    Ok(count.min(NODES_MAX) as u64)
}

/// Whether the name stands on the path of the node, and is old enough: as a request under it is checked.
fn kills(entry: &DenyEntry, node: &Delegation) -> bool {
    // A name is compared without its issuer.
    let agents = node.chain.iter().map(|agent| Actor { issuer: "".into(), agent: agent.clone() });
    let agents: Vec<Actor> = agents.collect();
    let path = Path {
        jti: None,
        issued_at: node.created_at,
        agents: &agents,
        nodes: &node.path,
        user: node.user.as_ref(),
        app: Some(&node.app),
        calls: &node.calls,
        behind: None,
    };
    path.names().iter().any(|name| name.key == entry.key && entry.kills(name.since))
}

struct Reach<'a> {
    store: &'a dyn Store,
    /// An agent may stand above itself: each node counts once.
    counted: HashSet<String>,
    /// Nodes that were counted and whose children were not.
    waiting: Vec<String>,
}

impl Reach<'_> {
    async fn add(&mut self, by: By<'_>, cutoff: Option<Timestamp>) -> Result<(), StoreError> {
        let mut after: Option<String> = None;
        while self.counted.len() < NODES_MAX {
            let page = self.store.scan(Kind::Delegation, by, after.as_deref(), PAGE).await?;
            after = page.last().map(|record| record.key.clone());
            let is_last = page.len() < PAGE as usize;
            self.take(page, cutoff)?;
            if is_last {
                break;
            }
        }
        Ok(())
    }

    fn take(&mut self, page: Vec<Record>, cutoff: Option<Timestamp>) -> Result<(), StoreError> {
        for record in page {
            if let Some(cutoff) = cutoff
                && record.decode::<Delegation>()?.path.last().is_some_and(|node| cutoff < node.since)
            {
                continue;
            }
            if self.counted.len() < NODES_MAX && self.counted.insert(record.key.clone()) {
                self.waiting.push(record.key);
            }
        }
        Ok(())
    }
}
