use vestibule_model::{Digest, Timestamp};
use vestibule_store::{Store, StoreError};

/// A signed statement that counts once.
pub(super) struct SingleUse {
    realm: &'static str,
    key: String,
    /// Nothing would accept it any more, the leeway included: else a claim that was just forgotten is replayed within it.
    until: Timestamp,
}

impl SingleUse {
    /// By whom it is and its `jti`. Neither an agent's identifier nor a thumbprint holds a line break, so no two share a
    /// key.
    pub(super) fn new(realm: &'static str, by: &str, jti: &str, until: Timestamp) -> Self {
        Self { realm, key: Digest::of(format!("{by}\n{jti}").as_bytes()).to_string(), until }
    }

    /// Uses it up, and says whether this was its first use. Last of all, so that nobody else can use up an identifier of
    /// its signer.
    pub(super) async fn claim(self, store: &dyn Store) -> Result<bool, StoreError> {
        let fresh = store.claim(self.realm, vec![(self.key, self.until)]).await?;
        Ok(fresh == [true])
    }
}
