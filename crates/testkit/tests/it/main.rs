//! What tests of the gateway rely on: the upstream records truly, waits when it is told to, and notices who leaves.
#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]

mod agent;
mod mcp;
mod upstream;
