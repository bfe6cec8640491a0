//! What lies in the store so that only this gateway can read it: envelope encryption.
//!
//! Each sealing has a data key (DEK) of its own, which seals that one text and nothing else with AES-256-GCM. The data
//! key is wrapped by a key of the ring (KEK), the same way. Both name the row in their associated data: kind, key and
//! version. Against whoever can read the files of the database, or a copy of them: there is nothing in them to use.
//! Against whoever can write them: a text that was moved to another row, put back into a later version of its own row,
//! cut or changed does not open. Not against whoever puts a whole row back, version and all, nor against whoever has the
//! key file as well: keep it out of the backups of the database.
//!
//! A ring holds several keys, so that they can be exchanged while rows are read and written. The first one seals. A key's
//! id is a digest of the key, so a wrong key is told from a row that was damaged.

mod error;
mod kek;
mod key_file;
mod rotation;
mod rows;
mod sealed;
mod start;

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use zeroize::Zeroizing;

pub use error::VaultError;
pub use kek::{KEYS_MAX, KekId, KeyRing};
pub use key_file::KeyFile;
pub use rotation::{Rotated, Rotation};
pub use rows::Census;
pub use start::{KeySource, unlock};

use crate::{Kind, Record, StoreError};
use sealed::Sealed;

/// The most that is sealed at once, in bytes.
pub const PLAIN_MAX_BYTES: usize = 1 << 20;

/// The row that a text is sealed for. It opens there and nowhere else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    /// Kind of the record.
    pub kind: Kind,
    /// Its key.
    pub key: &'a str,
    /// The version that it has with this text.
    pub version: u64,
}

impl Row<'_> {
    /// A kind has no `|` and a version is digits, so whatever the key holds, no two rows share this text.
    fn associated_data(&self) -> Vec<u8> {
        format!("vestibule/vault/1|{}|{}|{}", self.kind, self.key, self.version).into_bytes()
    }
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.kind, self.key)
    }
}

/// Seals what must not lie in the store as it is, and opens it.
///
/// The randomness is the cryptographic library's, not an [`Entropy`](vestibule_model::Entropy): a reproducible sequence
/// must never become a key.
pub struct Vault {
    ring: ArcSwap<KeyRing>,
}

impl Vault {
    /// A vault with these keys. [`unlock`] gives one that fits what a store holds.
    #[must_use]
    pub fn new(ring: KeyRing) -> Self {
        Self { ring: ArcSwap::from_pointee(ring) }
    }

    /// Seals `plain` for `row`, under the first key. Engines call this when they know the version: see
    /// [`Put::sealed`](crate::Put::sealed).
    ///
    /// # Errors
    /// [`VaultError::TooLarge`] beyond [`PLAIN_MAX_BYTES`].
    pub fn seal(&self, row: &Row<'_>, plain: &[u8]) -> Result<String, VaultError> {
        if plain.len() > PLAIN_MAX_BYTES {
            return Err(VaultError::TooLarge { max_bytes: PLAIN_MAX_BYTES });
        }
        Sealed::make(self.ring.load().first(), row, plain)?.text(row)
    }

    /// What was sealed for `row`.
    ///
    /// # Errors
    /// [`VaultError::NotSealed`], [`VaultError::KeyUnknown`] and [`VaultError::Altered`] name the row.
    pub fn open(&self, row: &Row<'_>, sealed: &str) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let sealed = Sealed::parse(row, sealed)?;
        sealed.open(self.ring.load().of(row, sealed.kek())?, row)
    }

    /// What was sealed into this record.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_record(&self, record: &Record) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let row = Row { kind: record.kind, key: &record.key, version: record.version };
        self.open(&row, &record.body)
    }

    /// The same text with its data key under the first key of the ring, or nothing when it is there already. The text
    /// itself is not opened, and goes on belonging to the same version.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn rewrap(&self, row: &Row<'_>, sealed: &str) -> Result<Option<String>, VaultError> {
        let (ring, sealed) = (self.ring.load(), Sealed::parse(row, sealed)?);
        if sealed.kek() == ring.first().id() {
            return Ok(None);
        }
        let old = ring.of(row, sealed.kek())?;
        sealed.rewrap(old, ring.first(), row)?.text(row).map(Some)
    }

    /// The ids of its keys; the first one seals.
    #[must_use]
    pub fn key_ids(&self) -> Vec<KekId> {
        self.ring.load().ids()
    }

    fn ring(&self) -> Arc<KeyRing> {
        self.ring.load_full()
    }

    fn replace_ring(&self, ring: KeyRing) {
        self.ring.store(Arc::new(ring));
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("keys", &self.key_ids()).finish_non_exhaustive()
    }
}

/// What a put seals once its version is known.
#[derive(Clone)]
pub struct Sealing {
    vault: Arc<Vault>,
    plain: Arc<Zeroizing<Vec<u8>>>,
}

impl Sealing {
    pub(crate) fn new(vault: &Arc<Vault>, plain: &[u8]) -> Self {
        Self { vault: Arc::clone(vault), plain: Arc::new(Zeroizing::new(plain.to_vec())) }
    }

    pub(crate) fn len(&self) -> usize {
        self.plain.len()
    }

    pub(crate) fn body(&self, row: &Row<'_>) -> Result<String, StoreError> {
        self.vault.seal(row, &self.plain).map_err(|error| error.of_row(row))
    }
}

impl fmt::Debug for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealing([redacted])")
    }
}

impl PartialEq for Sealing {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.vault, &other.vault) && Arc::ptr_eq(&self.plain, &other.plain)
    }
}

impl Eq for Sealing {}

/// One row whose data key goes under the first key, by [`Op::Rewrap`](crate::Op::Rewrap). Neither its version nor the log
/// tells of it, for what it says is the same.
#[derive(Clone)]
pub struct Rewrapping {
    vault: Arc<Vault>,
    pub(crate) kind: Kind,
    pub(crate) key: String,
}

impl Rewrapping {
    fn new(vault: &Arc<Vault>, record: &Record) -> Self {
        Self { vault: Arc::clone(vault), kind: record.kind, key: record.key.clone() }
    }

    /// The new body of the row as it stands in the transaction.
    pub(crate) fn body(&self, version: u64, standing: &str) -> Result<Option<String>, StoreError> {
        let row = Row { kind: self.kind, key: &self.key, version };
        self.vault.rewrap(&row, standing).map_err(|error| error.of_row(&row))
    }
}

impl fmt::Debug for Rewrapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rewrapping").field("kind", &self.kind).field("key", &self.key).finish_non_exhaustive()
    }
}

impl PartialEq for Rewrapping {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.vault, &other.vault) && (self.kind, &self.key) == (other.kind, &other.key)
    }
}

impl Eq for Rewrapping {}
