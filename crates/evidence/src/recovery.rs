//! What is done before the first entry is written: the log is read from its beginning, compared with what was signed,
//! and what the last stop left undone is put right, in the log itself.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, SeekFrom, Write},
    path::Path,
};

use vestibule_model::{AttemptId, Clock, Entropy, Timestamp};

use crate::{
    EvidenceConfig, EvidenceError, Gap, LogKey, Outcome, PublicKey, VerifyError,
    attempt::State,
    checkpoint::Publisher,
    error::{FileError, at},
    event::{self, EntryKind, Lifecycle},
    files,
    log::{Log, Segment},
    replay::{Purpose, Replay, Replayed},
    segments::{self, End},
};

/// Opens the log, begins it where there is none.
pub(crate) fn open(
    config: &EvidenceConfig,
    key: &LogKey,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<Log, EvidenceError> {
    let folder = config.folder.as_path();
    let public = key.public(&config.origin)?;
    let segments = segments::folder(folder);
    files::create_folder(&segments).map_err(at(&segments))?;
    let lock = lock(folder)?;
    let (replayed, end) = replay(folder, &public).map_err(EvidenceError::damaged(folder))?;
    if end.torn_bytes > 0 {
        cut(folder, &end)?;
    }
    let vkey = folder.join("log.vkey");
    files::replace(&vkey, format!("{public}\n").as_bytes()).map_err(at(&vkey))?;
    let lines = opening_lines(&replayed, &end, config, clock.now(), entropy)?;
    let mut log = Log {
        folder: folder.to_owned(),
        _lock: lock,
        segment: Segment::open(folder, end.segment, end.whole_bytes, config.segment_max_bytes)?,
        tree: replayed.tree,
        signer: key.signer(&public),
        public,
        publisher: Publisher::open(folder, replayed.history_bytes)?,
        signed: replayed.signed,
    };
    log.append(&lines)?;
    log.checkpoint()?;
    Ok(log)
}

/// Two writers would fork the log.
fn lock(folder: &Path) -> Result<File, EvidenceError> {
    let path = folder.join("lock");
    let file = files::append(&path).map_err(at(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(EvidenceError::InUse { path: folder.to_owned() }),
        Err(TryLockError::Error(error)) => Err(at(&path)(error).into()),
    }
}

fn replay(folder: &Path, public: &PublicKey) -> Result<(Replayed, End), VerifyError> {
    let mut replay = Replay::new(folder, public, Purpose::Recover)?;
    let end = segments::walk(folder, &mut |place, line| replay.push(place, line))?;
    Ok((replay.finish()?, end))
}

/// Moves what an interrupted write left at the end to the file `torn`: it is no entry, but nothing is destroyed.
fn cut(folder: &Path, end: &End) -> Result<(), FileError> {
    let path = segments::path(folder, end.segment);
    let kept = folder.join("torn");
    let read = || {
        let mut file = OpenOptions::new().read(true).write(true).open(&path)?;
        file.seek(SeekFrom::Start(end.whole_bytes))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok((file, bytes))
    };
    let (file, bytes) = read().map_err(at(&path))?;
    files::append(&kept)
        .and_then(|mut kept| kept.write_all(&bytes).and_then(|()| kept.sync_all()))
        .map_err(at(&kept))?;
    file.set_len(end.whole_bytes).and_then(|()| file.sync_all()).map_err(at(&path))
}

/// The entries that a start writes: what may be missing, the end of what was open, and the start itself.
fn opening_lines(
    replayed: &Replayed,
    end: &End,
    config: &EvidenceConfig,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<Vec<u8>, EvidenceError> {
    let mut lines = Vec::new();
    let lifecycle = |own: &Lifecycle, lines: &mut Vec<u8>| {
        event::write_lifecycle(lines, own, AttemptId::new(now, entropy), now)
    };
    let was_stopped = replayed.last.is_none_or(|(last, _)| last == EntryKind::Stop);
    if !was_stopped || end.torn_bytes > 0 {
        let from = replayed.last.map_or(now, |(_, time)| time);
        let gap = Gap { from, to: now, torn_bytes: end.torn_bytes };
        tracing::warn!(?gap, "the gateway did not stop in order: entries may be missing");
        lifecycle(&Lifecycle::Gap(gap), &mut lines)?;
    }
    let mut open: Vec<_> = replayed.open.iter().collect();
    open.sort_unstable_by_key(|(id, _)| **id);
    for (_, opened) in open {
        let attempt = event::read_attempt(opened, State::Open)?;
        event::write_attempt(&mut lines, EntryKind::Closed, &attempt.record, Some(Outcome::Unknown), now)?;
    }
    lifecycle(&Lifecycle::Start { version: env!("CARGO_PKG_VERSION"), mode: config.mode }, &mut lines)?;
    Ok(lines)
}
