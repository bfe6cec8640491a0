use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde_json::Value;
use vestibule_inbound::is_registered_claim;
use vestibule_model::{Agent, AgentId, AgentState, AppId, Malformed, TRUST_MAX, Timestamp};

/// An agent to be registered, as the operator describes it.
#[derive(Clone, Default)]
pub struct NewAgent {
    /// `[a-z0-9][a-z0-9._-]{0,63}`. Also its `client_id`.
    pub id: String,
    /// At most 64 groups of 1 to 128 characters.
    pub groups: BTreeSet<String>,
    /// 0 unknown to [`TRUST_MAX`] attested and reviewed.
    pub trust: u8,
    /// The scopes it may ask for (RFC 6749 §3.3 grammar), at most 1 KiB together.
    pub scopes: BTreeSet<String>,
    /// Custom claims: names `[a-z][a-z0-9_-]{0,63}` that are not registered, at most 2 KiB together with their
    /// values, so that a token which carries them all is still read.
    pub claims: BTreeMap<String, BTreeSet<String>>,
    /// The applications it may ask tokens for; empty means all.
    pub apps: BTreeSet<AppId>,
    /// Its public keys (RFC 7517), 1 to 10: it then proves itself with signed assertions only. None: it gets a secret.
    pub jwks: Option<Value>,
}

const GROUPS_MAX: usize = 64;
const GROUP_MAX_BYTES: usize = 128;
const SCOPES_MAX_BYTES: usize = 1024;
const CLAIMS_MAX_BYTES: usize = 2048;

impl NewAgent {
    pub(super) fn check(&self, now: Timestamp) -> Result<Agent, Malformed> {
        let rule = |what, rule, holds: bool| if holds { Ok(()) } else { Err(Malformed { what, rule }) };
        rule("agent id", "must match `[a-z0-9][a-z0-9._-]{0,63}`", is_registered_id(&self.id))?;
        rule("trust", "must be 0 to 3", self.trust <= TRUST_MAX)?;
        let is_group = |group: &String| {
            !group.is_empty() && group.len() <= GROUP_MAX_BYTES && !group.contains(char::is_control)
        };
        rule(
            "groups",
            "must be at most 64, of 1 to 128 characters each",
            self.groups.len() <= GROUPS_MAX && self.groups.iter().all(is_group),
        )?;
        rule(
            "scopes",
            "must follow RFC 6749 §3.3 and have at most 1 KiB together",
            self.scopes.iter().all(|scope| is_scope(scope)) && size(&self.scopes) <= SCOPES_MAX_BYTES,
        )?;
        rule(
            "claims",
            "must be named `[a-z][a-z0-9_-]{0,63}` and not like a registered claim",
            self.claims.keys().all(|name| is_claim_name(name) && !is_registered_claim(name)),
        )?;
        let bytes: usize = self.claims.iter().map(|(name, values)| name.len() + size(values)).sum();
        let is_clean = |value: &String| !value.contains(char::is_control);
        rule(
            "claims",
            "must have at most 2 KiB together, without control characters",
            bytes <= CLAIMS_MAX_BYTES && self.claims.values().flatten().all(is_clean),
        )?;
        Ok(Agent {
            id: AgentId::new(&self.id)?,
            groups: self.groups.clone(),
            trust: self.trust,
            scopes: self.scopes.clone(),
            claims: self.claims.clone(),
            apps: self.apps.clone(),
            state: AgentState::Active,
            created_at: now,
        })
    }
}

/// Without the keys: an operator may have given the private ones by mistake.
impl fmt::Debug for NewAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewAgent").field("id", &self.id).finish_non_exhaustive()
    }
}

fn size(texts: &BTreeSet<String>) -> usize {
    texts.iter().map(|text| text.len() + 3).sum()
}

fn is_registered_id(text: &str) -> bool {
    let is_first = |b: &u8| matches!(b, b'a'..=b'z' | b'0'..=b'9');
    text.len() <= 64
        && text.as_bytes().first().is_some_and(is_first)
        && text.bytes().all(|b| is_first(&b) || matches!(b, b'.' | b'_' | b'-'))
}

fn is_claim_name(text: &str) -> bool {
    text.len() <= 64
        && text.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
        && text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

/// RFC 6749 §3.3: `1*( %x21 / %x23-5B / %x5D-7E )`.
fn is_scope(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| matches!(b, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
}
