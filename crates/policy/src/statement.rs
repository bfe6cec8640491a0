//! One policy of the set: where it stands, whom it is about, what it reads, and its forms for evaluation.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use cedar_policy::{
    ActionConstraint, Effect, EntityTypeName, EntityUid, Expression, Policy, PrincipalConstraint,
    ResourceConstraint,
    pst::{self, BinaryOp, Clause, Expr, UnaryOp},
};

use crate::{
    engine::{self, EngineError},
    listing::approximate,
    reads::Reads,
    target::Target,
};

/// One axis of a policy's scope.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Axis {
    Any,
    Is(EntityTypeName),
    Eq(EntityUid),
    In(EntityUid),
    IsIn(EntityTypeName, EntityUid),
}

impl Axis {
    /// Whether something of that type can fit, an agent or a user.
    pub(crate) fn can_be(&self, kind: &EntityTypeName) -> bool {
        match self {
            Self::Any => true,
            Self::Is(only) | Self::IsIn(only, _) => only == kind,
            Self::Eq(uid) => uid.type_name() == kind,
            Self::In(uid) => uid.type_name() == kind || engine::group_type(kind) == Some(uid.type_name()),
        }
    }
}

impl fmt::Display for Axis {
    /// What the principal would have to be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("anybody"),
            Self::Is(kind) => write!(f, "of the type {kind}"),
            Self::Eq(uid) => write!(f, "{uid}"),
            Self::In(uid) => write!(f, "in {uid}"),
            Self::IsIn(kind, uid) => write!(f, "of the type {kind} and in {uid}"),
        }
    }
}

/// Whom and what a policy is about. A policy that names several actions has several of the last.
#[derive(Debug, Clone)]
pub(crate) struct Scope {
    pub(crate) principal: Axis,
    pub(crate) resource: Axis,
    pub(crate) actions: Vec<Axis>,
}

impl Scope {
    fn of(policy: &Policy) -> Self {
        Self {
            principal: match policy.principal_constraint() {
                PrincipalConstraint::Any => Axis::Any,
                PrincipalConstraint::Is(kind) => Axis::Is(kind),
                PrincipalConstraint::Eq(uid) => Axis::Eq(uid),
                PrincipalConstraint::In(uid) => Axis::In(uid),
                PrincipalConstraint::IsIn(kind, uid) => Axis::IsIn(kind, uid),
            },
            resource: match policy.resource_constraint() {
                ResourceConstraint::Any => Axis::Any,
                ResourceConstraint::Is(kind) => Axis::Is(kind),
                ResourceConstraint::Eq(uid) => Axis::Eq(uid),
                ResourceConstraint::In(uid) => Axis::In(uid),
                ResourceConstraint::IsIn(kind, uid) => Axis::IsIn(kind, uid),
            },
            actions: match policy.action_constraint() {
                ActionConstraint::Any => vec![Axis::Any],
                ActionConstraint::Eq(uid) => vec![Axis::Eq(uid)],
                ActionConstraint::In(uids) => uids.into_iter().map(Axis::In).collect(),
            },
        }
    }

    /// Whether the policy can apply to the target, for some principal.
    pub(crate) fn covers(&self, target: &Target) -> bool {
        covers(&self.resource, &target.resource, &target.above) && self.names(target)
    }

    /// Whether the target's action is among the policy's.
    pub(crate) fn names(&self, target: &Target) -> bool {
        self.actions.iter().any(|action| covers(action, &target.action, &target.groups))
    }

    /// Whether the policy can apply to handing something on, for some child.
    pub(crate) fn covers_delegating(&self) -> bool {
        self.resource.can_be(&engine::TYPES.agent)
            && self.actions.iter().any(|action| covers(action, &engine::delegate_uid(), &[]))
    }

    /// Whether the policy is about handing something on because it names no action.
    pub(crate) fn is_about_delegating_too(&self) -> bool {
        self.covers_delegating() && self.actions.contains(&Axis::Any)
    }

    /// Whether the policy is about handing something on and about nothing else.
    pub(crate) fn is_about_delegating_only(&self) -> bool {
        let delegate = engine::delegate_uid();
        let is_it = |action: &Axis| matches!(action, Axis::Eq(uid) | Axis::In(uid) if *uid == delegate);
        !self.actions.is_empty() && self.actions.iter().all(is_it)
    }
}

fn covers(axis: &Axis, uid: &EntityUid, above: &[EntityUid]) -> bool {
    match axis {
        Axis::Any => true,
        Axis::Is(kind) => uid.type_name() == kind,
        Axis::Eq(other) => uid == other,
        Axis::In(other) => uid == other || above.contains(other),
        Axis::IsIn(kind, other) => uid.type_name() == kind && (uid == other || above.contains(other)),
    }
}

/// One conjunct of a policy's conditions: the policy applies when each of them `must_be` so.
#[derive(Debug)]
pub(crate) struct Condition {
    pub(crate) text: String,
    pub(crate) must_be: bool,
    pub(crate) expression: Expression,
    pub(crate) syntax: Arc<Expr>,
    pub(crate) reads: Reads,
}

/// A policy of the set.
#[derive(Debug)]
pub(crate) struct Statement {
    pub(crate) id: Arc<str>,
    pub(crate) effect: Effect,
    pub(crate) file: Arc<str>,
    /// 1-based.
    pub(crate) line: usize,
    /// As written, from the first annotation to the semicolon.
    pub(crate) text: Box<str>,
    /// `@reason`: what a denied caller may be told.
    pub(crate) reason: Option<String>,
    /// A forbid with `@challenge("insufficient_scope")`: a wider token would lift it.
    pub(crate) challenges: bool,
    /// Decided and recorded, not enforced.
    pub(crate) shadow: bool,
    pub(crate) scope: Scope,
    pub(crate) reads: Reads,
    pub(crate) clauses: Vec<Clause>,
    conditions: OnceLock<Result<Vec<Condition>, EngineError>>,
}

impl Statement {
    /// # Errors
    /// When Cedar cannot give the policy's syntax tree.
    pub(crate) fn new(
        policy: &Policy,
        id: &str,
        text: &str,
        (file, line): (Arc<str>, usize),
        shadow: bool,
    ) -> Result<Self, EngineError> {
        let tree = policy.to_pst().map_err(|why| EngineError::new("a syntax tree", why))?;
        let clauses = tree.body().clauses().clone();
        Ok(Self {
            id: id.into(),
            effect: policy.effect(),
            file,
            line,
            text: text.into(),
            reason: policy.annotation("reason").map(str::to_owned),
            challenges: policy.effect() == Effect::Forbid
                && policy.annotation("challenge") == Some("insufficient_scope"),
            shadow,
            scope: Scope::of(policy),
            reads: Reads::of(&clauses),
            clauses,
            conditions: OnceLock::new(),
        })
    }

    /// The policy without its scope, for a slice: there every scope is known to be met.
    pub(crate) fn in_slice(&self) -> Result<Policy, EngineError> {
        self.with_clauses(self.clauses.clone())
    }

    /// The policy as the listing set has it, without its scope.
    pub(crate) fn in_list(&self) -> Result<Policy, EngineError> {
        self.with_clauses(approximate(&self.clauses, self.effect == Effect::Permit))
    }

    fn with_clauses(&self, clauses: Vec<Clause>) -> Result<Policy, EngineError> {
        let effect = match self.effect {
            Effect::Permit => pst::Effect::Permit,
            Effect::Forbid => pst::Effect::Forbid,
        };
        let body = pst::Template::new(
            self.id.as_ref(),
            effect,
            pst::PrincipalConstraint::Any,
            pst::ActionConstraint::Any,
            pst::ResourceConstraint::Any,
        );
        let tree = |why: &dyn std::fmt::Display| EngineError::new("a syntax tree", why);
        let body = body.try_with_clauses(clauses).map_err(|why| tree(&why))?;
        let body = pst::StaticPolicy::try_from(body).map_err(|why| tree(&why))?;
        Policy::from_pst(body.into()).map_err(|why| tree(&why))
    }

    /// The conjuncts of its conditions, in order. Made when first asked for: only denials and explanations need them.
    pub(crate) fn conditions(&self) -> Result<&[Condition], EngineError> {
        let made = self.conditions.get_or_init(|| {
            let mut parts = Vec::new();
            for clause in &self.clauses {
                match clause {
                    Clause::When(condition) => conjuncts(condition, true, &mut parts),
                    Clause::Unless(condition) => conjuncts(condition, false, &mut parts),
                }
            }
            parts.into_iter().map(|(part, must_be)| condition(part, must_be)).collect()
        });
        made.as_deref().map_err(Clone::clone)
    }
}

/// `a && b` that must be true, and `a || b` that must be false, are two conditions each; `!a` is `a` the other way.
fn conjuncts(expression: &Arc<Expr>, must_be: bool, parts: &mut Vec<(Arc<Expr>, bool)>) {
    let splits = if must_be { BinaryOp::And } else { BinaryOp::Or };
    if let Expr::BinaryOp { op, left, right } = expression.as_ref()
        && *op == splits
    {
        conjuncts(left, must_be, parts);
        conjuncts(right, must_be, parts);
    } else if let Expr::UnaryOp { op: UnaryOp::Not, expr } = expression.as_ref() {
        conjuncts(expr, !must_be, parts);
    } else {
        parts.push((Arc::clone(expression), must_be));
    }
}

fn condition(syntax: Arc<Expr>, must_be: bool) -> Result<Condition, EngineError> {
    let text = syntax.to_string();
    let expression = text.parse().map_err(|why| EngineError::new("a condition", why))?;
    Ok(Condition { reads: Reads::of_expression(&syntax), text, must_be, expression, syntax })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(text: &str) -> Statement {
        let policy = Policy::parse(None, text).unwrap();
        Statement::new(&policy, "p", text, ("f.cedar".into(), 1), false).unwrap()
    }

    #[test]
    fn conditions_are_taken_apart_down_to_single_questions() {
        let statement = statement(
            "forbid(principal, action, resource) when { context.input.a && !context.input.b }
             unless { resource.pinned || context.input[\"c-d\"] == \"x\" };",
        );
        let conditions: Vec<_> =
            statement.conditions().unwrap().iter().map(|part| (part.text.as_str(), part.must_be)).collect();
        assert_eq!(
            conditions,
            [
                ("context.input.a", true),
                ("context.input.b", false),
                ("resource.pinned", false),
                ("context.input[\"c-d\"] == \"x\"", false),
            ]
        );
    }

    #[test]
    fn in_a_slice_the_scope_is_gone_and_the_conditions_stay() {
        let statement = statement(
            "permit(principal in AgentGroup::\"x\", action == Action::\"a__b\", resource) when { resource.pinned };",
        );
        let text = statement.in_slice().unwrap().to_cedar().unwrap();
        assert!(
            !text.contains("AgentGroup") && !text.contains("a__b") && text.contains("resource.pinned"),
            "{text}"
        );
    }
}
