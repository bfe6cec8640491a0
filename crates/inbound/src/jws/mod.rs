//! Strict compact JWS (RFC 7515 §7.1), for hop tokens and for the assertions of clients.
//!
//! It stops: confusion of one kind of token with another (`typ` first, against a list), confusion of algorithms (a
//! list without `none` and MACs, and the key decides too), a second reading of the same bytes (canonical base64url,
//! no duplicate members), and keys that travel in the token: `jku`, `x5u` and `x5c` are never looked at, and `jwk` only
//! where a proof of possession is what the token is. What the claims mean is the caller's to check.

mod algorithm;
mod key;

use std::fmt;

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

/// Why a text is not an acceptable JWS.
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

/// The parts of a compact JWS, of which nothing is judged yet but the length and the spelling of the signature.
pub(crate) struct Parts<'a> {
    /// The header as it was sent: canonical base64url, once [`Parts::header`] has read it.
    pub(crate) header: &'a str,
    payload: &'a str,
    signing_input: &'a str,
    signature: &'a str,
}

impl<'a> Parts<'a> {
    pub(crate) fn split(text: &'a str) -> Result<Self, JwsError> {
        if text.len() > TOKEN_MAX_BYTES {
            return Err(JwsError::TooLong);
        }
        let (signing_input, signature) = text.rsplit_once('.').ok_or(JwsError::Malformed)?;
        let (header, payload) = signing_input.split_once('.').ok_or(JwsError::Malformed)?;
        decode(signature)?;
        Ok(Self { header, payload, signing_input, signature })
    }

    /// The header, if `profile` takes it. Its type is looked at before anything else of the JWS is read.
    pub(crate) fn header(&self, profile: &Profile) -> Result<(Json, Algorithm), JwsError> {
        let header = object(self.header)?;
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
        Ok((header, algorithm))
    }

    pub(crate) fn payload(&self) -> Result<Json, JwsError> {
        object(self.payload)
    }

    pub(crate) fn is_signed_by(&self, key: &Key, algorithm: Algorithm) -> bool {
        key.has_signed(self.signing_input.as_bytes(), self.signature, algorithm)
    }
}

/// A JWS whose form, type and algorithm are acceptable and whose signature nobody has verified yet.
pub struct Unverified<'a> {
    parts: Parts<'a>,
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
        let parts = Parts::split(text)?;
        let (header, algorithm) = parts.header(profile)?;
        let payload = parts.payload()?;
        Ok(Self { parts, header, payload, algorithm })
    }

    /// The header. Whoever made the token chose it: of a key in it, only the thumbprint is worth anything, and only
    /// where something else vouches for that thumbprint.
    #[must_use]
    pub fn header(&self) -> &Json {
        &self.header
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
        if self.parts.is_signed_by(key, self.algorithm) {
            Ok(&self.payload)
        } else {
            Err(JwsError::SignatureInvalid)
        }
    }
}

impl fmt::Debug for Unverified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unverified").field("algorithm", &self.algorithm).finish_non_exhaustive()
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
