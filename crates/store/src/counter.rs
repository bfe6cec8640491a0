use vestibule_model::Timestamp;

use crate::StoreError;

/// The key of a counter has at most this many bytes: an agent, a human, an application and an operation fit.
pub const COUNTER_KEY_MAX_BYTES: usize = 8192;

/// Counts one more, as a step of a commit. The commit writes nothing and ends with [`StoreError::Spent`] when as many
/// as may be are counted already, so several charges are made together or not at all.
///
/// However many commit at once, from however many processes: at most `most` succeed until the counter expires or is
/// counted anew. Charges are not logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// What is counted.
    pub realm: String,
    /// For whom, at most [`COUNTER_KEY_MAX_BYTES`].
    pub key: String,
    /// As many may be counted.
    pub most: u64,
    /// From this moment on it starts at none again, unless another charge has said a later one.
    pub expires_at: Timestamp,
}

/// Corrects a counter of what ends one by one, unseen: it only goes up, so whoever finds it used up counts what lives.
///
/// Between a charge that was refused and this, nobody can have counted one more, unless somebody else has corrected it
/// first or it has expired; then it is of another `era`, and this is a conflict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recount {
    /// What is counted.
    pub realm: String,
    /// For whom.
    pub key: String,
    /// Of [`StoreError::Spent`].
    pub era: i64,
    /// How many live.
    pub living: u64,
}

/// A counter as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counter {
    /// For whom.
    pub key: String,
    /// How many are counted.
    pub used: u64,
    /// From this moment on it starts at none again.
    pub expires_at: Timestamp,
}

impl Charge {
    pub(crate) fn bounded(&self) -> Result<(), StoreError> {
        if self.realm.len() + self.key.len() > COUNTER_KEY_MAX_BYTES {
            return Err(StoreError::TooLarge {
                what: "the key of a counter",
                max_bytes: COUNTER_KEY_MAX_BYTES,
            });
        }
        Ok(())
    }
}
