use std::{borrow::Cow, fmt, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};
use vestibule_model::Timestamp;

use crate::{
    Charge, Recount, StoreError,
    vault::{PLAIN_MAX_BYTES, Rewrapping, Row, Sealing, Vault},
};

/// A key has at most this many bytes: the longest agent id (2048) and room for a prefix.
pub const KEY_MAX_BYTES: usize = 2304;

/// A body has at most this many bytes: the reviewed operations of a large application fit.
pub const BODY_MAX_BYTES: usize = 8 * 1024 * 1024;

/// A place in the change log. 0 is before the first change; numbers have no holes.
pub type Seq = u64;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident, $text:literal;)*) => {
        /// What a record is about. Stored as its kebab-case text.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Kind {
            $($(#[$doc])* $name,)*
        }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its text.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The kind of that text.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|kind| kind.as_str() == text)
            }
        }
    };
}

kinds! {
    /// A registered agent.
    Agent, "agent";
    /// What an agent proves itself with. Holds digests and public keys only.
    Credential, "credential";
    /// A node of the delegation tree.
    Delegation, "delegation";
    /// A revocation.
    Deny, "deny";
    /// A circuit breaker that has opened, or was closed again.
    Breaker, "breaker";
    /// A key that signs tokens. Sealed.
    SigningKey, "signing-key";
    /// A secret that the gateway keeps for its operators. Sealed.
    Secret, "secret";
    /// A token with which applications are called. Sealed.
    UpstreamToken, "upstream-token";
    /// The token of a user on which delegations rest. Sealed.
    UserToken, "user-token";
    /// The operations of one application, as reviewed.
    Operations, "operations";
    /// An incident, open or closed.
    Incident, "incident";
    /// What the gateway notes about itself.
    Meta, "meta";
}

impl Kind {
    /// Whether the bodies of its records are sealed by the [`vault`](crate::vault).
    #[must_use]
    pub fn is_sealed(self) -> bool {
        match self {
            Self::SigningKey | Self::Secret | Self::UpstreamToken | Self::UserToken => true,
            Self::Agent
            | Self::Credential
            | Self::Delegation
            | Self::Deny
            | Self::Breaker
            | Self::Operations
            | Self::Incident
            | Self::Meta => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A record as it stands.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// What it is about.
    pub kind: Kind,
    /// Unique within its kind.
    pub key: String,
    /// 1 when it was made, one more with each put.
    pub version: u64,
    /// Key of the record above it, for [`By::Parent`].
    pub parent: Option<String>,
    /// Whom it concerns, for [`By::Subject`].
    pub subject: Option<String>,
    /// From this moment on it is as if absent; none lasts.
    pub expires_at: Option<Timestamp>,
    /// JSON.
    pub body: String,
}

impl Record {
    /// The body as a value.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] when the body is not a `T`.
    pub fn decode<T: DeserializeOwned>(&self) -> Result<T, StoreError> {
        serde_json::from_str(&self.body).map_err(|error| unreadable(self.kind, &self.key, error))
    }
}

/// What a put demands of the record that it replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Nothing.
    Any,
    /// That there is none, or only an expired one.
    Absent,
    /// That it has this version and has not expired.
    Version(u64),
}

/// One step of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes a record.
    Put(Put),
    /// Removes a record and logs that it is gone. Removing what is not there is no change and no error.
    Delete {
        /// Kind of the record.
        kind: Kind,
        /// Its key.
        key: String,
    },
    /// Puts the data key of a sealed record under the vault's first key. A record that is gone is no error.
    Rewrap(Rewrapping),
    /// Counts one more, unless as many as may be are counted.
    Charge(Charge),
    /// Corrects a counter.
    Recount(Recount),
}

impl fmt::Debug for Record {
    /// Without the body: that of a signing key is a private key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Record")
            .field("kind", &self.kind)
            .field("key", &self.key)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Put {
    /// Without the body, as for a record.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Put").field("kind", &self.kind).field("key", &self.key).finish_non_exhaustive()
    }
}

/// A record to be written. Replaces all of an older one: what is not given is absent afterwards.
#[derive(Clone, PartialEq, Eq)]
pub struct Put {
    /// What it is about.
    pub kind: Kind,
    /// Unique within its kind, at most [`KEY_MAX_BYTES`].
    pub key: String,
    /// JSON, at most [`BODY_MAX_BYTES`].
    pub body: String,
    /// What must hold, or the whole commit is a conflict. Default: nothing.
    pub expect: Expect,
    /// Key of the record above it.
    pub parent: Option<String>,
    /// Whom it concerns.
    pub subject: Option<String>,
    /// From this moment on it is as if absent.
    pub expires_at: Option<Timestamp>,
    /// Whether followers learn of it. Default: yes.
    pub logged: bool,
    /// What is sealed into the body once the version is known; the body given here is then not used.
    pub seal: Option<Sealing>,
}

impl Put {
    /// A logged put without expectation, parent, subject or expiry.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] when `value` cannot become JSON.
    pub fn new(kind: Kind, key: impl Into<String>, value: &impl Serialize) -> Result<Self, StoreError> {
        let key = key.into();
        let body = serde_json::to_string(value).map_err(|error| unreadable(kind, &key, error))?;
        Ok(Self::of(kind, key, body, None))
    }

    /// The same, with `plain` sealed by `vault` for this very record and version. [`Vault::open_record`] opens it.
    #[must_use]
    pub fn sealed(kind: Kind, key: impl Into<String>, vault: &Arc<Vault>, plain: &[u8]) -> Self {
        Self::of(kind, key.into(), String::new(), Some(Sealing::new(vault, plain)))
    }

    fn of(kind: Kind, key: String, body: String, seal: Option<Sealing>) -> Self {
        let (parent, subject, expires_at) = (None, None, None);
        Self { kind, key, body, expect: Expect::Any, parent, subject, expires_at, logged: true, seal }
    }

    /// The body as it is written with that version. Engines call this within the transaction.
    pub(crate) fn body_at(&self, version: u64) -> Result<Cow<'_, str>, StoreError> {
        match &self.seal {
            None => Ok(Cow::Borrowed(&self.body)),
            Some(seal) => seal.body(&Row { kind: self.kind, key: &self.key, version }).map(Cow::Owned),
        }
    }

    /// Demands something of the record that it replaces.
    #[must_use]
    pub fn expect(self, expect: Expect) -> Self {
        Self { expect, ..self }
    }

    /// Puts it below another record.
    #[must_use]
    pub fn parent(self, parent: impl Into<String>) -> Self {
        Self { parent: Some(parent.into()), ..self }
    }

    /// Says whom it concerns.
    #[must_use]
    pub fn subject(self, subject: impl Into<String>) -> Self {
        Self { subject: Some(subject.into()), ..self }
    }

    /// Lets it end.
    #[must_use]
    pub fn expires_at(self, at: Timestamp) -> Self {
        Self { expires_at: Some(at), ..self }
    }

    /// Says whether followers learn of it.
    #[must_use]
    pub fn logged(self, logged: bool) -> Self {
        Self { logged, ..self }
    }

    pub(crate) fn bounded(&self) -> Result<(), StoreError> {
        let keys = [Some(&self.key), self.parent.as_ref(), self.subject.as_ref()];
        if keys.into_iter().flatten().any(|key| key.len() > KEY_MAX_BYTES) {
            return Err(StoreError::TooLarge { what: "a key", max_bytes: KEY_MAX_BYTES });
        }
        if self.body.len() > BODY_MAX_BYTES {
            return Err(StoreError::TooLarge { what: "a body", max_bytes: BODY_MAX_BYTES });
        }
        if self.seal.as_ref().is_some_and(|seal| seal.len() > PLAIN_MAX_BYTES) {
            return Err(StoreError::TooLarge { what: "what is to be sealed", max_bytes: PLAIN_MAX_BYTES });
        }
        Ok(())
    }
}

/// Which records of a kind a scan finds. All but the last find only what has not expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By<'a> {
    /// All of them.
    All,
    /// Those directly below this key.
    Parent(&'a str),
    /// Those that concern this subject.
    Subject(&'a str),
    /// Those that have expired at this moment.
    ExpiredBefore(Timestamp),
}

/// One logged change. It carries the record as it stands when it is read, not as it stood when it was logged, so a
/// reader converges on the newest state and may meet the same record twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its place in the order.
    pub seq: Seq,
    /// Kind of the record.
    pub kind: Kind,
    /// Its key.
    pub key: String,
    /// The record, or none when it is gone or has expired.
    pub record: Option<Record>,
}

/// What one poll of the change log found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changes {
    /// Names this history. Another epoch is another database, or one that was restored: nothing known holds.
    pub epoch: String,
    /// Place of the newest change.
    pub head: Seq,
    /// The changes after the asked place, oldest first.
    pub items: Vec<Change>,
    /// The log does not continue at the asked place, for it was trimmed or went back: load everything again.
    pub trimmed: bool,
}

fn unreadable(kind: Kind, key: &str, error: serde_json::Error) -> StoreError {
    StoreError::Unreadable { kind, key: key.to_owned(), source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_text() {
        for kind in Kind::ALL {
            assert_eq!(Kind::parse(kind.as_str()), Some(*kind));
        }
        assert_eq!(Kind::parse("Agent"), None);
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let put = |key: &str| Put::new(Kind::Meta, key, &"x").unwrap();
        assert!(put("k").bounded().is_ok());
        let long = "k".repeat(KEY_MAX_BYTES + 1);
        assert!(matches!(put(&long).bounded(), Err(StoreError::TooLarge { what: "a key", .. })));
        assert!(matches!(put("k").subject(long).bounded(), Err(StoreError::TooLarge { what: "a key", .. })));
        let body = Put { body: "1".repeat(BODY_MAX_BYTES + 1), ..put("k") };
        assert!(matches!(body.bounded(), Err(StoreError::TooLarge { what: "a body", .. })));
    }

    #[test]
    fn a_body_shows_in_no_debug_output() {
        let put = Put::new(Kind::SigningKey, "k", &"a-private-key").unwrap();
        let record = Record {
            kind: put.kind,
            key: put.key.clone(),
            version: 1,
            parent: None,
            subject: None,
            expires_at: None,
            body: put.body.clone(),
        };
        let change = Change { seq: 1, kind: record.kind, key: record.key.clone(), record: Some(record) };
        assert!(put.body.contains("a-private-key"));
        let shown = format!("{:?} {change:?}", Op::Put(put));
        assert!(shown.contains("SigningKey") && !shown.contains("a-private-key"), "{shown}");
    }
}
