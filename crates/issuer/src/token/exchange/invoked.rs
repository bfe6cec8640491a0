use serde_json::json;
use vestibule_inbound::CallToken;
use vestibule_model::{Authority, Delegation, Digest, Thumbprint};
use vestibule_policy::Decision;

use super::{
    super::{Asked, TokenResponse, asker::Asker, mint::Granted, narrow},
    below,
};
use crate::{Issuer, OAuthError, Reason, delegations::Seed, lineage::Lineage, resources::Resource};

impl Issuer {
    /// An agent that was called through the gateway acts on: below the node of its caller, within what both may, and
    /// only as long as the call lasts.
    ///
    /// The attack: a called agent, or whoever reads its log, uses the authority of its callers later, elsewhere or for
    /// somebody else. So the token is for one agent, which authenticates, and dies with the call.
    pub(super) async fn invoked(&self, asked: Asked<'_>, subject: &str) -> Result<TokenResponse, OAuthError> {
        let asker = self.asker(asked).await?;
        let granted = async {
            let called = self.call_tokens.read(subject)?;
            let standing = |error: OAuthError| error.under(&called.caller);
            if called.agent != asker.agent.id {
                let cause = format!("it is for `{}`", called.agent);
                return Err(OAuthError::new(Reason::CallTokenNotForClient, cause));
            }
            if !self.containment.is_under_way(called.call) {
                return Err(standing(OAuthError::new(Reason::CallEnded, format!("call {}", called.call))));
            }
            let key = asker.bound.ok_or(Reason::ProofMissing)?;
            let granted = self.within_call(asked, &asker, key, &called).await.map_err(standing)?;
            self.mint(granted)
        };
        granted.await.map_err(|error: OAuthError| error.of(&asker.agent.id))
    }

    async fn within_call(
        &self,
        asked: Asked<'_>,
        asker: &Asker,
        key: Thumbprint,
        called: &CallToken,
    ) -> Result<Granted, OAuthError> {
        let node = self.node_of(&called.caller).await?;
        Lineage::of_node(&node).is_known(&self.registry)?;
        below::is_deep_enough(&node)?;
        let resource = self.resources.choose(&asker.agent, &asked.form.resources())?;
        self.is_app_of_all(&node, resource)?;
        let token = called.caller.token();
        let both = asker.agent.scopes.intersection(&token.scopes).cloned().collect();
        let scopes = narrow::scopes(asked.form, &both)?;
        let wanted = narrow::authority(asked.form, &resource.identifier)?;
        let authority = narrow::within(wanted.clone(), token.authority.as_ref())?;
        is_for(authority.as_ref(), resource)?;
        let seed = Seed {
            agent: asker.agent.id.clone(),
            keys: [key].into_iter().chain(asker.client).collect(),
            resource: resource.clone(),
            scopes: both,
            authority: authority.clone(),
            life: narrow::life(asked.form, self.config.node_ttl)?,
            made_by: asked.request.attempt,
        };
        let (delegation, made, decision) =
            self.node_within(asked, &node, called, seed, wanted.as_ref()).await?;
        Ok(Granted { delegation, scopes, authority, bound_to: Some(key), made, decision: Some(decision) })
    }

    /// The node for the agent within the call: the one that it has on the same terms, or a new one. Policy is asked every
    /// time.
    async fn node_within(
        &self,
        asked: Asked<'_>,
        above: &Delegation,
        called: &CallToken,
        seed: Seed,
        wanted: Option<&Authority>,
    ) -> Result<(Delegation, bool, Decision), OAuthError> {
        let token = called.caller.token();
        let now = self.clock.now();
        let slot = self.tree.slot(&terms(above, called, &seed));
        let mut slot = slot.lock().await;
        let known = match slot.as_ref() {
            Some(known) if known.expires_at > now && self.tree.is_open(known)? => Some(known.clone()),
            Some(_) | None => None,
        };
        let made = known.is_none();
        let child = known.unwrap_or_else(|| seed.below(above, Some(called.call), now, self.entropy.as_ref()));
        let is_open = || {
            let presented = Some((&token.jti, token.issued_at));
            self.tree.check(&child, presented).map_err(OAuthError::about_token)
        };
        is_open()?;
        let decision = self.may_delegate(asked, &called.caller, &child, wanted)?;
        if made {
            let granted = Granted {
                delegation: child.clone(),
                scopes: child.scopes.clone(),
                authority: child.authority.clone(),
                bound_to: child.keys().first().copied(),
                made,
                decision: None,
            };
            self.is_mintable(&granted)?;
            self.tree.grow(&child, is_open).await?;
            *slot = Some(child.clone());
        }
        Ok((child, made, decision))
    }
}

/// Equal where the same node can be used again. The call is of this process, and so is what is remembered.
fn terms(above: &Delegation, called: &CallToken, seed: &Seed) -> Digest {
    let terms = json!([
        "invoked",
        above.id,
        called.call,
        seed.agent,
        seed.resource.identifier,
        seed.keys,
        seed.scopes,
        seed.authority,
        seed.life.as_secs(),
    ]);
    Digest::of(terms.to_string().as_bytes())
}

/// The world is closed: what was delegated to the caller is for the resources that it names, and for no other.
fn is_for(authority: Option<&Authority>, resource: &Resource) -> Result<(), OAuthError> {
    let Some(authority) = authority else { return Ok(()) };
    let names = |location: &String| *location == resource.identifier;
    if authority.grants().iter().any(|grant| grant.locations.iter().any(names)) {
        Ok(())
    } else {
        Err(OAuthError::new(Reason::AuthorityNotForTarget, format!("resource `{}`", resource.identifier)))
    }
}
