//! Which delegation nodes a revocation kills. For the report only: the check needs no tree, for a token names its
//! ancestors.

use vestibule_store::{By, Kind, Store, StoreError};

use crate::DenyKey;

/// Counting ends here: the answer must not take longer than the cut.
const NODES_MAX: u64 = 10_000;

const PAGE: u32 = 500;

pub(crate) async fn nodes(store: &dyn Store, key: &DenyKey) -> Result<u64, StoreError> {
    let mut reach = Reach { store, counted: 0, waiting: Vec::new() };
    match key {
        DenyKey::Token(_) => {}
        DenyKey::Agent(agent) => reach.count(By::Subject(agent.as_str())).await?,
        DenyKey::Delegation(node) => {
            reach.counted = u64::from(store.get(Kind::Delegation, node.as_str()).await?.is_some());
            reach.count(By::Parent(node.as_str())).await?;
            while let Some(parent) = reach.waiting.pop() {
                reach.count(By::Parent(&parent)).await?;
            }
        }
    }
    Ok(reach.counted)
}

struct Reach<'a> {
    store: &'a dyn Store,
    counted: u64,
    /// Nodes that were counted and whose children were not.
    waiting: Vec<String>,
}

impl Reach<'_> {
    async fn count(&mut self, by: By<'_>) -> Result<(), StoreError> {
        let mut after: Option<String> = None;
        while self.counted < NODES_MAX {
            let page = self.store.scan(Kind::Delegation, by, after.as_deref(), PAGE).await?;
            self.counted = NODES_MAX.min(self.counted + page.len() as u64);
            after = page.last().map(|record| record.key.clone());
            let is_last = page.len() < PAGE as usize;
            self.waiting.extend(page.into_iter().map(|record| record.key));
            if is_last {
                break;
            }
        }
        Ok(())
    }
}
