//! The rows that are sealed, wherever they lie.

use std::{collections::BTreeMap, sync::Arc};

use super::{KekId, Rewrapping, Row, Vault, sealed::Sealed};
use crate::{By, Kind, Record, Store, StoreError};

/// Rows read at a time.
const PAGE: u32 = 200;

/// Key of the [`Kind::Meta`] row whose sealed text tells a wrong key from the right one where nothing else is sealed.
pub(super) const CHECK: &str = "vault-check";

/// How many rows are under which key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census {
    /// Sealed rows, by the key that they name.
    pub sealed: BTreeMap<KekId, u64>,
    /// Rows that should be sealed and are not: of an earlier version of this program, or damaged.
    pub unsealed: u64,
}

impl Census {
    /// Counts the rows of a store that have not expired.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn take(store: &dyn Store) -> Result<Self, StoreError> {
        let mut census = Self::default();
        let count = |page: &[Record]| {
            for record in page {
                match Sealed::parse(&row(record), &record.body) {
                    Ok(sealed) => *census.sealed.entry(KekId::of_row(sealed.kek())).or_default() += 1,
                    Err(_) => census.unsealed += 1,
                }
            }
        };
        each_page(store, count).await?;
        Ok(census)
    }
}

/// Shows every row that is or should be sealed.
async fn each_page(store: &dyn Store, mut see: impl FnMut(&[Record])) -> Result<(), StoreError> {
    for kind in Kind::ALL.iter().filter(|kind| kind.is_sealed()) {
        let mut after: Option<String> = None;
        loop {
            let page = store.scan(*kind, By::All, after.as_deref(), PAGE).await?;
            see(&page);
            let is_last = page.len() < PAGE as usize;
            after = page.last().map(|record| record.key.clone());
            if is_last {
                break;
            }
        }
    }
    let check = store.get(Kind::Meta, CHECK).await?;
    see(check.as_slice());
    Ok(())
}

/// Every sealed row that is not under the key `id`.
pub(super) async fn not_under(
    store: &dyn Store,
    vault: &Arc<Vault>,
    id: &str,
) -> Result<Vec<Rewrapping>, StoreError> {
    let mut found = Vec::new();
    each_page(store, |page| {
        let is_elsewhere = |record: &&Record| {
            Sealed::parse(&row(record), &record.body).is_ok_and(|sealed| sealed.kek() != id)
        };
        found.extend(page.iter().filter(is_elsewhere).map(|record| Rewrapping::new(vault, record)));
    })
    .await?;
    Ok(found)
}

pub(super) fn row(record: &Record) -> Row<'_> {
    Row { kind: record.kind, key: &record.key, version: record.version }
}
