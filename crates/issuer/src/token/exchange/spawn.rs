use std::borrow::Cow;

use vestibule_inbound::{Caller, Expired};
use vestibule_model::{Delegation, Thumbprint};

use super::{
    super::{Asked, TokenResponse, mint::Granted, narrow},
    below,
};
use crate::{
    Issuer, OAuthError, Reason, Registered, client::Actor, delegations::Seed, lineage::Lineage,
    resources::Resources,
};

impl Issuer {
    /// An agent hands a part of its authority to a child. The parent proves the key of its token, the child signs the
    /// actor token with a key of its own, and the child's tokens are bound to that.
    ///
    /// The attacks: whoever finds a token hands it on to themselves (a bearer token cannot spawn); a child that is its
    /// parent under another name outlives the parent's revocation (the keys differ); and everything that widens.
    pub(super) async fn spawn(
        &self,
        asked: Asked<'_>,
        subject: &str,
        actor: &str,
    ) -> Result<TokenResponse, OAuthError> {
        let parent = self.hop_tokens.read(subject, Expired::Refused)?;
        let key = parent.token().bound_to.ok_or(Reason::SpawnNeedsBoundToken)?;
        self.is_alive(&parent)?;
        self.proof_by(&key, asked.request, &self.endpoints.token, subject)?;
        let granted = async {
            self.agrees(asked, parent.agent(), Some(key)).await?;
            let child = self.clients.actor(actor, subject)?;
            let granted = self.spawned(asked, &parent, child).await?;
            self.mint(granted)
        };
        granted.await.map_err(|error| error.of(parent.agent()).under(&parent))
    }

    async fn spawned(&self, asked: Asked<'_>, parent: &Caller, child: Actor) -> Result<Granted, OAuthError> {
        let node = self.node_of(parent).await?;
        Lineage::of_node(&node).is_known(&self.registry)?;
        self.is_another(&node, &child)?;
        below::is_deep_enough(&node)?;
        let resource = self.resource_of(&node)?;
        Resources::is_asked(&resource.identifier, &asked.form.resources())?;
        self.is_app_of_all(&node, resource)?;
        // Of the token that was presented, which may have less than its node.
        let token = parent.token();
        let bound = match self.registry.get(&child.id) {
            Some(Registered { agent, .. }) => {
                below::is_app_of(&agent, resource)?;
                Cow::Owned(agent.scopes.intersection(&token.scopes).cloned().collect())
            }
            None => Cow::Borrowed(&token.scopes),
        };
        let scopes = narrow::scopes(asked.form, &bound)?;
        let wanted = narrow::authority(asked.form, &resource.identifier)?;
        let authority = narrow::within(wanted.clone(), token.authority.as_ref())?;
        let seed = Seed {
            agent: child.id.clone(),
            keys: vec![child.key],
            resource: resource.clone(),
            scopes: scopes.clone(),
            authority: authority.clone(),
            life: narrow::life(asked.form, self.config.node_ttl)?,
            made_by: asked.request.attempt,
        };
        let delegation = seed.below(&node, None, self.clock.now(), self.entropy.as_ref());
        let is_open = |delegation: &Delegation| {
            self.is_alive(parent)?;
            self.tree.check(delegation, None).map_err(OAuthError::about_token)
        };
        is_open(&delegation)?;
        let decision = self.may_delegate(asked, parent, &delegation, wanted.as_ref())?;
        let bound_to: Option<Thumbprint> = Some(child.key);
        let granted =
            Granted { delegation, scopes, authority, bound_to, made: true, decision: Some(decision) };
        self.is_mintable(&granted)?;
        self.clients.use_up(child).await?;
        self.tree.grow(&granted.delegation, || is_open(&granted.delegation)).await?;
        Ok(granted)
    }

    /// Whether the child is somebody else than those above it: with their key it would be them, and could not be cut off
    /// without them.
    fn is_another(&self, parent: &Delegation, child: &Actor) -> Result<(), OAuthError> {
        let shares_key = || {
            let on_path = parent.path.iter().any(|node| node.keys.contains(&child.key));
            // A key that an agent above has registered is that agent's, also where it did not use it here.
            let is_registered = child.id.as_key().is_some()
                && parent.chain.iter().any(|agent| self.registry.has_key(agent, &child.key));
            on_path || is_registered
        };
        if shares_key() {
            return Err(OAuthError::new(Reason::ActorKeyOfAncestor, format!("key `{}`", child.key)));
        }
        if child.id == *parent.agent() {
            return Err(OAuthError::new(Reason::ActorIsParent, format!("agent `{}`", child.id)));
        }
        Ok(())
    }
}
