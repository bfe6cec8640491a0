//! Why an attempt is permitted or denied, and what would have to change. For operators: it quotes policies.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{
    Context, Effect, Request,
    pst::{BinaryOp, Expr, Literal},
};
use serde::Serialize;

use crate::{
    decision::{Outcome, ShadowDecision, SubjectDecision},
    engine::{self, EngineError},
    frame::SubjectSlice,
    hypothesis::{Hypothesis, Scene},
    lock::{Decided, Lock},
    reads::context_path,
    set::PolicySet,
    statement::{Condition, Statement},
};

/// Permits shown per subject that nothing permits, those with the fewest unmet conditions first.
const NEAREST_MAX: usize = 5;
/// The most permits that are looked at to find the nearest.
const EXPLAINED_MAX: usize = 1_000;

/// Which scopes put a claim into a token: what the issuer is configured with.
pub type ClaimScopes = BTreeMap<String, BTreeSet<String>>;

/// An attempt explained, or the wish to hand something on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The operation, as policies name it, or `delegate`.
    pub operation: String,
    /// Permit or deny.
    pub outcome: Outcome,
    /// The code of the denial that the caller would see.
    pub denial: Option<&'static str>,
    /// Why, as the record has it.
    pub cause: Option<String>,
    /// What the caller would be told.
    pub hints: Vec<String>,
    /// The digest of the policy set.
    pub policy_set: String,
    /// Each subject in turn; empty when it did not come to policies.
    pub subjects: Vec<SubjectExplanation>,
    /// Where shadow policies would have decided otherwise.
    pub shadow: Vec<ShadowDecision>,
}

/// The decision about one subject, explained.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SubjectExplanation {
    /// As policies name it.
    pub subject: String,
    /// Permit or deny.
    pub outcome: Outcome,
    /// The policies that determined it.
    pub determining: Vec<PolicyExplanation>,
    /// When nothing permits it: the permits that come nearest.
    pub nearest: Vec<PolicyExplanation>,
    /// The policies that failed to evaluate.
    pub errors: Vec<String>,
}

/// One policy, held against the attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyExplanation {
    /// Its `@id`.
    pub id: String,
    /// Where it stands.
    pub file: String,
    /// 1-based.
    pub line: usize,
    /// `permit` or `forbid`.
    pub effect: &'static str,
    /// As written.
    pub text: String,
    /// Its `@reason`.
    pub reason: Option<String>,
    /// Its conditions, each by itself.
    pub conditions: Vec<ConditionExplanation>,
    /// What would have to change: all of it for a permit to apply, any of it for a forbid not to.
    pub changes: Vec<String>,
}

/// One condition, held against the attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConditionExplanation {
    /// As Cedar prints it.
    pub text: String,
    /// What it must be for the policy to apply.
    pub must_be: bool,
    /// What it is; none when it cannot be evaluated, as where an earlier condition guards it.
    pub is: Option<bool>,
}

impl Lock {
    /// Explains what would be decided about `hypothesis`. `claim_scopes` is for naming the scope that would release a
    /// claim which the token lacks.
    ///
    /// # Errors
    /// When Cedar does not accept the text of a policy's condition that it printed itself.
    pub fn explain(
        &self,
        hypothesis: &Hypothesis,
        claim_scopes: Option<&ClaimScopes>,
    ) -> Result<Explanation, Unexplained> {
        let snapshot = self.snapshot();
        let (Decided { decision, refusal, context }, scene) = snapshot.judge(hypothesis);
        let mut subjects = Vec::new();
        if let (Some(scene), Some(context)) = (&scene, &context) {
            let view = View { set: &snapshot.policies, scene, context, claim_scopes };
            for (slice, decided) in scene.frame.slices.iter().zip(&decision.subjects) {
                subjects.push(view.subject(slice, decided).map_err(Unexplained)?);
            }
        }
        Ok(Explanation {
            operation: hypothesis.deed.to_string(),
            outcome: Outcome::of(refusal.is_none()),
            denial: refusal.as_ref().map(|refusal| refusal.denial.code()),
            cause: refusal.as_ref().map(|refusal| refusal.cause.clone()),
            hints: refusal.map(|refusal| refusal.hints).unwrap_or_default(),
            policy_set: decision.policy_set,
            subjects,
            shadow: decision.shadow,
        })
    }
}

/// Cedar does not accept what it printed. A bug.
#[derive(Debug, thiserror::Error)]
#[error("cannot be explained")]
pub struct Unexplained(#[source] pub(crate) EngineError);

struct View<'a> {
    set: &'a PolicySet,
    scene: &'a Scene,
    context: &'a Context,
    claim_scopes: Option<&'a ClaimScopes>,
}

impl View<'_> {
    fn subject(
        &self,
        slice: &SubjectSlice,
        decided: &SubjectDecision,
    ) -> Result<SubjectExplanation, EngineError> {
        let request = self.scene.target.question(&slice.uid).in_context(self.context.clone())?;
        let determining = decided.policies.iter().filter_map(|id| self.set.statement(id));
        let determining = determining.map(|policy| self.policy(policy, &request));
        let nearest = if !decided.allow && decided.policies.is_empty() {
            self.nearest(slice, &request)?
        } else {
            Vec::new()
        };
        Ok(SubjectExplanation {
            subject: decided.subject.clone(),
            outcome: Outcome::of(decided.allow),
            determining: determining.collect::<Result<_, _>>()?,
            nearest,
            errors: decided.errors.clone(),
        })
    }

    /// The permits of this target that need the fewest changes: first those about this subject, then those about
    /// others, which the subject would have to be or belong to: an agent is no user, and in no group of users.
    fn nearest(
        &self,
        slice: &SubjectSlice,
        request: &Request,
    ) -> Result<Vec<PolicyExplanation>, EngineError> {
        let is_grant = |policy: &&Statement| {
            policy.effect == Effect::Permit
                && !policy.shadow
                && policy.scope.covers(&self.scene.target)
                && policy.scope.principal.can_be(slice.uid.type_name())
        };
        let mut nearest = Vec::new();
        for permit in self.set.statements.iter().filter(is_grant).take(EXPLAINED_MAX) {
            let mut explanation = self.policy(permit, request)?;
            let is_about_it =
                slice.slice.statements(&self.set.statements).any(|policy| policy.id == permit.id);
            if !is_about_it {
                let change = format!("{} would have to be {}", slice.uid, permit.scope.principal);
                explanation.changes.insert(0, change);
            }
            nearest.push((!is_about_it, explanation));
        }
        nearest.sort_by_key(|(is_about_others, permit)| (*is_about_others, permit.changes.len()));
        nearest.truncate(NEAREST_MAX);
        Ok(nearest.into_iter().map(|(_, permit)| permit).collect())
    }

    fn policy(&self, policy: &Statement, request: &Request) -> Result<PolicyExplanation, EngineError> {
        let mut conditions = Vec::new();
        let mut changes = Vec::new();
        if policy.challenges {
            changes.push(format!("the token would need {}", one_of(&self.scene.target.scopes)));
        }
        for condition in policy.conditions()? {
            let is = engine::holds(&condition.expression, request, &self.scene.frame.entities);
            let met = is == Some(condition.must_be);
            let wanted = match policy.effect {
                Effect::Permit if !met => self.change(condition, is, condition.must_be),
                Effect::Forbid if met => self.change(condition, is, !condition.must_be),
                Effect::Permit | Effect::Forbid => Vec::new(),
            };
            // A claim is often asked for twice: whether it is there, and what it says.
            for change in wanted {
                if !changes.contains(&change) {
                    changes.push(change);
                }
            }
            conditions.push(ConditionExplanation {
                text: condition.text.clone(),
                must_be: condition.must_be,
                is,
            });
        }
        Ok(PolicyExplanation {
            id: policy.id.to_string(),
            file: policy.file.to_string(),
            line: policy.line,
            effect: effect(policy),
            text: policy.text.to_string(),
            reason: policy.reason.clone(),
            conditions,
            changes,
        })
    }

    /// What would have to change for a condition to be as `wanted`: a claim that the token lacks, or the condition.
    fn change(&self, condition: &Condition, is: Option<bool>, wanted: bool) -> Vec<String> {
        let lacks = |claim: &String| self.scene.frame.subjects.claim(claim).is_none();
        let lacking: Vec<String> = claims(&condition.syntax)
            .iter()
            .filter(|claim| lacks(claim))
            .map(|claim| self.lacking(claim))
            .collect();
        if !lacking.is_empty() {
            return lacking;
        }
        vec![match is {
            Some(is) => format!("`{}` is {is}, and would have to be {wanted}", condition.text),
            None => format!("`{}` would have to be {wanted}", condition.text),
        }]
    }

    fn lacking(&self, claim: &str) -> String {
        let scopes =
            self.claim_scopes.and_then(|scopes| scopes.get(claim)).filter(|scopes| !scopes.is_empty());
        match scopes {
            Some(scopes) => {
                format!("the token lacks the claim `{claim}`, which comes with {}", one_of(scopes))
            }
            None => format!("the token lacks the claim `{claim}`"),
        }
    }
}

fn one_of(scopes: &BTreeSet<String>) -> String {
    let names: Vec<String> = scopes.iter().map(|scope| format!("`{scope}`")).collect();
    format!("the scope {}", names.join(" or "))
}

/// `permit` or `forbid`.
pub(crate) fn effect(policy: &Statement) -> &'static str {
    match policy.effect {
        Effect::Permit => "permit",
        Effect::Forbid => "forbid",
    }
}

/// The claims that a condition asks for by name.
fn claims(condition: &Expr) -> BTreeSet<String> {
    let asks = |expression: &Expr| {
        let Expr::BinaryOp { op: BinaryOp::HasTag | BinaryOp::GetTag, left, right } = expression else {
            return None;
        };
        let Expr::Literal(Literal::String(name)) = right.as_ref() else { return None };
        (context_path(left)? == ["token", "claims"]).then(|| BTreeSet::from([name.to_string()]))
    };
    condition.reduce(
        &asks,
        &|mut a, b| {
            a.extend(b);
            a
        },
        BTreeSet::new(),
    )
}
