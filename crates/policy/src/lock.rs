use std::{fmt, net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use cedar_policy::{Context, EntityUid};
use quick_cache::sync::Cache;
use vestibule_inbound::Caller;
use vestibule_model::{AppId, Denial, Digest, Directory, OperationId, Refusal, json::Json};

use crate::{
    bound::Bound,
    catalog::{Entry, Names},
    decision::{Decision, Permit, Verdict},
    engine::{self, EngineError},
    environment::Environment,
    frame::{self, Frame, SubjectSlice},
    refusal,
    set::PolicySet,
    slice::Slice,
    subjects::{Subject, Subjects},
    target::Target,
};

/// An operation with its arguments.
#[derive(Debug, Clone)]
pub struct Attempt<'a> {
    /// What is to be done.
    pub operation: OperationId,
    /// With what: an object, from the one parse that is also forwarded.
    pub arguments: &'a Json,
}

/// How many pairs of caller and operation are remembered, at up to 10 KiB each; four times as many slices, which are
/// small, and a quarter as many lists, which are not.
const REMEMBERED: usize = 4096;

/// The lock: decides every attempt by the policies in use and the agents that are registered.
///
/// Both are one immutable snapshot. A decision takes no lock and makes no call; replacing the policies or the agents
/// takes effect with the next decision and forgets everything derived from the old ones.
pub struct Lock {
    snapshot: ArcSwap<Snapshot>,
}

impl Lock {
    /// With no policies it refuses everything.
    #[must_use]
    pub fn new(set: Option<PolicySet>, directory: Arc<Directory>) -> Self {
        let policies = Arc::new(set.unwrap_or_else(PolicySet::empty));
        Self { snapshot: ArcSwap::from_pointee(Snapshot::new(policies, directory, REMEMBERED)) }
    }

    /// From the next decision on, these policies count.
    pub fn replace_policies(&self, set: PolicySet) {
        let policies = Arc::new(set);
        self.snapshot.rcu(|old| Snapshot::new(Arc::clone(&policies), Arc::clone(&old.directory), REMEMBERED));
    }

    /// From the next decision on, these are the registered agents.
    pub fn replace_directory(&self, directory: Arc<Directory>) {
        self.snapshot.rcu(|old| Snapshot::new(Arc::clone(&old.policies), Arc::clone(&directory), REMEMBERED));
    }

    /// The policies in use.
    #[must_use]
    pub fn policies(&self) -> Arc<PolicySet> {
        Arc::clone(&self.snapshot.load().policies)
    }

    /// Decides one attempt: the agents of the chain from the root on and then the user must each be permitted, all in
    /// the same context, and the attempt must lie within what was handed on to the caller. Whatever is unknown, inexact
    /// or fails is refused.
    pub fn decide(&self, caller: &Caller, attempt: &Attempt<'_>, env: &Environment) -> Verdict {
        let snapshot = self.snapshot.load();
        let Decided { decision, refusal, .. } = match snapshot.frame_of(caller, &attempt.operation) {
            Ok((frame, entry)) => snapshot.decide(&frame, entry, Bound::of(caller), attempt.arguments, env),
            Err(refusal) => snapshot.undecided(refusal),
        };
        match refusal {
            None => Verdict::Permitted(Permit::new(caller.clone(), attempt.operation.clone(), decision)),
            Some(refusal) => Verdict::Refused(refusal, decision),
        }
    }

    /// Decides a method that every registered agent may use (`ping`, `tools/list`, …): no policy is asked, but the
    /// agents of the chain must be registered, and policies must be loaded.
    pub fn always(&self, caller: &Caller, app: &AppId, method: &str) -> Verdict {
        let snapshot = self.snapshot.load();
        let decision = snapshot.no_decision();
        let subjects = snapshot.refuse_when_empty().and_then(|()| Subjects::of(caller, &snapshot.directory));
        match subjects {
            Ok(_) => {
                let decision = Decision { allow: true, ..decision };
                Verdict::Permitted(Permit::new(
                    caller.clone(),
                    OperationId::new(app.clone(), method),
                    decision,
                ))
            }
            Err(refusal) => Verdict::Refused(refusal, decision),
        }
    }

    /// The names of the application's operations that some arguments could permit to the caller. What can be called is
    /// always among them; the call itself is decided again. Remembered for the minute of `env` and its source address.
    pub fn visible(&self, caller: &Caller, app: &AppId, env: &Environment) -> Arc<Names> {
        let snapshot = self.snapshot.load();
        let names = snapshot.visible(caller, app, env).unwrap_or_else(|refusal| {
            tracing::debug!(%app, denial = %refusal.denial, cause = refusal.cause, "nothing is visible");
            Arc::default()
        });
        match Bound::of(caller) {
            Some(bound) => Arc::new(bound.among(&names)),
            None => names,
        }
    }

    pub(crate) fn snapshot(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }
}

impl fmt::Debug for Lock {
    /// Without what is remembered of callers.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let snapshot = self.snapshot.load();
        f.debug_struct("Lock")
            .field("policies", &snapshot.policies)
            .field("agents", &snapshot.directory.len())
            .finish_non_exhaustive()
    }
}

/// An attempt, decided.
pub(crate) struct Decided {
    pub(crate) decision: Decision,
    /// None when every subject is permitted.
    pub(crate) refusal: Option<Refusal>,
    /// What the policies saw; none when none was asked.
    pub(crate) context: Option<Context>,
}

/// A list belongs to a token, an application, a minute and a source address.
type ListKey = (Digest, usize, (i64, Option<IpAddr>));

/// Policies and agents together, and what was derived from the two.
pub(crate) struct Snapshot {
    pub(crate) policies: Arc<PolicySet>,
    pub(crate) directory: Arc<Directory>,
    /// By subject, its groups, and the position of the operation. The groups count: those of a user are what their token
    /// says, and those of a spawned agent what its chain does, so one name can come with others the next time.
    slices: Cache<(Subject, usize), Arc<Slice>>,
    /// Slices by their members: operations of one application mostly share one.
    shared: Cache<Vec<usize>, Arc<Slice>>,
    frames: Cache<(Digest, usize), Arc<Frame>>,
    lists: Cache<ListKey, (Arc<Subjects>, Arc<Names>)>,
}

impl Snapshot {
    /// `capacity` as for [`REMEMBERED`].
    pub(crate) fn new(policies: Arc<PolicySet>, directory: Arc<Directory>, capacity: usize) -> Self {
        Self {
            policies,
            directory,
            slices: Cache::new(capacity * 4),
            shared: Cache::new(capacity * 4),
            frames: Cache::new(capacity),
            lists: Cache::new(capacity / 4),
        }
    }

    pub(crate) fn refuse_when_empty(&self) -> Result<(), Refusal> {
        if self.policies.is_empty() { Err(Denial::PolicySetEmpty.into()) } else { Ok(()) }
    }

    fn no_decision(&self) -> Decision {
        Decision { policy_set: self.policies.digest.clone(), ..Decision::default() }
    }

    /// A refusal before any policy was asked.
    pub(crate) fn undecided(&self, refusal: Refusal) -> Decided {
        Decided { decision: self.no_decision(), refusal: Some(refusal), context: None }
    }

    fn frame_of(&self, caller: &Caller, operation: &OperationId) -> Result<(Arc<Frame>, &Entry), Refusal> {
        self.refuse_when_empty()?;
        let digest = caller.token().digest;
        let remembered = |position| self.frames.get(&(digest, position));
        if let Some((position, entry)) = self.policies.operations.find(operation)
            && let Some(frame) = remembered(position).filter(|frame| frame.subjects.are_of(caller))
        {
            return Ok((frame, entry));
        }
        // The agent first: whoever is not registered does not learn which operations exist.
        let subjects = Subjects::of(caller, &self.directory)?;
        let (position, entry) = self.operation(operation)?;
        let frame = Arc::new(self.frame(subjects, position, entry)?);
        self.frames.insert((digest, position), Arc::clone(&frame));
        Ok((frame, entry))
    }

    /// The operation with its position.
    pub(crate) fn operation(&self, operation: &OperationId) -> Result<(usize, &Entry), Refusal> {
        let unknown =
            || Refusal::new(Denial::OperationUnknown, format!("`{operation}` is not in the catalog"));
        self.policies.operations.find(operation).ok_or_else(unknown)
    }

    /// The frame of any subjects.
    pub(crate) fn frame(&self, subjects: Subjects, position: usize, entry: &Entry) -> Result<Frame, Refusal> {
        let slices = self.slices(&subjects.each(), position, &entry.target);
        Frame::new(subjects, slices, &entry.target).map_err(unusable)
    }

    /// The frame of any subjects and a target that is no operation.
    pub(crate) fn frame_about(&self, subjects: Subjects, target: &Target) -> Result<Frame, Refusal> {
        let subject = |(uid, groups): Subject| SubjectSlice { slice: self.slice(&uid, &groups, target), uid };
        let slices = subjects.each().into_iter().map(subject).collect();
        Frame::new(subjects, slices, target).map_err(unusable)
    }

    fn slices(&self, subjects: &[Subject], position: usize, target: &Target) -> Vec<SubjectSlice> {
        let remembered = |subject: &Subject| {
            let key = (subject.clone(), position);
            let slice = self.slices.get(&key).unwrap_or_else(|| {
                let slice = self.slice(&subject.0, &subject.1, target);
                self.slices.insert(key, Arc::clone(&slice));
                slice
            });
            SubjectSlice { uid: subject.0.clone(), slice }
        };
        subjects.iter().map(remembered).collect()
    }

    fn slice(&self, uid: &EntityUid, groups: &[EntityUid], target: &Target) -> Arc<Slice> {
        let members = self.policies.index.find(uid, groups, target);
        self.shared.get(&members).unwrap_or_else(|| {
            let slice = Arc::new(Slice::new(members.clone(), &self.policies.statements));
            self.shared.insert(members, Arc::clone(&slice));
            slice
        })
    }

    /// Decides an attempt within its frame, and within what was handed on.
    pub(crate) fn decide(
        &self,
        frame: &Frame,
        entry: &Entry,
        bound: Option<Bound<'_>>,
        arguments: &Json,
        env: &Environment,
    ) -> Decided {
        let mut decided = match frame::undeclared(&entry.target, arguments) {
            Some(refusal) => self.undecided(refusal),
            None => self.ask(frame, &entry.target, arguments, env),
        };
        let hidden = |refusal| refusal::hidden(refusal, frame, &self.policies, &entry.target, env);
        decided.refusal = decided.refusal.map(hidden);
        if let Some(bound) = bound {
            bound.hold(&mut decided, &entry.id.name, arguments);
        }
        decided
    }

    /// What the policies say, and to a refusal why.
    pub(crate) fn ask(&self, frame: &Frame, target: &Target, input: &Json, env: &Environment) -> Decided {
        match frame.decide(&self.policies, target, input, env) {
            Ok((decision, context)) => {
                let refusal = (!decision.allow).then(|| {
                    refusal::denied(frame, &self.policies, target, &decision, &context)
                        .unwrap_or_else(unusable)
                });
                Decided { decision, refusal, context: Some(context) }
            }
            Err(obstacle) => self.undecided(refusal::obstructed(obstacle)),
        }
    }

    fn visible(&self, caller: &Caller, app: &AppId, env: &Environment) -> Result<Arc<Names>, Refusal> {
        self.refuse_when_empty()?;
        let Some((position, app)) = self.policies.operations.app(app) else {
            return Err(Denial::AppUnknown.into());
        };
        let key = (caller.token().digest, position, env.listing_key());
        if let Some((_, names)) = self.lists.get(&key).filter(|(subjects, _)| subjects.are_of(caller)) {
            return Ok(names);
        }
        let subjects = Subjects::of(caller, &self.directory)?;
        let context = frame::listing_context(&subjects, &self.policies, env).map_err(unusable)?;
        let entities =
            engine::extend(&app.entities, subjects.entities().map_err(unusable)?).map_err(unusable)?;
        let each = subjects.each();
        let mut names = Names::new();
        for (position, entry) in self.policies.operations.of_app(app) {
            let slices = self.slices(&each, position, &entry.target);
            if frame::is_listed(&self.policies, &slices, &entry.target, &context, &entities)
                .map_err(unusable)?
            {
                names.insert(Arc::clone(&entry.id.name));
            }
        }
        let names = Arc::new(names);
        self.lists.insert(key, (Arc::new(subjects), Arc::clone(&names)));
        Ok(names)
    }
}

pub(crate) fn unusable(error: EngineError) -> Refusal {
    Refusal::new(Denial::PolicyError, error)
}
