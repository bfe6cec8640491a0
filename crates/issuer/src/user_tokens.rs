use std::{fmt, sync::Arc};

use secrecy::SecretString;
use vestibule_model::{NodeId, Timestamp, UserGrant};
use vestibule_store::{Kind, Op, Put, Store, StoreError, vault::Vault};

use crate::Delegations;

/// The tokens of users on which living roots rest, sealed. Kept only where the gateway exchanges them for tokens of
/// applications: a token that nobody needs is not kept.
#[derive(Clone)]
pub struct UserTokens {
    store: Arc<dyn Store>,
    vault: Arc<Vault>,
}

impl UserTokens {
    /// In that store, sealed by that vault.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, vault: Arc<Vault>) -> Self {
        Self { store, vault }
    }

    /// Keeps it until it expires. Under its digest: however many roots rest on a token, it lies there once.
    pub(crate) async fn keep(
        &self,
        grant: &UserGrant,
        token: &str,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        let put = Put::sealed(Kind::UserToken, grant.digest.as_str(), &self.vault, token.as_bytes());
        self.store.commit(vec![Op::Put(put.expires_at(expires_at).logged(false))]).await.map(drop)
    }

    /// The token on which that root rests; none when it rests on none, has ended, or the token has expired.
    ///
    /// # Errors
    /// When the store fails, or what lies there cannot be opened.
    pub async fn of_root(&self, root: &NodeId) -> Result<Option<SecretString>, StoreError> {
        let root = Delegations::new(Arc::clone(&self.store)).get(root).await?;
        let Some(grant) = root.and_then(|root| root.delegation.grant) else { return Ok(None) };
        let Some(record) = self.store.get(Kind::UserToken, &grant.digest).await? else { return Ok(None) };
        let unreadable =
            |source| StoreError::Unreadable { kind: Kind::UserToken, key: record.key.clone(), source };
        let token = self.vault.open_record(&record).map_err(|error| unreadable(Box::new(error)))?;
        let token = std::str::from_utf8(&token).map_err(|error| unreadable(Box::new(error)))?;
        Ok(Some(token.into()))
    }
}

impl fmt::Debug for UserTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UserTokens").finish_non_exhaustive()
    }
}
