use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{AppId, Malformed, Timestamp};

/// The highest trust an agent can be given: attested and reviewed. 0 is unknown.
pub const TRUST_MAX: u8 = 3;

/// The identifier of an agent: a registered name, a CIMD URL, a SPIFFE or WIMSE id, or the thumbprint URI of a
/// delegated child's key. Compared byte for byte, never by prefix.
///
/// 1 to 2048 visible ASCII characters without quote, backslash or angle brackets.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct AgentId(Arc<str>);

impl AgentId {
    /// # Errors
    /// When the text does not follow the grammar above.
    pub fn new(text: &str) -> Result<Self, Malformed> {
        let fault = |rule| Malformed { what: "agent id", rule };
        if text.is_empty() || text.len() > 2048 {
            return Err(fault("must have 1 to 2048 characters"));
        }
        if !text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\' | b'<' | b'>')) {
            return Err(fault("may hold visible ASCII without quote, backslash and angle brackets only"));
        }
        Ok(Self(text.into()))
    }

    /// INVARIANT: the text follows the grammar by the way it was made.
    pub(crate) fn trusted(text: &str) -> Self {
        Self(text.into())
    }

    /// The identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for AgentId {
    type Error = Malformed;
    fn try_from(text: String) -> Result<Self, Malformed> {
        Self::new(&text)
    }
}

impl Serialize for AgentId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Whether a registered agent may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AgentState {
    /// May authenticate and call.
    Active,
    /// Removed from use for good; kept so that its records keep their meaning.
    Retired,
}

/// A registered agent, as the operator described it. Its credentials are the issuer's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// Its identifier.
    pub id: AgentId,
    /// Groups that policies name as `AgentGroup::"…"`.
    #[serde(default)]
    pub groups: BTreeSet<String>,
    /// 0 unknown to [`TRUST_MAX`] attested and reviewed.
    #[serde(default)]
    pub trust: u8,
    /// The scopes it may ask for. A scope bounds; it never grants.
    #[serde(default)]
    pub scopes: BTreeSet<String>,
    /// Custom claims (role, department, tenant, …), each a set of strings. Which of them enter a token is decided by
    /// the scopes granted.
    #[serde(default)]
    pub claims: BTreeMap<String, BTreeSet<String>>,
    /// The applications it may ask tokens for; empty means all. A bound, not a grant.
    #[serde(default)]
    pub apps: BTreeSet<AppId>,
    /// Whether it may be used.
    pub state: AgentState,
    /// When it was added.
    pub created_at: Timestamp,
}
