//! The listing set: what could be permitted while the arguments are not known yet.
//!
//! Each policy is rewritten by polarity. A part of a condition that mentions something unknown becomes `true` where
//! that makes the policy more permissive and `false` where it makes it less so (the other way round in a `forbid`, and
//! under `!`). The result permits at least what the policies permit for some arguments: an operation that can be
//! called is never missing from a list. Unknown are `context.input` and, because a list is cached for a minute,
//! `context.env.now`.
//!
//! A forbid that asks for a step-up (`@challenge`) never hides an operation: the caller must see it to learn which
//! scope it needs.

use std::sync::Arc;

use cedar_policy::pst::{BinaryOp, Clause, Expr, Literal, UnaryOp};

use crate::reads::{Use, visit};

/// What is unknown while listing.
const UNKNOWN: [&[&str]; 2] = [&["input"], &["env", "now"]];

/// The conditions that hold whenever the given ones can hold (`over`), or only where they hold for certain.
pub(crate) fn approximate(clauses: &[Clause], over: bool) -> Vec<Clause> {
    let rewrite = |clause: &Clause| match clause {
        Clause::When(condition) => Clause::When(Arc::new(rewrite(condition, over))),
        Clause::Unless(condition) => Clause::Unless(Arc::new(rewrite(condition, !over))),
    };
    clauses.iter().map(rewrite).collect()
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "sound for every kind of expression, also for those to come"
)]
fn rewrite(expression: &Expr, over: bool) -> Expr {
    if !mentions_unknown(expression) {
        return expression.clone();
    }
    match expression {
        Expr::BinaryOp { op: op @ (BinaryOp::And | BinaryOp::Or), left, right } => {
            binary(*op, rewrite(left, over), rewrite(right, over))
        }
        Expr::UnaryOp { op: UnaryOp::Not, expr } => {
            Expr::UnaryOp { op: UnaryOp::Not, expr: Arc::new(rewrite(expr, !over)) }
        }
        Expr::IfThenElse { cond, then_expr, else_expr } if mentions_unknown(cond) => {
            let either = if over { BinaryOp::Or } else { BinaryOp::And };
            binary(either, rewrite(then_expr, over), rewrite(else_expr, over))
        }
        Expr::IfThenElse { cond, then_expr, else_expr } => Expr::IfThenElse {
            cond: cond.clone(),
            then_expr: Arc::new(rewrite(then_expr, over)),
            else_expr: Arc::new(rewrite(else_expr, over)),
        },
        // Every other kind is one indivisible question about something unknown.
        _ => Expr::Literal(Literal::Bool(over)),
    }
}

fn binary(op: BinaryOp, left: Expr, right: Expr) -> Expr {
    Expr::BinaryOp { op, left: Arc::new(left), right: Arc::new(right) }
}

/// Whether the expression uses something unknown, a value that contains it, or a part of it.
fn mentions_unknown(expression: &Expr) -> bool {
    let mut found = false;
    visit(expression, &mut |used| {
        let (Use::Value(path) | Use::Presence(path)) = used;
        found |= UNKNOWN.iter().any(|unknown| unknown.iter().zip(&path).all(|(a, b)| a == b));
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn over(condition: &str, over: bool) -> String {
        let text = format!("permit(principal, action, resource) when {{ {condition} }};");
        let policy = cedar_policy::Policy::parse(None, text).unwrap().to_pst().unwrap();
        approximate(policy.body().clauses(), over).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_unknown_becomes_possible_and_what_is_known_stays() {
        assert_eq!(
            over("context.input.a == 1 && context.env.weekday < 6", true),
            "when { true && (context.env.weekday < 6) }"
        );
        assert_eq!(over("!(context.input has a)", true), "when { !false }");
        assert_eq!(
            over("context.input.a == 1 || principal.trust > 1", false),
            "when { false || (principal.trust > 1) }"
        );
        assert_eq!(over("context.env.now < datetime(\"2026-01-01\")", true), "when { true }");
        assert_eq!(over("context.env has ip", true), "when { context.env has ip }");
    }

    #[test]
    fn an_undecidable_choice_is_either_branch() {
        assert_eq!(
            over("if context.input.a then principal.trust > 1 else resource.readOnly", true),
            "when { (principal.trust > 1) || resource.readOnly }"
        );
    }

    #[test]
    fn a_whole_record_that_contains_an_unknown_is_unknown() {
        assert_eq!(over("context.env == context.env", true), "when { true }");
    }
}
