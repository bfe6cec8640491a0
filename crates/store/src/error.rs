use std::{error::Error, path::PathBuf, sync::Arc};

use crate::Kind;

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// An expectation failed; nothing of the commit was written. Read again and decide again.
    #[error("the {kind} record `{key}` is not as expected")]
    Conflict {
        /// Kind of the record.
        kind: Kind,
        /// Its key.
        key: String,
    },
    /// A charge found as many counted as may be; nothing of the commit was written.
    #[error("the counter `{key}` of `{realm}` is used up")]
    Spent {
        /// What is counted.
        realm: String,
        /// For whom.
        key: String,
        /// Names the time since the counter has begun anew, for [`Recount`](crate::Recount).
        era: i64,
    },
    /// A counter has begun anew since it was seen; nothing of the commit was written.
    #[error("the counter `{key}` of `{realm}` has changed")]
    Recounted {
        /// What is counted.
        realm: String,
        /// For whom.
        key: String,
    },
    /// A key or a body is larger than the store takes.
    #[error("{what} is larger than {max_bytes} bytes")]
    TooLarge {
        /// Which part.
        what: &'static str,
        /// The bound.
        max_bytes: usize,
    },
    /// The text of a record is not what its kind demands, or a value cannot become text.
    #[error("the {kind} record `{key}` is not readable")]
    Unreadable {
        /// Kind of the record.
        kind: Kind,
        /// Its key.
        key: String,
        /// What the reader said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The database was written by a newer version of this program.
    #[error("the database has schema {found}; this program knows up to {known}")]
    SchemaNewer {
        /// Schema of the file.
        found: usize,
        /// Highest schema known here.
        known: usize,
    },
    /// The database file cannot be created or protected.
    #[error("cannot prepare the database file `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The database failed or cannot be reached. A commit that ends so may or may not have been written.
    #[error("the database failed to {doing}")]
    Unavailable {
        /// What it was asked to do.
        doing: &'static str,
        /// What it said. Shared, for one failed transaction can fail many commits.
        #[source]
        source: Arc<dyn Error + Send + Sync>,
    },
    /// The writer has stopped; the store must be opened again.
    #[error("the store has stopped")]
    Stopped,
}

impl StoreError {
    pub(crate) fn unavailable(doing: &'static str, source: impl Error + Send + Sync + 'static) -> Self {
        Self::Unavailable { doing, source: Arc::new(source) }
    }
}
