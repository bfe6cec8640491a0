use std::{collections::HashSet, fmt};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use subtle::ConstantTimeEq;
use vestibule_inbound::jws::Key;
use vestibule_model::{Digest, Entropy, Malformed, Thumbprint};

/// Few enough to try each, many enough for a rotation in flight.
const KEYS_MAX: usize = 10;
const KID_MAX_BYTES: usize = 256;

/// What an agent proves itself with, as the store has it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum StoredCredential {
    /// The SHA-256 of a secret of 256 random bits, in hexadecimal. Nothing slower is needed: it cannot be guessed.
    Secret {
        /// 64 hexadecimal digits.
        sha256: String,
    },
    /// A JWK set of public keys.
    Keys {
        /// As the operator gave it.
        jwks: Value,
    },
}

/// What an agent proves itself with, ready for use.
pub(crate) enum Credential {
    /// The SHA-256 of its secret, in hexadecimal.
    Secret(Box<str>),
    /// Its public keys.
    Keys(Vec<ClientKey>),
}

/// A public key of an agent.
pub(crate) struct ClientKey {
    pub(crate) kid: Option<String>,
    pub(crate) key: Key,
}

impl StoredCredential {
    /// A fresh secret, to be shown once, and what is kept of it.
    pub(super) fn generate(entropy: &dyn Entropy) -> (SecretString, Self) {
        let mut bytes = [0u8; 32];
        entropy.fill(&mut bytes);
        let secret = SecretString::from(format!("vst_{}", URL_SAFE_NO_PAD.encode(bytes)));
        let sha256 = Digest::of(secret.expose_secret().as_bytes()).to_string();
        (secret, Self::Secret { sha256 })
    }

    pub(super) fn open(&self) -> Result<Credential, Malformed> {
        match self {
            Self::Secret { sha256 } => Ok(Credential::Secret(sha256.as_str().into())),
            Self::Keys { jwks } => keys(jwks).map(Credential::Keys),
        }
    }
}

fn keys(jwks: &Value) -> Result<Vec<ClientKey>, Malformed> {
    let fault = |rule| Malformed { what: "jwks", rule };
    let keys = jwks.get("keys").and_then(Value::as_array).ok_or(fault("must be a JWK set"))?;
    if keys.is_empty() || keys.len() > KEYS_MAX {
        return Err(fault("must hold 1 to 10 keys"));
    }
    let mut kids = HashSet::new();
    let mut open = |jwk: &Value| {
        let kid = match jwk.get("kid") {
            Some(Value::String(kid)) if kid.len() <= KID_MAX_BYTES && kids.insert(kid.clone()) => {
                Some(kid.clone())
            }
            Some(_) => return Err(fault("must hold keys with distinct `kid`s of at most 256 bytes")),
            None => None,
        };
        let key = Key::from_jwk(jwk).map_err(|_| {
            fault("must hold public signature keys for ES256, ES384, RS256, PS256 or EdDSA only")
        })?;
        Ok(ClientKey { kid, key })
    };
    keys.iter().map(&mut open).collect()
}

impl Credential {
    /// Whether `secret` is the one. For no credential, or one of keys, it hashes and compares all the same, so that
    /// the time tells nobody which agents exist.
    pub(crate) fn is_secret(credential: Option<&Self>, secret: &SecretString) -> bool {
        const NEVER: &str = "0000000000000000000000000000000000000000000000000000000000000000";
        let (expected, is_real) = match credential {
            Some(Self::Secret(sha256)) => (sha256.as_ref(), true),
            Some(Self::Keys(_)) | None => (NEVER, false),
        };
        let presented = Digest::of(secret.expose_secret().as_bytes()).to_string();
        bool::from(presented.as_bytes().ct_eq(expected.as_bytes())) && is_real
    }

    pub(crate) fn thumbprints(&self) -> Vec<Thumbprint> {
        match self {
            Self::Secret(_) => Vec::new(),
            Self::Keys(keys) => keys.iter().map(|one| one.key.thumbprint()).collect(),
        }
    }

    /// Whether it is, among others, that key.
    pub(crate) fn has_key(&self, key: &Thumbprint) -> bool {
        match self {
            Self::Secret(_) => false,
            Self::Keys(keys) => keys.iter().any(|one| one.key.thumbprint() == *key),
        }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Secret(_) => "Secret",
            Self::Keys(_) => "Keys",
        })
    }
}
