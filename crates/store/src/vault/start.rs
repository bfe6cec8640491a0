//! How a vault is opened over a store that may hold sealed rows already.

use std::sync::Arc;

use zeroize::Zeroizing;

use super::{Census, KeyFile, KeyRing, Row, Vault, VaultError, rows::CHECK};
use crate::{Expect, Kind, Op, Put, Store, StoreError};

/// What the check row seals. That it opens says that the key is right.
const CHECK_TEXT: &[u8] = b"vestibule";

/// Where the keys come from.
#[derive(Debug)]
pub enum KeySource {
    /// A file, which a rotation writes.
    File {
        /// The file.
        file: KeyFile,
        /// Whether to make it, with a new key, when it is not there and nothing was ever sealed.
        is_ours: bool,
    },
    /// A text from somewhere else, such as the environment.
    Text {
        /// Where it lies, in words.
        place: String,
        /// The keys.
        text: Zeroizing<String>,
    },
}

impl KeySource {
    fn place(&self) -> String {
        match self {
            Self::File { file, .. } => file.place(),
            Self::Text { place, .. } => place.clone(),
        }
    }

    fn read(&self) -> Result<Option<KeyRing>, VaultError> {
        match self {
            Self::File { file, .. } => file.read(),
            Self::Text { place, text } => KeyRing::parse(text, place).map(Some),
        }
    }

    /// The first key of a store in which nothing is sealed.
    fn first_key(&self) -> Result<KeyRing, VaultError> {
        let absent = "is missing: make it with `openssl rand -base64 32` and `chmod 600`";
        match self {
            Self::File { file, is_ours: true } => {
                file.create(&KeyRing::fresh()?)?;
                // What is there, whoever made it.
                file.read()?.ok_or_else(|| VaultError::Keys { place: self.place(), rule: absent })
            }
            Self::File { is_ours: false, .. } | Self::Text { .. } => {
                Err(VaultError::Keys { place: self.place(), rule: absent })
            }
        }
    }
}

/// The vault of a store, when the keys are those that its rows were sealed with.
///
/// # Errors
/// [`VaultError`] says which key is missing, wrong or not usable. A new key is made only where nothing was sealed yet:
/// over rows that it could not open it would look like a start and be a loss.
pub async fn unlock(store: &dyn Store, source: &KeySource) -> Result<Arc<Vault>, VaultError> {
    let census = Census::take(store).await?;
    let ring = match (source.read()?, census.sealed.keys().next()) {
        (Some(ring), _) => ring,
        (None, None) => source.first_key()?,
        (None, Some(sealed_with)) => {
            return Err(VaultError::KeyMissing { place: source.place(), sealed_with: sealed_with.clone() });
        }
    };
    let held = ring.ids();
    if let Some((wanted, rows)) = census.sealed.into_iter().find(|(id, _)| !held.contains(id)) {
        let held: Vec<&str> = held.iter().map(super::KekId::as_str).collect();
        return Err(VaultError::KeyWrong {
            place: source.place(),
            sealed_with: wanted,
            rows,
            held: held.join("`, `"),
        });
    }
    let vault = Arc::new(Vault::new(ring));
    check(store, &vault).await?;
    Ok(vault)
}

/// Opens the check row, or writes it at the first start.
async fn check(store: &dyn Store, vault: &Arc<Vault>) -> Result<(), VaultError> {
    let fresh = Put::sealed(Kind::Meta, CHECK, vault, CHECK_TEXT).expect(Expect::Absent).logged(false);
    match store.commit(vec![Op::Put(fresh)]).await {
        Ok(_) | Err(StoreError::Conflict { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let Some(record) = store.get(Kind::Meta, CHECK).await? else {
        return Err(VaultError::not_sealed(&Row { kind: Kind::Meta, key: CHECK, version: 0 }));
    };
    let opened = vault.open_record(&record)?;
    let is_ours = opened.as_slice() == CHECK_TEXT;
    if is_ours { Ok(()) } else { Err(VaultError::altered(&super::rows::row(&record))) }
}
