//! What an agent may do, over all operations: never, always, or under which conditions.

use std::collections::BTreeSet;

use cedar_policy::{Effect, Request};
use serde::Serialize;
use vestibule_model::{AgentId, Refusal, Thumbprint, UserId};

use crate::{
    engine::{self, EngineError},
    explain::{Unexplained, effect},
    frame::{Frame, SubjectSlice},
    lock::Lock,
    set::PolicySet,
    statement::Statement,
    subjects::{Facts, Human, Subjects},
    target::Target,
};

/// Whether an operation may be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum May {
    /// Whatever the arguments, the token and the circumstances.
    Never,
    /// Depending on them.
    When,
    /// Whatever they are.
    Always,
}

/// What an agent may do, acting by itself, for a user or for nobody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Applicable {
    /// The agent.
    pub agent: AgentId,
    /// The user it acts for.
    pub user: Option<UserId>,
    /// The groups that user is in.
    pub user_groups: BTreeSet<String>,
    /// The digest of the policy set.
    pub policy_set: String,
    /// Every operation of the catalog.
    pub operations: Vec<ApplicableOperation>,
    /// Handing something on to a child that it spawns and that is known by its key alone. What it may hand on to registered
    /// agents depends on them: [`Lock::explain`] answers for one.
    pub delegate: ApplicableOperation,
}

/// What an agent may do with one operation, or whether it may delegate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApplicableOperation {
    /// As policies name it.
    pub operation: String,
    /// Whether it may be called.
    pub may: May,
    /// The permits that can apply.
    pub grants: Vec<ApplicablePolicy>,
    /// The forbids that can apply.
    pub guards: Vec<ApplicablePolicy>,
}

/// A policy that can apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApplicablePolicy {
    /// About whom: the agent or the user, as policies name it.
    pub subject: String,
    /// Its `@id`.
    pub id: String,
    /// Where it stands.
    pub file: String,
    /// 1-based.
    pub line: usize,
    /// `permit` or `forbid`.
    pub effect: &'static str,
    /// Its `@reason`.
    pub reason: Option<String>,
    /// The conditions that depend on arguments, token or circumstances; those that are known to be met are left out.
    pub conditions: Vec<String>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum NotApplicable {
    /// The agent is not registered, or no policies are loaded.
    #[error("refused: {}", .0.denial)]
    Refused(Refusal),
    /// A bug.
    #[error("cannot be answered")]
    Failed(#[source] Unexplained),
}

impl From<EngineError> for NotApplicable {
    fn from(error: EngineError) -> Self {
        Self::Failed(Unexplained(error))
    }
}

impl Lock {
    /// What `agent` may do, for `user` (who is in `user_groups`) or for nobody.
    ///
    /// # Errors
    /// When the agent is not registered or no policies are loaded.
    pub fn applicable(
        &self,
        agent: &AgentId,
        user: Option<&UserId>,
        user_groups: &BTreeSet<String>,
    ) -> Result<Applicable, NotApplicable> {
        let snapshot = self.snapshot();
        let set = &*snapshot.policies;
        let human = user.map(|id| Human { id: id.clone(), groups: user_groups.clone() });
        let subjects = snapshot.refuse_when_empty().and_then(|()| {
            Subjects::suppose([agent].into_iter(), human, Facts::default(), &snapshot.directory)
        });
        let subjects = subjects.map_err(NotApplicable::Refused)?;
        let mut operations = Vec::with_capacity(set.operations.entries.len());
        for (position, entry) in set.operations.entries.iter().enumerate() {
            let frame = snapshot.frame(subjects.clone(), position, entry).map_err(NotApplicable::Refused)?;
            operations.push(listed(set, &frame, &entry.target)?);
        }
        let (frame, target) = snapshot.delegation(subjects, &some_child()).map_err(NotApplicable::Refused)?;
        Ok(Applicable {
            agent: agent.clone(),
            user: user.cloned(),
            user_groups: user_groups.clone(),
            policy_set: set.digest.clone(),
            operations,
            delegate: listed(set, &frame, &target)?,
        })
    }
}

/// A child that is known by its key alone, whatever that is.
fn some_child() -> AgentId {
    AgentId::of_key(&Thumbprint::from_bytes([0; 32]))
}

fn listed(set: &PolicySet, frame: &Frame, target: &Target) -> Result<ApplicableOperation, EngineError> {
    let mut listed = ApplicableOperation {
        operation: target.name.clone(),
        may: May::Always,
        grants: Vec::new(),
        guards: Vec::new(),
    };
    for subject in &frame.slices {
        let may = about(set, frame, target, subject, &mut listed)?;
        listed.may = listed.may.min(may);
    }
    Ok(listed)
}

fn about(
    set: &PolicySet,
    frame: &Frame,
    target: &Target,
    subject: &SubjectSlice,
    listed: &mut ApplicableOperation,
) -> Result<May, EngineError> {
    let request = target.question(&subject.uid).in_context(engine::context(frame.subjects.parts()?)?)?;
    let (mut grants, mut guards) = (Vec::new(), Vec::new());
    for policy in subject.slice.statements(&set.statements) {
        let Some(conditions) = open_conditions(policy, &request, frame)? else { continue };
        let applicable = ApplicablePolicy {
            subject: subject.uid.to_string(),
            id: policy.id.to_string(),
            file: policy.file.to_string(),
            line: policy.line,
            effect: effect(policy),
            reason: policy.reason.clone(),
            conditions,
        };
        match policy.effect {
            Effect::Permit => grants.push(applicable),
            Effect::Forbid => guards.push(applicable),
        }
    }
    let unconditional = |policy: &ApplicablePolicy| policy.conditions.is_empty();
    let may = if grants.is_empty() || guards.iter().any(unconditional) {
        May::Never
    } else if guards.is_empty() && grants.iter().any(unconditional) {
        May::Always
    } else {
        May::When
    };
    listed.grants.extend(grants);
    listed.guards.extend(guards);
    Ok(may)
}

/// The conditions that depend on what only an attempt brings; none when one of the others is not met.
fn open_conditions(
    policy: &Statement,
    request: &Request,
    frame: &Frame,
) -> Result<Option<Vec<String>>, EngineError> {
    let mut open = Vec::new();
    for condition in policy.conditions()? {
        let depends = ["input", "token", "env"].iter().any(|part| condition.reads.touches(&[part]));
        if depends || engine::holds(&condition.expression, request, &frame.entities).is_none() {
            let text = &condition.text;
            open.push(if condition.must_be { text.clone() } else { format!("!({text})") });
        } else if engine::holds(&condition.expression, request, &frame.entities) != Some(condition.must_be) {
            return Ok(None);
        }
    }
    Ok(Some(open))
}
