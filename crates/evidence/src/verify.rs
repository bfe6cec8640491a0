use std::path::Path;

use serde::Serialize;
use vestibule_model::AttemptId;

use crate::{
    Gap, PublicKey, VerifyError,
    replay::{Purpose, Replay},
    segments,
};

/// What a log holds that is as it was signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerifyReport {
    /// Whole entries.
    pub entries: u64,
    /// Entries that the newest checkpoint covers: none of them was changed, removed, added or moved.
    pub signed: u64,
    /// Entries after it. Not yet signed, so nothing protects them.
    pub unsigned: u64,
    /// Signed checkpoints, each of which fits.
    pub checkpoints: u64,
    /// The root of all entries, as in a checkpoint (base64).
    pub root: String,
    /// Attempts that are not closed.
    pub open: Vec<AttemptId>,
    /// When entries may be missing, as the gateway itself recorded it.
    pub gaps: Vec<Gap>,
    /// Bytes after the last whole entry, of a write that is under way or was interrupted.
    pub torn_bytes: u64,
}

/// Checks offline, with the public key alone, that the log in `folder` is what was signed: every checkpoint of the
/// history carries the log's signature and the root of the entries it covers, every entry is read, every attempt is
/// opened and closed once, and the hash tiles are those of the entries.
///
/// What it cannot see: that the log, its history and its tiles were all put back together to an earlier signed state, or
/// written anew by somebody who has the key. Compare with a checkpoint that was kept elsewhere.
///
/// # Errors
/// [`VerifyError`] names the first entry, checkpoint or tile that is not as it was signed.
pub fn verify(folder: &Path, key: &PublicKey) -> Result<VerifyReport, VerifyError> {
    let mut replay = Replay::new(folder, key, Purpose::Verify)?;
    let end = segments::walk(folder, &mut |place, line| replay.push(place, line))?;
    let replayed = replay.finish()?;
    let mut open: Vec<AttemptId> = replayed.open.into_keys().collect();
    open.sort_unstable();
    Ok(VerifyReport {
        entries: replayed.tree.size(),
        signed: replayed.signed,
        unsigned: replayed.tree.size() - replayed.signed,
        checkpoints: replayed.checkpoints,
        root: replayed.tree.root().to_string(),
        open,
        gaps: replayed.gaps,
        torn_bytes: end.torn_bytes,
    })
}
