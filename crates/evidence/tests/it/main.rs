//! What the log promises, seen from outside.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on fails")]

mod bundle;
mod crash;
mod lifecycle;
mod rig;
mod searching;
mod tampering;
mod tracing;
