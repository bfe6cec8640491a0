use std::{collections::HashMap, sync::Arc};

use crate::jws::Key;

/// The keys that our own tokens are verified with, by `kid`: an immutable snapshot, replaced as a whole when keys
/// rotate.
#[derive(Debug, Default)]
pub struct VerificationKeys(HashMap<String, Arc<Key>>);

impl VerificationKeys {
    /// A snapshot of these keys. Hand on the same `Arc` for a key that stays: what was verified with it is then
    /// remembered across the rotation.
    #[must_use]
    pub fn new(keys: Vec<(String, Arc<Key>)>) -> Self {
        Self(keys.into_iter().collect())
    }

    pub(crate) fn get(&self, kid: &str) -> Option<&Arc<Key>> {
        self.0.get(kid)
    }
}
