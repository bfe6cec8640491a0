use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{AgentId, Malformed};

/// The deepest chain that is ever accepted. Configuration may lower it.
pub const DEPTH_MAX: usize = 8;

/// One agent of a chain, in the namespace of the issuer that names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Actor {
    /// The namespace of the identifier.
    pub issuer: Arc<str>,
    /// The agent.
    pub agent: AgentId,
}

/// The agents from the root to the current one, outermost (root) first. Never empty, never deeper than
/// [`DEPTH_MAX`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain(Vec<Actor>);

impl Chain {
    /// # Errors
    /// When the chain is empty or deeper than [`DEPTH_MAX`].
    pub fn new(actors: Vec<Actor>) -> Result<Self, Malformed> {
        if actors.is_empty() || actors.len() > DEPTH_MAX {
            return Err(Malformed { what: "chain", rule: "must have 1 to 8 agents" });
        }
        Ok(Self(actors))
    }

    /// The actors, root first.
    #[must_use]
    pub fn actors(&self) -> &[Actor] {
        &self.0
    }

    /// The agent that acts now: the last of the chain.
    #[must_use]
    pub fn current(&self) -> &Actor {
        // INVARIANT: never empty, see `new`.
        #[expect(clippy::expect_used, reason = "`new` refuses an empty chain and nothing removes from it")]
        self.0.last().expect("a chain is never empty")
    }

    /// Number of agents; 1 for an agent that nobody spawned.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.0.len()
    }
}
