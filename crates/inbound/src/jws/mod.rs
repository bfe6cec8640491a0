//! Strict compact JWS (RFC 7515 §7.1), for hop tokens and for the assertions of clients.
//!
//! It stops: confusion of one kind of token with another (`typ` first, against a list), confusion of algorithms (a
//! list without `none` and MACs, and the key decides too), a second reading of the same bytes (canonical base64url,
//! no duplicate members), and keys that travel in the token: `jwk`, `jku`, `x5u` and `x5c` are never looked at.
//! What the claims mean is the caller's to check.

mod algorithm;
mod key;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use vestibule_model::json::{self, Json};

pub use algorithm::Algorithm;
pub use key::{Key, KeyError};

/// The longest token that is looked at, in bytes.
pub const TOKEN_MAX_BYTES: usize = 8 * 1024;

/// Header and payload are nested at most this deep: a chain of `act` has a level for each agent.
const DEPTH_MAX: usize = 16;

/// What one endpoint accepts.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    /// The media types that `typ` may name, without `application/`.
    pub types: &'static [&'static str],
    /// Whether `typ` may be absent.
    pub is_type_optional: bool,
    /// The algorithms that may sign.
    pub algorithms: &'static [Algorithm],
}

/// Why a text is not an acceptable JWS, in the order in which it is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// Longer than [`TOKEN_MAX_BYTES`].
    #[error("longer than 8 KiB")]
    TooLong,
    /// Not three parts of canonical base64url, or not two JSON objects with distinct keys.
    #[error("not a compact JWS in its canonical form")]
    Malformed,
    /// `typ` is not on the list.
    #[error("`typ` is not the one of this kind of token")]
    WrongType,
    /// `alg` is not on the list.
    #[error("`alg` is not on the list")]
    AlgorithmRefused,
    /// An extension that must be understood (RFC 7515 §4.1.11). We understand none.
    #[error("`crit` is present")]
    Critical,
    /// Not signed by that key.
    #[error("the signature does not verify")]
    SignatureInvalid,
}

/// A JWS whose form, type and algorithm are acceptable and whose signature nobody has verified yet.
#[derive(Debug)]
pub struct Unverified<'a> {
    signing_input: &'a str,
    signature: &'a str,
    header: Json,
    payload: Json,
    algorithm: Algorithm,
}

impl<'a> Unverified<'a> {
    /// Takes `text` apart and checks what can be checked without a key.
    ///
    /// # Errors
    /// The first [`JwsError`].
    pub fn parse(text: &'a str, profile: &Profile) -> Result<Self, JwsError> {
        if text.len() > TOKEN_MAX_BYTES {
            return Err(JwsError::TooLong);
        }
        let (signing_input, signature) = text.rsplit_once('.').ok_or(JwsError::Malformed)?;
        let (header, payload) = signing_input.split_once('.').ok_or(JwsError::Malformed)?;
        decode(signature)?;
        let (header, payload) = (object(header)?, object(payload)?);
        check_type(&header, profile)?;
        let algorithm = header
            .get("alg")
            .and_then(Json::as_str)
            .and_then(Algorithm::from_name)
            .filter(|algorithm| profile.algorithms.contains(algorithm))
            .ok_or(JwsError::AlgorithmRefused)?;
        if header.get("crit").is_some() {
            return Err(JwsError::Critical);
        }
        Ok(Self { signing_input, signature, header, payload, algorithm })
    }

    /// The algorithm the header names.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The key the header names.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.header.get("kid").and_then(Json::as_str)
    }

    /// What the payload claims, for finding the key only: nothing of it is true before [`Unverified::verify`].
    #[must_use]
    pub fn unverified_claims(&self) -> &Json {
        &self.payload
    }

    /// The claims, if `key` has signed them.
    ///
    /// # Errors
    /// [`JwsError::SignatureInvalid`], also when the key does not fit the algorithm.
    pub fn verify(&self, key: &Key) -> Result<&Json, JwsError> {
        if key.has_signed(self.signing_input.as_bytes(), self.signature, self.algorithm) {
            Ok(&self.payload)
        } else {
            Err(JwsError::SignatureInvalid)
        }
    }
}

/// The only audience of `claims`: a string, or an array of one. What is meant for two could be carried from the one to
/// the other and used there (CVE-2025-27371).
#[must_use]
pub fn sole_audience(claims: &Json) -> Option<&str> {
    let audience = claims.get("aud")?;
    match audience.as_array() {
        Some([only]) => only.as_str(),
        Some(_) => None,
        None => audience.as_str(),
    }
}

/// Strict: no padding, no characters outside the alphabet, no trailing bits. Otherwise one token has many spellings,
/// and what is keyed by its bytes (a cache, a replay list) can be walked around.
fn decode(part: &str) -> Result<Vec<u8>, JwsError> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| JwsError::Malformed)?;
    if bytes.is_empty() { Err(JwsError::Malformed) } else { Ok(bytes) }
}

fn object(part: &str) -> Result<Json, JwsError> {
    let value = json::parse(&decode(part)?, DEPTH_MAX).map_err(|_| JwsError::Malformed)?;
    if value.as_object().is_some() { Ok(value) } else { Err(JwsError::Malformed) }
}

/// RFC 7515 §4.1.9: `application/` may be left out. RFC 2045 §5.1: media types are compared without case.
fn check_type(header: &Json, profile: &Profile) -> Result<(), JwsError> {
    let Some(value) = header.get("typ") else {
        return if profile.is_type_optional { Ok(()) } else { Err(JwsError::WrongType) };
    };
    let typ = value.as_str().ok_or(JwsError::WrongType)?.to_ascii_lowercase();
    let typ = typ.strip_prefix("application/").unwrap_or(&typ);
    if profile.types.iter().any(|allowed| allowed.eq_ignore_ascii_case(typ)) {
        Ok(())
    } else {
        Err(JwsError::WrongType)
    }
}
