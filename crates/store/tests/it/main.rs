//! Behaviour of the embedded store and of the follower.

#![expect(clippy::unwrap_used, reason = "in tests a failure is a panic")]

mod follower;
mod sqlite;
mod vault;
