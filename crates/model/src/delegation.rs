use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{Agent, AgentId, Entropy, Malformed, Timestamp, UserId};

/// 128 random bits in hexadecimal: the shape of every identifier that we mint.
fn random_hex(entropy: &dyn Entropy) -> Arc<str> {
    let mut bytes = [0u8; 16];
    entropy.fill(&mut bytes);
    crate::digest::hex(&bytes).into()
}

fn is_hex_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

macro_rules! hex_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// A fresh one.
            #[must_use]
            pub fn random(entropy: &dyn Entropy) -> Self {
                Self(random_hex(entropy))
            }

            /// # Errors
            /// When the text is not 32 lower-case hexadecimal digits.
            pub fn parse(text: &str) -> Result<Self, Malformed> {
                if is_hex_id(text) {
                    Ok(Self(text.into()))
                } else {
                    Err(Malformed { what: $what, rule: "must be 32 lower-case hexadecimal digits" })
                }
            }

            /// The identifier as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = Malformed;
            fn try_from(text: String) -> Result<Self, Malformed> {
                Self::parse(&text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

hex_id!(
    /// A node of the delegation tree. What a revocation names and what a token lists.
    NodeId,
    "delegation id"
);
hex_id!(
    /// The whole tree below one root: the `acti` of a hop token.
    WorkflowId,
    "workflow id"
);
hex_id!(
    /// The identifier of one token that we minted.
    Jti,
    "token id"
);

/// The life of a delegation node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DelegationState {
    /// Tokens may be minted under it until it expires.
    Active,
}

/// A node of the delegation tree. Its life is not the life of the tokens minted under it: those are short and are
/// minted again, the node stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delegation {
    /// Its identifier.
    pub id: NodeId,
    /// The node above it; none for a root.
    pub parent: Option<NodeId>,
    /// The tree it belongs to.
    pub workflow: WorkflowId,
    /// 1 for a root.
    pub depth: u8,
    /// The agent that acts under it.
    pub agent: AgentId,
    /// The human it acts for.
    pub user: Option<UserId>,
    /// The resource identifier its tokens are for.
    pub resource: String,
    /// Nothing is minted under it beyond this moment.
    pub expires_at: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its state. Whether it is revoked is containment's to say.
    pub state: DelegationState,
}

impl Delegation {
    /// A root node for an agent that acts on its own.
    #[must_use]
    pub fn root(
        agent: &Agent,
        resource: &str,
        now: Timestamp,
        expires_at: Timestamp,
        entropy: &dyn Entropy,
    ) -> Self {
        Self {
            id: NodeId::random(entropy),
            parent: None,
            workflow: WorkflowId::random(entropy),
            depth: 1,
            agent: agent.id.clone(),
            user: None,
            resource: resource.to_owned(),
            expires_at,
            created_at: now,
            state: DelegationState::Active,
        }
    }
}
