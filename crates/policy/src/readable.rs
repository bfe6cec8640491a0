//! A policy may read only what policies can see.
//!
//! Cedar knows nothing of arguments that have no exact counterpart in it. To Cedar `context.input has tree` is simply
//! false for such an argument, and `unless { context.input has tree }` would let through exactly the calls that it was
//! written against. So this is checked here, for every operation that a policy is about.

use crate::{
    catalog::Operations,
    delegate,
    engine::DELEGATE,
    reads::Reads,
    schema::{Fields, Input, Shape},
    statement::Statement,
};

/// Findings per policy. One about many operations would repeat itself.
const FINDINGS_MAX: usize = 3;

/// Something a policy reads and cannot see.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The name to point at.
    pub(crate) attribute: String,
    pub(crate) message: String,
    pub(crate) help: String,
}

/// The arguments of something that a policy is about.
#[derive(Clone, Copy)]
struct Covered<'a> {
    name: &'a str,
    input: &'a Input,
}

/// What the policy reads and cannot see, over everything it is about.
pub(crate) fn check(statement: &Statement, operations: &Operations) -> Vec<Finding> {
    let Some(read) = statement.reads.member("input").filter(|input| !input.is_whole()) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let mut somewhere = vec![false; read.members().count()];
    let targets = operations.entries.iter().map(|entry| &*entry.target);
    let mut covered: Vec<Covered<'_>> = targets
        .filter(|target| statement.scope.covers(target))
        .map(|target| Covered { name: &target.name, input: &target.input })
        .collect();
    if statement.scope.covers_delegating() {
        covered.push(Covered { name: DELEGATE, input: &delegate::INPUT });
    }
    for Covered { name: target, input } in &covered {
        for ((name, reads), declared) in read.members().zip(&mut somewhere) {
            *declared |= input.fields.contains_key(name);
            if !input.fields.contains_key(name) && input.open {
                findings.push(Finding {
                    attribute: name.to_string(),
                    message: format!("`{target}` takes arguments that it does not declare, so nothing can tell whether `{name}` is among them"),
                    help: "leave the operation out of the policy's scope, or name in the scope only operations that declare the argument".to_owned(),
                });
            }
            unreadable(&input.fields, name, reads, target, &mut findings);
        }
    }
    for ((name, reads), _) in
        read.members().zip(&somewhere).filter(|(_, declared)| !covered.is_empty() && !**declared)
    {
        // Its value: Cedar's validator finds that too, and better. Its presence only: nobody else does.
        if !reads.is_whole() && reads.members().next().is_none() {
            findings.push(unknown(name, &covered));
        }
    }
    findings.truncate(FINDINGS_MAX);
    findings
}

fn unreadable(fields: &Fields, name: &str, reads: &Reads, target: &str, findings: &mut Vec<Finding>) {
    match fields.get(name).map(|field| &field.shape) {
        Some(Shape::Opaque(why)) => findings.push(Finding {
            attribute: name.to_owned(),
            message: format!("policies cannot read the argument `{name}` of `{target}`: {why}"),
            help: "it is forwarded unseen; decide by other arguments, or have the operation declare it with one plain type".to_owned(),
        }),
        Some(Shape::Record(fields)) => {
            for (member, reads) in reads.members() {
                if !fields.contains_key(member) {
                    findings.push(Finding {
                        attribute: member.to_string(),
                        message: format!("the argument `{name}` of `{target}` declares no member `{member}`"),
                        help: "whether it is there cannot be seen: decide by a declared member".to_owned(),
                    });
                }
                unreadable(fields, member, reads, target, findings);
            }
        }
        Some(Shape::String | Shape::Long | Shape::Decimal | Shape::Bool | Shape::Set(_)) | None => {}
    }
}

fn unknown(name: &str, covered: &[Covered<'_>]) -> Finding {
    let names = covered.iter().flat_map(|covered| covered.input.fields.keys());
    let near = names.map(|known| (distance(name, known), known)).filter(|(distance, _)| *distance <= 2).min();
    Finding {
        attribute: name.to_owned(),
        message: format!("no operation that the policy is about has an argument `{name}`"),
        help: near.map_or_else(
            || "asking whether it is there is always answered with no".to_owned(),
            |(_, known)| format!("did you mean `{known}`?"),
        ),
    }
}

/// The number of characters to insert, delete or replace (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (line, from) in a.chars().enumerate() {
        let mut left = line + 1;
        let mut diagonal = line;
        for (cell, to) in row.iter_mut().skip(1).zip(b.chars()) {
            let above = *cell;
            let here = (diagonal + usize::from(from != to)).min(above + 1).min(left + 1);
            (diagonal, left) = (above, here);
            *cell = here;
        }
        if let Some(first) = row.first_mut() {
            *first = line + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn distance_counts_edits() {
        assert_eq!(super::distance("private", "privat"), 1);
        assert_eq!(super::distance("kitten", "sitting"), 3);
        assert_eq!(super::distance("", "abc"), 3);
        assert_eq!(super::distance("abc", "abc"), 0);
    }
}
