use std::{collections::BTreeSet, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    AgentId, AppId, AttemptId, Authority, DEPTH_MAX, Digest, Entropy, Malformed, Represented, Thumbprint,
    Timestamp, UserGrant,
};

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

impl Jti {
    pub(crate) fn into_text(self) -> Arc<str> {
        self.0
    }
}

impl WorkflowId {
    /// The name of what is done with a token that stands in no tree, as one of an outside issuer: the same for the same
    /// token.
    #[must_use]
    pub fn of_token(token: &Digest) -> Self {
        Self(of_token("workflow", token))
    }
}

impl NodeId {
    /// The name of the place of such a token. Nothing stands below it.
    #[must_use]
    pub fn of_token(token: &Digest) -> Self {
        Self(of_token("node", token))
    }
}

/// 128 bits of a hash: nobody can choose a token whose place has a given name.
fn of_token(what: &str, token: &Digest) -> Arc<str> {
    let digest = Digest::of(format!("vestibule/outside-token/1|{what}|{token}").as_bytes());
    crate::digest::hex(digest.bytes().first_chunk::<16>().map_or(&[], |half| half.as_slice())).into()
}

/// What a token says about one node of its path: enough to tell whether a revocation reaches it without asking
/// anybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathNode {
    /// The node.
    pub id: NodeId,
    /// When it was made: a cutoff at or after this moment kills it, however new the token is.
    pub since: Timestamp,
    /// The keys that its agent proved when it was made: the key that its tokens are bound to, then that of its client
    /// authentication, where there is one. At most [`NODE_KEYS_MAX`].
    #[serde(default)]
    pub keys: Vec<Thumbprint>,
}

/// The most keys of one node.
pub const NODE_KEYS_MAX: usize = 2;

/// How a node came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// An agent asked for itself, or for a human.
    Root,
    /// The agent above it handed on a part of its authority.
    Spawned,
    /// The agent above it called this agent through the gateway.
    Invoked,
}

impl Origin {
    /// Its text: `root`, `spawned` or `invoked`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Spawned => "spawned",
            Self::Invoked => "invoked",
        }
    }
}

/// A node of the delegation tree. Its life is not the life of the tokens minted under it: those are short and are
/// minted again, the node stays. Whether it is revoked is containment's to say; nothing in it says so.
///
/// INVARIANT: `path` and `chain` have the same length, the root first, and end with this node and its agent. Everything
/// but `children` is fixed when the node is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Delegation {
    /// Its identifier.
    pub id: NodeId,
    /// The node above it; none for a root.
    pub parent: Option<NodeId>,
    /// How it came to be.
    pub origin: Origin,
    /// The tree it belongs to.
    pub workflow: WorkflowId,
    /// The nodes from the root to this one.
    pub path: Vec<PathNode>,
    /// Their agents.
    pub chain: Vec<AgentId>,
    /// How deep the tree may become below its root.
    pub max_depth: u8,
    /// The human it acts for.
    pub user: Option<Represented>,
    /// Of a root that acts for a human: the token it rests on.
    #[serde(default)]
    pub grant: Option<UserGrant>,
    /// The application that its tokens open.
    pub app: AppId,
    /// The resource identifier its tokens are for.
    pub resource: String,
    /// The scopes its tokens may have.
    pub scopes: BTreeSet<String>,
    /// What its tokens may do at most, beside scopes and policy; none: no such bound.
    #[serde(default)]
    pub authority: Option<Authority>,
    /// The calls, outermost first, within which its agent was invoked: it ends with them.
    #[serde(default)]
    pub calls: Vec<AttemptId>,
    /// The attempt (a token request) that made it.
    #[serde(default)]
    pub made_by: Option<AttemptId>,
    /// How many nodes were made below it, at least those that live.
    #[serde(default)]
    pub children: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// Nothing is minted under it beyond this moment.
    pub expires_at: Timestamp,
}

impl Delegation {
    /// The agent that acts under it.
    #[must_use]
    pub fn agent(&self) -> &AgentId {
        // INVARIANT: see above; a record that breaks it is refused when it is read.
        #[expect(clippy::expect_used, reason = "`is_consistent` is asked of everything that is read")]
        self.chain.last().expect("a chain is never empty")
    }

    /// 1 for a root.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.path.len()
    }

    /// The keys of its agent.
    #[must_use]
    pub fn keys(&self) -> &[Thumbprint] {
        self.path.last().map_or(&[], |node| &node.keys)
    }

    /// Whether what was read is a node: see the invariant above.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        (1..=DEPTH_MAX).contains(&self.path.len())
            && self.path.len() == self.chain.len()
            && self.path.last().is_some_and(|node| node.id == self.id)
            && self.parent.as_ref() == self.path.iter().rev().nth(1).map(|node| &node.id)
            && (self.origin == Origin::Root) == self.parent.is_none()
            && self.path.iter().all(|node| node.keys.len() <= NODE_KEYS_MAX)
    }
}
