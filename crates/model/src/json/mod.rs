//! The one parse. What this module accepts, every other parser reads in the same way: no duplicate keys, no invalid
//! UTF-8, no lone surrogates, no number that loses its exact value, bounded depth and number of values.
//!
//! The attack it stops is the parser differential: two decoders that see two requests in the same bytes (RFC 8259 §4
//! leaves duplicate keys open, §6 leaves number precision open). It keeps numbers as they were written, so the
//! policies get an exact value or none at all.

mod canonical;
mod number;
mod parse;

pub use number::Number;
pub use parse::{JsonError, Span, VALUES_MAX, parse, parse_object_spans};

/// A parsed JSON value. Objects keep the order of their members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number, exactly as written.
    Number(Number),
    /// A string, decoded.
    String(String),
    /// An array.
    Array(Vec<Json>),
    /// An object with distinct keys, in order.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// The member `key` of an object.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.as_object()?.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The string, if it is one.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }

    /// The boolean, if it is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    /// The exact integer, if it is one that fits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        if let Self::Number(number) = self { number.as_i64() } else { None }
    }

    /// The elements, if it is an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Self]> {
        if let Self::Array(items) = self { Some(items) } else { None }
    }

    /// The members, if it is an object.
    #[must_use]
    pub fn as_object(&self) -> Option<&[(String, Self)]> {
        if let Self::Object(members) = self { Some(members) } else { None }
    }

    /// The canonical form (RFC 8785): what digests of arguments are taken over. Numbers outside the range of a
    /// double lose precision in this form, as RFC 8785 §3.2.2.3 says.
    #[must_use]
    pub fn canonical(&self) -> String {
        let mut out = String::new();
        canonical::write(self, &mut out);
        out
    }
}
