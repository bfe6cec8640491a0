use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read},
    path::Path,
};

use aws_lc_rs::digest::{Context, SHA256};
use serde::Serialize;
use vestibule_model::{AttemptId, Timestamp};

use super::{
    BUNDLE_ATTEMPTS, BUNDLE_CHECKPOINT, BUNDLE_ENTRIES, BUNDLE_FILES_MAX, BUNDLE_KEY, BUNDLE_MANIFEST,
    BUNDLE_SEAL, BundleError, FORMAT, MANIFEST_MAX_BYTES, Manifest, ManifestFile, NOTE_MAX_BYTES,
    SEAL_MAX_BYTES, is_name, seal, told,
};
use crate::{PublicKey, error::at};

/// What is proven about a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BundleReport {
    /// The incident: the attempt that opened it.
    pub incident: AttemptId,
    /// The name of the log.
    pub origin: String,
    /// Entries, each of which stands in the log as it stands here.
    pub entries: u64,
    /// Attempts that they tell of.
    pub attempts: u64,
    /// Entries that the log had when they were taken from it.
    pub log_entries: u64,
    /// Files that the seal covers.
    pub files: u64,
    /// When the gateway has sealed it.
    pub sealed_at: Timestamp,
}

/// Checks offline, with the public key alone, that a bundle is the one that the gateway has gathered: no file was changed,
/// removed or added, each entry stands in the log, and the attempts are those of the entries. The key that lies in the
/// bundle is not trusted.
///
/// # Errors
/// [`BundleError`] names the first file that is not as it was gathered.
pub fn verify_bundle(folder: &Path, key: &PublicKey) -> Result<BundleReport, BundleError> {
    let manifest_text = text(folder, BUNDLE_MANIFEST, MANIFEST_MAX_BYTES)?;
    let fault = |problem| BundleError::Malformed { name: BUNDLE_MANIFEST, problem };
    let manifest: Manifest =
        serde_json::from_str(&manifest_text).map_err(|_| fault("is no manifest of a bundle"))?;
    if manifest.format != FORMAT {
        return Err(fault("is of a format that this version does not know"));
    }
    let sealed = text(folder, BUNDLE_SEAL, SEAL_MAX_BYTES)?;
    let sealed_at = seal::check(&sealed, &manifest_text, manifest.incident, key)?;
    // From here on the manifest is what the gateway recorded.
    check_files(folder, &manifest.files)?;
    let listed = |name| manifest.files.iter().any(|file| file.name == name);
    if ![BUNDLE_ENTRIES, BUNDLE_ATTEMPTS, BUNDLE_CHECKPOINT, BUNDLE_KEY].into_iter().all(listed) {
        return Err(fault("does not name all that belongs to a bundle"));
    }
    let note = text(folder, BUNDLE_CHECKPOINT, NOTE_MAX_BYTES)?;
    let (size, root) = seal::signed(&note, key)
        .map_err(|problem| BundleError::Malformed { name: BUNDLE_CHECKPOINT, problem })?;
    let told = told::check(folder, size, root)?;
    Ok(BundleReport {
        incident: manifest.incident,
        origin: key.origin().to_owned(),
        entries: told.entries,
        attempts: told.attempts,
        log_entries: size,
        files: u64::try_from(manifest.files.len()).unwrap_or(u64::MAX),
        sealed_at,
    })
}

/// Checks that the folder holds exactly these, and the manifest and its seal.
fn check_files(folder: &Path, files: &[ManifestFile]) -> Result<(), BundleError> {
    let own = [BUNDLE_MANIFEST, BUNDLE_SEAL];
    let names: BTreeSet<&str> = files.iter().map(|file| file.name.as_str()).collect();
    let is_sound = names.len() == files.len()
        && files.len() <= BUNDLE_FILES_MAX
        && names.iter().all(|name| is_name(name) && !own.contains(name));
    if !is_sound {
        return Err(BundleError::Malformed { name: BUNDLE_MANIFEST, problem: "names what cannot be a file" });
    }
    for entry in std::fs::read_dir(folder).map_err(at(folder))? {
        let entry = entry.map_err(at(folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // A link would let the file be another one tomorrow.
        let is_file = entry.file_type().map_err(at(&entry.path()))?.is_file();
        if !is_file || !(names.contains(name.as_str()) || own.contains(&name.as_str())) {
            return Err(BundleError::Added { name });
        }
    }
    files.iter().try_for_each(|file| check_file(folder, file))
}

fn check_file(folder: &Path, file: &ManifestFile) -> Result<(), BundleError> {
    let path = folder.join(&file.name);
    let mut reader = opened(folder, &file.name)?;
    let (mut digest, mut bytes) = (Context::new(&SHA256), 0u64);
    let mut buffer = vec![0u8; 64 * 1024];
    loop {
        let read = reader.read(&mut buffer).map_err(at(&path))?;
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else { break };
        digest.update(piece);
        bytes = bytes.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        if bytes > file.bytes {
            break;
        }
    }
    if bytes == file.bytes && digest.finish().as_ref() == file.sha256.bytes() {
        return Ok(());
    }
    Err(BundleError::Changed { name: file.name.clone() })
}

fn opened(folder: &Path, name: &str) -> Result<File, BundleError> {
    let path = folder.join(name);
    File::open(&path).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            return BundleError::Missing { name: name.to_owned() };
        }
        BundleError::File(at(&path)(error))
    })
}

fn text(folder: &Path, name: &'static str, bytes_max: u64) -> Result<String, BundleError> {
    let mut text = String::new();
    let read = opened(folder, name)?.take(bytes_max + 1).read_to_string(&mut text);
    match read {
        Ok(bytes) if u64::try_from(bytes).is_ok_and(|bytes| bytes <= bytes_max) => Ok(text),
        Ok(_) => Err(BundleError::Malformed { name, problem: "is too large" }),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(BundleError::Malformed { name, problem: "is no text" })
        }
        Err(error) => Err(BundleError::File(at(&folder.join(name))(error))),
    }
}
