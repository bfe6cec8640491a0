//! How a limit says that it is used up: to the record by rule and kind of key, to the caller in a sentence that a model can
//! act on.

use std::time::Duration;

use vestibule_model::{Denial, Refusal, SpentLimit};

use crate::config::Rule;

/// What is the matter with most limits that refuse.
pub(super) const USED_UP: &str = "is used up";

/// Adds a limit to the refusal of a call: `what` is the matter with it. The wait is that of the one that lasts longest.
pub(super) fn add(refusal: &mut Option<Refusal>, denial: Denial, rule: &Rule, spent: SpentLimit, what: &str) {
    let per = match rule.per.iter().map(|per| per.as_str()).collect::<Vec<_>>().join(", ") {
        per if per.is_empty() => "for all callers together".to_owned(),
        per => format!("per {per}"),
    };
    let cause = format!("`{}` {per} {what}", rule.name);
    let refusal = refusal.get_or_insert_with(|| Refusal::new(denial, ""));
    if !refusal.cause.is_empty() {
        refusal.cause.push_str(", ");
    }
    refusal.cause.push_str(&cause);
    let SpentLimit { calls, seconds, wait_seconds, .. } = &spent;
    let wait = Duration::from_secs(*wait_seconds);
    refusal.hints.push(format!(
        "limit `{}`: at most {calls} calls in {seconds} seconds {per}; try again in {wait_seconds} seconds",
        rule.name
    ));
    refusal.retry_after = refusal.retry_after.max(Some(wait));
    refusal.limits.push(spent);
}

/// Rounded up: who comes again after that finds room.
pub(super) fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}
