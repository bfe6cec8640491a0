use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use crate::{Agent, AgentId, WorkloadRules};

/// In how many parts the directory is kept. Adding one agent copies one part and shares the others.
const SHARDS: usize = 256;

type Shard = HashMap<AgentId, Arc<Agent>>;

/// The registered agents, and the rules by which others are agents without having been registered, as one immutable
/// snapshot. What is not in it is unknown, and an unknown agent is refused before any policy is asked.
#[derive(Debug, Clone)]
pub struct Directory {
    shards: Box<[Arc<Shard>]>,
    hasher: RandomState,
    rules: Arc<WorkloadRules>,
}

impl Default for Directory {
    fn default() -> Self {
        let empty = Arc::new(Shard::new());
        Self { shards: vec![empty; SHARDS].into(), hasher: RandomState::new(), rules: Arc::default() }
    }
}

impl Directory {
    /// A directory with these rules in place of its own.
    #[must_use]
    pub fn ruled(self, rules: Arc<WorkloadRules>) -> Self {
        Self { rules, ..self }
    }

    /// A directory with the same rules and these registered agents.
    #[must_use]
    pub fn refilled(&self, agents: impl IntoIterator<Item = Arc<Agent>>) -> Self {
        agents.into_iter().collect::<Self>().ruled(Arc::clone(&self.rules))
    }

    /// The agent of that id, registered or by a rule.
    #[must_use]
    pub fn find(&self, id: &AgentId) -> Option<Arc<Agent>> {
        self.get(id).cloned().or_else(|| self.rules.find(id))
    }

    /// The registered agent of that id.
    #[must_use]
    pub fn get(&self, id: &AgentId) -> Option<&Arc<Agent>> {
        self.shards.get(self.shard_of(id))?.get(id)
    }

    /// A directory that also has `agent`, in place of one with the same id.
    #[must_use]
    pub fn with(&self, agent: Arc<Agent>) -> Self {
        self.changed(&agent.id.clone(), |shard| {
            shard.insert(agent.id.clone(), agent);
        })
    }

    /// A directory without that agent.
    #[must_use]
    pub fn without(&self, id: &AgentId) -> Self {
        self.changed(id, |shard| {
            shard.remove(id);
        })
    }

    /// All registered agents, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Agent>> {
        self.shards.iter().flat_map(|shard| shard.values())
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len()).sum()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.is_empty())
    }

    fn shard_of(&self, id: &AgentId) -> usize {
        // Below 256, so it fits wherever it goes.
        usize::try_from(self.hasher.hash_one(id) % SHARDS as u64).unwrap_or_default()
    }

    fn changed(&self, id: &AgentId, change: impl FnOnce(&mut Shard)) -> Self {
        let mut directory = self.clone();
        if let Some(shard) = directory.shards.get_mut(self.shard_of(id)) {
            change(Arc::make_mut(shard));
        }
        directory
    }
}

impl FromIterator<Arc<Agent>> for Directory {
    fn from_iter<I: IntoIterator<Item = Arc<Agent>>>(agents: I) -> Self {
        let mut directory = Self::default();
        for agent in agents {
            let shard = directory.shard_of(&agent.id);
            if let Some(shard) = directory.shards.get_mut(shard) {
                Arc::make_mut(shard).insert(agent.id.clone(), agent);
            }
        }
        directory
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::{AgentState, Timestamp};

    fn agent(id: &str) -> Arc<Agent> {
        Arc::new(Agent {
            id: AgentId::new(id).unwrap(),
            groups: BTreeSet::new(),
            trust: 0,
            scopes: BTreeSet::new(),
            claims: BTreeMap::new(),
            apps: BTreeSet::new(),
            state: AgentState::Active,
            created_at: Timestamp::from_millis(0),
        })
    }

    #[test]
    fn a_snapshot_does_not_see_what_is_added_or_removed_after_it() {
        let before: Directory = (0..1000).map(|number| agent(&format!("agent-{number}"))).collect();
        let after = before.with(agent("new")).without(&AgentId::new("agent-7").unwrap());
        assert_eq!((before.len(), after.len()), (1000, 1000));
        assert!(before.get(&AgentId::new("new").unwrap()).is_none());
        assert!(after.get(&AgentId::new("new").unwrap()).is_some());
        assert!(before.get(&AgentId::new("agent-7").unwrap()).is_some());
        assert!(after.get(&AgentId::new("agent-7").unwrap()).is_none());
    }
}
