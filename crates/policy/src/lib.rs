//! The lock: policy between the two doors.
//!
//! A [`Lock`] decides every attempt with Cedar policies. Principal is each subject in turn (every agent of the chain,
//! then the user), and each must be permitted; and the attempt must lie within what was handed on to the caller. It fails
//! closed: no policies, an unknown agent or operation, an argument that policies cannot see exactly, and any evaluation
//! error are refusals. Only the lock makes a [`Permit`], and door two asks for one. Handing something on is decided in the
//! same way: [`Lock::delegate`].
//!
//! It guards against agents (which choose the arguments), against applications (which write the schemas and
//! descriptions of their operations) and against mistakes in policies (which are refused when they are loaded). It
//! trusts door one for who is calling, and the operator for policies, groups and trust.

mod applicable;
mod bound;
mod cases;
mod catalog;
mod convert;
mod decision;
mod delegate;
mod engine;
mod environment;
mod explain;
mod frame;
mod hypothesis;
mod listing;
mod load;
mod lock;
mod lookalike;
mod problem;
#[cfg(test)]
mod properties;
mod readable;
mod reads;
mod refusal;
mod schema;
mod set;
mod slice;
mod source;
mod statement;
mod subjects;
mod target;

pub use applicable::{Applicable, ApplicableOperation, ApplicablePolicy, May, NotApplicable};
pub use cases::{CaseResult, CasesError, run_cases};
pub use catalog::{AppOperations, Catalog};
pub use decision::{Decision, Outcome, Permit, ShadowDecision, SubjectDecision, Verdict};
pub use delegate::Delegating;
pub use environment::Environment;
pub use explain::{
    ClaimScopes, ConditionExplanation, Explanation, PolicyExplanation, SubjectExplanation, Unexplained,
};
pub use hypothesis::{Deed, Hypothesis};
pub use lock::{Attempt, Lock};
pub use problem::{Problem, Severity};
pub use set::{Options, PolicyFile, PolicySet};
