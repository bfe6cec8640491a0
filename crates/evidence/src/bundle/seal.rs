//! What makes a manifest stand: the gateway has recorded its digest in the log, as an administrative act.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tlog_tiles::Hash;
use vestibule_model::{AttemptId, Digest, Timestamp};

use super::{BUNDLE_GATHERED, BUNDLE_SEAL, BundleError};
use crate::{
    Attempt, EvidenceError, Excerpt, Fit, Outcome, ProvenEntry, PublicKey, RecordKind, Selection, State,
    checkpoint::Signed,
    event::{self, EntryKind, Head},
};

/// The two entries of the act, opened and closed, under a checkpoint.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seal {
    checkpoint: String,
    entries: [ProvenEntry; 2],
}

/// What the act says about the manifest.
#[derive(Deserialize)]
struct Said {
    manifest: Digest,
}

struct One(AttemptId);

impl Selection for One {
    fn may_fit(&self, attempt: AttemptId, _line: &str) -> bool {
        attempt == self.0
    }

    fn fits(&mut self, attempt: &Attempt) -> Fit {
        if attempt.record.attempt == self.0 && attempt.state == State::Closed { Fit::Yes } else { Fit::No }
    }
}

/// The seal of the act that recorded the digest of a manifest; none if the log does not hold the act yet.
pub(super) fn of(folder: &Path, key: &PublicKey, act: AttemptId) -> Result<Option<String>, EvidenceError> {
    let excerpt = Excerpt::of(folder, key, &mut One(act), 1)?;
    let mut entries = Vec::new();
    excerpt.each(|excerpted| {
        entries.push(excerpted.proven);
        Ok::<(), EvidenceError>(())
    })?;
    let Ok(entries) = <[ProvenEntry; 2]>::try_from(entries) else { return Ok(None) };
    let seal = Seal { checkpoint: excerpt.checkpoint().to_owned(), entries };
    Ok(Some(written(&seal)?))
}

fn written(seal: &Seal) -> Result<String, serde_json::Error> {
    Ok(format!("{}\n", serde_json::to_string_pretty(seal)?))
}

/// Checks that the log's key stands behind a manifest. Gives when it was sealed.
pub(super) fn check(
    text: &str,
    manifest: &str,
    incident: AttemptId,
    key: &PublicKey,
) -> Result<Timestamp, BundleError> {
    let fault = |problem| BundleError::Malformed { name: BUNDLE_SEAL, problem };
    let seal: Seal = serde_json::from_str(text).map_err(|_| fault("is no seal"))?;
    // Else a blank could be changed, which means nothing, but no file may be changed at all.
    if written(&seal).ok().as_deref() != Some(text) {
        return Err(fault("was changed"));
    }
    let (size, root) = signed(&seal.checkpoint, key).map_err(fault)?;
    let [opened, closed] = &seal.entries;
    if !seal.entries.iter().all(|entry| entry.is_under(size, root)) {
        return Err(fault("its entries do not stand in the log that its checkpoint is of"));
    }
    let head = |entry: &ProvenEntry| {
        Head::read(entry.entry.as_bytes()).map_err(|_| fault("its entries are no entries"))
    };
    let (begins, ends) = (head(opened)?, head(closed)?);
    if (begins.entry, ends.entry) != (EntryKind::Opened, EntryKind::Closed) || begins.id != ends.id {
        return Err(fault("its entries are not the beginning and the end of one act"));
    }
    let act = event::read_attempt(closed.entry.as_bytes(), State::Closed)
        .map_err(|_| fault("its entries are no act"))?;
    let record = &act.record;
    let is_gathering = record.kind == RecordKind::Administration
        && record.action.as_deref() == Some(BUNDLE_GATHERED)
        && record.target == Some(format!("incident/{incident}"))
        && act.outcome == Some(Outcome::Completed);
    if !is_gathering {
        return Err(fault("its act is not the gathering of this incident"));
    }
    let said: Option<Said> = record.detail.as_deref().and_then(|detail| serde_json::from_str(detail).ok());
    if said.map(|said| said.manifest) != Some(Digest::of(manifest.as_bytes())) {
        return Err(BundleError::Changed { name: super::BUNDLE_MANIFEST.to_owned() });
    }
    Ok(ends.time)
}

/// Size and root of a signed note, which must carry the signature of the log's key and no other line.
pub(super) fn signed(note: &str, key: &PublicKey) -> Result<(u64, Hash), &'static str> {
    let signed = Signed::read(0, note.as_bytes().to_vec(), key)
        .map_err(|_| "its checkpoint is not one of the log of this key")?;
    signed.verify(key).map_err(|_| "its checkpoint is not signed by this key")?;
    if note.lines().filter(|line| line.starts_with('—')).count() != 1 {
        return Err("its checkpoint carries a signature that is not the log's");
    }
    Ok((signed.size, signed.root))
}
