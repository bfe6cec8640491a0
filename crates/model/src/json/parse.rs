use std::collections::HashSet;

use super::{Json, Number};
use crate::Denial;

/// How many elements and members, of all its arrays and objects together, a value may have. Parsed, each takes many
/// times the two bytes of its text (`0,`), so the size of a body does not bound its memory.
pub const VALUES_MAX: usize = 100_000;

/// Why bytes are not one acceptable JSON value. `at` is the byte offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not the grammar of RFC 8259, not UTF-8, or something after the value.
    #[error("not valid JSON at byte {at}")]
    Invalid {
        /// Byte offset.
        at: usize,
    },
    /// A key appears twice in one object.
    #[error("a key appears twice in one object, at byte {at}")]
    DuplicateKey {
        /// Byte offset of the second.
        at: usize,
    },
    /// A surrogate without its partner: other parsers replace it, drop it or refuse it.
    #[error("a lone surrogate at byte {at}")]
    LoneSurrogate {
        /// Byte offset.
        at: usize,
    },
    /// Nested deeper than the limit.
    #[error("nested deeper than {max} levels")]
    TooDeep {
        /// The limit.
        max: usize,
    },
    /// More than [`VALUES_MAX`].
    #[error("more than {VALUES_MAX} elements and members")]
    TooManyValues,
}

impl From<JsonError> for Denial {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Invalid { .. } | JsonError::LoneSurrogate { .. } => Self::JsonInvalid,
            JsonError::DuplicateKey { .. } => Self::JsonDuplicateKey,
            JsonError::TooDeep { .. } => Self::JsonTooDeep,
            JsonError::TooManyValues => Self::JsonTooLarge,
        }
    }
}

/// Where a value stands in the input: `start..end`, in bytes.
pub type Span = std::ops::Range<usize>;

/// Parses exactly one JSON value, at most `max_depth` arrays and objects deep and of at most [`VALUES_MAX`] values.
///
/// # Errors
/// [`JsonError`] says why and where.
pub fn parse(bytes: &[u8], max_depth: usize) -> Result<Json, JsonError> {
    let mut parser = Parser::new(bytes, max_depth)?;
    parser.space();
    let value = parser.value(0)?;
    parser.end()?;
    Ok(value)
}

/// Parses exactly one JSON object and tells where the value of each of its members stands, so that a part can be
/// replaced and every other byte kept.
///
/// # Errors
/// [`JsonError`] says why and where; a value that is not an object is [`JsonError::Invalid`].
pub fn parse_object_spans(bytes: &[u8], max_depth: usize) -> Result<Vec<(String, Json, Span)>, JsonError> {
    let mut parser = Parser::new(bytes, max_depth)?;
    parser.space();
    if parser.peek() != Some(b'{') {
        return Err(parser.invalid());
    }
    let members = parser.members(1)?;
    parser.end()?;
    Ok(members)
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    max_depth: usize,
    values_left: usize,
}

impl<'a> Parser<'a> {
    fn new(bytes: &'a [u8], max_depth: usize) -> Result<Self, JsonError> {
        let text =
            std::str::from_utf8(bytes).map_err(|error| JsonError::Invalid { at: error.valid_up_to() })?;
        Ok(Self { text, at: 0, max_depth, values_left: VALUES_MAX })
    }

    fn invalid(&self) -> JsonError {
        JsonError::Invalid { at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn slice(&self, span: Span) -> &'a str {
        self.text.get(span).unwrap_or_default()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn end(&mut self) -> Result<(), JsonError> {
        self.space();
        if self.peek().is_none() { Ok(()) } else { Err(self.invalid()) }
    }

    fn take(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.invalid())
        }
    }

    fn literal(&mut self, word: &str, value: Json) -> Result<Json, JsonError> {
        if self.slice(self.at..self.text.len()).starts_with(word) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.invalid())
        }
    }

    fn value(&mut self, depth: usize) -> Result<Json, JsonError> {
        match self.peek() {
            Some(b'{') => {
                let members = self.members(depth + 1)?;
                Ok(Json::Object(members.into_iter().map(|(key, value, _)| (key, value)).collect()))
            }
            Some(b'[') => self.array(depth + 1),
            Some(b'"') => self.string().map(Json::String),
            Some(b't') => self.literal("true", Json::Bool(true)),
            Some(b'f') => self.literal("false", Json::Bool(false)),
            Some(b'n') => self.literal("null", Json::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(_) | None => Err(self.invalid()),
        }
    }

    fn descend(&self, depth: usize) -> Result<(), JsonError> {
        if depth > self.max_depth { Err(JsonError::TooDeep { max: self.max_depth }) } else { Ok(()) }
    }

    fn count(&mut self) -> Result<(), JsonError> {
        self.values_left = self.values_left.checked_sub(1).ok_or(JsonError::TooManyValues)?;
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Result<Json, JsonError> {
        self.descend(depth)?;
        self.take(b'[')?;
        let mut items = Vec::new();
        self.space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Json::Array(items));
        }
        loop {
            self.count()?;
            self.space();
            items.push(self.value(depth)?);
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Json::Array(items));
                }
                Some(_) | None => return Err(self.invalid()),
            }
        }
    }

    fn members(&mut self, depth: usize) -> Result<Vec<(String, Json, Span)>, JsonError> {
        self.descend(depth)?;
        self.take(b'{')?;
        let mut members: Vec<(String, Json, Span)> = Vec::new();
        let mut keys = Keys::default();
        self.space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(members);
        }
        loop {
            self.count()?;
            self.space();
            let at = self.at;
            let key = self.string()?;
            if !keys.insert(&key, &members) {
                return Err(JsonError::DuplicateKey { at });
            }
            self.space();
            self.take(b':')?;
            self.space();
            let start = self.at;
            let value = self.value(depth)?;
            members.push((key, value, start..self.at));
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(members);
                }
                Some(_) | None => return Err(self.invalid()),
            }
        }
    }

    /// RFC 8259 §6: `-? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)?`
    fn number(&mut self) -> Result<Json, JsonError> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Json::Number(Number::from_grammar(self.slice(start..self.at))))
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(self.invalid()) } else { Ok(()) }
    }

    fn string(&mut self) -> Result<String, JsonError> {
        self.take(b'"')?;
        let mut out = String::new();
        loop {
            let start = self.at;
            while !matches!(self.peek(), None | Some(b'"' | b'\\' | 0..=0x1f)) {
                self.at += 1;
            }
            out.push_str(self.slice(start..self.at));
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                Some(_) | None => return Err(self.invalid()),
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let at = self.at;
        self.at += 1;
        let kind = self.peek().ok_or(JsonError::Invalid { at })?;
        self.at += 1;
        Ok(match kind {
            b'"' | b'\\' | b'/' => char::from(kind),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode(at),
            _ => return Err(JsonError::Invalid { at }),
        })
    }

    fn unicode(&mut self, at: usize) -> Result<char, JsonError> {
        let first = self.hex4()?;
        if !(0xd800..0xe000).contains(&first) {
            return char::from_u32(first).ok_or(JsonError::Invalid { at });
        }
        let lone = JsonError::LoneSurrogate { at };
        if first >= 0xdc00 || self.take(b'\\').is_err() || self.take(b'u').is_err() {
            return Err(lone);
        }
        let second = self.hex4()?;
        if !(0xdc00..0xe000).contains(&second) {
            return Err(lone);
        }
        char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)).ok_or(lone)
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        let digits = self.text.get(self.at..self.at + 4).ok_or(self.invalid())?;
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(self.invalid());
        }
        let value = u32::from_str_radix(digits, 16).map_err(|_| self.invalid())?;
        self.at += 4;
        Ok(value)
    }
}

/// The keys of one object. Small objects are searched, larger ones hashed, so that many keys cost no square.
#[derive(Default)]
struct Keys {
    hashed: Option<HashSet<String>>,
}

impl Keys {
    const SEARCHED: usize = 16;

    fn insert(&mut self, key: &str, members: &[(String, Json, Span)]) -> bool {
        if members.len() < Self::SEARCHED {
            return members.iter().all(|(name, _, _)| name != key);
        }
        self.hashed
            .get_or_insert_with(|| members.iter().map(|(name, _, _)| name.clone()).collect())
            .insert(key.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_parsers_disagree_about_is_refused() {
        let parse = |text: &str| parse(text.as_bytes(), 8);
        assert!(matches!(parse(r#"{"a":1,"a":2}"#), Err(JsonError::DuplicateKey { at: 7 })));
        assert!(matches!(parse(r#"{"a":1,"\u0061":2}"#), Err(JsonError::DuplicateKey { .. })));
        assert!(matches!(parse(r#"["\ud800"]"#), Err(JsonError::LoneSurrogate { .. })));
        assert!(matches!(parse(r#"["\udc00\ud800"]"#), Err(JsonError::LoneSurrogate { .. })));
        assert!(matches!(parse("[[[[[[[[[1]]]]]]]]]"), Err(JsonError::TooDeep { max: 8 })));
        for text in [
            "",
            "01",
            "1.",
            ".5",
            "+1",
            "NaN",
            "[1,]",
            "{\"a\":1,}",
            "1 2",
            "\"\t\"",
            "'a'",
            "\u{feff}1",
            "[1e]",
            "\"\\u+123\"",
        ] {
            assert!(matches!(parse(text), Err(JsonError::Invalid { .. })), "{text:?}");
        }
        assert!(super::parse(b"\"\xff\"", 8).is_err());
    }

    #[test]
    fn elements_and_members_are_counted_wherever_they_are() {
        let array = |count: usize| format!("[{}0]", "0,".repeat(count - 1));
        assert!(parse(array(VALUES_MAX).as_bytes(), 2).is_ok());
        let nested = format!("{{\"a\":{}}}", array(VALUES_MAX));
        let spread = format!("[{}[]]", "[{\"a\":0}],".repeat(VALUES_MAX / 3 + 1));
        for text in [array(VALUES_MAX + 1), nested, spread] {
            assert_eq!(parse(text.as_bytes(), 4).err(), Some(JsonError::TooManyValues));
        }
    }

    #[test]
    fn many_keys_are_still_distinct() {
        let members: Vec<String> = (0..100).map(|n| format!("\"k{n}\":{n}")).collect();
        let good = format!("{{{}}}", members.join(","));
        let bad = format!("{{{},\"k99\":0}}", members.join(","));
        assert!(parse(good.as_bytes(), 2).is_ok());
        assert!(matches!(parse(bad.as_bytes(), 2), Err(JsonError::DuplicateKey { .. })));
    }

    #[test]
    fn spans_point_at_the_values() {
        let text = br#" { "a" : [1, 2] , "b":"x" } "#;
        let members = parse_object_spans(text, 4).expect("valid");
        let shown: Vec<_> = members
            .iter()
            .map(|(key, _, span)| (key.as_str(), std::str::from_utf8(&text[span.clone()]).expect("utf-8")))
            .collect();
        assert_eq!(shown, [("a", "[1, 2]"), ("b", "\"x\"")]);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes, 16);
        }

        #[test]
        fn agrees_with_serde_json_on_what_it_accepts(text in "[\\[\\]{}:,\"a-c0-9.eE+\\- tru\\\\]{0,40}") {
            if parse(text.as_bytes(), 64).is_ok() {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok() || text.contains(['e', 'E']));
            }
        }

        #[test]
        fn canonical_form_is_stable(text in "[ -~]{0,40}", number in any::<i64>()) {
            let source = serde_json::json!({ "text": text, "number": number }).to_string();
            let once = parse(source.as_bytes(), 4).expect("serde_json writes valid JSON").canonical();
            let twice = parse(once.as_bytes(), 4).expect("canonical is valid").canonical();
            prop_assert_eq!(once, twice);
        }
    }
}
