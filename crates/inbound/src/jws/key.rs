use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, jwk::Jwk};
use serde_json::Value;
use vestibule_model::{Digest, Thumbprint, json::Json};

use super::Algorithm;

/// A public key that signatures are verified with, and the algorithms that it fits.
#[derive(Clone)]
pub struct Key {
    decoding: DecodingKey,
    algorithms: Vec<Algorithm>,
    thumbprint: Thumbprint,
}

/// Why a JWK is not taken as a verification key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Holds a private or symmetric part: whoever sent it here has published it.
    #[error("holds a private or symmetric part; send the public key only")]
    Private,
    /// Not a key type, curve, `alg`, `use` or `key_ops` that fits one of our algorithms.
    #[error("is not a signature key for ES256, ES384, RS256, PS256 or EdDSA")]
    Unsupported,
    /// A member is missing or has the wrong length or encoding.
    #[error("has a member that is missing, badly encoded or of the wrong length")]
    Malformed,
    /// An RSA modulus outside 2048 to 8192 bits.
    #[error("has an RSA modulus that is not 2048 to 8192 bits long")]
    RsaSize,
}

/// Members of private and symmetric keys (RFC 7518 §6.2.2, §6.3.2, §6.4; RFC 8037 §2).
const PRIVATE_MEMBERS: &[&str] = &["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

impl Key {
    /// From a JWK (RFC 7517). `alg`, `use` and `key_ops` narrow what the key is good for.
    ///
    /// # Errors
    /// [`KeyError`] says what is wrong with it.
    pub fn from_jwk(jwk: &Value) -> Result<Self, KeyError> {
        if PRIVATE_MEMBERS.iter().any(|member| jwk.get(member).is_some()) {
            return Err(KeyError::Private);
        }
        let mut algorithms = match (text(jwk, "kty")?, jwk.get("crv").and_then(Value::as_str)) {
            ("EC", Some("P-256")) => sized(jwk, &["x", "y"], 32, &[Algorithm::Es256])?,
            ("EC", Some("P-384")) => sized(jwk, &["x", "y"], 48, &[Algorithm::Es384])?,
            ("OKP", Some("Ed25519")) => sized(jwk, &["x"], 32, &[Algorithm::EdDsa])?,
            ("RSA", None) => rsa(jwk)?,
            ("oct", _) => return Err(KeyError::Private),
            (_, _) => return Err(KeyError::Unsupported),
        };
        if let Some(alg) = jwk.get("alg") {
            // RFC 8725 §3.1: a key is used with one algorithm, if it says which.
            algorithms.retain(|algorithm| alg.as_str().is_some_and(|alg| algorithm.names().contains(&alg)));
        }
        if algorithms.is_empty() || !is_for_signatures(jwk) {
            return Err(KeyError::Unsupported);
        }
        let decoding = backend_key(jwk).ok_or(KeyError::Malformed)?;
        Ok(Self { decoding, algorithms, thumbprint: thumbprint(jwk)? })
    }

    /// From a JWK that came inside of something else.
    ///
    /// # Errors
    /// [`KeyError`] says what is wrong with it.
    pub fn from_json(jwk: &Json) -> Result<Self, KeyError> {
        let value: Value = serde_json::from_str(&jwk.canonical()).map_err(|_| KeyError::Malformed)?;
        Self::from_jwk(&value)
    }

    /// Its name: the SHA-256 thumbprint of RFC 7638, which tokens are bound to.
    #[must_use]
    pub fn thumbprint(&self) -> Thumbprint {
        self.thumbprint
    }

    /// Whether a signature by `algorithm` can be by this key.
    #[must_use]
    pub fn fits(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    pub(super) fn has_signed(&self, message: &[u8], signature: &str, algorithm: Algorithm) -> bool {
        self.fits(algorithm)
            && jsonwebtoken::crypto::verify(signature, message, &self.decoding, algorithm.backend())
                .unwrap_or(false)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("algorithms", &self.algorithms)
            .field("thumbprint", &self.thumbprint)
            .finish_non_exhaustive()
    }
}

/// The backend's key, from the members of the key itself only: what `use`, `alg` and the rest say is judged here, and an
/// unknown value of theirs must not make the backend guess.
fn backend_key(jwk: &Value) -> Option<DecodingKey> {
    const PARTS: &[&str] = &["kty", "crv", "x", "y", "n", "e"];
    let members = jwk.as_object()?.iter().filter(|(name, _)| PARTS.contains(&name.as_str()));
    let parts = Value::Object(members.map(|(name, value)| (name.clone(), value.clone())).collect());
    DecodingKey::from_jwk(&serde_json::from_value::<Jwk>(parts).ok()?).ok()
}

/// RFC 7638 §3.2, RFC 8037 §2: the required members and no others, in lexicographic order, without white space.
///
/// INVARIANT: the values were checked to be canonical base64url or names of ours, so none needs an escape, and one key
/// has one thumbprint.
fn thumbprint(jwk: &Value) -> Result<Thumbprint, KeyError> {
    let required: &[&str] = match text(jwk, "kty")? {
        "EC" => &["crv", "kty", "x", "y"],
        "OKP" => &["crv", "kty", "x"],
        "RSA" => &["e", "kty", "n"],
        _ => return Err(KeyError::Unsupported),
    };
    let members: Result<Vec<_>, _> =
        required.iter().map(|member| Ok(format!("\"{member}\":\"{}\"", text(jwk, member)?))).collect();
    let digest = Digest::of(format!("{{{}}}", members?.join(",")).as_bytes());
    Ok(Thumbprint::from_bytes(*digest.bytes()))
}

fn text<'a>(jwk: &'a Value, member: &str) -> Result<&'a str, KeyError> {
    jwk.get(member).and_then(Value::as_str).ok_or(KeyError::Malformed)
}

fn bytes(jwk: &Value, member: &str) -> Result<Vec<u8>, KeyError> {
    URL_SAFE_NO_PAD.decode(text(jwk, member)?).map_err(|_| KeyError::Malformed)
}

/// RFC 7518 §6.2.1.2: a coordinate has the full length of the field.
fn sized(
    jwk: &Value,
    members: &[&str],
    length: usize,
    algorithms: &[Algorithm],
) -> Result<Vec<Algorithm>, KeyError> {
    for member in members {
        if bytes(jwk, member)?.len() != length {
            return Err(KeyError::Malformed);
        }
    }
    Ok(algorithms.to_vec())
}

/// RFC 7518 §3.3, §3.5: 2048 bits or more. The upper bound keeps a verification cheap.
fn rsa(jwk: &Value) -> Result<Vec<Algorithm>, KeyError> {
    // RFC 7518 §2 (Base64urlUInt): no leading zeros, else one key has many thumbprints and outlives the revocation of one.
    if bytes(jwk, "e")?.first().is_none_or(|first| *first == 0) {
        return Err(KeyError::Malformed);
    }
    let modulus = bytes(jwk, "n")?;
    let first = modulus.first().copied().ok_or(KeyError::Malformed)?;
    let bits = modulus.len() * 8 - first.leading_zeros() as usize;
    if first == 0 || !(2048..=8192).contains(&bits) {
        return Err(KeyError::RsaSize);
    }
    Ok(vec![Algorithm::Rs256, Algorithm::Ps256])
}

fn is_for_signatures(jwk: &Value) -> bool {
    let right_use = jwk.get("use").is_none_or(|value| value == "sig");
    let right_operations = jwk
        .get("key_ops")
        .is_none_or(|value| value.as_array().is_some_and(|operations| operations.contains(&"verify".into())));
    right_use && right_operations
}
