use std::collections::BTreeMap;

use aws_lc_rs::digest::{Context, SHA256};
use vestibule_model::{AttemptId, Digest};

use super::{FORMAT, Manifest, ManifestFile};

/// Keeps count of the files of a bundle while they are written, piece by piece and in whatever order.
#[derive(Default)]
pub struct Bundling {
    files: BTreeMap<&'static str, Written>,
}

#[derive(Clone)]
struct Written {
    bytes: u64,
    digest: Context,
}

impl Bundling {
    /// Takes note of what is appended to a file; of an empty piece, that the file is there.
    pub fn add(&mut self, name: &'static str, piece: &[u8]) {
        let written =
            self.files.entry(name).or_insert_with(|| Written { bytes: 0, digest: Context::new(&SHA256) });
        written.bytes = written.bytes.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        written.digest.update(piece);
    }

    /// The manifest of all that was written.
    ///
    /// # Errors
    /// When it cannot become JSON.
    pub fn manifest(&self, incident: AttemptId) -> Result<String, serde_json::Error> {
        let files = self.files.iter().map(|(name, written)| {
            let digest = written.digest.clone().finish();
            let mut sha256 = [0u8; 32];
            sha256.iter_mut().zip(digest.as_ref()).for_each(|(slot, byte)| *slot = *byte);
            ManifestFile {
                name: (*name).to_owned(),
                bytes: written.bytes,
                sha256: Digest::from_bytes(sha256),
            }
        });
        let manifest = Manifest { format: FORMAT.to_owned(), incident, files: files.collect() };
        Ok(format!("{}\n", serde_json::to_string_pretty(&manifest)?))
    }
}

impl std::fmt::Debug for Bundling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.files.keys()).finish()
    }
}
