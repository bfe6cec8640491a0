use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::{AgentId, Malformed};

/// RFC 9278 §2: the URI of a key.
const URI_PREFIX: &str = "urn:ietf:params:oauth:jwk-thumbprint:sha-256:";

/// The SHA-256 thumbprint of a public key as a JWK (RFC 7638): the `jkt` that tokens are bound to. Printed in base64url
/// without padding, 43 characters, which is its only spelling.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// From the 32 bytes of the hash.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// # Errors
    /// When the text is not 43 characters of canonical base64url.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let fault = Malformed { what: "key thumbprint", rule: "must be 43 characters of base64url" };
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| fault.clone())?;
        bytes.try_into().map(Self).map_err(|_| fault)
    }

    /// The 32 bytes of the hash.
    #[must_use]
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl AgentId {
    /// The id of an agent that is known by its key alone: the key's thumbprint URI (RFC 9278).
    #[must_use]
    pub fn of_key(key: &Thumbprint) -> Self {
        Self::trusted(&format!("{URI_PREFIX}{key}"))
    }

    /// The key, if the id is a thumbprint URI.
    #[must_use]
    pub fn as_key(&self) -> Option<Thumbprint> {
        Thumbprint::parse(self.as_str().strip_prefix(URI_PREFIX)?).ok()
    }
}

impl TryFrom<String> for Thumbprint {
    type Error = Malformed;
    fn try_from(text: String) -> Result<Self, Malformed> {
        Self::parse(&text)
    }
}

impl Serialize for Thumbprint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_one_agent_in_one_spelling() {
        // RFC 7638 §3.1.
        let text = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
        let key = Thumbprint::parse(text).unwrap();
        assert_eq!(key.to_string(), text);
        assert_eq!(AgentId::of_key(&key).as_key(), Some(key));
        // The last character carries four bits that must be zero: another spelling of the same bytes is none.
        for bad in ["NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xt", "", "NzbLsXh8", &format!("{text}=")] {
            assert!(Thumbprint::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(AgentId::new("agent-1").unwrap().as_key(), None);
    }
}
