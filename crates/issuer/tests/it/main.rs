//! The issuer on a real store, with real keys, judged by the door that its tokens open.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]
#![expect(clippy::indexing_slicing, reason = "`serde_json` values are built here, by index")]

mod actor_tokens;
mod again;
mod assertions;
mod client_credentials;
mod client_keys;
mod confusion;
mod delegations;
mod exchange;
mod fail_closed;
mod holder;
mod introspection;
mod invoked;
mod keys;
mod meddler;
mod metadata;
mod narrowing;
mod proofs;
mod race;
mod registry;
mod revocation;
mod roots;
mod secrets;
mod signer;
mod spawn;
mod support;
mod users;
