//! The agent that asks, and the root that it asks under.

use std::sync::Arc;

use vestibule_containment::Path;
use vestibule_model::{
    Actor, Agent, AgentId, NodeId, PathNode, Represented, Thumbprint, Timestamp, TokenId, UserGrant,
};

use super::{Asked, mint::Granted, narrow};
use crate::{
    Issuer, OAuthError, Reason,
    client::{Client, Clients},
    delegations::{RootTerms, Seed},
};

/// An agent that has authenticated as a client.
pub(super) struct Asker {
    pub(super) agent: Arc<Agent>,
    /// The registered key that it authenticated with; none for a secret.
    pub(super) client: Option<Thumbprint>,
    /// The key that it proved beside, for the token to be bound to.
    pub(super) bound: Option<Thumbprint>,
    /// The token by which a platform vouches for it, if it is a workload.
    pub(super) token: Option<TokenId>,
}

impl Issuer {
    /// Who asks, by client authentication, and the key that it proves beside (RFC 9449 §5).
    pub(super) async fn asker(&self, asked: Asked<'_>) -> Result<Asker, OAuthError> {
        let recognised = self.clients.recognise(asked.request.headers, asked.form).await?;
        let proof = self.proof(asked.request, &self.endpoints.token, None)?;
        let bound = proof.map(|proof| proof.key);
        let client = self.clients.admit(recognised, bound).await?;
        self.admit(&client).map_err(|error| error.of(&client.agent.id))?;
        let token = client.token.map(|(token, _)| token);
        Ok(Asker { agent: client.agent, client: client.key, bound, token })
    }

    /// Whether a client may be given anything at all.
    ///
    /// The attack: a key that was stolen and revoked still signs assertions that verify, for the registry does not know
    /// that it is revoked.
    pub(crate) fn admit(&self, client: &Client) -> Result<(), OAuthError> {
        let presented = client.token.as_ref().map(|(token, issued_at)| (token, *issued_at));
        self.is_let_in(&client.agent.id, client.key, presented)
    }

    /// Whether an agent that proves a key which stands on its path may ask for anything at all.
    pub(crate) fn may_ask(&self, agent: &AgentId) -> Result<(), OAuthError> {
        self.is_let_in(agent, None, None)
    }

    /// `presented` is the token of a workload, which is as old as it says: it may be from before a back-dated order.
    fn is_let_in(
        &self,
        agent: &AgentId,
        client: Option<Thumbprint>,
        presented: Option<(&TokenId, Timestamp)>,
    ) -> Result<(), OAuthError> {
        let agents = [Actor { issuer: Arc::clone(&self.name), agent: agent.clone() }];
        let (jti, at) = presented.unzip();
        let issued_at = at.unwrap_or_else(|| self.clock.now());
        // Keys stand on nodes, and there is none yet: one that nobody else names.
        let proven =
            |key| PathNode { id: NodeId::random(self.entropy.as_ref()), since: issued_at, keys: vec![key] };
        Ok(self.containment.check(&Path {
            jti,
            issued_at,
            agents: &agents,
            nodes: client.map(proven).as_slice(),
            user: None,
            behind: None,
            app: None,
            calls: &[],
        })?)
    }

    /// Where a key proves who asks, no client authentication is needed. One that is sent counts all the same: nobody
    /// acts with another agent's token in their own name. `proven` is the key that proves. Gives the registered key of the client authentication, if one
    /// was sent with a key.
    pub(super) async fn agrees(
        &self,
        asked: Asked<'_>,
        agent: &AgentId,
        proven: Option<Thumbprint>,
    ) -> Result<Option<Thumbprint>, OAuthError> {
        if Clients::is_presented(asked.request.headers, asked.form) {
            let recognised = self.clients.recognise(asked.request.headers, asked.form).await?;
            let client = self.clients.admit(recognised, proven).await?;
            self.admit(&client)?;
            return if client.agent.id == *agent { Ok(client.key) } else { Err(not_of_token()) };
        }
        // RFC 6749 §3.2.1: a client without authentication may name itself.
        match asked.form.get("client_id") {
            Some(named) if named != agent.as_str() => Err(not_of_token()),
            Some(_) | None => Ok(None),
        }
    }

    /// The root of the agent, for itself or for a human, and what is granted under it.
    pub(super) async fn rooted(
        &self,
        asked: Asked<'_>,
        asker: &Asker,
        on_behalf_of: Option<(Represented, UserGrant)>,
    ) -> Result<Granted, OAuthError> {
        let Asker { agent, client, bound, .. } = asker;
        let scopes = narrow::scopes(asked.form, &agent.scopes)?;
        let resource = self.resources.choose(agent, &asked.form.resources())?;
        let authority = narrow::authority(asked.form, &resource.identifier)?;
        let seed = Seed {
            agent: agent.id.clone(),
            keys: bound.iter().chain(client).copied().collect(),
            resource: resource.clone(),
            // All that the agent may have: a token under the root may ask for less.
            scopes: agent.scopes.clone(),
            authority: authority.clone(),
            life: self.config.node_ttl,
            made_by: asked.request.attempt,
        };
        let (max_depth, (bound, client)) = (self.config.max_depth, (*bound, *client));
        let terms = RootTerms { seed, bound, client, on_behalf_of, max_depth };
        let (delegation, made) = self.tree.root(terms).await?;
        Ok(Granted { delegation, scopes, authority, bound_to: bound, made, decision: None })
    }
}

/// The client is not the agent that the token, which is to be exchanged, was issued to.
pub(super) fn not_of_token() -> OAuthError {
    OAuthError::from(Reason::ClientNotOfToken).about_token()
}
