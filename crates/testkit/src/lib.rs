//! Both sides of the gateway for behaviour tests: the upstream that records what reaches it, and the agent that calls.
//!
//! Nothing here sleeps and nothing is shared between tests: every server binds 127.0.0.1:0 and ends when it is dropped.
#![expect(clippy::expect_used, clippy::panic, reason = "a test helper reports by panicking, with a sentence")]
#![expect(clippy::indexing_slicing, reason = "a key that a `serde_json::Value` lacks reads as `null`")]

mod agent;
mod answer;
mod authorization_server;
pub mod entra;
mod gate;
mod holder;
mod http;
mod issuer;
mod mcp;
mod upstream;
mod watched;

pub use self::http::{Call, Cut, Http, OpenReply, Reply};
pub use agent::{AgentKey, Credential, TestAgent};
pub use answer::Answer;
pub use authorization_server::{Issue, TestAuthorizationServer};
pub use holder::{Holder, token_hash};
pub use issuer::TestIssuer;
pub use mcp::{CallReply, Era, Mcp};
pub use upstream::{Seen, TestUpstream};
pub use watched::{End, Watched};
