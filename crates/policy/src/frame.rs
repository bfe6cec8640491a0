//! What is the same for everything that one caller asks about one target: entities, slices, the fixed parts of the context.
//! Built once per token and operation, then only the arguments and the environment change.

use std::sync::Arc;

use cedar_policy::{Context, Entities, EntityUid};
use vestibule_model::{Denial, Refusal, json::Json};

use crate::{
    convert::{self, Inexact},
    decision::{Decision, Outcome, ShadowDecision, SubjectDecision},
    engine::{self, Answer, EngineError, Parts},
    environment::Environment,
    lookalike::{self, Lookalike},
    reads::Reads,
    schema::Input,
    set::PolicySet,
    slice::Slice,
    subjects::Subjects,
    target::Target,
};

/// One subject with the policies that can matter for it.
#[derive(Debug, Clone)]
pub(crate) struct SubjectSlice {
    pub(crate) uid: EntityUid,
    pub(crate) slice: Arc<Slice>,
}

/// One caller and one target.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) subjects: Subjects,
    pub(crate) slices: Vec<SubjectSlice>,
    pub(crate) entities: Entities,
    /// `caller` and `token`, as far as they are read.
    fixed: Parts,
    reads: Reads,
    /// What is read when shadow policies count too; none when there are none.
    shadow_reads: Option<Reads>,
}

/// Why a context cannot be made.
#[derive(Debug)]
pub(crate) enum Obstacle {
    /// An argument has no exact value in Cedar.
    Inexact(Inexact),
    /// Cedar refused what was built for it.
    Engine(EngineError),
}

impl From<EngineError> for Obstacle {
    fn from(error: EngineError) -> Self {
        Self::Engine(error)
    }
}

impl Frame {
    pub(crate) fn new(
        subjects: Subjects,
        slices: Vec<SubjectSlice>,
        target: &Target,
    ) -> Result<Self, EngineError> {
        let (mut reads, mut all) = (Reads::default(), Reads::default());
        let mut has_shadow = false;
        for SubjectSlice { slice, .. } in &slices {
            reads.merge(&slice.reads);
            all.merge(slice.shadow_reads.as_ref().unwrap_or(&slice.reads));
            has_shadow |= slice.shadow_reads.is_some();
        }
        let mut fixed = subjects.parts()?;
        fixed.retain(|(name, _)| all.member(name).is_some());
        let entities =
            engine::store(subjects.entities()?.into_iter().chain(target.entities.iter().cloned()))?;
        Ok(Self { subjects, slices, entities, fixed, reads, shadow_reads: has_shadow.then_some(all) })
    }

    /// Asks about every subject.
    pub(crate) fn decide(
        &self,
        set: &PolicySet,
        target: &Target,
        arguments: &Json,
        env: &Environment,
    ) -> Result<(Decision, Context), Obstacle> {
        let context = self.context(set, target, &self.reads, arguments, env)?;
        let mut subjects = Vec::with_capacity(self.slices.len());
        for subject in &self.slices {
            let request = target.question(&subject.uid).in_context(context.clone())?;
            let answer = engine::ask(subject.slice.enforced(&set.statements)?, &request, &self.entities);
            subjects.push(SubjectDecision {
                subject: subject.uid.to_string(),
                allow: answer.is_permit(),
                policies: answer.policies,
                errors: answer.failed,
            });
        }
        let shadow = self.shadow(set, target, arguments, env, &subjects);
        Ok((Decision::of(subjects, &set.digest, shadow), context))
    }

    /// Where shadow policies would have decided otherwise. What cannot be evaluated would have been denied.
    fn shadow(
        &self,
        set: &PolicySet,
        target: &Target,
        arguments: &Json,
        env: &Environment,
        enforced: &[SubjectDecision],
    ) -> Vec<ShadowDecision> {
        let Some(reads) = &self.shadow_reads else { return Vec::new() };
        let context = self.context(set, target, reads, arguments, env);
        let mut differences = Vec::new();
        for (subject, decided) in self.slices.iter().zip(enforced) {
            if subject.slice.shadow_reads.is_none() {
                continue;
            }
            let answer = context.as_ref().ok().and_then(|context| {
                let request = target.question(&subject.uid).in_context(context.clone()).ok()?;
                Some(engine::ask(subject.slice.with_shadow(&set.statements).ok()?, &request, &self.entities))
            });
            let permitted = answer.as_ref().is_some_and(Answer::is_permit);
            if permitted != decided.allow {
                let policies = answer
                    .map(|answer| if answer.failed.is_empty() { answer.policies } else { answer.failed });
                differences.push(ShadowDecision {
                    subject: decided.subject.clone(),
                    would: Outcome::of(permitted),
                    policies: policies.unwrap_or_default(),
                });
            }
        }
        differences
    }

    /// The context, with nothing in it that is not read.
    fn context(
        &self,
        set: &PolicySet,
        target: &Target,
        reads: &Reads,
        arguments: &Json,
        env: &Environment,
    ) -> Result<Context, Obstacle> {
        let mut parts = self.fixed.clone();
        if let Some(reads) = reads.member("input") {
            let input = convert::record(&target.input.fields, reads, arguments).map_err(Obstacle::Inexact)?;
            parts.push(("input".to_owned(), input));
        }
        if let Some(reads) = reads.member("env") {
            parts.push(("env".to_owned(), env.part(reads, &set.timezone)?));
        }
        Ok(engine::context(parts)?)
    }

    /// Whether some arguments could be permitted to every subject.
    pub(crate) fn is_visible(
        &self,
        set: &PolicySet,
        target: &Target,
        env: &Environment,
    ) -> Result<bool, EngineError> {
        let context = listing_context(&self.subjects, set, env)?;
        is_listed(set, &self.slices, target, &context, &self.entities)
    }

    /// Whether every subject would be permitted if the token had every scope.
    pub(crate) fn is_scope_all_that_lacks(
        &self,
        set: &PolicySet,
        target: &Target,
        decision: &Decision,
        context: &Context,
    ) -> Result<bool, EngineError> {
        for (subject, decided) in
            self.slices.iter().zip(&decision.subjects).filter(|(_, decided)| !decided.allow)
        {
            let challenged = !decided.policies.is_empty()
                && decided
                    .policies
                    .iter()
                    .all(|id| set.statement(id).is_some_and(|statement| statement.challenges));
            if !challenged {
                return Ok(false);
            }
            let policies = subject.slice.without_challenges(&set.statements)?;
            let request = target.question(&subject.uid).in_context(context.clone())?;
            if !engine::ask(&policies, &request, &self.entities).is_permit() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// The context of a listing: everything but what is unknown.
pub(crate) fn listing_context(
    subjects: &Subjects,
    set: &PolicySet,
    env: &Environment,
) -> Result<Context, EngineError> {
    let mut parts = subjects.parts()?;
    parts.push(("env".to_owned(), env.part(&Reads::of_members(&["weekday", "ip"]), &set.timezone)?));
    engine::context(parts)
}

/// Whether the listing sets permit every subject. One that fails to evaluate hides nothing: the call itself is decided
/// by the policies, and refused there.
pub(crate) fn is_listed(
    set: &PolicySet,
    slices: &[SubjectSlice],
    target: &Target,
    context: &Context,
    entities: &Entities,
) -> Result<bool, EngineError> {
    for subject in slices {
        let request = target.question(&subject.uid).in_context(context.clone())?;
        let answer = engine::ask(subject.slice.listed(&set.statements)?, &request, entities);
        let possible = answer.is_permit() || (!answer.failed.is_empty() && !answer.is_forbidden());
        if !possible {
            return Ok(false);
        }
    }
    Ok(!slices.is_empty())
}

/// The first argument that the operation does not declare, if it does not welcome such; and, on every level and
/// welcome or not, the first member that the application could take for a declared one.
///
/// Otherwise members of an argument that is an object matter to policies only where its value is compared as a whole,
/// and there an undeclared one is refused when the value is converted.
pub(crate) fn undeclared(target: &Target, arguments: &Json) -> Option<Refusal> {
    let Some(members) = arguments.as_object() else {
        let mut refusal = Refusal::new(Denial::ArgumentInexact, "the arguments are not an object");
        refusal.hints.push("the arguments must be an object".to_owned());
        return Some(refusal);
    };
    let Input { fields, open } = &target.input;
    let undeclared = members.iter().find(|(name, _)| !open && !fields.contains_key(name.as_str()));
    let (name, taken_for) = match undeclared {
        Some((name, _)) => (name.as_str(), None),
        None => {
            let Lookalike { name, declared } = lookalike::find(fields, arguments)?;
            (name, Some(declared))
        }
    };
    let name: String = name.chars().take(64).collect();
    let mut refusal =
        Refusal::new(Denial::ArgumentUndeclared, format!("`{name}` is not declared by `{}`", target.name));
    refusal.hints.push(match taken_for {
        None => format!("leave out the argument `{name}`: the operation does not declare it"),
        Some(declared) => {
            format!("leave out `{name}`: it differs from the declared `{declared}` only in case")
        }
    });
    Some(refusal)
}
