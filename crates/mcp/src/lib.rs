//! The Model Context Protocol without sockets: what a frame is, which era it speaks, what it demands of the policy,
//! and how a refusal, a list or a session identifier is written so that every client reads it as the protocol says.
//!
//! One upstream, transparent: bytes that nobody has to change are forwarded as they came. Legacy is 2025-03-26,
//! 2025-06-18 and 2025-11-25 (the initialize handshake, sessions); modern is 2026-07-28 (everything per request).
//!
//! The attacker is an agent that wants the gateway to decide about one call and the upstream to execute another, or
//! that wants another agent's session; and an upstream whose answers are malformed. Who the caller is, and what it
//! may do, is for others to say.

pub mod cancellation;
pub mod discovery;
pub mod era;
pub mod errors;
pub mod frame;
pub mod headers;
pub mod listing;
pub mod methods;
pub mod operations;
pub mod session;
pub mod sse;

pub use cancellation::cancelled_request;
pub use era::Era;
pub use errors::Asked;
pub use frame::{Frame, Id};
pub use headers::{forwardable_request, forwardable_response};
pub use methods::{Demand, ListKind, OperationKind, demand};
pub use session::SessionSeal;
