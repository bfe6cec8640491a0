//! The words of Vestibule: agent, user, chain, delegation, application, attempt, denial, fault, time.
//!
//! No I/O, no async, no HTTP, no Cedar. Every other crate speaks in these types, so a word means the same
//! thing in code, configuration, logs, metrics and documentation.

mod agent;
mod app;
mod attempt;
mod authority;
mod caller_chain;
mod clock;
mod delegation;
mod denial;
mod digest;
mod directory;
mod entropy;
mod fault;
mod fold;
mod foreign;
pub mod json;
mod thumbprint;
mod user;
mod workload;

pub use agent::{Agent, AgentId, AgentState, TRUST_MAX};
pub use app::{AppId, AppKind, Effect, Operation, OperationId, Risk};
pub use attempt::{AttemptId, Method, TraceId};
pub use authority::{AUTHORITY_TYPE, Argument, Authority, Constraint, Exceeded, Grant, Scalar};
pub use caller_chain::{Actor, Chain, DEPTH_MAX};
pub use clock::{Clock, FixedClock, Monotonic, SystemClock, Timestamp};
pub use delegation::{Delegation, Jti, NODE_KEYS_MAX, NodeId, Origin, PathNode, WorkflowId};
pub use denial::{Answer, Denial};
pub use digest::Digest;
pub use directory::Directory;
pub use entropy::{Entropy, OsEntropy, SeededEntropy};
pub use fault::{Fault, FaultKind, FaultOf, Refusal, SpentLimit, Stop};
pub use fold::fold;
pub use foreign::{Behind, Foreign, TokenId};
pub use thumbprint::Thumbprint;
pub use user::{Represented, UserGrant, UserId};
pub use workload::{SubjectPattern, WorkloadRule, WorkloadRules};

/// A word that does not follow its grammar. The text names the rule and never quotes more than 64 characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {rule}")]
pub struct Malformed {
    /// Which word.
    pub what: &'static str,
    /// The rule it breaks.
    pub rule: &'static str,
}
