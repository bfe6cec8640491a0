use http::{HeaderMap, HeaderValue};
use vestibule_model::{SpentLimit, Stop};

/// The limits that are used up, in the fields of draft-ietf-httpapi-ratelimit-headers-11: a List of Strings, `q` and `w`
/// the policy, `r` and `t` what is left of it and for how long. Only where a call is refused for them: on a reply the
/// fields are the application's own.
pub(super) fn put(stop: &Stop, headers: &mut HeaderMap) {
    let Stop::Denied(refusal) = stop else { return };
    if refusal.limits.is_empty() {
        return;
    }
    let list = |item: fn(&SpentLimit) -> String| {
        HeaderValue::from_str(&refusal.limits.iter().map(item).collect::<Vec<_>>().join(", "))
    };
    // INVARIANT: the name of a rule has no character that a Structured Fields String would escape.
    let policies = list(|limit| format!("\"{}\";q={};w={}", limit.rule, limit.calls, limit.seconds));
    let standing = list(|limit| format!("\"{}\";r=0;t={}", limit.rule, limit.wait_seconds));
    if let (Ok(policies), Ok(standing)) = (policies, standing) {
        headers.insert("ratelimit-policy", policies);
        headers.insert("ratelimit", standing);
    }
}
