//! Incidents as the store has them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vestibule_containment::Reason;
use vestibule_model::{AgentId, AttemptId, Timestamp};
use vestibule_store::{By, Expect, Kind, Op, Put, Record, Store, StoreError};

/// Reads, decides and writes again at most so many times while others write the same incident.
const ROUNDS_MAX: usize = 16;

/// How far an incident is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum IncidentState {
    /// Its agent was suspended, and nobody has decided yet.
    Open,
    /// It was closed, and its agent let in again.
    Resumed,
    /// It was closed, and its agent revoked for good.
    Revoked,
}

impl IncidentState {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Resumed => "resumed",
            Self::Revoked => "revoked",
        }
    }
}

/// An incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Incident {
    /// The attempt that records its opening.
    pub(crate) id: AttemptId,
    pub(crate) agent: AgentId,
    pub(crate) state: IncidentState,
    pub(crate) reason: Reason,
    pub(crate) opened_at: Timestamp,
    /// Who opened it.
    pub(crate) by: String,
    /// What the agent did from then on belongs to it.
    pub(crate) since: Timestamp,
    /// The report of the order that suspended the agent: what was cut, and at which stage.
    pub(crate) suspension: Value,
    pub(crate) closed: Option<Closing>,
}

/// The end of an incident.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Closing {
    pub(crate) at: Timestamp,
    pub(crate) by: String,
    pub(crate) note: Option<String>,
}

/// An incident and the version of its record.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) incident: Incident,
    pub(crate) version: u64,
}

impl Kept {
    fn read(record: &Record) -> Result<Self, StoreError> {
        Ok(Self { incident: record.decode()?, version: record.version })
    }

    fn put(&self) -> Result<Put, StoreError> {
        let Incident { id, agent, .. } = &self.incident;
        let expect = if self.version == 0 { Expect::Absent } else { Expect::Version(self.version) };
        let put = Put::new(Kind::Incident, id.to_string(), &self.incident)?.subject(agent.as_str());
        Ok(put.expect(expect).logged(false))
    }
}

/// The incidents of a store.
#[derive(Debug)]
pub(crate) struct Incidents<'a>(pub(crate) &'a dyn Store);

impl Incidents<'_> {
    /// Keeps a new incident, unless one of the same agent is open: that one then reaches back as far as either, and has
    /// the report that tells more. Says whether it is new.
    pub(crate) async fn open(
        &self,
        new: Incident,
        since: Option<Timestamp>,
    ) -> Result<(Kept, bool), StoreError> {
        for _ in 0..ROUNDS_MAX {
            let pointer = self.0.get(Kind::Meta, &pointer(&new.agent)).await?;
            let open = match &pointer {
                Some(pointer) => self.get(pointer.decode()?).await?,
                None => None,
            };
            let (kept, is_new) = match open.filter(|kept| kept.incident.state == IncidentState::Open) {
                Some(open) => (Kept { incident: merged(open.incident, &new, since), ..open }, false),
                None => (Kept { incident: new.clone(), version: 0 }, true),
            };
            let expect = pointer.map_or(Expect::Absent, |pointer| Expect::Version(pointer.version));
            let pointer = Put::new(Kind::Meta, self::pointer(&new.agent), &kept.incident.id)?;
            let ops = vec![Op::Put(kept.put()?), Op::Put(pointer.expect(expect).logged(false))];
            match self.0.commit(ops).await {
                Ok(_) => return Ok((Kept { version: kept.version + 1, ..kept }, is_new)),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Conflict { kind: Kind::Incident, key: new.agent.to_string() })
    }

    pub(crate) async fn get(&self, id: AttemptId) -> Result<Option<Kept>, StoreError> {
        self.0.get(Kind::Incident, &id.to_string()).await?.as_ref().map(Kept::read).transpose()
    }

    /// At most `limit` of them, the oldest first, after that one.
    pub(crate) async fn page(
        &self,
        after: Option<AttemptId>,
        limit: u32,
    ) -> Result<(Vec<Kept>, Option<AttemptId>), StoreError> {
        let after = after.map(|id| id.to_string());
        let records = self.0.scan(Kind::Incident, By::All, after.as_deref(), limit).await?;
        let is_full = records.len() >= limit as usize;
        let kept: Vec<Kept> = records.iter().map(Kept::read).collect::<Result<_, _>>()?;
        let next = kept.last().filter(|_| is_full).map(|kept| kept.incident.id);
        Ok((kept, next))
    }

    /// Closes it, if nobody else has changed it since it was read.
    pub(crate) async fn close(
        &self,
        kept: Kept,
        state: IncidentState,
        closing: Closing,
    ) -> Result<Kept, StoreError> {
        let incident = Incident { state, closed: Some(closing), ..kept.incident };
        let closed = Kept { incident, version: kept.version };
        let pointer = Op::Delete { kind: Kind::Meta, key: pointer(&closed.incident.agent) };
        self.0.commit(vec![Op::Put(closed.put()?), pointer]).await?;
        Ok(Kept { version: closed.version + 1, ..closed })
    }
}

/// Under which key the open incident of an agent is found.
fn pointer(agent: &AgentId) -> String {
    format!("incident/{agent}")
}

fn merged(open: Incident, new: &Incident, since: Option<Timestamp>) -> Incident {
    // A gateway that was started again knows nothing of what it had cut before.
    let cut = |report: &Value| report.pointer("/cut/attempts").and_then(Value::as_u64).unwrap_or(0);
    let is_more = cut(&new.suspension) >= cut(&open.suspension);
    Incident {
        since: since.map_or(open.since, |since| since.min(open.since)),
        suspension: if is_more { new.suspension.clone() } else { open.suspension },
        ..open
    }
}
