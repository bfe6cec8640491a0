use std::collections::{BTreeMap, BTreeSet};

use vestibule_model::{Refusal, json::Json};

use super::invalid;

/// Claims with a meaning of their own: in our tokens, or in the registry of JWT claims where another party would act
/// on them. A custom claim may have none of these names.
const REGISTERED: &[&str] = &[
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "client_id",
    "scope",
    "cnf",
    "act",
    "may_act",
    "acti",
    "actc",
    "actp",
    "authorization_details",
    "vst",
    "call",
    "sub_id",
    "azp",
    "nonce",
    "auth_time",
    "acr",
    "amr",
    "sid",
    "txn",
    "events",
    "mission",
    "bounds",
];

/// Whether `name` is taken, so that no custom claim may have it.
#[must_use]
pub fn is_registered_claim(name: &str) -> bool {
    REGISTERED.contains(&name)
}

/// The claims without a registered name: a string or an array of strings each.
pub(super) fn read(claims: &Json) -> Result<BTreeMap<String, BTreeSet<String>>, Refusal> {
    let mut found = BTreeMap::new();
    for (name, value) in claims.as_object().unwrap_or_default() {
        if is_registered_claim(name) {
            continue;
        }
        let values: Option<BTreeSet<String>> = match value {
            Json::String(one) => Some([one.clone()].into()),
            Json::Array(items) => items.iter().map(|item| item.as_str().map(str::to_owned)).collect(),
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Object(_) => None,
        };
        // Skipping it would make a rule that forbids by this claim pass.
        let values = values.ok_or_else(|| invalid(format!("the claim `{name}` is not a set of strings")))?;
        found.insert(name.clone(), values);
    }
    Ok(found)
}
