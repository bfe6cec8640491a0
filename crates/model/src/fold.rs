/// What is left of a text when case does not count. Two texts with the same fold are one and the same to some decoder,
/// router or file system behind the gateway.
///
/// Wider than any of them: Unicode's simple folding, which Go's `encoding/json` matches names by (U+017F is `s`, U+212A
/// is `k`), and what Java's `equalsIgnoreCase` adds (U+0130 and U+0131 are `i`). Too wide refuses an odd name; too
/// narrow lets one past the policy.
pub fn fold(text: &str) -> impl Iterator<Item = char> {
    let plain = |c| if c == '\u{130}' { 'i' } else { c };
    // Down, up and down again: U+1E9E meets U+00DF only below, and U+017F meets `s` only above.
    text.chars()
        .map(plain)
        .flat_map(char::to_lowercase)
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
}

#[cfg(test)]
mod tests {
    #[test]
    fn texts_that_some_decoder_takes_for_one_another_have_one_fold() {
        let same = |a: &str, b: &str| super::fold(a).eq(super::fold(b));
        for (a, b) in [
            ("Repo", "rEPO"),
            ("ta\u{17f}\u{212a}", "task"),
            ("\u{131}d", "ID"),
            ("\u{130}d", "id"),
            ("gr\u{1e9e}", "GR\u{df}"),
            ("\u{3c3}", "\u{3c2}"),
            ("\u{b5}", "\u{3bc}"),
        ] {
            assert!(same(a, b), "{a} {b}");
        }
        for (a, b) in [("repo", "repos"), ("repo", ""), ("a", "\u{e4}"), ("a-b", "a_b")] {
            assert!(!same(a, b), "{a} {b}");
        }
    }
}
