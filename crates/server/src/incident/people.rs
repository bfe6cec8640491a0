//! Who: the agent, those above and below it, and the humans they act for, as the state tells now.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use serde_json::{Value, json};
use vestibule_containment::DenyEntry;
use vestibule_issuer::{Delegations, Node};
use vestibule_model::{AgentId, NodeId, Timestamp};
use vestibule_store::StoreError;

use super::{Incident, NODES_MAX, scope::Scope};
use crate::{admin::delegations, gateway::Gateway};

const PAGE: u32 = 200;

/// Who takes part.
#[derive(Debug)]
pub(crate) struct People {
    /// The agent: its registration if it has one, its keys, the orders about it.
    pub(crate) agent: Value,
    /// Delegation nodes that live, each with what it is to the agent.
    pub(crate) nodes: Vec<Value>,
    /// Whether all of them are there.
    pub(crate) is_complete: bool,
    pub(crate) users: BTreeSet<String>,
    /// Agents from the root down.
    pub(crate) chains: BTreeSet<Vec<String>>,
}

/// When the oldest node was made under which the agent acts now.
pub(crate) async fn oldest_node(gw: &Gateway, agent: &AgentId) -> Result<Option<Timestamp>, StoreError> {
    let delegations = Delegations::new(Arc::clone(&gw.store));
    let (mut oldest, mut after, mut seen) = (None, None, 0);
    while seen < NODES_MAX {
        let page = delegations.of_agent(agent, after.as_ref(), PAGE).await?;
        seen += page.items.len();
        let made = page.items.iter().map(|node| node.delegation.created_at);
        oldest = oldest.into_iter().chain(made).min();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(oldest)
}

impl People {
    /// Asks the state, and tells `scope` whom it is about.
    pub(crate) async fn of(gw: &Gateway, incident: &Incident, scope: &mut Scope) -> Result<Self, StoreError> {
        let mut people = Self {
            agent: Value::Null,
            nodes: Vec::new(),
            is_complete: true,
            users: BTreeSet::new(),
            chains: BTreeSet::new(),
        };
        let keys = people.follow(gw, &incident.agent, scope).await?;
        people.agent = described(gw, &incident.agent, keys);
        Ok(people)
    }

    /// The nodes of the agent, with those above and all below. Gives the keys of the agent.
    async fn follow(
        &mut self,
        gw: &Gateway,
        agent: &AgentId,
        scope: &mut Scope,
    ) -> Result<BTreeSet<String>, StoreError> {
        let delegations = Delegations::new(Arc::clone(&gw.store));
        let (mut seen, mut keys) = (HashSet::new(), BTreeSet::new());
        let mut after: Option<NodeId> = None;
        loop {
            let page = delegations.of_agent(agent, after.as_ref(), PAGE).await?;
            for node in page.items {
                keys.extend(node.delegation.keys().iter().map(ToString::to_string));
                let above: Vec<_> = node.delegation.path.iter().map(|node| node.id.clone()).collect();
                for id in above.iter().filter(|id| **id != node.delegation.id) {
                    if let Some(above) = delegations.get(id).await? {
                        self.take(gw, "ancestor", &above, (&mut seen, scope));
                    }
                }
                let left = NODES_MAX.saturating_sub(self.nodes.len());
                let Some(tree) = delegations.subtree(&node.delegation.id, left).await? else { continue };
                self.is_complete &= tree.is_complete;
                for below in &tree.nodes {
                    let is_own = below.delegation.id == node.delegation.id;
                    self.take(gw, if is_own { "agent" } else { "below" }, below, (&mut seen, scope));
                }
            }
            after = page.next;
            if after.is_none() || !self.is_complete {
                return Ok(keys);
            }
        }
    }

    fn take(
        &mut self,
        gw: &Gateway,
        relation: &str,
        node: &Node,
        (seen, scope): (&mut HashSet<NodeId>, &mut Scope),
    ) {
        let delegation = &node.delegation;
        if !seen.insert(delegation.id.clone()) {
            return;
        }
        if let Some(request) = delegation.made_by {
            scope.made_by(request);
        }
        if let Some(user) = &delegation.user {
            scope.name("user", &user.id.to_string());
            self.users.insert(user.id.to_string());
        }
        if relation != "ancestor" {
            scope.name("delegation", delegation.id.as_str());
            scope.name("agent", delegation.agent().as_str());
            delegation.keys().iter().for_each(|key| scope.name("credential", &key.to_string()));
            self.chains.insert(delegation.chain.iter().map(ToString::to_string).collect());
        }
        let mut shown = delegations::shown(gw, node);
        if let Some(members) = shown.as_object_mut() {
            members.insert("relation".to_owned(), json!(relation));
        }
        self.nodes.push(shown);
    }
}

fn described(gw: &Gateway, agent: &AgentId, keys: BTreeSet<String>) -> Value {
    let registered = gw.registry.get(agent);
    let credentials = gw.registry.thumbprints(agent);
    let orders: Vec<DenyEntry> =
        gw.containment.list().into_iter().filter(|entry| entry.key.id() == agent.as_str()).collect();
    json!({
        "id": agent,
        "registration": registered.map(|registered| json!(registered.agent)),
        "credentials": {
            "secret": credentials.as_ref().map(Vec::is_empty),
            "registered_keys": credentials.unwrap_or_default(),
            "keys_of_its_delegations": keys,
            "own_key": agent.as_key().map(|key| key.to_string()),
        },
        "orders": orders,
    })
}
