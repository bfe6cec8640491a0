//! Names that an outside issuer gave. They mean nothing without the issuer.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{AgentId, Jti, Malformed};

/// The longest `{issuer}#{name}`, in bytes. As for an agent's id: it must fit into a key of the store.
const FOREIGN_MAX_BYTES: usize = 2048;

/// A name that an outside issuer gave. The same name at two issuers is two names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Foreign {
    /// The issuer.
    pub issuer: String,
    /// What it names.
    pub name: String,
}

impl Foreign {
    /// From `{issuer}#{name}`.
    ///
    /// # Errors
    /// When the text is longer than 2048 bytes, the issuer is not 1 or more visible ASCII characters, or the name is
    /// empty or has control characters.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let fault = |rule| Malformed { what: "name at an issuer", rule };
        if text.len() > FOREIGN_MAX_BYTES {
            return Err(fault("must have at most 2048 bytes"));
        }
        let (issuer, name) = text.split_once('#').ok_or(fault("must be an issuer, `#` and a name"))?;
        if issuer.is_empty() || !issuer.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(fault("must begin with an issuer of visible ASCII characters"));
        }
        if name.is_empty() || name.chars().any(char::is_control) {
            return Err(fault("must end with a name without control characters"));
        }
        Ok(Self { issuer: issuer.to_owned(), name: name.to_owned() })
    }
}

/// `{issuer}#{name}`: an issuer has no fragment (RFC 8414 §2), so `#` separates without doubt.
impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.issuer, self.name)
    }
}

/// The identifier of a token: the `jti` of one of ours, or `{issuer}#{jti}` of one that an outside issuer made.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct TokenId(Arc<str>);

impl TokenId {
    /// That of a token of an outside issuer.
    ///
    /// # Errors
    /// As [`Foreign::parse`].
    pub fn foreign(issuer: &str, jti: &str) -> Result<Self, Malformed> {
        let text = format!("{issuer}#{jti}");
        Foreign::parse(&text)?;
        Ok(Self(text.into()))
    }

    /// # Errors
    /// When the text is neither 32 lower-case hexadecimal digits nor an issuer, `#` and a name.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if text.contains('#') {
            Foreign::parse(text).map(drop)?
        } else {
            Jti::parse(text).map(drop)?
        }
        Ok(Self(text.into()))
    }

    /// Whether an outside issuer made the token.
    #[must_use]
    pub fn is_foreign(&self) -> bool {
        self.0.contains('#')
    }

    /// The identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Jti> for TokenId {
    fn from(jti: Jti) -> Self {
        Self(jti.into_text())
    }
}

impl TryFrom<String> for TokenId {
    type Error = Malformed;
    fn try_from(text: String) -> Result<Self, Malformed> {
        Self::parse(&text)
    }
}

impl Serialize for TokenId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who stands behind the token of an outside issuer, besides the agent that presents it and the human it is for. They
/// give it nothing, and it is refused with each of them: an issuer says in its own way who acted before.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Behind {
    /// Clients of the issuer: who got the token, where no human is named with it, then whom `act` names (RFC 8693
    /// §4.1), the last one first.
    pub clients: Vec<Foreign>,
    /// Those of them who are agents of ours.
    pub agents: Vec<AgentId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_of_ours_and_one_of_an_outside_issuer_have_one_spelling_each() {
        let own = "0123456789abcdef0123456789abcdef";
        assert_eq!(TokenId::parse(own).unwrap(), TokenId::from(Jti::parse(own).unwrap()));
        let foreign = TokenId::foreign("https://idp.example", own).unwrap();
        assert_eq!(TokenId::parse(foreign.as_str()).unwrap(), foreign);
        assert!(foreign.is_foreign() && !TokenId::parse(own).unwrap().is_foreign());
        for bad in ["", "short", "#a", "https://idp.example#", "https://idp.example#a\nb", "a b#c"] {
            assert!(TokenId::parse(bad).is_err(), "{bad}");
        }
    }
}
