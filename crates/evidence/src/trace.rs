//! What came of what: the tree of a workflow, or the part of it that an attempt belongs to, rebuilt from the log alone.
//!
//! **What it guarantees.** Every attempt that belongs to the tree stands in it once, under the node of the agent that
//! asked. What only others speak of, because its own record is gone from the log or not in the part that is shown, stands
//! there as unknown and is never dropped. The order in which the records come changes nothing.
//!
//! **What it leaves to others.** Whether the log is what was signed: [`verify`](crate::verify()) says. A log that makes
//! no sense, such as nodes above each other in a circle, gives a tree that makes little, but an end.

mod acts;
mod kept;
mod piece;
mod tree;
mod wanted;

use std::{convert::Infallible, ops::ControlFlow, path::Path};

use serde::{Deserialize, Serialize};
use vestibule_model::{
    AgentId, AppId, AttemptId, NodeId, Origin, Thumbprint, Timestamp, TokenId, UserId, WorkflowId,
};

use crate::{Attempt, Cancelled, Decision, EvidenceError, Outcome, RecordKind, State, search::scan};
use acts::Names;
use kept::Kept;
use piece::Piece;
use tree::Tree;
use wanted::Wanted;

/// The most attempts of a trace. Of more, the earliest are kept.
pub const TRACE_ATTEMPTS_MAX: usize = 10_000;
/// The most acts of a trace. Of more, the earliest are kept.
pub const TRACE_ACTS_MAX: usize = 1_000;

/// What is traced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TraceOf {
    /// One attempt: who asked for it, through which agents and calls, and all that came of it.
    Attempt(AttemptId),
    /// A whole tree of delegations.
    Workflow(WorkflowId),
}

/// How large a trace may become. The default is the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceBounds {
    /// Attempts, 1 to [`TRACE_ATTEMPTS_MAX`]: what is outside counts as the nearest bound.
    pub attempts_max: usize,
    /// Acts of operators and revocations of tokens, 1 to [`TRACE_ACTS_MAX`] likewise.
    pub acts_max: usize,
}

impl Default for TraceBounds {
    fn default() -> Self {
        Self { attempts_max: TRACE_ATTEMPTS_MAX, acts_max: TRACE_ACTS_MAX }
    }
}

/// The tree, and what happened to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trace {
    /// What was asked for.
    pub of: TraceOf,
    /// The tree of delegations, if the attempt belongs to one.
    pub workflow: Option<WorkflowId>,
    /// The human for whom all of it was done; none: the agent at the root asked for itself.
    pub user: Option<UserId>,
    /// The node of who asked. More than one only if the log makes no sense.
    pub roots: Vec<TraceNode>,
    /// Attempts of no node: nobody was proved, or by a token that names none.
    pub apart: Vec<TraceStep>,
    /// Acts that reach the whole tree: on its user, on an application that it called, on everything.
    pub acts: Vec<TraceAct>,
    /// How many attempts stand in it, those that are unknown not counted.
    pub attempts: u64,
    /// How many attempts and acts belong to it and had no room; 0 unless it was cut short.
    pub left_out: u64,
}

/// A node of the delegation tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TraceNode {
    /// The node.
    pub node: NodeId,
    /// The agent that acts under it; none if no record says.
    pub agent: Option<AgentId>,
    /// How it came to be; none if no record says.
    pub origin: Option<Origin>,
    /// The token request that made it; none if no record says.
    pub made_by: Option<AttemptId>,
    /// Nothing is minted under it beyond this moment; none if no record says.
    pub expires_at: Option<Timestamp>,
    /// The keys that its agent proved to have.
    pub keys: Vec<Thumbprint>,
    /// What its agent attempted, the earliest first.
    pub steps: Vec<TraceStep>,
    /// Acts that name this node, its agent, one of its keys or of its tokens.
    pub acts: Vec<TraceAct>,
}

/// An attempt in the tree.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TraceStep {
    /// Which; none if nobody says under which attempt the nodes below came to be.
    pub attempt: Option<AttemptId>,
    /// What is known about it; none if its record is not there.
    pub record: Option<TraceRecord>,
    /// The nodes that it brought about: made by this token request for another agent, or by an agent that was called by
    /// this call.
    pub nodes: Vec<TraceNode>,
}

/// What a trace says of an attempt. [`get`](crate::get) has the rest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TraceRecord {
    /// When it arrived.
    pub at: Timestamp,
    /// What was attempted.
    pub kind: RecordKind,
    /// The agent that acted.
    pub agent: Option<AgentId>,
    /// The HTTP or MCP method.
    pub method: Option<String>,
    /// The application.
    pub app: Option<AppId>,
    /// The operation.
    pub operation: Option<String>,
    /// The token that was presented or issued.
    pub token: Option<TokenId>,
    /// What policy said.
    pub decision: Decision,
    /// The policies that determined it.
    pub policies: Vec<String>,
    /// The code of the denial or fault.
    pub denial: Option<String>,
    /// How the application was told that the call is over.
    pub cancelled: Option<Cancelled>,
    /// Whether it has ended.
    pub state: State,
    /// How it ended; none while it is open.
    pub outcome: Option<Outcome>,
}

/// A revocation, a suspension or its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TraceAct {
    /// The attempt that records it.
    pub attempt: AttemptId,
    /// When it was ordered.
    pub at: Timestamp,
    /// `revoke`, `suspend` or `resume`.
    pub action: String,
    /// What it names, `kind/id`.
    pub target: String,
    /// Who did it.
    pub author: Option<String>,
    /// With which parameters.
    pub detail: Option<String>,
    /// How it ended; none while it is under way.
    pub outcome: Option<Outcome>,
}

/// The trace of `records`, each of another attempt. Empty (`attempts` is 0) if none belongs to what is asked for.
#[must_use]
pub fn trace(records: &[Attempt], of: TraceOf) -> Trace {
    let mut read = |_: &[String], each: &mut Each<'_>| {
        let _ = records.iter().try_for_each(each);
        Ok(())
    };
    match rebuild(of, TraceBounds::default(), &mut read) {
        Ok(trace) => trace,
        Err(never) => {
            let never: Infallible = never;
            match never {}
        }
    }
}

/// The trace of the log in a folder, see [`trace()`]. Reads it up to three times.
///
/// # Errors
/// When a segment cannot be read or holds a line that is no entry.
pub fn trace_in(folder: &Path, of: TraceOf, bounds: TraceBounds) -> Result<Trace, EvidenceError> {
    rebuild(of, bounds, &mut |needles, each| scan(folder, needles, &mut |attempt| each(&attempt)))
}

/// What is done with each attempt.
type Each<'a> = dyn FnMut(&Attempt) -> ControlFlow<()> + 'a;
/// Hands out all attempts whose record holds every one of the texts, and perhaps others.
type Read<'a, E> = dyn FnMut(&[String], &mut Each<'_>) -> Result<(), E> + 'a;

fn rebuild<E>(of: TraceOf, bounds: TraceBounds, read: &mut Read<'_, E>) -> Result<Trace, E> {
    let wanted = find(&of, read)?;
    let mut pieces = Kept::new(bounds.attempts_max.clamp(1, TRACE_ATTEMPTS_MAX));
    read(&wanted.needles(), &mut |attempt| {
        if wanted.fits(&attempt.record) {
            pieces.offer(attempt.record.attempt, Piece::of(attempt));
        }
        ControlFlow::Continue(())
    })?;
    let names = Names::of(pieces.all());
    let mut acts = Kept::new(bounds.acts_max.clamp(1, TRACE_ACTS_MAX));
    for (id, piece) in pieces.all() {
        piece.act.iter().for_each(|act| acts.offer(*id, act.clone()));
    }
    if !pieces.all().is_empty() {
        read(&Names::needles(), &mut |attempt| {
            // What stands in the tree already stands there once.
            let id = attempt.record.attempt;
            if let Some(act) = names.act(attempt).filter(|_| !pieces.all().contains_key(&id)) {
                acts.offer(id, act);
            }
            ControlFlow::Continue(())
        })?;
    }
    let workflow =
        wanted.workflow().or_else(|| pieces.all().values().find_map(|piece| piece.workflow.clone()));
    let mut trace = Trace {
        of,
        workflow,
        user: pieces.all().values().find_map(|piece| piece.user.clone()),
        roots: Vec::new(),
        apart: Vec::new(),
        acts: Vec::new(),
        attempts: u64::try_from(pieces.all().len()).unwrap_or(u64::MAX),
        left_out: pieces.left_out() + acts.left_out(),
    };
    let mut tree = Tree::new(pieces.into_all());
    for act in acts.into_all().into_values() {
        let places = names.places(&act.target);
        if places.is_empty() {
            trace.acts.push(act);
        } else {
            places.iter().for_each(|place| tree.note(place, &act));
        }
    }
    (trace.roots, trace.apart) = tree.grow();
    Ok(trace)
}

/// What belongs to the trace. That of an attempt needs its record.
fn find<E>(of: &TraceOf, read: &mut Read<'_, E>) -> Result<Wanted, E> {
    let id = match of {
        TraceOf::Workflow(workflow) => return Ok(Wanted::Workflow(workflow.clone())),
        TraceOf::Attempt(id) => *id,
    };
    let mut wanted = Wanted::unknown(id);
    read(&wanted.needles(), &mut |attempt| {
        if attempt.record.attempt != id {
            return ControlFlow::Continue(());
        }
        wanted = Wanted::around(&attempt.record);
        ControlFlow::Break(())
    })?;
    Ok(wanted)
}
