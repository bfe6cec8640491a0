//! A JWT that a client signs to prove itself (RFC 7523 §2.2, §3).

use std::time::Duration;

use vestibule_inbound::jws::{Algorithm, Profile, Unverified, sole_audience};
use vestibule_model::{Thumbprint, Timestamp, json::Json};

use super::SingleUse;
use crate::{OAuthError, Reason, registry::ClientKey};

/// RFC 7523 gives assertions no type of their own; draft-ietf-oauth-rfc7523bis names the second.
pub(super) const TYPES: &[&str] = &["jwt", "client-authentication+jwt"];

const PROFILE: Profile = Profile { types: TYPES, is_type_optional: true, algorithms: Algorithm::ALL };

/// The clocks of clients are not ours.
pub(super) const LEEWAY: Duration = Duration::from_secs(30);

/// The longest an assertion may be valid: it bounds what is remembered against replay.
const LIFE_MAX: Duration = Duration::from_secs(600);

const JTI_MAX_CHARS: usize = 256;

/// Whom an assertion must be meant for.
pub(super) struct Audience {
    pub(super) issuer: String,
    pub(super) token_endpoint: String,
}

impl Audience {
    /// The issuer (draft-ietf-oauth-rfc7523bis §4), or the token endpoint, which older clients name (RFC 7523 §3).
    /// Clients that parse the issuer as a URL may give it a slash for its empty path.
    fn is(&self, named: &str) -> bool {
        named.strip_suffix('/').unwrap_or(named) == self.issuer || named == self.token_endpoint
    }
}

/// A verified assertion.
pub(super) struct Assertion {
    /// The key of the client that signed it.
    pub(super) key: Thumbprint,
    pub(super) single_use: SingleUse,
}

pub(super) fn parse(text: &str) -> Result<Unverified<'_>, OAuthError> {
    Unverified::parse(text, &PROFILE).map_err(|error| OAuthError::new(Reason::AssertionInvalid, error))
}

/// The client that the assertion names, before anything of it is true.
pub(super) fn subject<'a>(assertion: &'a Unverified<'_>) -> Result<&'a str, OAuthError> {
    let subject = assertion.unverified_claims().get("sub").and_then(Json::as_str);
    subject.ok_or_else(|| Reason::AssertionWrongSubject.into())
}

/// Checks signature and claims against the keys of the client that `sub` names.
pub(super) fn verify(
    assertion: &Unverified<'_>,
    keys: &[ClientKey],
    audience: &Audience,
    now: Timestamp,
) -> Result<Assertion, Reason> {
    let candidates = keys.iter().filter(|candidate| {
        candidate.key.fits(assertion.algorithm())
            && assertion.kid().is_none_or(|kid| candidate.kid.as_deref() == Some(kid))
    });
    let (claims, key) = candidates
        .filter_map(|candidate| Some((assertion.verify(&candidate.key).ok()?, candidate.key.thumbprint())))
        .next()
        .ok_or(Reason::AssertionInvalid)?;

    // RFC 7523 §3: both name the client.
    let client = text(claims, "sub").ok_or(Reason::AssertionWrongSubject)?;
    if text(claims, "iss") != Some(client) {
        return Err(Reason::AssertionWrongSubject);
    }
    if !sole_audience(claims).is_some_and(|named| audience.is(named)) {
        return Err(Reason::AssertionWrongAudience);
    }
    let expires_at = moment(claims, "exp")?.ok_or(Reason::AssertionInvalid)?;
    if now >= expires_at.plus(LEEWAY) {
        return Err(Reason::AssertionExpired);
    }
    if expires_at > now.plus(LIFE_MAX) {
        return Err(Reason::AssertionTooLong);
    }
    for name in ["iat", "nbf"] {
        if moment(claims, name)?.is_some_and(|at| at > now.plus(LEEWAY)) {
            return Err(Reason::AssertionNotYetValid);
        }
    }
    let jti = jti(claims).ok_or(Reason::AssertionInvalid)?;
    // One realm for every use: an assertion that was the client's authentication is not an actor token afterwards.
    let single_use = SingleUse::new("client-assertion", client, jti, expires_at.plus(LEEWAY));
    Ok(Assertion { key, single_use })
}

pub(super) fn jti(claims: &Json) -> Option<&str> {
    text(claims, "jti").filter(|jti| !jti.is_empty() && jti.chars().count() <= JTI_MAX_CHARS)
}

pub(super) fn text<'a>(claims: &'a Json, name: &str) -> Option<&'a str> {
    claims.get(name).and_then(Json::as_str)
}

fn moment(claims: &Json, name: &str) -> Result<Option<Timestamp>, Reason> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    value.as_i64().map(|seconds| Some(Timestamp::from_seconds(seconds))).ok_or(Reason::AssertionInvalid)
}
