//! What door two keeps in the state, sealed: tokens for applications over a restart, and the tokens with which users were
//! proven.

use std::sync::Arc;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use vestibule_issuer::UserTokens as UsersTokens;
use vestibule_model::{Fault, FaultKind, NodeId, Timestamp};
use vestibule_outbound::{Shelf, UserTokens};
use vestibule_store::{By, Kind, Op, Put, Record, Store, vault::Vault};

/// Records read at a time.
const PAGE: u32 = 500;

/// The state as door two sees it.
#[derive(Debug, Clone)]
pub(crate) struct StateShelf {
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
    pub(crate) users: UsersTokens,
}

impl StateShelf {
    pub(crate) fn new(store: &Arc<dyn Store>, vault: &Arc<Vault>) -> Self {
        let users = UsersTokens::new(Arc::clone(store), Arc::clone(vault));
        Self { store: Arc::clone(store), vault: Arc::clone(vault), users }
    }

    /// What does not open is left out: it is asked for again, and ends by itself.
    fn opened(&self, record: &Record) -> Option<(String, SecretString)> {
        let opened = self.vault.open_record(record).map_err(|error| error.to_string());
        let text = opened
            .and_then(|text| String::from_utf8(text.to_vec()).map_err(|_| "it is no text".to_owned()))
            .inspect_err(|error| tracing::error!(key = record.key, error, "a kept token does not open"));
        Some((record.key.clone(), text.ok()?.into()))
    }
}

fn unavailable(error: impl std::fmt::Display) -> Fault {
    Fault::new(FaultKind::StoreUnavailable, error)
}

#[async_trait]
impl Shelf for StateShelf {
    async fn put(&self, key: &str, secret: SecretString, expires_at: Timestamp) -> Result<(), Fault> {
        let put = Put::sealed(Kind::UpstreamToken, key, &self.vault, secret.expose_secret().as_bytes());
        let put = Op::Put(put.expires_at(expires_at).logged(false));
        self.store.commit(vec![put]).await.map(drop).map_err(unavailable)
    }

    async fn all(&self) -> Result<Vec<(String, SecretString)>, Fault> {
        let mut found = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let page = self.store.scan(Kind::UpstreamToken, By::All, after.as_deref(), PAGE);
            let page = page.await.map_err(unavailable)?;
            found.extend(page.iter().filter_map(|record| self.opened(record)));
            if page.len() < PAGE as usize {
                return Ok(found);
            }
            after = page.last().map(|record| record.key.clone());
        }
    }

    async fn remove(&self, key: &str) -> Result<(), Fault> {
        let delete = Op::Delete { kind: Kind::UpstreamToken, key: key.to_owned() };
        self.store.commit(vec![delete]).await.map(drop).map_err(unavailable)
    }
}

#[async_trait]
impl UserTokens for StateShelf {
    async fn of_root(&self, root: &NodeId) -> Result<Option<SecretString>, Fault> {
        self.users.of_root(root).await.map_err(unavailable)
    }
}
