use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use vestibule_inbound::Caller;
use vestibule_model::{AgentId, Denial, OperationId, Refusal, Timestamp, UserId, json::Json};

use crate::{
    catalog::Entry,
    environment::Environment,
    frame::Frame,
    lock::{Attempt, Decided, Snapshot},
    subjects::{Facts, Subjects},
};

/// An attempt that nobody made, by a caller without a token: what explanations and tests are asked about. It is decided
/// as if it were real, and no [`crate::Permit`] comes out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hypothesis {
    /// The agent that would act. It must be registered.
    pub agent: AgentId,
    /// The agents that would have spawned it, from the root on; empty for an agent that acts on its own.
    pub ancestors: Vec<AgentId>,
    /// The human it would act for.
    pub user: Option<UserId>,
    /// The issuer its token would come from.
    pub issuer: String,
    /// The scopes its token would have.
    pub scopes: BTreeSet<String>,
    /// The claims its token would have.
    pub claims: BTreeMap<String, BTreeSet<String>>,
    /// Where the request would come from.
    pub ip: Option<IpAddr>,
    /// When.
    pub at: Timestamp,
    /// What it would do.
    pub operation: OperationId,
    /// With what: an object.
    pub arguments: Json,
}

impl Hypothesis {
    /// What if this caller attempted that?
    #[must_use]
    pub fn of(caller: &Caller, attempt: &Attempt<'_>, env: &Environment) -> Self {
        let above = caller.chain().depth().saturating_sub(1);
        Self {
            agent: caller.agent().clone(),
            ancestors: caller.chain().actors().iter().take(above).map(|actor| actor.agent.clone()).collect(),
            user: caller.user().cloned(),
            issuer: caller.token().issuer.to_string(),
            scopes: caller.token().scopes.clone(),
            claims: caller.token().claims.clone(),
            ip: env.ip,
            at: env.now,
            operation: attempt.operation.clone(),
            arguments: attempt.arguments.clone(),
        }
    }
}

/// Where the conditions of a hypothesis that policies were asked about can be looked at one by one.
pub(crate) struct Scene<'a> {
    pub(crate) frame: Frame,
    pub(crate) entry: &'a Entry,
}

/// Chains of a hypothesis may be deeper than any real one, so that a guard rail against depth can be tested.
const ANCESTORS_MAX: usize = 32;

impl Snapshot {
    /// Decides a hypothesis exactly as a caller's attempt is decided.
    pub(crate) fn judge(&self, hypothesis: &Hypothesis) -> (Decided, Option<Scene<'_>>) {
        match self.scene(hypothesis) {
            Err(refusal) => (self.undecided(refusal), None),
            Ok(scene) => {
                let env = Environment { now: hypothesis.at, ip: hypothesis.ip };
                (self.decide(&scene.frame, scene.entry, &hypothesis.arguments, &env), Some(scene))
            }
        }
    }

    fn scene(&self, hypothesis: &Hypothesis) -> Result<Scene<'_>, Refusal> {
        self.refuse_when_empty()?;
        if hypothesis.ancestors.len() > ANCESTORS_MAX {
            return Err(Refusal::new(Denial::AgentUnknown, format!("more than {ANCESTORS_MAX} ancestors")));
        }
        let agents = hypothesis.ancestors.iter().chain([&hypothesis.agent]);
        let facts = Facts {
            issuer: &hypothesis.issuer,
            scopes: hypothesis.scopes.clone(),
            claims: hypothesis.claims.clone(),
        };
        let subjects = Subjects::suppose(agents, hypothesis.user.clone(), facts, &self.directory)?;
        let (position, entry) = self.operation(&hypothesis.operation)?;
        Ok(Scene { frame: self.frame(subjects, position, entry)?, entry })
    }
}
