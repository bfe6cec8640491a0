use std::fmt;

use serde::{Deserialize, Serialize, Serializer, ser::SerializeStruct};
use vestibule_model::{Actor, AgentId, Denial, Jti, Malformed, NodeId, Timestamp};

/// What kind of name is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// One token, by its `jti`.
    Token,
    /// An agent, wherever it stands in a chain.
    Agent,
    /// A node of the delegation tree, and with it everything below.
    Delegation,
}

impl KeyKind {
    /// All of them.
    pub const ALL: &'static [Self] = &[Self::Token, Self::Agent, Self::Delegation];

    /// Its text: `token`, `agent` or `delegation`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Agent => "agent",
            Self::Delegation => "delegation",
        }
    }

    /// The kind of that text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A name that can be revoked. Tokens and delegations are of our own issuer; an agent of that id is meant whichever
/// issuer named it, so an outside agent that borrows a revoked name is refused too. Shown as `{kind}/{id}`, which is
/// also the key of its record.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DenyKey {
    /// One token.
    Token(Jti),
    /// An agent.
    Agent(AgentId),
    /// A node of the delegation tree.
    Delegation(NodeId),
}

impl DenyKey {
    /// The name of that kind.
    ///
    /// # Errors
    /// When `id` does not follow the grammar of its kind. It could then never match, and a revocation that stops
    /// nothing must not look like one that does.
    pub fn new(kind: KeyKind, id: &str) -> Result<Self, Malformed> {
        Ok(match kind {
            KeyKind::Token => Self::Token(Jti::parse(id)?),
            KeyKind::Agent => Self::Agent(AgentId::new(id)?),
            KeyKind::Delegation => Self::Delegation(NodeId::parse(id)?),
        })
    }

    /// From `{kind}/{id}`. An agent's id may hold slashes of its own.
    pub(crate) fn parse(text: &str) -> Result<Self, Malformed> {
        let malformed = Malformed { what: "deny key", rule: "must be a kind, a slash and an id" };
        let (kind, id) = text.split_once('/').ok_or_else(|| malformed.clone())?;
        Self::new(KeyKind::parse(kind).ok_or(malformed)?, id)
    }

    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> KeyKind {
        match self {
            Self::Token(_) => KeyKind::Token,
            Self::Agent(_) => KeyKind::Agent,
            Self::Delegation(_) => KeyKind::Delegation,
        }
    }

    /// Its id, without the kind.
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Token(jti) => jti.as_str(),
            Self::Agent(agent) => agent.as_str(),
            Self::Delegation(node) => node.as_str(),
        }
    }

    /// How a request is refused that has this name on its path.
    pub(crate) fn denial(&self) -> Denial {
        match self {
            Self::Token(_) => Denial::TokenRevoked,
            Self::Agent(_) => Denial::AgentRevoked,
            Self::Delegation(_) => Denial::DelegationRevoked,
        }
    }
}

impl fmt::Display for DenyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind(), self.id())
    }
}

impl fmt::Debug for DenyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for DenyKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("DenyKey", 2)?;
        fields.serialize_field("kind", &self.kind())?;
        fields.serialize_field("id", self.id())?;
        fields.end()
    }
}

/// Everything about a request that can be revoked.
#[derive(Debug, Clone, Copy)]
pub struct Path<'a> {
    /// The token; none before one is minted.
    pub jti: Option<&'a Jti>,
    /// When the token was issued, for cutoffs. A token says it in whole seconds, rounded down: a cutoff within that
    /// second kills it.
    pub issued_at: Timestamp,
    /// The chain, root first.
    pub agents: &'a [Actor],
    /// The delegation nodes, root first.
    pub nodes: &'a [NodeId],
}

impl Path<'_> {
    /// Its names in the order in which they are checked: token, nodes, agents.
    pub(crate) fn keys(&self) -> Vec<DenyKey> {
        let token = self.jti.cloned().map(DenyKey::Token);
        let nodes = self.nodes.iter().cloned().map(DenyKey::Delegation);
        let agents = self.agents.iter().map(|actor| DenyKey::Agent(actor.agent.clone()));
        token.into_iter().chain(nodes).chain(agents).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_by_what_it_prints() {
        let hex = "0123456789abcdef0123456789abcdef";
        for text in [format!("token/{hex}"), format!("delegation/{hex}"), "agent/spiffe://d/a/b".to_owned()] {
            assert_eq!(DenyKey::parse(&text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_name_that_could_never_match_is_no_key() {
        for text in
            ["agent", "agent/", "user/alice", "token/short", "delegation/x", "Agent/a", "agent/a b", "/a"]
        {
            assert!(DenyKey::parse(text).is_err(), "{text}");
        }
    }
}
