//! Door one: who is calling.
//!
//! A request presents credentials, an [`Authenticator`] asks its [`Scheme`]s in order, and out comes a [`Caller`]: the
//! current agent, the human it acts for, every agent in between, and the facts of the token. Nothing else makes a
//! `Caller`, so what needs one cannot run for somebody who was not verified:
//!
//! ```compile_fail
//! use vestibule_inbound::{Caller, Outcome};
//! fn forge() -> Outcome {
//!     Outcome::Verified(Caller::verified(None, todo!(), todo!()))
//! }
//! ```
//!
//! A token that is bound to a key is taken only with a proof of that key for this very request: see [`dpop`].
//!
//! What is revoked is not decided here: containment looks at every request, also at those whose token was remembered.

mod access_tokens;
mod authenticator;
mod call_tokens;
mod caller;
mod credential;
pub mod dpop;
mod hop_claims;
mod hop_tokens;
pub mod jws;
mod on_behalf;
mod outside;
mod own_tokens;
mod possession;
pub mod users;
mod verification_keys;
pub mod workloads;

pub use access_tokens::AccessTokens;
pub use authenticator::{Authenticator, Outcome, Presented, Scheme, Waiting};
pub use call_tokens::{CALL_TOKEN_TYPE, CallToken, CallTokens};
pub use caller::{Caller, TokenFacts};
pub use credential::{AuthorizationError, Credential, authorization};
pub use hop_claims::{VST_REVISION, is_registered_claim};
pub use hop_tokens::{ACCESS_TOKEN_TYPE, HopTokens};
pub use on_behalf::on_behalf;
pub use outside::OutsideTokens;
pub use own_tokens::Expired;
pub use verification_keys::VerificationKeys;
