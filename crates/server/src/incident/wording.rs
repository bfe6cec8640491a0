//! How attempts are told to people. What callers have chosen is made harmless: it must not look like our own words, break
//! a table or be a link.

use vestibule_containment::Reason;
use vestibule_evidence::{Attempt, Decision, Outcome, Record, RecordKind};
use vestibule_model::Timestamp;

/// The longest name that is shown, in characters.
const NAME_MAX: usize = 200;

/// The most policies that are named.
const POLICIES_MAX: usize = 8;

/// A name as Markdown code.
pub(super) fn code(text: &str) -> String {
    let is_harmless = |c: &char| {
        !c.is_control() && !matches!(c, '`' | '|' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let shown: String = text.chars().filter(is_harmless).take(NAME_MAX).collect();
    if shown.is_empty() { "`-`".to_owned() } else { format!("`{shown}`") }
}

/// Names as Markdown code, in order.
pub(super) fn codes<T: AsRef<str>>(all: impl IntoIterator<Item = T>, between: &str) -> String {
    all.into_iter().map(|one| code(one.as_ref())).collect::<Vec<_>>().join(between)
}

/// RFC 3339, of one width.
pub(super) fn moment(at: Timestamp) -> String {
    jiff::Timestamp::from_millisecond(at.millis()).map(|at| format!("{at:.3}")).unwrap_or_default()
}

pub(super) fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::Compromise => "compromise",
        Reason::KeyCompromise => "key-compromise",
        Reason::PolicyViolation => "policy-violation",
        Reason::Superseded => "superseded",
        Reason::Unspecified => "unspecified",
    }
}

/// What was attempted and what came of it, in a line of Markdown.
pub(super) fn sentence(attempt: &Attempt) -> String {
    let record = &attempt.record;
    let who = record.agent.as_ref().map_or_else(|| "somebody".to_owned(), |agent| code(agent.as_str()));
    let what = match record.kind {
        RecordKind::Call => format!("{who} called {}", deed(record)),
        RecordKind::TokenRequest => token_request(record, &who),
        RecordKind::TokenIntrospection => format!("{who} asked about a token"),
        RecordKind::TokenRevocation => {
            format!("{who} gave back {}", code(record.target.as_deref().unwrap_or_default()))
        }
        RecordKind::Administration => format!(
            "{}: {} {}",
            record.author.as_deref().map_or_else(|| "somebody".to_owned(), code),
            record.action.as_deref().unwrap_or("did something to"),
            code(record.target.as_deref().unwrap_or_default()),
        ),
    };
    format!("{what}: {}", outcome(attempt))
}

/// The application and the operation; where there is none, the method.
pub(super) fn deed(record: &Record) -> String {
    let app = record.app.as_ref().map_or("no application", |app| app.as_str());
    let operation = record.operation.as_ref().or(record.method.as_ref());
    format!("{} {}", code(app), code(operation.map_or("", String::as_str)))
}

fn token_request(record: &Record, who: &str) -> String {
    let made = record.delegation.as_ref().filter(|fact| fact.made_by == Some(record.attempt));
    match (made, record.chain.last()) {
        (Some(fact), Some(last)) => {
            let above = record.chain.iter().rev().nth(1);
            let above = above.map(|link| format!(" below {}", code(link.agent.as_str()))).unwrap_or_default();
            let (agent, origin) = (code(last.agent.as_str()), fact.origin.as_str());
            format!("a delegation ({origin}) was made for {agent}{above}")
        }
        (Some(_) | None, _) => format!("{who} asked for a token"),
    }
}

/// What policy said and what came of it.
pub(super) fn outcome(attempt: &Attempt) -> String {
    let record = &attempt.record;
    let by = if record.policies.is_empty() {
        String::new()
    } else {
        let extra = record.policies.len().saturating_sub(POLICIES_MAX);
        let more = if extra == 0 { String::new() } else { format!(" and {extra} more") };
        format!(" by {}{more}", codes(record.policies.iter().take(POLICIES_MAX), ", "))
    };
    let said = match record.decision {
        Decision::Undecided => None,
        decision @ (Decision::Permit | Decision::Deny | Decision::Fault) => {
            Some(format!("{}{by}", decision.as_str()))
        }
    };
    let ended = attempt.outcome.map_or("under way", Outcome::as_str).to_owned();
    let because = record.denial.as_ref().map(|denial| format!("because of {}", code(denial)));
    said.into_iter().chain([ended]).chain(because).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_caller_has_chosen_cannot_look_like_our_own_words() {
        assert_eq!(code("a`|b\n# c\u{202e}"), "`ab# c`");
        assert_eq!(code("\n"), "`-`");
        assert_eq!(code(&"x".repeat(500)).len(), 202);
        assert_eq!(codes(["a", "b"], " > "), "`a` > `b`");
        assert_eq!(moment(Timestamp::from_millis(0)), "1970-01-01T00:00:00.000Z");
    }
}
