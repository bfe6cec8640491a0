use crate::error::FileError;

/// Why a bundle is not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file is not there.
    #[error("`{name}` is missing")]
    Missing {
        /// Which.
        name: String,
    },
    /// Something is there that does not belong to it.
    #[error("`{name}` does not belong to the bundle: it was added")]
    Added {
        /// What.
        name: String,
    },
    /// A file is not the one that was gathered.
    #[error("`{name}` was changed: it is not the file that was gathered")]
    Changed {
        /// Which.
        name: String,
    },
    /// A file is not what it must be.
    #[error("`{name}`: {problem}")]
    Malformed {
        /// Which.
        name: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// A line of a file is not what it must be.
    #[error("`{name}`, line {line}: {problem}")]
    Line {
        /// Which.
        name: &'static str,
        /// Its number, from 1.
        line: u64,
        /// What is wrong.
        problem: &'static str,
    },
}
