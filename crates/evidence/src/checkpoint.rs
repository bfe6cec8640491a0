//! Signed statements of how many entries there are and of their root (<https://c2sp.org/tlog-checkpoint>), and the
//! history of them.
//!
//! The file `checkpoint` holds the newest one, `checkpoints` all of them, each followed by an empty line. A statement is
//! in the history before it is published, so `checkpoint` is always one of the history.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Take, Write},
    path::{Path, PathBuf},
};

use signed_note::Note;
use tlog_tiles::{Checkpoint, Hash};

use crate::{
    EvidenceError, PublicKey, VerifyError,
    error::{FileError, at},
    files,
    key::NoteSigner,
};

const NEWEST: &str = "checkpoint";
const HISTORY: &str = "checkpoints";
/// The longest note that is read. Ours have some 200 bytes; witnesses may add signatures.
const NOTE_MAX_BYTES: usize = 16 * 1024;

/// Signs a checkpoint.
pub(crate) fn sign(
    signer: &NoteSigner,
    origin: &str,
    size: u64,
    root: Hash,
) -> Result<Vec<u8>, EvidenceError> {
    let checkpoint =
        Checkpoint::new(origin, size, root, "").map_err(|_| EvidenceError::Origin(origin.to_owned()))?;
    let mut note = Note::new(&checkpoint.to_bytes(), &[]).map_err(EvidenceError::Sign)?;
    note.add_sigs(&[signer]).map_err(EvidenceError::Sign)?;
    Ok(note.to_bytes())
}

/// The newest checkpoint as it is published, if there is one.
pub(crate) fn newest(folder: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let path = folder.join(NEWEST);
    files::if_found(std::fs::read(&path)).map_err(at(&path))
}

/// Appends to the history and publishes.
#[derive(Debug)]
pub(crate) struct Publisher {
    newest: PathBuf,
    path: PathBuf,
    history: File,
}

impl Publisher {
    /// Opens the history and cuts what stands after its last whole record.
    pub(crate) fn open(folder: &Path, whole_bytes: u64) -> Result<Self, FileError> {
        let path = folder.join(HISTORY);
        let history = files::append(&path).map_err(at(&path))?;
        history.set_len(whole_bytes).map_err(at(&path))?;
        Ok(Self { newest: folder.join(NEWEST), path, history })
    }

    /// Publishes a signed note.
    pub(crate) fn publish(&mut self, note: &[u8]) -> Result<(), FileError> {
        let mut record = note.to_vec();
        record.push(b'\n');
        let appended = self.history.write_all(&record).and_then(|()| self.history.sync_data());
        appended.map_err(at(&self.path))?;
        files::replace(&self.newest, note).map_err(at(&self.newest))
    }
}

/// One checkpoint of the history.
pub(crate) struct Signed {
    /// In the history, from 1.
    pub(crate) number: u64,
    pub(crate) note: Vec<u8>,
    pub(crate) size: u64,
    pub(crate) root: Hash,
}

impl Signed {
    pub(crate) fn read(number: u64, note: Vec<u8>, key: &PublicKey) -> Result<Self, VerifyError> {
        let fault = |problem| VerifyError::Checkpoint { number, problem };
        let parsed = Note::from_bytes(&note).map_err(|_| fault("not a signed note"))?;
        let checkpoint = Checkpoint::from_bytes(parsed.text()).map_err(|_| fault("not a checkpoint"))?;
        if checkpoint.origin() != key.origin() {
            return Err(fault("of another log"));
        }
        Ok(Self { number, size: checkpoint.size(), root: *checkpoint.hash(), note })
    }

    /// Checks its signature.
    pub(crate) fn verify(&self, key: &PublicKey) -> Result<(), VerifyError> {
        let fault = |problem| VerifyError::Checkpoint { number: self.number, problem };
        let note = Note::from_bytes(&self.note).map_err(|_| fault("not a signed note"))?;
        note.verify(key).map(|_| ()).map_err(|_| fault("not signed by the log's key"))
    }
}

/// Reads the history, one checkpoint at a time.
pub(crate) struct History {
    reader: Option<BufReader<Take<File>>>,
    path: PathBuf,
    number: u64,
    whole_bytes: u64,
}

impl History {
    pub(crate) fn open(folder: &Path) -> Result<Self, FileError> {
        let path = folder.join(HISTORY);
        // As it stands now: what is signed while the segments are read may cover entries that are not among them.
        let read = || -> io::Result<_> {
            let file = File::open(&path)?;
            let bytes = file.metadata()?.len();
            Ok(BufReader::new(file.take(bytes)))
        };
        let reader = files::if_found(read()).map_err(at(&path))?;
        Ok(Self { reader, path, number: 0, whole_bytes: 0 })
    }

    /// Bytes of the whole records read so far.
    pub(crate) fn whole_bytes(&self) -> u64 {
        self.whole_bytes
    }

    /// The next one. A record that was cut short at the very end is none: it never was published.
    pub(crate) fn next(&mut self, key: &PublicKey) -> Result<Option<Signed>, VerifyError> {
        let Some(reader) = &mut self.reader else { return Ok(None) };
        let mut record = Vec::new();
        // The text, an empty line, the signatures, an empty line.
        for _ in 0..2 {
            loop {
                let before = record.len();
                let rest = u64::try_from(NOTE_MAX_BYTES - before).unwrap_or(0);
                reader.take(rest).read_until(b'\n', &mut record).map_err(at(&self.path))?;
                match record.get(before..) {
                    Some(b"\n") => break,
                    Some([.., b'\n']) => {}
                    Some(_) | None if record.len() < NOTE_MAX_BYTES => return Ok(None),
                    Some(_) | None => {
                        return Err(VerifyError::Checkpoint { number: self.number + 1, problem: "too long" });
                    }
                }
            }
        }
        self.number += 1;
        self.whole_bytes += u64::try_from(record.len()).unwrap_or(0);
        record.pop();
        Signed::read(self.number, record, key).map(Some)
    }
}
