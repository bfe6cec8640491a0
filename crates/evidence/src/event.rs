//! The lines of the log, written and read back. Each is one OCSF event; our own record stands whole under
//! `unmapped.vestibule`, and only that is read back.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use vestibule_model::{AttemptId, Timestamp};

use crate::{Attempt, Gap, Mode, Outcome, Record, State, ocsf::Event};

/// Which entry of the log a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum EntryKind {
    /// An attempt began.
    Opened,
    /// It ended.
    Closed,
    /// The gateway started.
    Start,
    /// The gateway stopped in order.
    Stop,
    /// Entries may be missing.
    Gap,
}

impl EntryKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Closed => "closed",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Gap => "gap",
        }
    }
}

/// What the log says about itself.
#[derive(Debug, Serialize)]
#[serde(tag = "entry", rename_all = "kebab-case")]
pub(crate) enum Lifecycle {
    Start { version: &'static str, mode: Mode },
    Stop,
    Gap(Gap),
}

impl Lifecycle {
    pub(crate) fn kind(&self) -> EntryKind {
        match self {
            Self::Start { .. } => EntryKind::Start,
            Self::Stop => EntryKind::Stop,
            Self::Gap(_) => EntryKind::Gap,
        }
    }
}

/// What stands under `unmapped.vestibule`.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Own<'a> {
    Attempt {
        entry: EntryKind,
        outcome: Option<Outcome>,
        #[serde(flatten)]
        record: &'a Record,
    },
    Lifecycle(&'a Lifecycle),
}

/// Writes the line of one entry of an attempt to the end of `out`. The record must be bounded.
pub(crate) fn write_attempt(
    out: &mut Vec<u8>,
    entry: EntryKind,
    record: &Record,
    outcome: Option<Outcome>,
    now: Timestamp,
) -> Result<(), serde_json::Error> {
    write_line(out, &Event::attempt(entry, record, outcome, now))
}

/// Writes the line of an entry about the log itself.
pub(crate) fn write_lifecycle(
    out: &mut Vec<u8>,
    own: &Lifecycle,
    id: AttemptId,
    now: Timestamp,
) -> Result<(), serde_json::Error> {
    write_line(out, &Event::lifecycle(own, id, now))
}

fn write_line(out: &mut Vec<u8>, event: &Event<'_>) -> Result<(), serde_json::Error> {
    // JSON escapes line breaks, so an entry is one line whatever a caller sent.
    serde_json::to_writer(&mut *out, event)?;
    out.push(b'\n');
    Ok(())
}

/// What every line says about itself: which entry of which attempt, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(crate) time: Timestamp,
    pub(crate) id: AttemptId,
    pub(crate) entry: EntryKind,
}

impl Head {
    /// Reads one line. Fails unless the whole of it is JSON.
    pub(crate) fn read(line: &[u8]) -> Result<Self, serde_json::Error> {
        let StoredHead { time, metadata } = serde_json::from_slice(line)?;
        Ok(Self { time, id: metadata.correlation_uid, entry: metadata.event_code })
    }
}

/// The attempt of an `opened`, `closed` or `act` line, as far as this line tells.
pub(crate) fn read_attempt(line: &[u8], state: State) -> Result<Attempt, serde_json::Error> {
    let own = own(line)?;
    let StoredOutcome { outcome } = serde_json::from_str(own)?;
    Ok(Attempt { record: serde_json::from_str(own)?, state, outcome })
}

/// What a `gap` line says.
pub(crate) fn read_gap(line: &[u8]) -> Result<Gap, serde_json::Error> {
    serde_json::from_str(own(line)?)
}

fn own(line: &[u8]) -> Result<&str, serde_json::Error> {
    let stored: Stored<'_> = serde_json::from_slice(line)?;
    Ok(stored.unmapped.vestibule.get())
}

#[derive(Deserialize)]
struct StoredHead {
    time: Timestamp,
    metadata: StoredMetadata,
}

#[derive(Deserialize)]
struct StoredMetadata {
    correlation_uid: AttemptId,
    event_code: EntryKind,
}

#[derive(Deserialize)]
struct Stored<'a> {
    #[serde(borrow)]
    unmapped: StoredUnmapped<'a>,
}

#[derive(Deserialize)]
struct StoredUnmapped<'a> {
    #[serde(borrow)]
    vestibule: &'a RawValue,
}

#[derive(Deserialize)]
struct StoredOutcome {
    outcome: Option<Outcome>,
}
