use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use vestibule_model::{Digest, Thumbprint, Timestamp, json::Json};

use super::{Flaw, Mismatch, ProofError, uri};

/// How far the `iat` of a proof may be from now, in seconds and in either direction. The nonce bounds the age; this only
/// refuses what cannot have been made for this request.
const IAT_TOLERANCE_SECONDS: u64 = 300;

/// The longest `jti`, in bytes: RFC 9449 §4.2 wants 96 random bits, which take 16 to 36.
const JTI_MAX_BYTES: usize = 256;

/// What a proof has to be for, and by whom if that is known.
pub(crate) struct Demand<'a> {
    pub(crate) method: &'a str,
    pub(crate) url: &'a str,
    pub(crate) token: Option<Digest>,
    pub(crate) key: Option<Thumbprint>,
}

/// What the proof itself is told from others by.
pub(super) struct Claims<'a> {
    pub(super) jti: &'a str,
    pub(super) nonce: Option<&'a str>,
}

/// Whether a proof claims to be for what is demanded. That it is true is for its signature to say.
pub(super) fn check<'a>(
    claims: &'a Json,
    demand: &Demand<'_>,
    now: Timestamp,
) -> Result<Claims<'a>, ProofError> {
    // RFC 9449 §4.3 (3): "All required claims per Section 4.2 are contained in the JWT."
    let jti = text(claims, "jti")?;
    if jti.is_empty() || jti.len() > JTI_MAX_BYTES {
        return Err(Flaw::Claim("jti").into());
    }
    let (htm, htu) = (text(claims, "htm")?, text(claims, "htu")?);
    let iat = claims.get("iat").and_then(Json::as_i64).ok_or(Flaw::Claim("iat"))?;
    let nonce = claims.get("nonce").map(|_| text(claims, "nonce")).transpose()?;
    // (8): "The htm claim matches the HTTP method of the current request." RFC 9110 §9.1: case-sensitive.
    if htm != demand.method {
        return Err(Mismatch::Method.into());
    }
    // (9): "The htu claim matches the HTTP URI value for the HTTP request in which the JWT was received, ignoring any
    // query and fragment parts."
    if !uri::is_same_target(htu, demand.url) {
        return Err(Mismatch::Url.into());
    }
    // (11): "The creation time of the JWT [...] is within an acceptable window".
    if iat.abs_diff(now.seconds()) > IAT_TOLERANCE_SECONDS {
        return Err(Mismatch::Time.into());
    }
    // (12): "the value of the ath claim equals the hash of that access token".
    if let Some(token) = &demand.token
        && text(claims, "ath")? != URL_SAFE_NO_PAD.encode(token.bytes())
    {
        return Err(Mismatch::Token.into());
    }
    Ok(Claims { jti, nonce })
}

fn text<'a>(claims: &'a Json, name: &'static str) -> Result<&'a str, Flaw> {
    claims.get(name).and_then(Json::as_str).ok_or(Flaw::Claim(name))
}
