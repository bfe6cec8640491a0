use std::collections::BTreeSet;

/// Whether the licences in `allowed` satisfy an SPDX expression, as crates write it: `OR`, `AND`, `WITH`, brackets,
/// and the old `/` for `OR`.
///
/// # Errors
/// When it is no such expression. The text quotes it.
pub(crate) fn is_satisfied(expression: &str, allowed: &BTreeSet<String>) -> Result<bool, String> {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = Words { words: spaced.split_whitespace().collect(), next: 0 };
    let satisfied = either(&mut words, allowed);
    match satisfied {
        Some(satisfied) if words.peek().is_none() => Ok(satisfied),
        Some(_) | None => Err(format!("`{expression}` is not a licence expression")),
    }
}

struct Words<'a> {
    words: Vec<&'a str>,
    next: usize,
}

impl<'a> Words<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.next).copied()
    }

    fn take(&mut self) -> Option<&'a str> {
        let word = self.peek()?;
        self.next += 1;
        Some(word)
    }

    fn take_if(&mut self, word: &str) -> bool {
        let is_next = self.peek() == Some(word);
        self.next += usize::from(is_next);
        is_next
    }
}

fn either(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> Option<bool> {
    let mut satisfied = both(words, allowed)?;
    while words.take_if("OR") {
        satisfied |= both(words, allowed)?;
    }
    Some(satisfied)
}

fn both(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> Option<bool> {
    let mut satisfied = one(words, allowed)?;
    while words.take_if("AND") {
        satisfied &= one(words, allowed)?;
    }
    Some(satisfied)
}

fn one(words: &mut Words<'_>, allowed: &BTreeSet<String>) -> Option<bool> {
    if words.take_if("(") {
        let satisfied = either(words, allowed)?;
        return words.take_if(")").then_some(satisfied);
    }
    let licence = words.take().filter(|word| !matches!(*word, ")" | "OR" | "AND" | "WITH"))?;
    if words.take_if("WITH") {
        let exception = words.take()?;
        return Some(allowed.contains(&format!("{licence} WITH {exception}")));
    }
    Some(allowed.contains(licence))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(expression: &str) -> Result<bool, String> {
        let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
        is_satisfied(expression, &BTreeSet::from(allowed))
    }

    #[test]
    fn one_side_of_an_or_and_both_sides_of_an_and_must_be_allowed() {
        assert_eq!(judge("MIT OR GPL-3.0"), Ok(true));
        assert_eq!(judge("GPL-3.0/MIT"), Ok(true));
        assert_eq!(judge("MIT AND ISC"), Ok(true));
        assert_eq!(judge("MIT AND GPL-3.0"), Ok(false));
    }

    #[test]
    fn and_binds_tighter_than_or_unless_brackets_say_otherwise() {
        assert_eq!(judge("MIT OR ISC AND GPL-3.0"), Ok(true));
        assert_eq!(judge("(MIT OR ISC) AND GPL-3.0"), Ok(false));
        assert_eq!(judge("ISC AND (GPL-3.0 OR MIT)"), Ok(true));
    }

    #[test]
    fn an_exception_is_part_of_the_name() {
        assert_eq!(judge("Apache-2.0 WITH LLVM-exception"), Ok(true));
        assert_eq!(judge("Apache-2.0"), Ok(false));
        assert_eq!(judge("MIT WITH LLVM-exception"), Ok(false));
    }

    #[test]
    fn what_is_no_expression_is_refused_and_not_guessed() {
        for text in ["", "MIT OR", "(MIT", "MIT)", "MIT ISC", "OR MIT", "Apache-2.0 WITH"] {
            assert!(judge(text).is_err(), "{text}");
        }
    }
}
