//! How one key is exchanged for another while rows are read and written.

use std::sync::Arc;

use serde::Serialize;
use tokio::{sync::Mutex, task::spawn_blocking};

use super::{Census, KekId, KeyFile, Rewrapping, Vault, VaultError, rows::not_under};
use crate::{Op, Store, StoreError};

/// Rows rewrapped in one transaction.
const PAGE: usize = 100;

/// What a rotation came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rotated {
    /// The key that seals now.
    pub seals: KekId,
    /// How many rows were rewrapped.
    pub rewrapped: u64,
    /// The keys that no row is under any more and that the file holds no longer. Where the keys come from elsewhere, none:
    /// whoever put them there takes them away.
    pub dropped: Vec<KekId>,
}

/// Exchanges the key of a vault. A crash between any two steps leaves a state that opens with what the file then holds,
/// and rotating again goes on from there: the file has the new key before anything is sealed with it, and the old one
/// until nothing is.
///
/// One process at a time: a second one on the same store, with the old file in memory, would go on sealing with a key that
/// is about to go.
#[derive(Debug)]
pub struct Rotation {
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
    /// Without one, the keys come from elsewhere and everything goes under the first of them.
    file: Option<KeyFile>,
    turn: Mutex<()>,
}

impl Rotation {
    /// For a vault and the file that its keys came from.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, vault: Arc<Vault>, file: Option<KeyFile>) -> Self {
        Self { store, vault, file, turn: Mutex::new(()) }
    }

    /// All the steps.
    ///
    /// # Errors
    /// [`VaultError::UnderWay`], or that of the step that failed. The keys that rows are under are then still held.
    pub async fn run(&self) -> Result<Rotated, VaultError> {
        let _turn = self.turn.try_lock().map_err(|_| VaultError::UnderWay)?;
        self.add_key().await?;
        let rewrapped = self.rewrap().await?;
        let dropped = self.drop_keys().await?;
        let seals = self.vault.ring().ids().swap_remove(0);
        Ok(Rotated { seals, rewrapped, dropped })
    }

    /// Step one: the file gets a new key in front of the others, and then the vault seals with it. Nothing without a file.
    ///
    /// # Errors
    /// [`VaultError::Changed`] when somebody else wrote the file, and when it cannot be written.
    pub async fn add_key(&self) -> Result<(), VaultError> {
        let Some(file) = self.file.clone() else { return Ok(()) };
        let held = self.vault.ring();
        let work = move || {
            let found = file.read()?.map(|ring| ring.ids());
            if found != Some(held.ids()) {
                return Err(VaultError::Changed(file.path().to_owned()));
            }
            if held.is_full() {
                return Err(VaultError::Keys {
                    place: file.place(),
                    rule: "has no room for another key: remove those that no row is under, and restart",
                });
            }
            let ring = held.with_fresh()?;
            file.replace(&ring)?;
            Ok(ring)
        };
        self.vault.replace_ring(blocking(work).await?);
        Ok(())
    }

    /// Step two: every row goes under the first key. Rows that are written meanwhile are under it already. Says how many
    /// were rewrapped.
    ///
    /// # Errors
    /// [`VaultError::Incomplete`] when rows do not open. The others are rewrapped nevertheless.
    pub async fn rewrap(&self) -> Result<u64, VaultError> {
        let todo = self.under_old_keys().await?;
        let mut left = Left::default();
        for page in todo.chunks(PAGE) {
            if self.commit(page).await.is_ok() {
                continue;
            }
            for one in page.chunks(1) {
                left.note(self.commit(one).await)?;
            }
        }
        let rewrapped = todo.len() as u64 - left.rows;
        left.none().map(|()| rewrapped)
    }

    /// Step three: the keys that no row is under leave the file and the vault, and what lay under them the files of the
    /// store. Nothing leaves without a file.
    ///
    /// # Errors
    /// [`VaultError::Incomplete`] when a row is under one of them.
    pub async fn drop_keys(&self) -> Result<Vec<KekId>, VaultError> {
        let left = self.under_old_keys().await?;
        if let Some(first) = left.first() {
            let first = format!("the {} row `{}`", first.kind, first.key);
            return Err(VaultError::Incomplete { rows: left.len() as u64, first });
        }
        self.store.scrub().await?;
        let Some(file) = self.file.clone() else { return Ok(Vec::new()) };
        let held = self.vault.ring();
        let (ring, dropped) = (held.only_first(), held.ids().split_off(1));
        let write = ring.clone();
        blocking(move || file.replace(&write)).await?;
        self.vault.replace_ring(ring);
        Ok(dropped)
    }

    /// How many rows are under which key.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn census(&self) -> Result<Census, StoreError> {
        Census::take(&*self.store).await
    }

    /// The ids of the keys; the first one seals.
    #[must_use]
    pub fn key_ids(&self) -> Vec<KekId> {
        self.vault.key_ids()
    }

    /// INVARIANT: a commit comes first, although it writes nothing. Whoever sealed before the ring was exchanged stood
    /// before it in the engine's order, so what they wrote is found here; whoever seals after it uses the first key.
    async fn under_old_keys(&self) -> Result<Vec<Rewrapping>, VaultError> {
        self.store.commit(Vec::new()).await?;
        let ring = self.vault.ring();
        let rows = not_under(&*self.store, &self.vault, ring.first().id()).await?;
        Ok(rows)
    }

    async fn commit(&self, rows: &[Rewrapping]) -> Result<(), StoreError> {
        self.store.commit(rows.iter().cloned().map(Op::Rewrap).collect()).await.map(|_| ())
    }
}

/// The rows that could not be rewrapped.
#[derive(Debug, Default)]
struct Left {
    rows: u64,
    first: Option<String>,
}

impl Left {
    fn note(&mut self, outcome: Result<(), StoreError>) -> Result<(), VaultError> {
        match outcome {
            Ok(()) => {}
            Err(StoreError::Unreadable { source, .. }) => {
                self.rows += 1;
                self.first.get_or_insert_with(|| source.to_string());
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn none(self) -> Result<(), VaultError> {
        match self.first {
            None => Ok(()),
            Some(first) => Err(VaultError::Incomplete { rows: self.rows, first }),
        }
    }
}

/// Files are written off the threads that serve.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, VaultError> + Send + 'static,
) -> Result<T, VaultError> {
    spawn_blocking(work).await.map_err(|error| StoreError::unavailable("write the key file", error))?
}
