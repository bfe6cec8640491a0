use std::{error::Error, time::Duration};

use serde::{Deserialize, Serialize};
use vestibule_model::{AgentId, AppId, Timestamp};
use vestibule_store::{Kind, Put, Record, StoreError};

use super::{Breaker, Cause, Phase, Rest, Signal};

/// Whose breaker a record is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    Agent(AgentId),
    App(AppId),
}

/// The record's body. What this version does not know makes it unreadable, and a gateway that cannot read whose breaker is
/// open goes stale and refuses.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    state: Stored,
    /// Of what is open until somebody resets it: none.
    until: Option<Timestamp>,
    turn: u64,
    strikes: u32,
    since: Timestamp,
    open_ms: u64,
    open_max_ms: u64,
    probes: u32,
    signal: Signal,
    detail: String,
    by: String,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Stored {
    Closed,
    Open,
    Probing,
}

impl Name {
    /// `agent/{id}` or `app/{id}`. An id may hold slashes of its own.
    pub(super) fn key(&self) -> String {
        match self {
            Self::Agent(agent) => format!("agent/{agent}"),
            Self::App(app) => format!("app/{app}"),
        }
    }

    fn parse(key: &str) -> Result<Self, Box<dyn Error + Send + Sync>> {
        match key.split_once('/') {
            Some(("agent", id)) => Ok(Self::Agent(AgentId::new(id)?)),
            Some(("app", id)) => Ok(Self::App(AppId::new(id)?)),
            Some(_) | None => Err("must be `agent/` or `app/` and an id".into()),
        }
    }

    fn is_short_lived(&self) -> bool {
        match self {
            Self::Agent(agent) => agent.as_key().is_some(),
            Self::App(_) => false,
        }
    }
}

pub(super) fn to_put(name: &Name, breaker: &Breaker, cause: &Cause) -> Result<Put, StoreError> {
    let (state, until) = match breaker.phase {
        Phase::Closed => (Stored::Closed, None),
        Phase::Open { until } => (Stored::Open, until),
        Phase::Probing { until } => (Stored::Probing, Some(until)),
    };
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let body = Body {
        state,
        until,
        turn: breaker.turn,
        strikes: breaker.strikes,
        since: breaker.since,
        open_ms: millis(breaker.rest.open),
        open_max_ms: millis(breaker.rest.open_max),
        probes: breaker.rest.probes,
        signal: cause.signal,
        detail: cause.detail.clone(),
        by: cause.by.clone(),
    };
    let put = Put::new(Kind::Breaker, name.key(), &body)?;
    Ok(Put { expires_at: breaker.ends_at(name.is_short_lived()), ..put })
}

pub(super) fn from_record(record: &Record) -> Result<(Name, Breaker, Cause), StoreError> {
    let unreadable = |source: Box<dyn Error + Send + Sync>| StoreError::Unreadable {
        kind: record.kind,
        key: record.key.clone(),
        source,
    };
    let name = Name::parse(&record.key).map_err(unreadable)?;
    let body: Body = record.decode()?;
    let phase = match (body.state, body.until) {
        (Stored::Closed, _) => Phase::Closed,
        (Stored::Open, until) => Phase::Open { until },
        (Stored::Probing, Some(until)) => Phase::Probing { until },
        (Stored::Probing, None) => return Err(unreadable("probing has an end".into())),
    };
    let rest = Rest {
        open: Duration::from_millis(body.open_ms),
        open_max: Duration::from_millis(body.open_max_ms),
        probes: body.probes,
    };
    let breaker = Breaker { phase, turn: body.turn, strikes: body.strikes, since: body.since, rest };
    Ok((name, breaker, Cause { signal: body.signal, detail: body.detail, by: body.by }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(put: Put) -> Record {
        let Put { kind, key, body, parent, subject, expires_at, .. } = put;
        Record { kind, key, version: 1, parent, subject, expires_at, body }
    }

    #[test]
    fn a_breaker_is_what_its_record_says() {
        let rest = Rest { open: Duration::from_secs(1), open_max: Duration::from_secs(9), probes: 2 };
        let (now, name) =
            (Timestamp::from_seconds(1_800_000_000), Name::Agent(AgentId::new("spiffe://d/a").unwrap()));
        let open = Breaker::new(rest).trip(now, rest);
        let probing = open.probe(now.plus(rest.open)).unwrap();
        let held = open.hold(now, None, rest);
        for breaker in [open, probing, held, probing.close(now)] {
            let cause = Cause::own(Signal::Denials, "4 of 4");
            let record = record(to_put(&name, &breaker, &cause).unwrap());
            assert_eq!(from_record(&record).unwrap(), (name.clone(), breaker, cause));
            for (from, to) in [("turn", "return"), ("denials", "whims"), ("{", r#"{"more":1,"#)] {
                let other = Record { body: record.body.replacen(from, to, 1), ..record.clone() };
                assert!(matches!(from_record(&other), Err(StoreError::Unreadable { .. })), "{}", other.body);
            }
            for key in ["agent/", "user/a", "agent", "app/A"] {
                assert!(from_record(&Record { key: key.to_owned(), ..record.clone() }).is_err(), "{key}");
            }
        }
    }
}
