use serde::Serialize;
use vestibule_inbound::Caller;
use vestibule_model::{OperationId, Refusal};

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Permitted.
    Permit,
    /// Denied.
    Deny,
}

impl Outcome {
    pub(crate) fn of(permitted: bool) -> Self {
        if permitted { Self::Permit } else { Self::Deny }
    }
}

/// What was decided about one subject: an agent of the chain, or the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SubjectDecision {
    /// As policies name it: `Agent::"…"` or `User::"…"`.
    pub subject: String,
    /// Whether it is permitted.
    pub allow: bool,
    /// The ids of the policies that determined it: every permit that applied, or every forbid that did; none when
    /// nothing permitted it.
    pub policies: Vec<String>,
    /// The ids of the policies that failed to evaluate. Any of them denies.
    pub errors: Vec<String>,
}

/// Where shadow policies would have decided otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShadowDecision {
    /// The subject, as policies name it.
    pub subject: String,
    /// What the decision about it would have been.
    pub would: Outcome,
    /// The ids of the policies that would have determined it; those that failed to evaluate, where some did.
    pub policies: Vec<String>,
}

/// What was decided, and by which policies. For the record, the metrics and the trace; never for the caller.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Decision {
    /// Whether every subject is permitted.
    pub allow: bool,
    /// The agents of the chain from the root on, then the user.
    pub subjects: Vec<SubjectDecision>,
    /// The ids of all policies that determined it, each once, sorted: of a denial those that denied.
    pub policies: Vec<String>,
    /// The digest of the policy set.
    pub policy_set: String,
    /// Where shadow policies would have decided otherwise.
    pub shadow: Vec<ShadowDecision>,
}

impl Decision {
    /// The conjunction: a chain is as strong as its weakest link.
    pub(crate) fn of(subjects: Vec<SubjectDecision>, policy_set: &str, shadow: Vec<ShadowDecision>) -> Self {
        let allow = !subjects.is_empty() && subjects.iter().all(|subject| subject.allow);
        let decisive = subjects.iter().filter(|subject| subject.allow == allow);
        let mut policies: Vec<String> =
            decisive.flat_map(|subject| subject.policies.iter().cloned()).collect();
        policies.sort_unstable();
        policies.dedup();
        Self { allow, subjects, policies, policy_set: policy_set.to_owned(), shadow }
    }

    /// Whether any policy failed to evaluate.
    pub(crate) fn has_errors(&self) -> bool {
        self.subjects.iter().any(|subject| !subject.errors.is_empty())
    }
}

/// The proof that policy permits this very call. Door two asks for it.
///
/// Made by [`crate::Lock`] only:
///
/// ```compile_fail
/// use vestibule_policy::Permit;
/// fn forge(caller: vestibule_inbound::Caller, operation: vestibule_model::OperationId) -> Permit {
///     Permit { caller, operation, decision: Default::default() }
/// }
/// ```
#[derive(Debug)]
pub struct Permit {
    caller: Caller,
    operation: OperationId,
    decision: Decision,
}

impl Permit {
    /// INVARIANT: called by `Lock` only, with a decision that allows.
    pub(crate) fn new(caller: Caller, operation: OperationId, decision: Decision) -> Self {
        Self { caller, operation, decision }
    }

    /// A permit that no policy gave.
    #[cfg(feature = "test-util")]
    #[must_use]
    pub fn for_test(caller: Caller, operation: OperationId) -> Self {
        Self::new(caller, operation, Decision { allow: true, ..Decision::default() })
    }

    /// Who may.
    #[must_use]
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// What may be done.
    #[must_use]
    pub fn operation(&self) -> &OperationId {
        &self.operation
    }

    /// Why.
    #[must_use]
    pub fn decision(&self) -> &Decision {
        &self.decision
    }
}

/// The answer of the lock.
#[derive(Debug)]
pub enum Verdict {
    /// Yes, with the proof.
    Permitted(Permit),
    /// No, with what the caller is told and what is recorded.
    Refused(Refusal, Decision),
}
