//! Door one from outside: real keys, real tokens, and everything an attacker would change about them.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]
#![expect(clippy::indexing_slicing, reason = "`serde_json` values are built here, by index")]

mod authenticator;
mod bound_tokens;
mod call_tokens;
mod delegated_claims;
mod dpop;
mod hop_tokens;
mod jws;
mod keys;
mod outside;
mod support;
mod users_config;
mod users_issuer;
mod users_keys;
mod users_party;
mod users_tokens;
