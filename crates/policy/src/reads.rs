//! Which parts of the context a policy reads, found in its syntax tree when it is loaded.
//!
//! What no policy of a slice reads cannot change the decision, so it is neither converted nor filled in. The other way
//! round matters more: whatever this module does not understand counts as reading everything.

use std::{collections::BTreeMap, sync::Arc};

use cedar_policy::pst::{Clause, Expr, Var};

/// A tree of attribute names below the context.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reads {
    /// The value itself is used, with everything in it.
    whole: bool,
    members: BTreeMap<Arc<str>, Reads>,
}

/// The reads of a value that is used as a whole.
pub(crate) static EVERYTHING: Reads = Reads { whole: true, members: BTreeMap::new() };

impl Reads {
    /// What the conditions of a policy read of the context.
    pub(crate) fn of(clauses: &[Clause]) -> Self {
        let mut reads = Self::default();
        for clause in clauses {
            let (Clause::When(condition) | Clause::Unless(condition)) = clause;
            reads.expression(condition);
        }
        reads
    }

    /// What one expression reads of the context.
    pub(crate) fn of_expression(expression: &Expr) -> Self {
        let mut reads = Self::default();
        reads.expression(expression);
        reads
    }

    /// The members named, each as a whole.
    pub(crate) fn of_members(names: &[&str]) -> Self {
        let mut reads = Self::default();
        for name in names {
            reads.note(&[name], true);
        }
        reads
    }

    fn expression(&mut self, expression: &Expr) {
        visit(expression, &mut |used| match used {
            Use::Value(path) => self.note(&path, true),
            Use::Presence(path) => self.note(&path, false),
        });
    }

    fn note(&mut self, path: &[&str], whole: bool) {
        match path.split_first() {
            None => self.whole |= whole,
            Some((name, rest)) => self.members.entry((*name).into()).or_default().note(rest, whole),
        }
    }

    /// Adds what `other` reads.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.whole |= other.whole;
        for (name, reads) in &other.members {
            self.members.entry(name.clone()).or_default().merge(reads);
        }
    }

    /// Whether the value is used as a whole.
    pub(crate) fn is_whole(&self) -> bool {
        self.whole
    }

    /// What is read of the member `name`; none when it is not read at all.
    pub(crate) fn member(&self, name: &str) -> Option<&Self> {
        if self.whole { Some(&EVERYTHING) } else { self.members.get(name) }
    }

    /// Whether anything at or below `path` is read, or a value that contains it.
    pub(crate) fn touches(&self, path: &[&str]) -> bool {
        match path.split_first() {
            None => true,
            Some((name, rest)) => self.member(name).is_some_and(|member| member.touches(rest)),
        }
    }

    /// The names of the members read. A value used as a whole has no names here.
    pub(crate) fn members(&self) -> impl Iterator<Item = (&Arc<str>, &Self)> {
        self.members.iter()
    }
}

/// How an expression uses a path of the context.
pub(crate) enum Use<'a> {
    /// Its value, with everything in it.
    Value(Vec<&'a str>),
    /// Only whether it is there.
    Presence(Vec<&'a str>),
}

/// Calls `each` with every use of the context in `expression`.
pub(crate) fn visit<'a>(expression: &'a Expr, each: &mut impl FnMut(Use<'a>)) {
    if let Some(path) = context_path(expression) {
        return each(Use::Value(path));
    }
    match expression {
        Expr::HasAttr { expr, attrs } => match context_path(expr) {
            Some(mut path) => {
                path.extend(attrs.iter().map(|name| name.as_str()));
                each(Use::Presence(path));
            }
            None => visit(expr, each),
        },
        Expr::Literal(_) | Expr::Slot(_) | Expr::Var(_) => {}
        Expr::UnaryOp { expr, .. } | Expr::GetAttr { expr, .. } | Expr::Like { expr, .. } => {
            visit(expr, each)
        }
        Expr::Is { expr, in_expr, .. } => {
            visit(expr, each);
            if let Some(group) = in_expr {
                visit(group, each);
            }
        }
        Expr::BinaryOp { left, right, .. } => {
            visit(left, each);
            visit(right, each);
        }
        Expr::IfThenElse { cond, then_expr, else_expr } => {
            visit(cond, each);
            visit(then_expr, each);
            visit(else_expr, each);
        }
        Expr::Set(elements) => elements.iter().for_each(|element| visit(element, each)),
        Expr::Record(members) => members.values().for_each(|member| visit(member, each)),
        // Cedar may add kinds of expressions: what is not understood reads the whole context.
        Expr::Unknown { .. } | _ => each(Use::Value(Vec::new())),
    }
}

/// The attribute path of `context`, `context.a`, `context.a.b`, …
pub(crate) fn context_path(expression: &Expr) -> Option<Vec<&str>> {
    if let Expr::Var(Var::Context) = expression {
        return Some(Vec::new());
    }
    let Expr::GetAttr { expr, attr } = expression else { return None };
    let mut path = context_path(expr)?;
    path.push(attr.as_str());
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(condition: &str) -> Reads {
        let text = format!("permit(principal, action, resource) when {{ {condition} }};");
        let policy = cedar_policy::Policy::parse(None, text).unwrap().to_pst().unwrap();
        Reads::of(policy.body().clauses())
    }

    #[test]
    fn a_value_is_read_whole_and_a_presence_is_not() {
        let reads = reads("context.input has a && context.input.b.c == 1");
        assert!(reads.touches(&["input", "a"]) && reads.touches(&["input", "b", "c"]));
        assert!(!reads.touches(&["input", "d"]) && !reads.touches(&["env"]));
        assert!(!reads.member("input").unwrap().member("a").unwrap().is_whole());
        assert!(reads.member("input").unwrap().member("b").unwrap().member("c").unwrap().is_whole());
    }

    #[test]
    fn a_record_used_as_a_value_is_read_with_everything_in_it() {
        assert!(reads("context.env == context.env").touches(&["env", "now"]));
        assert!(
            reads("(if principal.trust > 1 then context.input else context.input).a == 1")
                .touches(&["input", "b"])
        );
        assert!(reads("[context].contains(context)").touches(&["token", "scopes"]));
    }

    #[test]
    fn a_policy_without_conditions_reads_nothing() {
        assert_eq!(reads("principal.trust > 1 && resource.readOnly"), Reads::default());
    }
}
