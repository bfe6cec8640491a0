//! What was handed on to a caller bounds what it may attempt, whatever the policies say.
//!
//! The attack: an agent that was given one repository calls with another. Held against the authority are the resource of
//! the token, the operation, and the very arguments that are decided about and forwarded: one parse.

use vestibule_inbound::Caller;
use vestibule_model::{Authority, Denial, Exceeded, Refusal, json::Json};

use crate::{catalog::Names, lock::Decided};

/// What the record says.
const OUTSIDE: &str = "outside of authorization_details";
const NAME_MAX_CHARS: usize = 64;

/// The authority of a token for its resource.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound<'a> {
    pub(crate) resource: &'a str,
    pub(crate) authority: &'a Authority,
}

impl<'a> Bound<'a> {
    /// None where nothing was handed on: then scopes and policies are all there is.
    pub(crate) fn of(caller: &'a Caller) -> Option<Self> {
        let token = caller.token();
        let authority = token.authority.as_ref()?;
        Some(Self { resource: &token.audience, authority })
    }

    /// Refuses what lies outside. What the policies said of the subjects stays for the record.
    ///
    /// An operation that is not mentioned does not exist for this caller, whatever else is wrong with the call. One that is
    /// mentioned is refused with the argument that is too much, unless it is refused for another reason already; a wider
    /// scope is not asked for where it would not help.
    pub(crate) fn hold(self, decided: &mut Decided, operation: &str, arguments: &Json) {
        let Err(exceeded) = self.authority.permits(self.resource, operation, arguments) else { return };
        let earlier = decided.refusal.take();
        decided.refusal = Some(match (exceeded, earlier) {
            (Exceeded::Argument(_), Some(earlier)) if earlier.denial != Denial::ScopeInsufficient => earlier,
            (Exceeded::Argument(name), _) => {
                // The name is the caller's: any length.
                let name: String = name.chars().take(NAME_MAX_CHARS).collect();
                let mut refusal =
                    Refusal::new(Denial::AuthorityExceeded, format!("{OUTSIDE}: the argument `{name}`"));
                refusal.hints.push(format!("the argument `{name}` exceeds what was delegated to this agent"));
                refusal
            }
            (Exceeded::Resource | Exceeded::Operation(_), Some(earlier)) => {
                let cause = format!("{OUTSIDE}; {}: {}", earlier.denial, earlier.cause);
                Refusal::new(Denial::OperationNotPermitted, cause)
            }
            (Exceeded::Resource | Exceeded::Operation(_), None) => {
                Refusal::new(Denial::OperationNotPermitted, OUTSIDE)
            }
        });
        if decided.decision.allow {
            // No policy determined it.
            decided.decision.allow = false;
            decided.decision.policies.clear();
        }
    }

    /// Those of the names that some arguments could be inside for.
    pub(crate) fn among(self, names: &Names) -> Names {
        let mentioned = self.authority.operations().filter_map(|name| names.get(name));
        mentioned.filter(|name| self.authority.mentions(self.resource, name)).cloned().collect()
    }
}
