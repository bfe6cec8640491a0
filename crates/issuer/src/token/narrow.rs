//! What is asked for, within what may be handed on. Nothing here ever widens.

use std::{collections::BTreeSet, time::Duration};

use vestibule_model::{Authority, json};

use crate::{OAuthError, Reason, form::Form};

/// Deeper than any authority may be nested.
const JSON_DEPTH_MAX: usize = 16;

/// RFC 6749 §3.3. Our default for a request without a scope is every scope that may be had: a scope bounds and never
/// grants.
pub(super) fn scopes(form: Form<'_>, bound: &BTreeSet<String>) -> Result<BTreeSet<String>, OAuthError> {
    let Some(asked) = form.get("scope") else { return Ok(bound.clone()) };
    let asked: BTreeSet<String> = asked.split(' ').map(str::to_owned).collect();
    if asked.is_subset(bound) {
        Ok(asked)
    } else {
        Err(OAuthError::new(Reason::ScopeNotAllowed, "not a subset of the scopes that may be had"))
    }
}

/// `authorization_details` (RFC 9396 §2), with `resource` named where nothing was.
pub(super) fn authority(form: Form<'_>, resource: &str) -> Result<Option<Authority>, OAuthError> {
    let Some(text) = form.get("authorization_details") else { return Ok(None) };
    let details = json::parse(text.as_bytes(), JSON_DEPTH_MAX)
        .map_err(|error| OAuthError::new(Reason::AuthorityMalformed, error))?;
    let authority =
        Authority::from_json(&details).map_err(|error| OAuthError::new(Reason::AuthorityMalformed, error))?;
    Ok(Some(authority.located(resource)))
}

/// What is asked for, if it is proven to lie within what is `above`; all of that, if nothing is asked for.
pub(super) fn within(
    asked: Option<Authority>,
    above: Option<&Authority>,
) -> Result<Option<Authority>, OAuthError> {
    match (asked, above) {
        (None, above) => Ok(above.cloned()),
        (Some(asked), None) => Ok(Some(asked)),
        (Some(asked), Some(above)) => match asked.is_within(above) {
            Ok(()) => Ok(Some(asked)),
            Err(exceeded) => Err(OAuthError::new(Reason::AuthorityNotSubset, exceeded)),
        },
    }
}

/// How long a new node may live, at most `longest`: whoever delegates may say `expires_in`, in seconds.
pub(super) fn life(form: Form<'_>, longest: Duration) -> Result<Duration, OAuthError> {
    let Some(text) = form.get("expires_in") else { return Ok(longest) };
    let is_number = text.len() <= 18 && text.bytes().all(|b| b.is_ascii_digit());
    let seconds = text.parse::<u64>().ok().filter(|seconds| is_number && *seconds > 0);
    let seconds = seconds.ok_or_else(|| OAuthError::from(Reason::LifetimeMalformed))?;
    Ok(Duration::from_secs(seconds).min(longest))
}
