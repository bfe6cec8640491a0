//! The vault of this gateway: where its keys come from, the secrets that operators keep in it, and how its key is
//! rotated.

mod kept;

use std::sync::Arc;

use secrecy::ExposeSecret;
use serde_json::{Value, json};
use vestibule_model::Clock;
use vestibule_outbound::{SecretRef, Secrets};
use vestibule_store::{
    Store, StoreError,
    vault::{KeyFile, KeySource, Rotated, Rotation, Vault, VaultError, unlock},
};
use zeroize::Zeroizing;

pub(crate) use kept::{Kept, KeptSecrets, SECRETS_MAX, SetError};

use crate::{
    config::Settings,
    gateway::{StartError, broken},
};

/// The vault with what belongs to it.
pub(crate) struct VaultDesk {
    vault: Arc<Vault>,
    rotation: Arc<Rotation>,
    secrets: Arc<KeptSecrets>,
    /// Where its keys come from, in words.
    place: String,
}

impl VaultDesk {
    /// Opens the vault over a store, or says which key is missing, wrong or readable by others.
    pub(crate) async fn open(
        settings: &Settings,
        secrets: &Secrets,
        store: &Arc<dyn Store>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, StartError> {
        let (source, file) = source(settings, secrets)?;
        let vault = unlock(&**store, &source).await.map_err(|error| match error {
            VaultError::Store(error) => broken("open the vault")(error),
            VaultError::Keys { .. }
            | VaultError::KeyFile { .. }
            | VaultError::KeyMissing { .. }
            | VaultError::KeyWrong { .. }
            | VaultError::KeyUnknown { .. }
            | VaultError::NotSealed { .. }
            | VaultError::Altered { .. }
            | VaultError::TooLarge { .. }
            | VaultError::Crypto(_)
            | VaultError::UnderWay
            | VaultError::Changed(_)
            | VaultError::Incomplete { .. } => StartError::Configuration(format!("`vault.key`: {error}")),
        })?;
        Ok(Self {
            rotation: Arc::new(Rotation::new(Arc::clone(store), Arc::clone(&vault), file)),
            secrets: Arc::new(KeptSecrets::new(Arc::clone(store), Arc::clone(&vault), Arc::clone(clock))),
            place: settings.vault_key.to_string(),
            vault,
        })
    }

    pub(crate) fn vault(&self) -> Arc<Vault> {
        Arc::clone(&self.vault)
    }

    /// The secrets that operators keep here.
    pub(crate) fn secrets(&self) -> Arc<KeptSecrets> {
        Arc::clone(&self.secrets)
    }

    /// Its keys by id, how many rows are under each, and how many should be sealed and are not.
    pub(crate) async fn status(&self) -> Result<Value, StoreError> {
        let census = self.rotation.census().await?;
        let ids = self.rotation.key_ids();
        let keys = ids.iter().enumerate().map(|(at, id)| {
            let rows = census.sealed.get(id).copied().unwrap_or(0);
            json!({ "id": id, "seals": at == 0, "rows": rows })
        });
        Ok(json!({ "from": self.place, "keys": keys.collect::<Vec<_>>(), "unsealed": census.unsealed }))
    }

    /// To its end, even when nobody waits for it any more.
    pub(crate) async fn rotate(&self) -> Result<Rotated, VaultError> {
        let rotation = Arc::clone(&self.rotation);
        let rotating = tokio::spawn(async move { rotation.run().await });
        rotating.await.map_err(|_| VaultError::Store(StoreError::Stopped))?
    }
}

fn source(settings: &Settings, secrets: &Secrets) -> Result<(KeySource, Option<KeyFile>), StartError> {
    if let SecretRef::File(path) = &settings.vault_key {
        let file = KeyFile::new(path);
        let source = KeySource::File { file: file.clone(), is_ours: settings.vault_key_is_ours };
        return Ok((source, Some(file)));
    }
    let text = secrets.read(&settings.vault_key).map_err(|error| {
        StartError::Configuration(format!(
            "`vault.key`: {error}; what is sealed opens with the keys that it was sealed with, and a first one is made \
             with `openssl rand -base64 32`"
        ))
    })?;
    let text = Zeroizing::new(text.expose_secret().to_owned());
    Ok((KeySource::Text { place: format!("the {}", settings.vault_key), text }, None))
}
