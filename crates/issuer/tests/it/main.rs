//! The issuer on a real store, with real keys, judged by the door that its tokens open.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]
#![expect(clippy::indexing_slicing, reason = "`serde_json` values are built here, by index")]

mod assertions;
mod client_credentials;
mod fail_closed;
mod keys;
mod metadata;
mod registry;
mod roots;
mod secrets;
mod support;
