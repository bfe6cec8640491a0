//! Where things stand in a policy file: one piece of text per policy, and lines and columns for offsets.

/// The text of one policy, from its first token to its semicolon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    pub(crate) text: &'a str,
    /// Byte offset of `text` in the file.
    pub(crate) at: usize,
}

/// Cuts a file into its policies. A semicolon outside of strings and comments ends one, and nothing else does; what
/// follows the last one is a piece too, so that an unfinished policy is reported and not dropped. A cut in the wrong
/// place could only make a piece that does not parse: each is parsed as exactly one policy.
pub(crate) fn pieces(file: &str) -> Vec<Piece<'_>> {
    let bytes = file.as_bytes();
    let mut found = Vec::new();
    let mut start = None;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at = end_of_line(bytes, at);
                continue;
            }
            b'"' => {
                start.get_or_insert(at);
                at = end_of_string(bytes, at);
                continue;
            }
            b';' => {
                let from = start.take().unwrap_or(at);
                found.push(piece(file, from, at + 1));
            }
            byte if byte.is_ascii_whitespace() => {}
            _ => {
                start.get_or_insert(at);
            }
        }
        at += 1;
    }
    found.extend(start.map(|from| piece(file, from, file.len())));
    found
}

fn piece(file: &str, from: usize, to: usize) -> Piece<'_> {
    Piece { text: file.get(from..to).unwrap_or_default(), at: from }
}

fn end_of_line(bytes: &[u8], from: usize) -> usize {
    bytes.iter().skip(from).position(|byte| *byte == b'\n').map_or(bytes.len(), |length| from + length)
}

/// The offset after the closing quote, or the end of the file.
fn end_of_string(bytes: &[u8], open: usize) -> usize {
    let mut at = open + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The line starts of a file, for turning offsets into lines and columns.
#[derive(Debug)]
pub(crate) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    /// 1-based line, and 1-based column in characters.
    pub(crate) fn place(&self, offset: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let before = self.text.get(start..offset).unwrap_or_default();
        (line, before.chars().count() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(file: &str) -> Vec<&str> {
        pieces(file).into_iter().map(|piece| piece.text).collect()
    }

    #[test]
    fn semicolons_in_strings_and_comments_end_nothing() {
        let file = "// a; b\n@id(\"x;\\\";\")\npermit(principal, action, resource); // end;\nforbid(principal, action, resource);";
        assert_eq!(
            texts(file),
            [
                "@id(\"x;\\\";\")\npermit(principal, action, resource);",
                "forbid(principal, action, resource);"
            ]
        );
    }

    #[test]
    fn an_unfinished_policy_is_a_piece_and_trailing_comments_are_not() {
        assert_eq!(
            texts("permit(principal, action, resource)\n// no semicolon"),
            ["permit(principal, action, resource)\n// no semicolon"]
        );
        assert_eq!(texts("permit(principal, action, resource);\n// the end\n").len(), 1);
        assert_eq!(texts("@id(\"never closed"), ["@id(\"never closed"]);
    }

    #[test]
    fn places_count_lines_and_characters_from_one() {
        let lines = Lines::of("ä b\nc");
        assert_eq!(lines.place(0), (1, 1));
        assert_eq!(lines.place(3), (1, 3));
        assert_eq!(lines.place(5), (2, 1));
    }
}
