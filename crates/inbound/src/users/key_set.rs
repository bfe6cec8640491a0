use serde_json::Value;
use vestibule_model::Thumbprint;

use super::IssuerError;
use crate::jws::{Algorithm, Key, KeyError};

/// The most keys of a JWK set, those that are no use to us included.
pub const KEYS_MAX: usize = 100;
/// The longest `kid` that is looked for, in bytes.
pub(crate) const KID_MAX_BYTES: usize = 255;
/// How many keys may share a `kid`: each is tried, so this bounds the signatures that one token can make us verify.
const SAME_KID_MAX: usize = 4;
/// How much of a `kid` is shown to an operator, in characters.
const SHOWN_CHARS: usize = 64;

/// The keys of one issuer that signatures can be verified with.
#[derive(Debug, Default)]
pub(crate) struct KeySet {
    keys: Vec<(Option<Box<str>>, Key)>,
    skipped: Vec<String>,
}

/// Which key a token asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) kid: Option<&'a str>,
    pub(crate) algorithm: Algorithm,
}

impl KeySet {
    /// Reads a JWK set (RFC 7517 §5). A key that we cannot use does not spoil the others ("Implementations SHOULD ignore
    /// JWKs within a JWK Set that use kty values that are not understood"), nor does one whose private part is published:
    /// it is skipped, because by now anybody may sign with it. Of a member that appears twice the last counts (§4).
    pub(super) fn read(bytes: &[u8]) -> Result<Self, IssuerError> {
        let invalid = || IssuerError::Invalid {
            document: "JWK set",
            rule: "is not a JSON object with an array `keys`",
        };
        let document: Value = serde_json::from_slice(bytes).map_err(|_| invalid())?;
        let listed = document.get("keys").and_then(Value::as_array).ok_or_else(invalid)?;
        if listed.len() > KEYS_MAX {
            return Err(IssuerError::TooManyKeys);
        }
        let mut set = Self::default();
        for jwk in listed {
            set.add(jwk);
        }
        Ok(set)
    }

    fn add(&mut self, jwk: &Value) {
        let kid = match jwk.get("kid") {
            None => None,
            Some(Value::String(kid)) if kid.len() <= KID_MAX_BYTES => Some(kid.as_str()),
            Some(_) => return self.skip(None, "has a `kid` that is no text or longer than 255 bytes"),
        };
        match Key::from_jwk(jwk) {
            // RFC 7517 §4.5: keys of one `kid` are "considered to be equivalent alternatives".
            Ok(_) if kid.is_some() && self.named(kid).count() == SAME_KID_MAX => {
                self.skip(kid, "shares its `kid` with four others");
            }
            Ok(key) => self.keys.push((kid.map(Box::from), key)),
            Err(error) => {
                if error == KeyError::Private {
                    tracing::warn!("an issuer of users publishes a private or symmetric key; it is not used");
                }
                self.skip(kid, &error.to_string());
            }
        }
    }

    fn skip(&mut self, kid: Option<&str>, why: &str) {
        let shown: String =
            kid.unwrap_or("without `kid`").chars().take(SHOWN_CHARS).flat_map(char::escape_debug).collect();
        self.skipped.push(format!("key `{shown}` {why}"));
    }

    fn named<'a>(&'a self, kid: Option<&'a str>) -> impl Iterator<Item = &'a Key> {
        self.keys.iter().filter(move |(name, _)| name.as_deref() == kid).map(|(_, key)| key)
    }

    /// Whether it tells which key is wanted. OpenID Connect Core §10.1: with several keys, "a kid value MUST be provided
    /// in the JOSE Header"; without one, exactly one may fit.
    pub(super) fn knows(&self, wanted: Wanted<'_>) -> bool {
        match wanted.kid {
            Some(kid) => self.named(Some(kid)).next().is_some(),
            None => self.all_fitting(wanted.algorithm).count() == 1,
        }
    }

    /// The keys that may have signed what wants this key; asked only if [`KeySet::knows`] it.
    pub(crate) fn fitting<'a>(&'a self, wanted: Wanted<'a>) -> impl Iterator<Item = &'a Key> {
        let is_meant = move |name: &Option<Box<str>>| wanted.kid.is_none() || name.as_deref() == wanted.kid;
        let named = self.keys.iter().filter(move |(name, _)| is_meant(name));
        named.map(|(_, key)| key).filter(move |key| key.fits(wanted.algorithm))
    }

    /// Whether a key is still there under the name that it had.
    pub(crate) fn has(&self, kid: Option<&str>, key: &Thumbprint) -> bool {
        let is_named = |name: &Option<Box<str>>| kid.is_none() || name.as_deref() == kid;
        self.keys.iter().any(|(name, known)| is_named(name) && known.thumbprint() == *key)
    }

    fn all_fitting(&self, algorithm: Algorithm) -> impl Iterator<Item = &Key> {
        self.keys.iter().map(|(_, key)| key).filter(move |key| key.fits(algorithm))
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    /// What was left out, and why, for an operator.
    pub(super) fn skipped(&self) -> &[String] {
        &self.skipped
    }

    pub(super) fn algorithms(&self) -> Vec<Algorithm> {
        let fits_one = |algorithm: &Algorithm| self.all_fitting(*algorithm).next().is_some();
        Algorithm::ALL.iter().copied().filter(fits_one).collect()
    }
}
