use serde::{Deserialize, Serialize};
use vestibule_model::{AgentId, AttemptId, NodeId, Origin, Timestamp};

/// One agent of the chain, with the delegation node under which it acts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainLink {
    /// The namespace of the agent's identifier.
    pub issuer: String,
    /// The agent.
    pub agent: AgentId,
    /// Its node of the delegation tree, if its token named one.
    pub node: Option<NodeId>,
}

/// The node that a token request made, or under which it minted again: enough to rebuild the tree from the log alone,
/// long after the node is gone from the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DelegationFact {
    /// The node.
    pub node: NodeId,
    /// The node above it; none for a root.
    pub parent: Option<NodeId>,
    /// How it came to be.
    pub origin: Origin,
    /// The token request that made it: this attempt, or an earlier one where the node is used again. Said, not guessed
    /// from which came first: the first that the log still holds need not be it.
    #[serde(default)]
    pub made_by: Option<AttemptId>,
    /// Nothing is minted under it beyond this moment.
    pub expires_at: Timestamp,
}
