use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Entropy, Malformed, Timestamp, digest::with_hex};

/// The identifier that joins the entries of one attempt: UUIDv7 layout (RFC 9562 §5.7), so that identifiers sort by
/// time. Shown to the caller as the request id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AttemptId([u8; 16]);

impl AttemptId {
    /// A fresh one for an attempt that began at `now`.
    #[must_use]
    pub fn new(now: Timestamp, entropy: &dyn Entropy) -> Self {
        let mut bytes = [0u8; 16];
        entropy.fill(&mut bytes);
        let millis = now.millis().to_be_bytes();
        for (slot, byte) in bytes.iter_mut().zip(millis.iter().skip(2)) {
            *slot = *byte;
        }
        let [_, _, _, _, _, _, version, _, variant, ..] = &mut bytes;
        *version = (*version & 0x0f) | 0x70;
        *variant = (*variant & 0x3f) | 0x80;
        Self(bytes)
    }

    /// # Errors
    /// When the text is not 32 lower-case hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let fault = Malformed { what: "attempt id", rule: "must be 32 lower-case hexadecimal digits" };
        let value = u128::from_str_radix(text, 16).map_err(|_| fault.clone())?;
        if text.len() != 32 || text.bytes().any(|b| b.is_ascii_uppercase() || b == b'+') {
            return Err(fault);
        }
        Ok(Self(value.to_be_bytes()))
    }
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        with_hex(&self.0, |text| f.write_str(text))
    }
}

impl fmt::Debug for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for AttemptId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        with_hex(&self.0, |text| serializer.serialize_str(text))
    }
}

impl<'de> Deserialize<'de> for AttemptId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// A W3C trace id: 32 hexadecimal digits, taken from a valid inbound `traceparent` or made here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

impl TraceId {
    /// The trace of an attempt that came without one: the same bits, so that one leads to the other.
    #[must_use]
    pub fn of(attempt: AttemptId) -> Self {
        Self(u128::from_be_bytes(attempt.0))
    }

    /// From a `traceparent` header (W3C Trace Context §3.2.2): `00-<trace-id>-<parent-id>-<flags>`.
    #[must_use]
    pub fn from_traceparent(header: &str) -> Option<Self> {
        let mut parts = header.split('-');
        let (version, trace, parent) = (parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if version != "00" || trace.len() != 32 || parent.len() != 16 || !is_hex(trace) {
            return None;
        }
        u128::from_str_radix(trace, 16).ok().filter(|value| *value != 0).map(Self)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        with_hex(&self.0.to_be_bytes(), |text| f.write_str(text))
    }
}

impl Serialize for TraceId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        with_hex(&self.0.to_be_bytes(), |text| serializer.serialize_str(text))
    }
}

impl<'de> Deserialize<'de> for TraceId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // The same grammar as an attempt's identifier.
        let AttemptId(bytes) = AttemptId::parse(&text).map_err(serde::de::Error::custom)?;
        Ok(Self(u128::from_be_bytes(bytes)))
    }
}

/// The HTTP methods that an operation can have. Everything else is refused before it is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// RFC 9110 §9.3.1.
    Get,
    /// RFC 9110 §9.3.2.
    Head,
    /// RFC 9110 §9.3.3.
    Post,
    /// RFC 9110 §9.3.4.
    Put,
    /// RFC 5789.
    Patch,
    /// RFC 9110 §9.3.5.
    Delete,
    /// RFC 9110 §9.3.7.
    Options,
}

impl Method {
    /// The method of that name, compared case-sensitively as RFC 9110 §9.1 wants.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "PATCH" => Self::Patch,
            "DELETE" => Self::Delete,
            "OPTIONS" => Self::Options,
            _ => return None,
        })
    }

    /// Its name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
            Self::Options => "OPTIONS",
        }
    }
}
