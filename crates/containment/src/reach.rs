//! Which delegation nodes an order kills. For the report only: the check needs no tree, for a token names its ancestors.

use std::collections::HashSet;

use vestibule_model::{Delegation, Timestamp};
use vestibule_store::{By, Kind, Record, Store, StoreError};

use crate::{DenyEntry, DenyKey};

/// Counting ends here: the answer must not take much longer than the cut.
const NODES_MAX: usize = 10_000;

const PAGE: u32 = 500;

/// The nodes of an agent, or the node of a delegation, that came to be at or before the cutoff, and all that is below
/// them. Of other names the store knows no nodes.
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
        DenyKey::Token(_)
        | DenyKey::User(_)
        | DenyKey::Session(_)
        | DenyKey::Client(_)
        | DenyKey::Credential(_)
        | DenyKey::App(_)
        | DenyKey::All => {}
    }
    while let Some(parent) = reach.waiting.pop() {
        // Whatever is below is dead with it, and younger than its own parent.
        reach.add(By::Parent(&parent), None).await?;
    }
    Ok(reach.counted.len() as u64)
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
