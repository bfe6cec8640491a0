use std::{convert::Infallible, sync::Arc, time::Duration};

use quick_cache::sync::Cache;
use tokio::sync::Mutex;
use vestibule_containment::{Containment, Path};
use vestibule_model::{Actor, Agent, AgentId, AppId, Clock, Delegation, Denial, Entropy, Timestamp};
use vestibule_store::{By, Expect, Kind, Op, Put, Store};

use crate::{Backing, OAuthError, resources::Resource};

/// Root delegations that are remembered. One that is forgotten is found in the store.
const REMEMBERED_MAX: usize = 16 * 1024;

const PAGE: u32 = 100;

/// The root delegations of agents that act on their own: one for each agent and resource, used again as long as it
/// lives, so that a token request writes nothing and one revocation names all that was done under it.
///
/// Revoking a root kills what was made under it. The agent may ask for a new one: to stop the agent, revoke the agent.
pub(crate) struct Roots {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    containment: Arc<Containment>,
    issuer: Arc<str>,
    token_ttl: Duration,
    node_ttl: Duration,
    /// A slot is locked while its root is looked for or made: of many requests at once, one does the work.
    remembered: Cache<(AgentId, AppId), Arc<Mutex<Option<Delegation>>>>,
}

impl Roots {
    pub(crate) fn new(
        backing: &Backing,
        containment: Arc<Containment>,
        issuer: &str,
        token_ttl: Duration,
        node_ttl: Duration,
    ) -> Self {
        Self {
            store: Arc::clone(&backing.store),
            clock: Arc::clone(&backing.clock),
            entropy: Arc::clone(&backing.entropy),
            containment,
            issuer: issuer.into(),
            token_ttl,
            node_ttl,
            remembered: Cache::new(REMEMBERED_MAX),
        }
    }

    /// A root under which a token may be minted now: it outlives the token and is not revoked.
    pub(crate) async fn of(&self, agent: &Agent, resource: &Resource) -> Result<Delegation, OAuthError> {
        let key = (agent.id.clone(), resource.app.clone());
        let slot = self.remembered.get_or_insert_with(&key, || Ok::<_, Infallible>(Arc::default()));
        let slot = slot.unwrap_or_else(|never| match never {});
        let mut slot = slot.lock().await;
        let now = self.clock.now();
        if let Some(known) = slot.as_ref()
            && self.is_usable(known, now)?
        {
            return Ok(known.clone());
        }
        let root = match self.find(agent, resource, now).await? {
            Some(found) => found,
            None => self.make(agent, resource, now).await?,
        };
        *slot = Some(root.clone());
        Ok(root)
    }

    /// Whether the agent may be given anything at all.
    pub(crate) fn admit(&self, agent: &AgentId) -> Result<(), OAuthError> {
        let agents = [self.actor(agent)];
        let path = Path { jti: None, issued_at: self.clock.now(), agents: &agents, nodes: &[] };
        Ok(self.containment.check(&path)?)
    }

    /// What the store knows of before a restart, or from a gateway beside this one.
    async fn find(
        &self,
        agent: &Agent,
        resource: &Resource,
        now: Timestamp,
    ) -> Result<Option<Delegation>, OAuthError> {
        let mut after: Option<String> = None;
        loop {
            let by = By::Subject(agent.id.as_str());
            let page = self.store.scan(Kind::Delegation, by, after.as_deref(), PAGE).await?;
            for record in &page {
                let root: Delegation = record.decode()?;
                let is_ours =
                    root.parent.is_none() && root.user.is_none() && root.resource == resource.identifier;
                if is_ours && self.is_usable(&root, now)? {
                    return Ok(Some(root));
                }
            }
            if page.len() < PAGE as usize {
                return Ok(None);
            }
            after = page.last().map(|record| record.key.clone());
        }
    }

    async fn make(
        &self,
        agent: &Agent,
        resource: &Resource,
        now: Timestamp,
    ) -> Result<Delegation, OAuthError> {
        let expires_at = now.plus(self.node_ttl);
        let root = Delegation::root(agent, &resource.identifier, now, expires_at, self.entropy.as_ref());
        let put = Put::new(Kind::Delegation, root.id.as_str(), &root)?
            .expect(Expect::Absent)
            .subject(agent.id.as_str())
            .expires_at(expires_at)
            .logged(false);
        self.store.commit(vec![Op::Put(put)]).await?;
        Ok(root)
    }

    fn is_usable(&self, root: &Delegation, now: Timestamp) -> Result<bool, OAuthError> {
        if root.expires_at <= now.plus(self.token_ttl) {
            return Ok(false);
        }
        // As old as it is: a revocation that reaches back to a moment kills the roots made before it.
        let (agents, nodes) = ([self.actor(&root.agent)], [root.id.clone()]);
        let path = Path { jti: None, issued_at: root.created_at, agents: &agents, nodes: &nodes };
        match self.containment.check(&path) {
            Ok(()) => Ok(true),
            Err(Denial::ContainmentStale) => Err(Denial::ContainmentStale.into()),
            Err(_) => Ok(false),
        }
    }

    fn actor(&self, agent: &AgentId) -> Actor {
        Actor { issuer: Arc::clone(&self.issuer), agent: agent.clone() }
    }
}
