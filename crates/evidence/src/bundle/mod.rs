//! A bundle: a folder with what one incident left in the log and what the gateway says about it, to be handed to somebody
//! who has nothing but the public key.
//!
//! | file | what proves it |
//! |---|---|
//! | `checkpoint` | the signature of the log's key |
//! | `entries.jsonl` | each entry: its own proof that it stands in the log of `checkpoint` |
//! | `attempts.jsonl` | that it tells, attempt by attempt, what `entries.jsonl` tells |
//! | every other file, and that there is no other | the seal: the gateway has recorded the digest of the manifest |
//! | `manifest.json` | names all files above with their digests; the seal holds its own |
//! | `seal.json` | the entry that records it, with its proof and a checkpoint that was signed afterwards |
//!
//! **What it guarantees.** No file can be changed, removed or added without [`verify_bundle`] saying so, not even by
//! somebody who makes the manifest anew: they would have to write into the log.
//!
//! **What it leaves to others.** That nothing which belongs to the incident was left out is the gateway's word: only the
//! whole log tells, and [`verify`](crate::verify()) whether it is whole. What stands in the files that only the seal
//! covers, such as the summary, is what the gateway said when it gathered them.

mod error;
mod seal;
mod told;
mod verify;
mod writing;

pub use error::BundleError;
pub use verify::{BundleReport, verify_bundle};
pub use writing::Bundling;

use std::path::Path;

use serde::{Deserialize, Serialize};
use vestibule_model::{AttemptId, Digest};

use crate::{EvidenceError, PublicKey};

/// The entries of the log with their proofs, one a line.
pub const BUNDLE_ENTRIES: &str = "entries.jsonl";
/// The attempts that they tell of, one a line, in the order of the entry that tells all about each.
pub const BUNDLE_ATTEMPTS: &str = "attempts.jsonl";
/// The signed checkpoint to which the proofs lead.
pub const BUNDLE_CHECKPOINT: &str = "checkpoint";
/// The log's public key, as the gateway says. Whoever verifies should have it by another way.
pub const BUNDLE_KEY: &str = "log.vkey";
/// All other files, with their digests.
pub const BUNDLE_MANIFEST: &str = "manifest.json";
/// What makes the manifest stand.
pub const BUNDLE_SEAL: &str = "seal.json";
/// The action of the entry that seals.
pub const BUNDLE_GATHERED: &str = "incident-gather";
/// A bundle has at most so many files.
pub const BUNDLE_FILES_MAX: usize = 64;

/// The largest manifest that is read, in bytes.
const MANIFEST_MAX_BYTES: u64 = 64 * 1024;
/// The largest seal that is read, in bytes: two entries, whose quotes are escaped.
const SEAL_MAX_BYTES: u64 = 8 * 1024 * 1024;
/// The largest signed note that is read, in bytes.
const NOTE_MAX_BYTES: u64 = 16 * 1024;
/// The longest line that is read, in bytes: an entry whose quotes are escaped, with its proof.
const LINE_MAX_BYTES: u64 = 4 * 1024 * 1024;

const FORMAT: &str = "vestibule-incident-bundle/1";

/// What a bundle consists of.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: String,
    incident: AttemptId,
    /// In the order of their names.
    files: Vec<ManifestFile>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ManifestFile {
    name: String,
    bytes: u64,
    sha256: Digest,
}

/// The seal of the act that recorded the digest of a manifest; none if the log does not hold the act, from its beginning
/// to its end. Sign the log first. Reads the whole log.
///
/// # Errors
/// When the log cannot be read or is not what was signed.
pub fn seal_bundle(folder: &Path, key: &PublicKey, act: AttemptId) -> Result<Option<String>, EvidenceError> {
    seal::of(folder, key, act)
}

/// Whether a name can be that of a file in a bundle: nothing that leads elsewhere.
fn is_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (1..=64).contains(&name.len()) && !name.starts_with('.') && name.chars().all(is_plain)
}
