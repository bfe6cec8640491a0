use std::{error::Error, time::Duration};

use serde::{Deserialize, Serialize};
use vestibule_model::{Denial, Timestamp};
use vestibule_store::{Kind, Put, Record, StoreError};

use crate::{DenyKey, Order, Reason, State};

/// A token lives at most 24 hours, and so does a node; an hour more for clocks that disagree. Every other name may come
/// back at any time, so an entry about it stays for good unless the order says otherwise.
const LIFE_MAX: Duration = Duration::from_secs(25 * 60 * 60);

/// What comes before the name in the key of a suspension's record. A revocation's is the name alone: the two stand
/// beside each other, for a suspension that is taken back must leave the revocation as it was.
const SUSPENDED: &str = "suspended/";

/// An order in force. A name can have two: one that revokes what came to be until its cutoff, and one that suspends the
/// rest for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DenyEntry {
    /// What is denied.
    #[serde(flatten)]
    pub key: DenyKey,
    /// Counts the times it was widened, and for a suspension the times it was taken back.
    pub version: u64,
    /// Whether for good.
    pub state: State,
    /// Why.
    pub reason: Reason,
    /// What came to be at or before this moment is dead; none: everything is.
    pub cutoff: Option<Timestamp>,
    /// Who gave the order.
    pub by: String,
    /// When.
    pub at: Timestamp,
    /// From then on it denies nothing.
    pub expires_at: Option<Timestamp>,
    /// Of a suspension: how often this name was suspended, widened and resumed. Of two that contradict each other, the
    /// higher holds; the store's version would not do, for a restored database counts again from where it was.
    #[serde(skip)]
    pub(crate) turn: u64,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fact {
    /// An order.
    Denies(DenyEntry),
    /// The suspension up to this turn was taken back. Kept for good: a gateway that was away, or a database from a
    /// backup, would suspend the name again. It is the entry as it was, but for version, turn, by and at.
    Resumed(DenyEntry),
}

impl Fact {
    pub(crate) fn entry(&self) -> &DenyEntry {
        match self {
            Self::Denies(entry) | Self::Resumed(entry) => entry,
        }
    }
}

/// The record's body. A state or a field that this version does not know makes it unreadable, and a gateway that
/// cannot read what is revoked goes stale and refuses: skipping it would let the revoked in.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    state: Stored,
    reason: Reason,
    cutoff: Option<Timestamp>,
    by: String,
    at: Timestamp,
    /// Of a suspension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    turn: Option<u64>,
    /// Of a suspension. Its record itself stays as long as the name can: one that was overtaken by a shorter one must
    /// not come back when that has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Stored {
    Revoked,
    Suspended,
    Resumed,
}

impl DenyEntry {
    /// What an order asks for. It has no version before it is recorded.
    pub(crate) fn new(order: &Order, now: Timestamp) -> Self {
        let entry = Self {
            key: order.key.clone(),
            version: 0,
            state: order.state,
            reason: order.reason,
            cutoff: order.cutoff,
            by: order.by.clone(),
            at: now,
            expires_at: None,
            turn: 0,
        };
        Self { expires_at: order.expires_at.or(entry.end_of_name()), ..entry }
    }

    /// From then on nobody bears the name any more.
    fn end_of_name(&self) -> Option<Timestamp> {
        self.key.is_short_lived().then(|| self.at.plus(LIFE_MAX))
    }

    /// Whether nobody bears the name any more, so that nothing about it matters.
    pub(crate) fn is_past(&self, now: Timestamp) -> bool {
        self.end_of_name().is_some_and(|end| end <= now)
    }

    fn outlasts_the_name(&self) -> bool {
        match (self.expires_at, self.end_of_name()) {
            (None, _) => true,
            (Some(expires_at), Some(end)) => end <= expires_at,
            (Some(_), None) => false,
        }
    }

    /// Whether it denies all that `wanted` would, and nothing less severely.
    pub(crate) fn covers(&self, wanted: &Self) -> bool {
        let is_as_severe = self.state == State::Revoked || wanted.state == State::Suspended;
        let is_as_deep = self.reason.cascades() || !wanted.reason.cascades();
        let is_as_wide = match (self.cutoff, wanted.cutoff) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(ours), Some(theirs)) => theirs <= ours,
        };
        let is_as_long =
            self.outlasts_the_name() || (!wanted.outlasts_the_name() && wanted.expires_at <= self.expires_at);
        is_as_severe && is_as_deep && is_as_wide && is_as_long
    }

    /// `self`, made as deep, as wide and as long as `standing`.
    pub(crate) fn widened_by(self, standing: &Self) -> Self {
        let reason =
            if standing.reason.cascades() && !self.reason.cascades() { standing.reason } else { self.reason };
        let wider = |a: Option<Timestamp>, b: Option<Timestamp>| a.zip(b).map(|(a, b)| a.max(b));
        let expires_at = wider(self.expires_at, standing.expires_at);
        Self { reason, cutoff: wider(self.cutoff, standing.cutoff), expires_at, ..self }
    }

    /// Whether it denies a name that came to be then.
    pub(crate) fn kills(&self, since: Timestamp) -> bool {
        self.cutoff.is_none_or(|cutoff| since <= cutoff)
    }

    pub(crate) fn has_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// How a request is refused, or cut, that has the name on its path.
    pub(crate) fn denial(&self) -> Denial {
        match self.state {
            State::Revoked => self.key.denial(),
            State::Suspended => Denial::AgentSuspended,
        }
    }
}

/// Under which key its record stands.
pub(crate) fn record_key(state: State, key: &DenyKey) -> String {
    match state {
        State::Revoked => key.to_string(),
        State::Suspended => format!("{SUSPENDED}{key}"),
    }
}

impl Fact {
    pub(crate) fn from_record(record: &Record) -> Result<Self, StoreError> {
        let unreadable = |source: Box<dyn Error + Send + Sync>| StoreError::Unreadable {
            kind: record.kind,
            key: record.key.clone(),
            source,
        };
        let suspended = record.key.strip_prefix(SUSPENDED);
        let key =
            DenyKey::parse(suspended.unwrap_or(&record.key)).map_err(|error| unreadable(error.into()))?;
        let Body { state, reason, cutoff, by, at, turn, expires_at } = record.decode()?;
        let entry = |state, turn, expires_at| DenyEntry {
            key,
            version: record.version,
            state,
            reason,
            cutoff,
            by,
            at,
            expires_at,
            turn,
        };
        match (state, suspended.is_some(), turn, expires_at) {
            (Stored::Revoked, false, None, None) => {
                Ok(Self::Denies(entry(State::Revoked, 0, record.expires_at)))
            }
            (Stored::Suspended, true, Some(turn), expires_at) => {
                Ok(Self::Denies(entry(State::Suspended, turn, expires_at)))
            }
            (Stored::Resumed, true, Some(turn), expires_at) => {
                Ok(Self::Resumed(entry(State::Suspended, turn, expires_at)))
            }
            (Stored::Revoked | Stored::Suspended | Stored::Resumed, ..) => {
                Err(unreadable("the state contradicts the rest of the record".into()))
            }
        }
    }

    pub(crate) fn to_put(&self) -> Result<Put, StoreError> {
        let entry = self.entry();
        let stored = match (self, entry.state) {
            (Self::Resumed(_), _) => Stored::Resumed,
            (Self::Denies(_), State::Suspended) => Stored::Suspended,
            (Self::Denies(_), State::Revoked) => Stored::Revoked,
        };
        let is_revoked = stored == Stored::Revoked;
        let body = Body {
            state: stored,
            reason: entry.reason,
            cutoff: entry.cutoff,
            by: entry.by.clone(),
            at: entry.at,
            turn: (!is_revoked).then_some(entry.turn),
            expires_at: entry.expires_at.filter(|_| !is_revoked),
        };
        let put = Put::new(Kind::Deny, record_key(entry.state, &entry.key), &body)?;
        let expires_at = match entry.end_of_name() {
            _ if is_revoked => entry.expires_at,
            Some(end) => Some(end).max(entry.expires_at),
            None => None,
        };
        Ok(Put { expires_at, ..put })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeyKind;

    const LIFE: Duration = Duration::from_secs(90_000);

    fn now() -> Timestamp {
        Timestamp::from_seconds(1_800_000_000)
    }

    fn entry(kind: KeyKind, change: impl FnOnce(&mut Order)) -> DenyEntry {
        let id = if kind == KeyKind::All { "*" } else { "0123456789abcdef0123456789abcdef" };
        let mut order = Order {
            key: DenyKey::new(kind, id).unwrap(),
            state: State::Revoked,
            reason: Reason::Compromise,
            cutoff: None,
            expires_at: None,
            by: "operator".to_owned(),
            dry_run: false,
        };
        change(&mut order);
        DenyEntry::new(&order, now())
    }

    fn at(seconds: u64) -> Option<Timestamp> {
        Some(now().plus(Duration::from_secs(seconds)))
    }

    #[test]
    fn the_severer_deeper_wider_and_longer_entry_covers_the_other() {
        type Change = fn(&mut Order);
        let all: [(Change, Change, bool); 10] = [
            (|_| (), |_| (), true),
            (|_| (), |order| order.state = State::Suspended, true),
            (|order| order.state = State::Suspended, |_| (), false),
            (|_| (), |order| order.reason = Reason::Superseded, true),
            (|order| order.reason = Reason::Superseded, |order| order.reason = Reason::Unspecified, false),
            (|_| (), |order| order.cutoff = at(5), true),
            (|order| order.cutoff = at(5), |_| (), false),
            (|order| order.cutoff = at(5), |order| order.cutoff = at(6), false),
            (|order| order.expires_at = at(5), |_| (), false),
            (|order| order.expires_at = at(5), |order| order.expires_at = at(6), false),
        ];
        for (place, (standing, wanted, covers)) in all.into_iter().enumerate() {
            let (standing, wanted) = (entry(KeyKind::Agent, standing), entry(KeyKind::Agent, wanted));
            assert_eq!(standing.covers(&wanted), covers, "{place}");
            assert!(wanted.clone().widened_by(&standing).covers(&wanted), "{place}");
            let revoked = DenyEntry { state: State::Revoked, ..wanted };
            assert!(revoked.widened_by(&standing).covers(&standing), "{place}");
        }
    }

    #[test]
    fn entries_about_tokens_and_nodes_end_by_themselves() {
        for kind in [KeyKind::Token, KeyKind::Delegation] {
            let first = entry(kind, |_| ());
            assert_eq!(first.expires_at, Some(now().plus(LIFE)));
            let repeated = DenyEntry {
                at: now().plus(LIFE / 2),
                expires_at: Some(now().plus(LIFE * 2)),
                ..first.clone()
            };
            assert!(first.covers(&repeated), "the name ends no later for being revoked again");
            let short = entry(kind, |order| order.expires_at = at(60));
            assert!(!short.covers(&first) && first.covers(&short));
        }
        assert_eq!(entry(KeyKind::Agent, |_| ()).expires_at, None);
        assert_eq!(entry(KeyKind::All, |order| order.expires_at = at(60)).expires_at, at(60));
    }

    fn record(fact: &Fact) -> Record {
        let Put { kind, key, body, parent, subject, expires_at, logged, .. } = fact.to_put().unwrap();
        assert!(logged);
        Record { kind, key, version: fact.entry().version, parent, subject, expires_at, body }
    }

    #[test]
    fn an_entry_is_what_its_record_says() {
        let revoked = entry(KeyKind::Token, |order| order.cutoff = at(7));
        let suspended = entry(KeyKind::Agent, |order| {
            (order.state, order.expires_at) = (State::Suspended, at(60));
        });
        let suspended = DenyEntry { turn: 3, ..suspended };
        let token = entry(KeyKind::Token, |order| {
            (order.state, order.expires_at) = (State::Suspended, at(60));
        });
        let all = [
            (Fact::Denies(revoked), Some(now().plus(LIFE))),
            (Fact::Denies(suspended.clone()), None),
            (Fact::Resumed(suspended), None),
            (Fact::Denies(token), Some(now().plus(LIFE))),
        ];
        for (fact, expires_at) in all {
            let record = record(&fact);
            assert_eq!(Fact::from_record(&record).unwrap(), fact);
            assert_eq!(record.expires_at, expires_at, "{}", record.key);
        }
    }

    #[test]
    fn what_is_not_understood_is_not_readable() {
        let readable = record(&Fact::Denies(entry(KeyKind::Agent, |_| ())));
        let body = |from, to| Record { body: readable.body.replacen(from, to, 1), ..readable.clone() };
        for unreadable in [
            body("revoked", "exiled"),
            body("revoked", "suspended"),
            body("revoked", "resumed"),
            body("compromise", "whim"),
            body("{", r#"{"until":"tomorrow","#),
            body("{", r#"{"turn":1,"#),
            Record { key: format!("suspended/{}", readable.key), ..readable.clone() },
            Record { key: "trust-domain/d".to_owned(), ..readable.clone() },
        ] {
            let read = Fact::from_record(&unreadable);
            assert!(
                matches!(read, Err(StoreError::Unreadable { .. })),
                "{} {}",
                unreadable.key,
                unreadable.body
            );
        }
        assert!(Fact::from_record(&readable).is_ok());
    }
}
