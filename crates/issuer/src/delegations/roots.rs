use serde_json::json;
use vestibule_model::{Delegation, Digest, Represented, Thumbprint, Timestamp, UserGrant};
use vestibule_store::{By, Kind, Record};

use super::{Seed, Tree, read};
use crate::OAuthError;

/// Roots with the same terms are few: as many as were revoked, or are about to end.
const FOUND_MAX: u32 = 100;

/// What a root lies below in the store: its terms. No node has such an identifier.
const TERMS: &str = "terms:";

/// Whether it is the record of a root.
pub(super) fn is_root(record: &Record) -> bool {
    record.parent.as_deref().is_some_and(|above| above.starts_with(TERMS))
}

/// On what terms an agent asks for a root. The same terms lead to the same root as long as it lives, so that a token
/// request writes nothing and one revocation names all that was done under them. Another key makes another root, and
/// the tree below the old one lives on: to rotate a key is not to revoke it.
pub(crate) struct RootTerms {
    pub(crate) seed: Seed,
    /// The key that the token will be bound to.
    pub(crate) bound: Option<Thumbprint>,
    /// The key of the client authentication.
    pub(crate) client: Option<Thumbprint>,
    pub(crate) on_behalf_of: Option<(Represented, UserGrant)>,
    pub(crate) max_depth: u8,
}

impl RootTerms {
    /// Equal for equal terms: everything that a root fixes, but when and by which request it was made.
    fn digest(&self) -> Digest {
        let seed = &self.seed;
        let (user, grant) = self.on_behalf_of.as_ref().map(|(user, grant)| (user, grant)).unzip();
        let terms = json!([
            seed.agent,
            seed.resource.app,
            seed.resource.identifier,
            seed.scopes,
            seed.authority,
            self.bound,
            self.client,
            user,
            grant.map(|grant| &grant.digest),
            self.max_depth,
        ]);
        Digest::of(terms.to_string().as_bytes())
    }
}

impl Tree {
    /// A root under which a token may be minted now: it outlives the token and is not revoked. Says whether it was made
    /// just now.
    ///
    /// Revoking a root kills what was made under it. The agent may ask for a new one: to stop the agent, revoke the agent;
    /// to stop what it does for a human, revoke the human, their session or their client.
    pub(crate) async fn root(&self, terms: RootTerms) -> Result<(Delegation, bool), OAuthError> {
        let digest = terms.digest();
        let slot = self.slot(&digest);
        let mut slot = slot.lock().await;
        let now = self.clock.now();
        if let Some(known) = slot.as_ref()
            && self.is_root_usable(known, now)?
        {
            return Ok((known.clone(), false));
        }
        let above = format!("{TERMS}{digest}");
        let (root, is_new) = match self.find(&above, now).await? {
            Some(found) => (found, false),
            None => {
                let RootTerms { seed, on_behalf_of, max_depth, .. } = terms;
                let root = seed.root(on_behalf_of, max_depth, now, self.entropy.as_ref());
                self.plant(&root, &above).await?;
                (root, true)
            }
        };
        *slot = Some(root.clone());
        Ok((root, is_new))
    }

    /// What the store knows of before a restart, or from a gateway beside this one.
    async fn find(&self, above: &str, now: Timestamp) -> Result<Option<Delegation>, OAuthError> {
        for record in self.store.scan(Kind::Delegation, By::Parent(above), None, FOUND_MAX).await? {
            let root = read(&record)?.delegation;
            if self.is_root_usable(&root, now)? {
                return Ok(Some(root));
            }
        }
        Ok(None)
    }

    fn is_root_usable(&self, root: &Delegation, now: Timestamp) -> Result<bool, OAuthError> {
        Ok(root.expires_at > now.plus(self.token_ttl) && self.is_open(root)?)
    }
}
