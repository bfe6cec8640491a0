//! The embedded authorization server: who may ask for a token, and what the token says.
//!
//! An agent proves itself with a secret or, better, with an assertion that its own key signs, and gets a hop token for
//! exactly one resource. The token lives for minutes and names the delegation node it was minted under, so that it can
//! be revoked by name. It carries identity, scopes and the claims that the scopes show; what the agent may do with each
//! operation is the policies' to say.
//!
//! HTTP is the server's matter: this crate takes headers and a form and gives a body, a status and what to record.

mod client;
mod config;
mod error;
mod form;
mod issuer;
mod keys;
mod metadata;
mod registry;
mod resources;
mod roots;
mod token;

pub use config::IssuerConfig;
pub use error::{ErrorCode, OAuthError, Reason};
pub use issuer::{Backing, Issuer};
pub use keys::{Keys, KeysError, KeysStatus};
pub use registry::{Added, NewAgent, Registered, Registry, RegistryError};
pub use token::{Minted, TokenRequest, TokenResponse};
