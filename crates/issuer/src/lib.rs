//! The embedded authorization server: who may ask for a token, what the token says, and how authority is handed on.
//!
//! An agent proves itself with a secret or, better, with an assertion that its own key signs, and gets a hop token for
//! exactly one resource, bound to a key if it proves one. With a bound token it can hand on a part of what it may to a
//! child with a key of its own; an agent that is called can act on within the call; and an agent can act for a human
//! whose token was issued to it. Each of these makes a node of the delegation tree, and a token names all the nodes
//! above it, so that revoking one of them ends everything below.
//!
//! Nothing here widens: scopes, authority, life, depth and fan-out of a node are within those above it, and what cannot
//! be proven to be is refused. What the agent may do with each operation is the policies' to say, and whether it may
//! delegate too.
//!
//! HTTP is the server's matter: this crate takes headers and a form and gives a body, a status and what to record.

mod client;
mod config;
mod delegations;
mod error;
mod form;
mod introspect;
mod issuer;
mod keys;
mod lineage;
mod metadata;
mod own_token;
mod proof;
mod registry;
mod resources;
mod revoke;
mod token;
mod user_tokens;

pub use config::IssuerConfig;
pub use delegations::{Delegations, Node, Nodes, Subtree};
pub use error::{ErrorCode, OAuthError, Reason, Standing};
pub use introspect::Introspection;
pub use issuer::{Backing, Issuer, Judges};
pub use keys::{Keys, KeysError, KeysStatus};
pub use own_token::Inquiry;
pub use registry::{Added, NewAgent, Registered, Registry, RegistryError};
pub use revoke::Revocation;
pub use token::{Minted, TokenRequest, TokenResponse};
pub use user_tokens::UserTokens;
