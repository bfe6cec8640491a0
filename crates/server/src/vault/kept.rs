use std::{
    collections::BTreeMap,
    fmt,
    ops::Bound,
    sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use vestibule_model::{Clock, Timestamp};
use vestibule_outbound::VaultSecrets;
use vestibule_store::{
    Change, Kind, Op, Put, Record, Seq, Store, StoreError, Subscriber,
    vault::{Vault, VaultError},
};
use zeroize::{Zeroize, Zeroizing};

/// The most secrets that are kept. They are all in memory.
pub(crate) const SECRETS_MAX: usize = 1_000;

/// JSON writes one byte as six at most.
const ESCAPED_MAX: usize = 6;

/// The secrets that operators keep in the vault, in memory and in step with the store. Only the follower changes what is
/// held, so no answer that comes late puts an older secret back.
pub(crate) struct KeptSecrets {
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
    clock: Arc<dyn Clock>,
    held: RwLock<BTreeMap<String, Held>>,
}

struct Held {
    version: u64,
    /// None when its row does not open: that closes what uses it, and nothing else.
    opened: Option<Opened>,
}

struct Opened {
    set_at: Timestamp,
    value: SecretString,
}

/// What of a secret may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) name: String,
    pub(crate) version: u64,
    /// None when its row does not open.
    pub(crate) set_at: Option<Timestamp>,
}

/// Why a secret is not kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetError {
    #[error("the vault keeps at most {SECRETS_MAX} secrets: remove one with `vestibule secret rm`")]
    Full,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// As it is sealed. Not `Debug`: it is the secret.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    value: String,
    set_at: Timestamp,
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.value.zeroize();
    }
}

impl KeptSecrets {
    pub(super) fn new(store: Arc<dyn Store>, vault: Arc<Vault>, clock: Arc<dyn Clock>) -> Self {
        Self { store, vault, clock, held: RwLock::default() }
    }

    /// Keeps a secret under that name, in place of an older one. It is in force when the follower has come to the place that
    /// is given back.
    pub(crate) async fn set(&self, name: &str, value: &SecretString) -> Result<(Seq, Kept), SetError> {
        let is_full = {
            let held = self.read();
            held.len() >= SECRETS_MAX && !held.contains_key(name)
        };
        if is_full {
            return Err(SetError::Full);
        }
        let set_at = self.clock.now();
        let stored = Stored { value: value.expose_secret().to_owned(), set_at };
        // Room from the start: a vector that grows would leave the secret behind where it was.
        let mut plain = Zeroizing::new(Vec::with_capacity(stored.value.len() * ESCAPED_MAX + 64));
        serde_json::to_writer(&mut *plain, &stored).map_err(|error| StoreError::Unreadable {
            kind: Kind::Secret,
            key: name.to_owned(),
            source: Box::new(error),
        })?;
        let put = Put::sealed(Kind::Secret, name, &self.vault, &plain);
        let seq = self.store.commit(vec![Op::Put(put)]).await?;
        // Somebody else may have removed it meanwhile: it was kept all the same.
        let version = self.store.get(Kind::Secret, name).await?.map_or(0, |record| record.version);
        Ok((seq, Kept { name: name.to_owned(), version, set_at: Some(set_at) }))
    }

    /// Forgets a secret, if there is one; likewise.
    pub(crate) async fn remove(&self, name: &str) -> Result<Option<Seq>, StoreError> {
        if self.store.get(Kind::Secret, name).await?.is_none() {
            return Ok(None);
        }
        let delete = Op::Delete { kind: Kind::Secret, key: name.to_owned() };
        self.store.commit(vec![delete]).await.map(Some)
    }

    /// At most `limit` of them in the order of their names, after the name `after`.
    pub(crate) fn list(&self, after: Option<&str>, limit: usize) -> Vec<Kept> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let held = self.read();
        held.range::<str, _>((from, Bound::Unbounded))
            .take(limit)
            .map(|(name, held)| kept(name, held))
            .collect()
    }

    fn opened(&self, record: &Record) -> Held {
        let opened = self.open(record);
        if let Err(error) = &opened {
            tracing::error!(%error, "a secret of the vault cannot be used");
        }
        Held { version: record.version, opened: opened.ok() }
    }

    fn open(&self, record: &Record) -> Result<Opened, VaultError> {
        let plain = self.vault.open_record(record)?;
        let mut stored: Stored = serde_json::from_slice(&plain)
            .map_err(|_| VaultError::NotSealed { kind: record.kind, key: record.key.clone() })?;
        let value = SecretString::from(std::mem::take(&mut stored.value));
        Ok(Opened { set_at: stored.set_at, value })
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<String, Held>> {
        self.held.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Held>> {
        self.held.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn kept(name: &str, held: &Held) -> Kept {
    let set_at = held.opened.as_ref().map(|opened| opened.set_at);
    Kept { name: name.to_owned(), version: held.version, set_at }
}

impl VaultSecrets for KeptSecrets {
    fn secret(&self, name: &str) -> Result<Option<SecretString>, &'static str> {
        match self.read().get(name) {
            None => Ok(None),
            Some(Held { opened: Some(opened), .. }) => Ok(Some(opened.value.clone())),
            Some(Held { opened: None, .. }) => Err("does not open: set it again with `vestibule secret set`"),
        }
    }
}

impl Subscriber for KeptSecrets {
    fn kinds(&self) -> &'static [Kind] {
        &[Kind::Secret]
    }

    /// A row that does not open is held as such: it must not stop the view of all the others.
    fn reset(&self, records: Vec<Record>) -> Result<(), StoreError> {
        let fresh = records.iter().map(|record| (record.key.clone(), self.opened(record))).collect();
        *self.write() = fresh;
        Ok(())
    }

    fn apply(&self, change: &Change) -> Result<(), StoreError> {
        match &change.record {
            Some(record) => {
                let opened = self.opened(record);
                self.write().insert(record.key.clone(), opened);
            }
            None => {
                self.write().remove(&change.key);
            }
        }
        Ok(())
    }
}

impl fmt::Debug for KeptSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptSecrets").field("count", &self.read().len()).finish_non_exhaustive()
    }
}
