use vestibule_inbound::{Caller, Expired};
use vestibule_model::Thumbprint;

use super::super::{Asked, TokenResponse, asker::not_of_token, mint::Granted, narrow};
use crate::{Issuer, OAuthError, Reason, lineage::Lineage, resources::Resources};

impl Issuer {
    /// An agent has its token minted again, under the same node. A bound token may have expired: the key proves more
    /// than the token's age says. An unbound one proves nothing once it has, and nothing without its client.
    pub(super) async fn again(&self, asked: Asked<'_>, subject: &str) -> Result<TokenResponse, OAuthError> {
        let caller = self.hop_tokens.read(subject, Expired::Accepted)?;
        self.is_alive(&caller)?;
        let asker = match caller.token().bound_to {
            Some(key) => {
                self.proof_by(&key, asked.request, &self.endpoints.token, subject)?;
                None
            }
            None => {
                let asker = self.asker(asked).await?;
                if asker.agent.id != *caller.agent() {
                    return Err(not_of_token().of(&asker.agent.id));
                }
                // A token bound to a key that its node does not name would outlive the revocation of that key.
                if asker.bound.is_some() {
                    return Err(OAuthError::from(Reason::ProofWrongKey).of(&asker.agent.id));
                }
                Some(asker)
            }
        };
        let granted = async {
            let client = match &asker {
                Some(asker) => asker.client,
                None => self.agrees(asked, caller.agent(), caller.token().bound_to).await?,
            };
            let granted = self.renewed(asked, &caller, client).await?;
            self.mint(granted)
        };
        granted.await.map_err(|error| error.of(caller.agent()).under(&caller))
    }

    /// `client` is the key of the client authentication, if there was one with a key.
    async fn renewed(
        &self,
        asked: Asked<'_>,
        caller: &Caller,
        client: Option<Thumbprint>,
    ) -> Result<Granted, OAuthError> {
        let token = caller.token();
        let delegation = self.node_of(caller).await?;
        Lineage::of_node(&delegation).is_known(&self.registry)?;
        if token.bound_to.is_some_and(|key| !delegation.keys().contains(&key)) {
            return Err(OAuthError::new(Reason::ProofWrongKey, "not a key of the node"));
        }
        if !is_client_of(delegation.keys(), token.bound_to.as_ref(), client) {
            return Err(
                OAuthError::new(Reason::ClientNotOfToken, "by another key than its node names").about_token()
            );
        }
        let resource = self.resource_of(&delegation)?;
        Resources::is_asked(&resource.identifier, &asked.form.resources())?;
        let scopes = narrow::scopes(asked.form, &token.scopes)?;
        let wanted = narrow::authority(asked.form, &resource.identifier)?;
        let authority = narrow::within(wanted, token.authority.as_ref())?;
        let presented = Some((&token.jti, token.issued_at));
        self.tree.check(&delegation, presented).map_err(OAuthError::about_token)?;
        Ok(Granted { delegation, scopes, authority, bound_to: token.bound_to, made: false, decision: None })
    }
}

/// Whether a node with those keys is that of a client which authenticated with `client`. A key that the node does not
/// name could be revoked without ending what it was given, and one that took the place of another has a root of its own.
fn is_client_of(keys: &[Thumbprint], bound_to: Option<&Thumbprint>, client: Option<Thumbprint>) -> bool {
    match (bound_to, client) {
        // Nothing else proves who asks.
        (None, client) => keys == client.as_slice(),
        // The first one is that of the token.
        (Some(_), Some(client)) => keys.len() < 2 || keys.contains(&client),
        (Some(_), None) => true,
    }
}
