use std::{
    collections::{HashMap, VecDeque},
    ops::ControlFlow,
    path::Path,
};

use serde::Deserialize;
use vestibule_model::{AgentId, AppId, AttemptId, NodeId, Thumbprint, Timestamp, WorkflowId};

use crate::{
    Attempt, Decision, EvidenceError, Outcome, Place, Record, RecordKind, State, VerifyError,
    event::{self, EntryKind, Head},
    segments::{self, Step},
};

/// Which attempts are wanted: those that fit everything that is given. The default fits all.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Filter {
    /// The attempt of this identifier.
    pub attempt: Option<AttemptId>,
    /// The agent that acts.
    pub agent: Option<AgentId>,
    /// What was attempted.
    pub kind: Option<RecordKind>,
    /// The human it acts for: the subject, at whichever issuer, or `{issuer}#{subject}`.
    pub user: Option<String>,
    /// The key that the caller proved to have.
    pub key: Option<Thumbprint>,
    /// The application.
    pub app: Option<AppId>,
    /// The operation.
    pub operation: Option<String>,
    /// What policy said.
    pub decision: Option<Decision>,
    /// The code of the denial or fault.
    pub denial: Option<String>,
    /// How it ended. Attempts that are open do not fit.
    pub outcome: Option<Outcome>,
    /// Arrived at or after this.
    pub since: Option<Timestamp>,
    /// Arrived before this.
    pub until: Option<Timestamp>,
    /// The tree of delegations.
    pub workflow: Option<WorkflowId>,
    /// The delegation node of the agent that acts.
    pub node: Option<NodeId>,
    /// An agent or a delegation node anywhere in the chain, the agent that acts included.
    pub ancestor: Option<String>,
    /// The call within which it was done, at whatever depth.
    pub call: Option<AttemptId>,
    /// At most so many.
    pub limit: Option<u64>,
}

impl Filter {
    /// Whether an attempt is wanted. The limit is not asked.
    #[must_use]
    pub fn fits(&self, attempt: &Attempt) -> bool {
        fn is<T: PartialEq>(wanted: Option<&T>, found: Option<&T>) -> bool {
            wanted.is_none_or(|wanted| found == Some(wanted))
        }
        let record = &attempt.record;
        let last = record.chain.last();
        is(self.attempt.as_ref(), Some(&record.attempt))
            && is(self.agent.as_ref(), record.agent.as_ref())
            && is(self.kind.as_ref(), Some(&record.kind))
            && is(self.key.as_ref(), record.key.as_ref())
            && is(self.app.as_ref(), record.app.as_ref())
            && is(self.operation.as_ref(), record.operation.as_ref())
            && is(self.decision.as_ref(), Some(&record.decision))
            && is(self.denial.as_ref(), record.denial.as_ref())
            && is(self.outcome.as_ref(), attempt.outcome.as_ref())
            && is(self.workflow.as_ref(), record.workflow.as_ref())
            && is(self.node.as_ref(), last.and_then(|link| link.node.as_ref()))
            && self.since.is_none_or(|since| record.at >= since)
            && self.until.is_none_or(|until| record.at < until)
            && self.user.as_ref().is_none_or(|user| is_for(record, user))
            && self.ancestor.as_ref().is_none_or(|ancestor| descends(record, ancestor))
            && self.call.is_none_or(|call| record.calls.contains(&call))
    }

    /// Texts that every line of a fitting attempt holds. A line without one of them need not be parsed.
    fn needles(&self) -> Result<Vec<String>, EvidenceError> {
        let texts = [
            self.attempt.map(|id| id.to_string()),
            self.agent.as_ref().map(ToString::to_string),
            self.app.as_ref().map(ToString::to_string),
            self.operation.clone(),
            self.denial.clone(),
            self.workflow.as_ref().map(ToString::to_string),
            self.node.as_ref().map(ToString::to_string),
            self.key.map(|key| key.to_string()),
            self.ancestor.clone(),
            self.call.map(|id| id.to_string()),
        ];
        // As JSON, quotes and escapes included.
        let whole = texts.iter().flatten().map(serde_json::to_string);
        let mut needles = whole.collect::<Result<Vec<String>, serde_json::Error>>()?;
        if let Some(user) = &self.user {
            // Either spelling ends like the subject.
            let subject = user.split_once('#').map_or(user.as_str(), |(_, subject)| subject);
            let quoted = serde_json::to_string(subject)?;
            needles.push(quoted.strip_prefix('"').unwrap_or(&quoted).to_owned());
        }
        needles.extend(self.kind.map(|kind| format!("\"kind\":\"{}\"", kind.as_str())));
        Ok(needles)
    }
}

fn is_for(record: &Record, user: &str) -> bool {
    record.user.as_ref().is_some_and(|id| {
        // An issuer has no `#`, a subject may.
        id.subject == user
            || user
                .split_once('#')
                .is_some_and(|(issuer, subject)| id.issuer == issuer && id.subject == subject)
    })
}

fn descends(record: &Record, ancestor: &str) -> bool {
    record.chain.iter().any(|link| {
        link.agent.as_str() == ancestor || link.node.as_ref().is_some_and(|node| node.as_str() == ancestor)
    })
}

/// What is done with each attempt that is found.
pub(crate) type Each<'a> = dyn FnMut(Attempt) -> ControlFlow<()> + 'a;

/// Hands the attempts that fit to `each`, in the order in which they ended; those that are open at the end, in the order
/// in which they arrived. Reads all segments: flush the log first to see what is being written.
///
/// # Errors
/// When a segment cannot be read or holds a line that is no entry. A line that is still being written is passed over.
pub fn search(
    folder: &Path,
    filter: &Filter,
    each: &mut dyn FnMut(Attempt) -> ControlFlow<()>,
) -> Result<(), EvidenceError> {
    let mut left = filter.limit.unwrap_or(u64::MAX);
    if left == 0 {
        return Ok(());
    }
    scan(folder, &filter.needles()?, &mut |attempt| {
        if !filter.fits(&attempt) {
            return ControlFlow::Continue(());
        }
        left -= 1;
        let flow = each(attempt);
        if left == 0 { ControlFlow::Break(()) } else { flow }
    })
}

/// As [`search`], but with all attempts whose last entry holds every needle: those that are wanted, and perhaps more.
pub(crate) fn scan(folder: &Path, needles: &[String], each: &mut Each<'_>) -> Result<(), EvidenceError> {
    let mut open: HashMap<AttemptId, (Place, Vec<u8>)> = HashMap::new();
    let mut is_done = false;
    let walked = segments::walk(folder, &mut |place, line| {
        if is_done {
            return Ok(Step::Done);
        }
        let text = std::str::from_utf8(line).map_err(|_| VerifyError::Malformed { place })?;
        let may_fit = needles.iter().all(|needle| text.contains(needle));
        // What ends an attempt is looked at although it does not fit, lest the attempt be taken for open.
        if !may_fit && open.is_empty() {
            return Ok(Step::Next);
        }
        let head = Head::read(line).map_err(|_| VerifyError::Malformed { place })?;
        match head.entry {
            EntryKind::Opened if may_fit => {
                open.insert(head.id, (place, line.to_vec()));
            }
            EntryKind::Closed => {
                open.remove(&head.id);
                is_done = may_fit && each(read(place, line, State::Closed)?).is_break();
            }
            EntryKind::Opened | EntryKind::Start | EntryKind::Stop | EntryKind::Gap => {}
        }
        Ok(Step::Next)
    });
    walked.map_err(EvidenceError::damaged(folder))?;
    let mut open: Vec<(Place, Vec<u8>)> = open.into_values().collect();
    open.sort_unstable_by_key(|(place, _)| place.index);
    for (place, line) in open {
        if is_done {
            break;
        }
        let attempt = read(place, &line, State::Open).map_err(EvidenceError::damaged(folder))?;
        is_done = each(attempt).is_break();
    }
    Ok(())
}

fn read(place: Place, line: &[u8], state: State) -> Result<Attempt, VerifyError> {
    event::read_attempt(line, state).map_err(|_| VerifyError::Malformed { place })
}

/// Of the attempts that fit, the `limit` that [`search`] hands out last, in its order.
///
/// # Errors
/// As [`search`].
pub fn newest(folder: &Path, filter: &Filter, limit: usize) -> Result<Vec<Attempt>, EvidenceError> {
    let filter = Filter { limit: None, ..filter.clone() };
    let mut found = VecDeque::new();
    search(folder, &filter, &mut |attempt| {
        found.push_back(attempt);
        if found.len() > limit {
            found.pop_front();
        }
        ControlFlow::Continue(())
    })?;
    Ok(found.into())
}

/// The attempt of that identifier, if the log holds it.
///
/// # Errors
/// As [`search`].
pub fn get(folder: &Path, attempt: AttemptId) -> Result<Option<Attempt>, EvidenceError> {
    let mut found = None;
    let filter = Filter { attempt: Some(attempt), limit: Some(1), ..Filter::default() };
    search(folder, &filter, &mut |attempt| {
        found = Some(attempt);
        ControlFlow::Break(())
    })?;
    Ok(found)
}
