use std::{error::Error, time::Duration};

use serde::{Deserialize, Serialize};
use vestibule_model::Timestamp;
use vestibule_store::{Kind, Put, Record, StoreError};

use crate::{DenyKey, KeyKind, Order, Reason};

/// A token lives at most 24 hours; an hour more for clocks that disagree. A name that is not a token's may come back
/// at any time, so its entry stays for good.
const TOKEN_ENTRY_LIFE: Duration = Duration::from_secs(25 * 60 * 60);

/// A revocation in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DenyEntry {
    /// What is revoked.
    #[serde(flatten)]
    pub key: DenyKey,
    /// Counts the times it was widened.
    pub version: u64,
    /// Why.
    pub reason: Reason,
    /// What was issued at or before this moment is dead; none: everything is.
    pub cutoff: Option<Timestamp>,
    /// Who gave the order.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// From then on nothing can bear the name any more.
    pub expires_at: Option<Timestamp>,
}

/// The record's body. A state or a field that this version does not know makes it unreadable, and a gateway that
/// cannot read what is revoked goes stale and refuses: skipping it would let the revoked in.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    state: State,
    reason: Reason,
    cutoff: Option<Timestamp>,
    by: String,
    at: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Revoked,
}

impl DenyEntry {
    /// What an order asks for. It has no version before it is recorded.
    pub(crate) fn new(order: &Order, now: Timestamp) -> Self {
        let expires_at = match order.key.kind() {
            KeyKind::Token => Some(now.plus(TOKEN_ENTRY_LIFE)),
            KeyKind::Agent | KeyKind::Delegation => None,
        };
        Self {
            key: order.key.clone(),
            version: 0,
            reason: order.reason,
            cutoff: order.cutoff,
            by: order.by.clone(),
            at: now,
            expires_at,
        }
    }

    /// Whether it denies all that an entry with this cutoff would.
    pub(crate) fn covers(&self, cutoff: Option<Timestamp>) -> bool {
        match (self.cutoff, cutoff) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(ours), Some(theirs)) => theirs <= ours,
        }
    }

    /// Whether it denies what was issued then.
    pub(crate) fn kills(&self, issued_at: Timestamp) -> bool {
        self.cutoff.is_none_or(|cutoff| issued_at <= cutoff)
    }

    pub(crate) fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    pub(crate) fn from_record(record: &Record) -> Result<Self, StoreError> {
        let unreadable = |source: Box<dyn Error + Send + Sync>| StoreError::Unreadable {
            kind: record.kind,
            key: record.key.clone(),
            source,
        };
        let key = DenyKey::parse(&record.key).map_err(|error| unreadable(Box::new(error)))?;
        let Body { state: State::Revoked, reason, cutoff, by, at } = record.decode()?;
        Ok(Self { key, version: record.version, reason, cutoff, by, at, expires_at: record.expires_at })
    }

    pub(crate) fn to_put(&self) -> Result<Put, StoreError> {
        let Self { key, reason, cutoff, by, at, .. } = self;
        let body = Body { state: State::Revoked, reason: *reason, cutoff: *cutoff, by: by.clone(), at: *at };
        let put = Put::new(Kind::Deny, key.to_string(), &body)?;
        Ok(Put { expires_at: self.expires_at, ..put })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(kind: KeyKind, cutoff: Option<i64>) -> Order {
        Order {
            key: DenyKey::new(kind, "0123456789abcdef0123456789abcdef").unwrap(),
            reason: Reason::Compromise,
            cutoff: cutoff.map(Timestamp::from_millis),
            by: "operator".to_owned(),
            dry_run: false,
        }
    }

    fn now() -> Timestamp {
        Timestamp::from_seconds(1_800_000_000)
    }

    #[test]
    fn a_later_cutoff_or_none_is_wider() {
        for (standing, wanted, covers) in [
            (Some(5), Some(4), true),
            (Some(5), Some(5), true),
            (Some(5), Some(6), false),
            (Some(5), None, false),
            (None, Some(5), true),
            (None, None, true),
        ] {
            let standing = DenyEntry::new(&order(KeyKind::Agent, standing), now());
            assert_eq!(
                standing.covers(wanted.map(Timestamp::from_millis)),
                covers,
                "{standing:?} {wanted:?}"
            );
        }
    }

    #[test]
    fn only_entries_about_tokens_end() {
        let entry = |kind| DenyEntry::new(&order(kind, None), now());
        assert_eq!(entry(KeyKind::Token).expires_at, Some(now().plus(Duration::from_secs(90_000))));
        assert_eq!(entry(KeyKind::Agent).expires_at, None);
        assert_eq!(entry(KeyKind::Delegation).expires_at, None);
    }

    #[test]
    fn an_entry_is_what_its_record_says() {
        let entry = DenyEntry { version: 3, ..DenyEntry::new(&order(KeyKind::Token, Some(7)), now()) };
        let Put { kind, key, body, parent, subject, expires_at, logged, .. } = entry.to_put().unwrap();
        assert!(logged);
        let record = Record { kind, key, version: 3, parent, subject, expires_at, body };
        assert_eq!(DenyEntry::from_record(&record).unwrap(), entry);

        let unknown = Record { body: record.body.replace("revoked", "suspended"), ..record };
        assert!(matches!(DenyEntry::from_record(&unknown), Err(StoreError::Unreadable { .. })));
    }
}
