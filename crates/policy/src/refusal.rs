//! Why not, in words that the caller may read.
//!
//! A caller learns which arguments matter and the `@reason` of guard rails, never the text, the id or the existence of
//! a policy, and of an operation that nothing could permit to it not even the existence.

use cedar_policy::{Context, Effect};
use vestibule_model::{Denial, Refusal};

use crate::{
    decision::{Decision, SubjectDecision},
    engine::{self, EngineError},
    environment::Environment,
    frame::{Frame, Obstacle, SubjectSlice},
    set::PolicySet,
    statement::{Condition, Statement},
    target::Target,
};

/// Permits looked at per subject to find out which arguments matter. Enough for a person, and a bound on the work that
/// a denial costs.
const PERMITS_MAX: usize = 16;

/// A denial by policy, as the caller is told.
pub(crate) fn denied(
    frame: &Frame,
    set: &PolicySet,
    target: &Target,
    decision: &Decision,
    context: &Context,
) -> Result<Refusal, EngineError> {
    if decision.has_errors() {
        let failed = decision.subjects.iter().flat_map(|subject| &subject.errors);
        let failed: Vec<&str> = failed.map(String::as_str).collect();
        return Ok(Refusal::new(Denial::PolicyError, format!("failed to evaluate: {}", failed.join(", "))));
    }
    let cause = cause(decision);
    if frame.is_scope_all_that_lacks(set, target, decision, context)? {
        let mut refusal = Refusal::new(Denial::ScopeInsufficient, cause);
        refusal.scopes = target.scopes.iter().cloned().collect();
        return Ok(refusal);
    }
    let mut refusal = Refusal::new(Denial::ArgumentsNotPermitted, cause);
    for (subject, decided) in
        frame.slices.iter().zip(&decision.subjects).filter(|(_, decided)| !decided.allow)
    {
        hints(frame, set, target, (subject, decided), context, &mut refusal.hints)?;
    }
    Ok(refusal)
}

/// Hides every refusal of an operation that is not visible to the caller behind the one answer that unknown operations
/// get as well. The cause stays for the record.
pub(crate) fn hidden(
    refusal: Refusal,
    frame: &Frame,
    set: &PolicySet,
    target: &Target,
    env: &Environment,
) -> Refusal {
    match frame.is_visible(set, target, env) {
        Ok(true) => refusal,
        Ok(false) => {
            let cause = format!("not visible to the caller; {}: {}", refusal.denial, refusal.cause);
            Refusal::new(Denial::OperationNotPermitted, cause)
        }
        Err(error) => Refusal::new(Denial::PolicyError, error),
    }
}

/// The refusal of an attempt that could not be put to the policies.
pub(crate) fn obstructed(obstacle: Obstacle) -> Refusal {
    match obstacle {
        Obstacle::Inexact(inexact) => {
            let text = match inexact.argument.as_str() {
                "" => format!("the arguments {}", inexact.must),
                argument => format!("the argument `{argument}` {}", inexact.must),
            };
            let mut refusal = Refusal::new(Denial::ArgumentInexact, &text);
            refusal.hints.push(text);
            refusal
        }
        Obstacle::Engine(error) => Refusal::new(Denial::PolicyError, error),
    }
}

fn cause(decision: &Decision) -> String {
    let denied = decision.subjects.iter().filter(|subject| !subject.allow);
    let texts: Vec<String> = denied
        .map(|subject| match subject.policies.as_slice() {
            [] => format!("nothing permits {}", subject.subject),
            policies => format!("{} is denied by {}", subject.subject, policies.join(", ")),
        })
        .collect();
    texts.join("; ")
}

fn hints(
    frame: &Frame,
    set: &PolicySet,
    target: &Target,
    (subject, decided): (&SubjectSlice, &SubjectDecision),
    context: &Context,
    hints: &mut Vec<String>,
) -> Result<(), EngineError> {
    let request = target.question(&subject.uid).in_context(context.clone())?;
    let mut hint = |text: String| {
        if !hints.contains(&text) {
            hints.push(text);
        }
    };
    for forbid in decided.policies.iter().filter_map(|id| set.statement(id)) {
        forbid.reason.iter().cloned().for_each(&mut hint);
        for condition in forbid.conditions()? {
            arguments(condition).for_each(|name| hint(wrong(&name)));
        }
    }
    if !decided.policies.is_empty() {
        return Ok(());
    }
    let permits = subject.slice.statements(&set.statements).filter(|policy| policy.effect == Effect::Permit);
    for condition in nearest(permits, PERMITS_MAX)? {
        if engine::holds(&condition.expression, &request, &frame.entities) == Some(!condition.must_be) {
            arguments(condition).for_each(|name| hint(wrong(&name)));
        }
    }
    Ok(())
}

fn nearest<'a>(
    permits: impl Iterator<Item = &'a Statement>,
    max: usize,
) -> Result<Vec<&'a Condition>, EngineError> {
    let mut conditions = Vec::new();
    for permit in permits.take(max) {
        conditions.extend(permit.conditions()?);
    }
    Ok(conditions)
}

/// The names of the arguments that a condition reads.
fn arguments(condition: &Condition) -> impl Iterator<Item = String> {
    let input = condition.reads.member("input");
    input.into_iter().flat_map(|input| input.members().map(|(name, _)| name.to_string()))
}

fn wrong(argument: &str) -> String {
    format!("the argument `{argument}` is not permitted as it is")
}
