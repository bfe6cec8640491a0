//! The groups of a user: `{name of the issuer}:{group}`, so that two issuers cannot speak of the same group.

use std::collections::BTreeSet;

use vestibule_model::{Malformed, json::Json};

use super::{UserIssuerConfig, UserTokenError};

/// The most groups of one user: they travel in every token of the delegation.
pub const GROUPS_MAX: usize = 32;
/// The longest group, in bytes, without the name of its issuer.
pub const GROUP_MAX_BYTES: usize = 64;

pub(crate) fn read(claims: &Json, config: &UserIssuerConfig) -> Result<BTreeSet<String>, UserTokenError> {
    let Some(claim) = &config.groups_claim else { return Ok(BTreeSet::new()) };
    let Some(found) = find(claims, claim) else {
        return if is_left_out(claims, claim) {
            Err(UserTokenError::GroupsLeftOut)
        } else {
            Ok(BTreeSet::new())
        };
    };
    let is_wanted = |group: &&str| config.groups.as_ref().is_none_or(|only| only.contains(*group));
    let groups: BTreeSet<&str> = texts(found)?.into_iter().filter(is_wanted).collect();
    if groups.len() > GROUPS_MAX {
        return Err(UserTokenError::TooManyGroups { found: groups.len() });
    }
    if groups.iter().any(|group| group.len() > GROUP_MAX_BYTES) {
        return Err(UserTokenError::GroupTooLong);
    }
    Ok(groups.into_iter().map(|group| format!("{}:{group}", config.name)).collect())
}

/// A claim by its name, or by a JSON pointer (RFC 6901) through objects.
pub(crate) fn find<'a>(claims: &'a Json, claim: &str) -> Option<&'a Json> {
    let Some(path) = claim.strip_prefix('/') else { return claims.get(claim) };
    // RFC 6901 §4: `~1` first, or `~01` would become a slash.
    path.split('/').try_fold(claims, |value, part| value.get(&part.replace("~1", "/").replace("~0", "~")))
}

/// OpenID Connect Core §5.6.2: `_claim_names` says which claims are to be asked for elsewhere. Entra sends `hasgroups`
/// instead where the token comes back in a URL.
fn is_left_out(claims: &Json, claim: &str) -> bool {
    let is_elsewhere = claims.get("_claim_names").is_some_and(|names| names.get(claim).is_some());
    let has_groups = claims.get("hasgroups").is_some_and(|value| *value != Json::Bool(false));
    is_elsewhere || (claim == "groups" && has_groups)
}

fn texts(value: &Json) -> Result<Vec<&str>, UserTokenError> {
    let fault = || {
        let rule = "must be a text or an array of texts, none of them empty or with control characters";
        UserTokenError::Malformed(Malformed { what: "the claim of the groups", rule })
    };
    let items = match value {
        Json::Array(items) => items.as_slice(),
        Json::String(_) => std::slice::from_ref(value),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => return Err(fault()),
    };
    let is_text = |text: &&str| !text.is_empty() && !text.chars().any(char::is_control);
    items.iter().map(|item| item.as_str().filter(is_text).ok_or_else(fault)).collect()
}
