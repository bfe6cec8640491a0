use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vestibule_model::{
    AgentId, AppId, AttemptId, DEPTH_MAX, Digest, Thumbprint, Timestamp, TokenId, TraceId, UserId, WorkflowId,
};

use crate::{AccessFact, Cancelled, ChainLink, Decision, DelegationFact};

/// The longest text of a record, in bytes. A longer one is cut and ends in `…`.
pub const TEXT_MAX_BYTES: usize = 512;
/// The most members of a list of a record. A longer one is cut and ends in a member `… N more`.
pub const LIST_MAX: usize = 64;
/// The largest arguments that are kept, in bytes of JSON, roughly. Larger ones are replaced by one text that says so;
/// their digest stays.
pub const ARGUMENTS_MAX_BYTES: usize = 16 * 1024;

/// What was attempted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordKind {
    /// An operation of an application.
    Call,
    /// A token asked for at our token endpoint. It handed authority on if it made a `delegation` that has a parent.
    TokenRequest,
    /// A token asked about (RFC 7662).
    TokenIntrospection,
    /// A token given back by whoever holds it (RFC 7009). `target` names what is dead from then on.
    TokenRevocation,
    /// An act of an operator.
    Administration,
}

impl RecordKind {
    /// The kebab-case text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::TokenRequest => "token-request",
            Self::TokenIntrospection => "token-introspection",
            Self::TokenRevocation => "token-revocation",
            Self::Administration => "administration",
        }
    }
}

/// How long each part took, in microseconds; 0 for a part that was not reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Durations {
    /// Door one.
    pub inbound_us: u64,
    /// The lock.
    pub policy_us: u64,
    /// Door two.
    pub outbound_us: u64,
    /// The application, to the last byte of its reply.
    pub upstream_us: u64,
    /// From arrival to the last byte of the reply.
    pub total_us: u64,
}

/// What is known about one attempt: the same fields whether it was permitted, denied or broke.
///
/// INVARIANT: no field can hold a secret or a token. A token is named by its `jti`, arguments are kept only where the
/// application's configuration says so, redacted by whoever fills them in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Joins the entries of this attempt.
    pub attempt: AttemptId,
    /// When it arrived.
    pub at: Timestamp,
    /// What was attempted.
    pub kind: RecordKind,
    /// Of the W3C trace it belongs to.
    pub trace: TraceId,
    /// Where it came from.
    pub remote: Option<IpAddr>,
    /// The HTTP or MCP method.
    pub method: Option<String>,
    /// The application.
    pub app: Option<AppId>,
    /// The operation, by the name it has on the wire.
    pub operation: Option<String>,
    /// The agent that acts.
    pub agent: Option<AgentId>,
    /// The human it acts for.
    pub user: Option<UserId>,
    /// From the root to the agent that acts; of a token request that was granted, to the agent of the token. At most
    /// [`DEPTH_MAX`] links, as the model bounds it.
    pub chain: Vec<ChainLink>,
    /// The tree of delegations it belongs to.
    pub workflow: Option<WorkflowId>,
    /// The calls within which the last agent of the chain was invoked, outermost first: it acts because they asked for
    /// it. At most [`DEPTH_MAX`], as each is of a node further up.
    #[serde(default)]
    pub calls: Vec<AttemptId>,
    /// Token requests: the node that was made or used.
    pub delegation: Option<DelegationFact>,
    /// The token that was presented or issued, by its `jti`; one of an outside issuer as `{issuer}#{jti}`.
    pub token: Option<TokenId>,
    /// Token requests: the token of an outside issuer on which it rests, the human's or the workload's.
    #[serde(default)]
    pub rests_on: Option<TokenId>,
    /// The key that the caller proved to have, by its thumbprint.
    pub key: Option<Thumbprint>,
    /// The scopes of that token.
    pub scopes: Vec<String>,
    /// Of the canonical arguments, or of the body where nothing reads it.
    pub args_digest: Option<Digest>,
    /// The arguments, redacted, where the application's configuration wants them kept.
    pub arguments: Option<Value>,
    /// What policy said.
    pub decision: Decision,
    /// The policies that determined it.
    pub policies: Vec<String>,
    /// The digest of the policy set.
    pub policy_set: Option<String>,
    /// What the policies in shadow mode would have said.
    pub shadow: Vec<String>,
    /// The code of the denial or fault.
    pub denial: Option<String>,
    /// Why, for the operator. Never shown to the caller.
    pub cause: Option<String>,
    /// With which credential the application was called.
    #[serde(default)]
    pub access: Option<AccessFact>,
    /// The HTTP status of the application's reply.
    pub upstream_status: Option<u16>,
    /// How the application was told that the call is over, where it was cut or given up.
    pub cancelled: Option<Cancelled>,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the reply's body.
    pub bytes_out: u64,
    /// How long it took.
    pub durations: Durations,
    /// Administration: who did it.
    pub author: Option<String>,
    /// Administration: the verb.
    pub action: Option<String>,
    /// Administration and revocation of tokens: what was acted on, `kind/id`.
    pub target: Option<String>,
    /// Administration: with which parameters.
    pub detail: Option<String>,
}

impl Record {
    /// A record of which nothing is known but that it arrived.
    #[must_use]
    pub fn new(kind: RecordKind, attempt: AttemptId, at: Timestamp, trace: TraceId) -> Self {
        Self {
            attempt,
            at,
            kind,
            trace,
            remote: None,
            method: None,
            app: None,
            operation: None,
            agent: None,
            user: None,
            chain: Vec::new(),
            workflow: None,
            calls: Vec::new(),
            delegation: None,
            token: None,
            rests_on: None,
            key: None,
            scopes: Vec::new(),
            args_digest: None,
            arguments: None,
            decision: Decision::Undecided,
            policies: Vec::new(),
            policy_set: None,
            shadow: Vec::new(),
            denial: None,
            cause: None,
            access: None,
            upstream_status: None,
            cancelled: None,
            bytes_in: 0,
            bytes_out: 0,
            durations: Durations::default(),
            author: None,
            action: None,
            target: None,
            detail: None,
        }
    }

    /// Cuts what is too long, with a mark. Never fails: an attempt with an oversized field must still be recorded.
    pub(crate) fn bound(&mut self) {
        let texts = [
            &mut self.method,
            &mut self.operation,
            &mut self.policy_set,
            &mut self.denial,
            &mut self.cause,
            &mut self.author,
            &mut self.action,
            &mut self.target,
            &mut self.detail,
        ];
        texts.into_iter().flatten().for_each(cut);
        if let Some(user) = &mut self.user {
            cut(&mut user.issuer);
            cut(&mut user.subject);
        }
        self.chain.truncate(DEPTH_MAX);
        self.chain.iter_mut().for_each(|link| cut(&mut link.issuer));
        // The innermost stay: they say within which call this was done.
        self.calls.drain(..self.calls.len().saturating_sub(DEPTH_MAX));
        for list in [&mut self.scopes, &mut self.policies, &mut self.shadow] {
            cut_list(list);
        }
        self.access.iter_mut().for_each(AccessFact::bound);
        if self.arguments.as_ref().is_some_and(|arguments| size(arguments) > ARGUMENTS_MAX_BYTES) {
            self.arguments = Some(Value::String(format!("… larger than {ARGUMENTS_MAX_BYTES} bytes")));
        }
    }
}

/// The target of an act as its record holds it: `kind/id`, cut when it is too long.
#[must_use]
pub fn target(kind: &str, id: &str) -> String {
    let mut target = format!("{kind}/{id}");
    cut(&mut target);
    target
}

/// Cuts a text as [`Record::bound`] does.
pub(crate) fn cut(text: &mut String) {
    if text.len() > TEXT_MAX_BYTES {
        text.truncate(text.floor_char_boundary(TEXT_MAX_BYTES));
        text.push('…');
    }
}

/// Cuts a list as [`Record::bound`] does.
pub(crate) fn cut_list(list: &mut Vec<String>) {
    let extra = list.len().saturating_sub(LIST_MAX);
    if extra > 0 {
        list.truncate(LIST_MAX);
        list.push(format!("… {extra} more"));
    }
    list.iter_mut().for_each(cut);
}

/// About the bytes that the value takes as JSON, without writing it.
fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 2,
        Value::Array(items) => items.iter().map(|item| size(item) + 1).sum::<usize>() + 2,
        Value::Object(members) => {
            members.iter().map(|(name, value)| name.len() + 4 + size(value)).sum::<usize>() + 2
        }
    }
}

#[cfg(test)]
mod tests {
    use vestibule_model::SeededEntropy;

    use super::*;

    #[test]
    fn what_is_too_long_is_cut_with_a_mark() {
        let entropy = SeededEntropy::new(1);
        let at = Timestamp::from_millis(0);
        let id = AttemptId::new(at, &entropy);
        let mut record = Record::new(RecordKind::Call, id, at, TraceId::of(id));
        record.cause = Some("é".repeat(400));
        record.operation = Some("short".to_owned());
        record.policies = (0..70).map(|n| format!("policy{n}")).collect();
        record.arguments = Some(serde_json::json!({ "text": "x".repeat(ARGUMENTS_MAX_BYTES) }));
        record.calls = (0..10).map(|n| AttemptId::new(Timestamp::from_millis(n), &entropy)).collect();
        let innermost = record.calls[2..].to_vec();
        record.bound();
        assert_eq!(record.calls, innermost);
        assert_eq!(record.cause.as_deref(), Some(format!("{}…", "é".repeat(256)).as_str()));
        assert_eq!(record.operation.as_deref(), Some("short"));
        assert_eq!(record.policies.len(), LIST_MAX + 1);
        assert_eq!(record.policies.last().map(String::as_str), Some("… 6 more"));
        assert_eq!(record.arguments, Some(Value::from("… larger than 16384 bytes")));
    }

    #[test]
    fn a_record_of_before_delegations_is_still_read() {
        let (entropy, at) = (SeededEntropy::new(1), Timestamp::from_millis(0));
        let id = AttemptId::new(at, &entropy);
        let record = Record::new(RecordKind::Call, id, at, TraceId::of(id));
        let mut old = serde_json::to_value(&record).unwrap();
        let fields = old.as_object_mut().unwrap();
        for field in ["calls", "delegation", "key", "cancelled", "access"] {
            assert!(fields.remove(field).is_some(), "{field}");
        }
        assert_eq!(serde_json::from_value::<Record>(old).unwrap(), record);
    }
}
