use std::{io, path::PathBuf};

use super::{KekId, Row};
use crate::{Kind, StoreError};

/// Why the vault does not seal or open. Says which row or key it is about and what to do, never what was sealed.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The text that holds the keys is none.
    #[error("{place} {rule}")]
    Keys {
        /// Where it lies.
        place: String,
        /// What it must be, and how to get there.
        rule: &'static str,
    },
    /// The system refused to read or write the key file.
    #[error("the key file `{}` cannot be {doing}: {source}", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// There is no key, but there are rows that were sealed with one.
    #[error(
        "{place} is missing, and the state has rows that are sealed with key `{sealed_with}`: put the key back from its \
         backup; a new one is not made, for nobody could open those rows any more"
    )]
    KeyMissing {
        /// Where the key should be.
        place: String,
        /// The key that is wanted.
        sealed_with: KekId,
    },
    /// There are keys, but not the one that rows were sealed with.
    #[error(
        "the state has {rows} rows that are sealed with key `{sealed_with}`, and {place} holds `{held}` only: put the key \
         back that belongs to this state, below the first one where a new one shall seal"
    )]
    KeyWrong {
        /// Where the keys lie.
        place: String,
        /// The key that is wanted.
        sealed_with: KekId,
        /// How many rows want it.
        rows: u64,
        /// The keys that are there.
        held: String,
    },
    /// A row names a key that the ring does not have.
    #[error(
        "the {kind} row `{key}` is sealed with key `{kek}`, which the vault does not hold: add it to `vault.key`"
    )]
    KeyUnknown {
        /// Kind of the row.
        kind: Kind,
        /// Its key.
        key: String,
        /// The key that it names.
        kek: String,
    },
    /// The row has no sealed text, or one of a newer version of this program.
    #[error("the {kind} row `{key}` is not sealed as this version seals: {}", remedy(*kind))]
    NotSealed {
        /// Kind of the row.
        kind: Kind,
        /// Its key.
        key: String,
    },
    /// The key is right and the text does not open.
    #[error(
        "the {kind} row `{key}` does not open: it was changed, cut short, or taken from another row or version; {}",
        remedy(*kind)
    )]
    Altered {
        /// Kind of the row.
        kind: Kind,
        /// Its key.
        key: String,
    },
    /// More was to be sealed than the vault takes.
    #[error("more than {max_bytes} bytes are not sealed")]
    TooLarge {
        /// The bound.
        max_bytes: usize,
    },
    /// AWS-LC refused.
    #[error("the cryptographic library failed to {0}")]
    Crypto(&'static str),
    /// Another rotation runs.
    #[error("a rotation of the vault's key is under way: wait until it has ended")]
    UnderWay,
    /// The key file is not what the gateway has read.
    #[error("the key file `{}` was changed since the gateway started: restart the gateway, then rotate", .0.display())]
    Changed(PathBuf),
    /// Rows are left under an old key, which is therefore kept.
    #[error("{rows} rows are still under an old key, which is kept; the first of them: {first}")]
    Incomplete {
        /// How many.
        rows: u64,
        /// Why the first one is.
        first: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl VaultError {
    pub(super) fn altered(row: &Row<'_>) -> Self {
        Self::Altered { kind: row.kind, key: row.key.to_owned() }
    }

    pub(super) fn not_sealed(row: &Row<'_>) -> Self {
        Self::NotSealed { kind: row.kind, key: row.key.to_owned() }
    }

    /// As what the store says of the row.
    pub(super) fn of_row(self, row: &Row<'_>) -> StoreError {
        if let Self::Store(error) = self {
            return error;
        }
        StoreError::Unreadable { kind: row.kind, key: row.key.to_owned(), source: Box::new(self) }
    }
}

fn remedy(kind: Kind) -> &'static str {
    match kind {
        Kind::Secret => "set it again with `vestibule secret set`",
        Kind::SigningKey
        | Kind::UpstreamToken
        | Kind::UserToken
        | Kind::Agent
        | Kind::Credential
        | Kind::Delegation
        | Kind::Deny
        | Kind::Breaker
        | Kind::Operations
        | Kind::Incident
        | Kind::Meta => "restore the state folder from a backup",
    }
}
