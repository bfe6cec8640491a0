use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use vestibule_model::{Fault, FaultKind};

/// Where an entry stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The number of the segment file, from 1.
    pub segment: u64,
    /// The line in it, from 1.
    pub line: u64,
    /// The entry's index in the whole log, from 0.
    pub index: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {:08}, line {}, entry {}", self.segment, self.line, self.index)
    }
}

/// Input or output failed.
#[derive(Debug, thiserror::Error)]
#[error("input or output failed at `{}`", path.display())]
pub struct FileError {
    path: PathBuf,
    source: io::Error,
}

/// Names the file at which it failed.
pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError { path, source }
}

/// Why a log does not verify.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// A file cannot be read, or a tile that is missing cannot be written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The folder says that another key signs it.
    #[error("`log.vkey` names another key")]
    KeyDiffers,
    /// The segment files are not numbered without a hole.
    #[error("segment {number:08} is missing, or a file is among the segments that is none")]
    SegmentMissing {
        /// The first that is missing.
        number: u64,
    },
    /// A line is no entry.
    #[error("{place}: not an entry")]
    Malformed {
        /// Where.
        place: Place,
    },
    /// The first entry that is not the one that was signed: changed, moved, or something before it was removed or
    /// put in.
    #[error("{place}: not the entry that was signed")]
    Changed {
        /// Where.
        place: Place,
    },
    /// Entries are not the ones that were signed; the hash tiles do not tell which.
    #[error("entries {from} to {to} are not those that were signed")]
    ChangedBetween {
        /// The first that may be changed.
        from: u64,
        /// The last that may be changed.
        to: u64,
    },
    /// Entries at the end are missing.
    #[error("the log ends after {entries} entries, {signed} were signed")]
    Truncated {
        /// How many there are.
        entries: u64,
        /// How many were signed.
        signed: u64,
    },
    /// A signed checkpoint is not what it must be.
    #[error("checkpoint {number}: {problem}")]
    Checkpoint {
        /// Its number in the file `checkpoints`, from 1.
        number: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// The newest checkpoint is not in the history.
    #[error("the file `checkpoint` is not in the history `checkpoints`")]
    CheckpointUnknown,
    /// A hash tile is not what the entries give.
    #[error("hash tile `{path}` is not that of the entries")]
    TileChanged {
        /// Which.
        path: String,
    },
    /// The entries are those that were signed, but make no sense.
    #[error("{place}: {problem}")]
    Entry {
        /// Where.
        place: Place,
        /// What is wrong.
        problem: &'static str,
    },
}

/// Why the log cannot be opened, written or searched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another process writes this log.
    #[error("the log in `{}` is in use", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The log is not what was signed. It must be looked at before anything is appended to it.
    #[error("the log in `{}` is damaged", path.display())]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// Where and how.
        source: Box<VerifyError>,
    },
    /// The origin cannot be the name of a log.
    #[error("the origin `{0}` must not be empty nor hold spaces or `+`")]
    Origin(String),
    /// A key is not in its text form.
    #[error("not a key: {0}")]
    Key(&'static str),
    /// A checkpoint cannot be signed.
    #[error("cannot sign a checkpoint")]
    Sign(#[source] signed_note::NoteError),
    /// The writer's thread cannot be started.
    #[error("cannot start the thread that writes the log")]
    Thread(#[source] io::Error),
    /// An entry cannot be written as JSON.
    #[error("cannot write an entry as JSON")]
    Json(#[from] serde_json::Error),
}

impl EvidenceError {
    pub(crate) fn damaged(folder: &Path) -> impl FnOnce(VerifyError) -> Self {
        let path = folder.to_owned();
        move |error| {
            if let VerifyError::File(error) = error {
                Self::File(error)
            } else {
                Self::Damaged { path, source: Box::new(error) }
            }
        }
    }
}

/// An error with its sources, for a log.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}

/// What a caller gets when the record cannot be written.
pub(crate) fn unavailable(cause: impl fmt::Display) -> Fault {
    Fault::new(FaultKind::EvidenceUnavailable, cause)
}
