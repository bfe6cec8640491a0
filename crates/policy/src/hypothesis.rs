use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use vestibule_inbound::Caller;
use vestibule_model::{AgentId, Authority, Denial, OperationId, Refusal, Timestamp, UserId, json::Json};

use crate::{
    bound::Bound,
    delegate::Delegating,
    engine::DELEGATE,
    environment::Environment,
    frame::Frame,
    lock::{Attempt, Decided, Snapshot},
    subjects::{Facts, Human, Subjects},
    target::Target,
};

/// Something that nobody does, by a caller without a token: what explanations and tests are asked about. It is decided
/// as if it were real, and no [`crate::Permit`] comes out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hypothesis {
    /// The agent that would act. Registered, or known by its key below an ancestor.
    pub agent: AgentId,
    /// The agents that would have spawned it, from the root on; empty for an agent that acts on its own.
    pub ancestors: Vec<AgentId>,
    /// The human it would act for.
    pub user: Option<UserId>,
    /// The groups that human would be in.
    pub user_groups: BTreeSet<String>,
    /// The issuer its token would come from.
    pub issuer: String,
    /// The resource its token would be for. Matters to `authority` only.
    pub audience: String,
    /// The scopes its token would have.
    pub scopes: BTreeSet<String>,
    /// The claims its token would have.
    pub claims: BTreeMap<String, BTreeSet<String>>,
    /// What would have been handed on to it; none: no such bound.
    pub authority: Option<Authority>,
    /// Where the request would come from.
    pub ip: Option<IpAddr>,
    /// When.
    pub at: Timestamp,
    /// What it would do.
    pub deed: Deed,
}

/// What is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Deed {
    /// Calling an operation.
    Call {
        /// Which.
        operation: OperationId,
        /// With what: an object.
        arguments: Json,
    },
    /// Handing something on: what [`Delegating`] says.
    Delegate {
        /// The agent that would get it.
        child: AgentId,
        /// How deep it would be.
        depth: usize,
        /// For how long.
        lifetime: Duration,
        /// The names of the operations; empty: all of the parent's.
        operations: BTreeSet<String>,
    },
}

impl fmt::Display for Deed {
    /// The id of the action: `{app}__{name}`, or `delegate`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { operation, .. } => operation.fmt(f),
            Self::Delegate { .. } => f.write_str(DELEGATE),
        }
    }
}

impl Hypothesis {
    /// What if this caller attempted that?
    #[must_use]
    pub fn of(caller: &Caller, attempt: &Attempt<'_>, env: &Environment) -> Self {
        let above = caller.chain().depth().saturating_sub(1);
        let token = caller.token();
        Self {
            agent: caller.agent().clone(),
            ancestors: caller.chain().actors().iter().take(above).map(|actor| actor.agent.clone()).collect(),
            user: caller.user().cloned(),
            user_groups: caller.represented().map(|user| user.groups.clone()).unwrap_or_default(),
            issuer: token.issuer.to_string(),
            audience: token.audience.clone(),
            scopes: token.scopes.clone(),
            claims: token.claims.clone(),
            authority: token.authority.clone(),
            ip: env.ip,
            at: env.now,
            deed: Deed::Call { operation: attempt.operation.clone(), arguments: attempt.arguments.clone() },
        }
    }
}

/// Where the conditions of a hypothesis that policies were asked about can be looked at one by one.
pub(crate) struct Scene {
    pub(crate) frame: Frame,
    pub(crate) target: Arc<Target>,
}

/// Chains of a hypothesis may be deeper than any real one, so that a guard rail against depth can be tested.
const ANCESTORS_MAX: usize = 32;

impl Snapshot {
    /// Decides a hypothesis exactly as a caller's attempt, or its wish to hand something on, is decided.
    pub(crate) fn judge(&self, hypothesis: &Hypothesis) -> (Decided, Option<Scene>) {
        self.judged(hypothesis).unwrap_or_else(|refusal| (self.undecided(refusal), None))
    }

    fn judged(&self, hypothesis: &Hypothesis) -> Result<(Decided, Option<Scene>), Refusal> {
        let subjects = self.supposed(hypothesis)?;
        let env = Environment { now: hypothesis.at, ip: hypothesis.ip };
        let authority = hypothesis.authority.as_ref();
        let (decided, scene) = match &hypothesis.deed {
            Deed::Call { operation, arguments } => {
                let (position, entry) = self.operation(operation)?;
                let frame = self.frame(subjects, position, entry)?;
                let bound = authority.map(|authority| Bound { resource: &hypothesis.audience, authority });
                let decided = self.decide(&frame, entry, bound, arguments, &env);
                (decided, Scene { frame, target: Arc::clone(&entry.target) })
            }
            Deed::Delegate { child, depth, lifetime, operations } => {
                let operations = operations.clone();
                let asked = Delegating { child, depth: *depth, lifetime: *lifetime, operations };
                let (frame, target) = self.delegation(subjects, child)?;
                let decided = self.decide_delegating(&frame, &target, &asked, authority, &env);
                (decided, Scene { frame, target })
            }
        };
        Ok((decided, Some(scene)))
    }

    fn supposed(&self, hypothesis: &Hypothesis) -> Result<Subjects, Refusal> {
        self.refuse_when_empty()?;
        if hypothesis.ancestors.len() > ANCESTORS_MAX {
            return Err(Refusal::new(Denial::AgentUnknown, format!("more than {ANCESTORS_MAX} ancestors")));
        }
        let agents = hypothesis.ancestors.iter().chain([&hypothesis.agent]);
        let user = hypothesis.user.clone().map(|id| Human { id, groups: hypothesis.user_groups.clone() });
        let facts = Facts {
            issuer: &hypothesis.issuer,
            scopes: hypothesis.scopes.clone(),
            claims: hypothesis.claims.clone(),
        };
        Subjects::suppose(agents, user, facts, &self.directory)
    }
}
