use std::{collections::HashMap, sync::Arc};

use crate::{Agent, AgentId};

/// The registered agents, as one immutable snapshot. What is not in it is unknown, and an unknown agent is refused
/// before any policy is asked.
#[derive(Debug, Clone, Default)]
pub struct Directory {
    agents: HashMap<AgentId, Arc<Agent>>,
}

impl Directory {
    /// The agent of that id.
    #[must_use]
    pub fn get(&self, id: &AgentId) -> Option<&Arc<Agent>> {
        self.agents.get(id)
    }

    /// A directory that also has `agent`, in place of one with the same id.
    #[must_use]
    pub fn with(&self, agent: Arc<Agent>) -> Self {
        let mut agents = self.agents.clone();
        agents.insert(agent.id.clone(), agent);
        Self { agents }
    }

    /// A directory without that agent.
    #[must_use]
    pub fn without(&self, id: &AgentId) -> Self {
        let mut agents = self.agents.clone();
        agents.remove(id);
        Self { agents }
    }

    /// All agents, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Agent>> {
        self.agents.values()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.agents.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.agents.is_empty()
    }
}

impl FromIterator<Arc<Agent>> for Directory {
    fn from_iter<I: IntoIterator<Item = Arc<Agent>>>(agents: I) -> Self {
        Self { agents: agents.into_iter().map(|agent| (agent.id.clone(), agent)).collect() }
    }
}
