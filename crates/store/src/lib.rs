//! What must survive a restart, and how every gateway learns of a change.
//!
//! Four things, behind one narrow trait, [`Store`]:
//! - **records**, versioned, written by atomic commits with expectations, so that two writers never undo each other
//!   unseen;
//! - the **change log**, one order for all logged commits. A [`Follower`] tails it by polling and knows how old its
//!   view is, so that a gateway which has lost its database refuses instead of guessing;
//! - **counters**, charged within a commit and never beyond what it allows, until they expire;
//! - **claims**, put-if-absent with an expiry: what may be used once is used once, raced or not.
//!
//! Against: a lost or late revocation. The order comes from one head row that each commit updates inside its own
//! transaction. A reader that tails a sequence instead can pass a number which commits later, and never sees it.
//!
//! [`SqliteStore`] needs nothing installed. Nobody outside this crate knows SQL. Secrets are sealed
//! by the [`vault`] while they are written.

#[cfg(feature = "test-util")]
pub mod conformance;
mod counter;
mod error;
mod follower;
mod record;
mod sqlite;
mod store;
pub mod vault;

pub use counter::{COUNTER_KEY_MAX_BYTES, Charge, Counter, Recount};
pub use error::StoreError;
pub use follower::{Follower, Subscriber};
pub use record::{BODY_MAX_BYTES, By, Change, Changes, Expect, KEY_MAX_BYTES, Kind, Op, Put, Record, Seq};
pub use sqlite::SqliteStore;
pub use store::Store;
