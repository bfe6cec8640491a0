//! Stops an agent, a delegation or a token *now*: what it has in flight and what it sends next.
//!
//! The attack: an agent is compromised while its calls, and those of the agents that it spawned, are under way. A
//! deny list alone stops the next request and lets the running ones finish; and a request that was checked just
//! before the list changed, but had not been noted as running when the running ones were cut, escapes both.
//!
//! So there are two structures and one order.
//! - The request path ([`Containment::admit`]) **registers** the attempt in the in-flight index under every name on
//!   its path, **then checks** each of them against the snapshot of denials.
//! - The writer ([`Containment::revoke`], and a [`Follower`](vestibule_store::Follower) that brings another gateway's
//!   revocation) makes the order durable, **swaps the snapshot, then walks** the index and cuts what it finds, and
//!   only then acknowledges.
//!
//! Both meet at the lock of the index shard that holds the name. Either the attempt was registered before the walk came
//! by, and the walk cuts it; or the walk came first, and the attempt's check, which comes after its registration, sees
//! the new snapshot. There is no third way, so after the acknowledgement nothing admitted under that name is uncut.
//!
//! A token names its ancestors, so a revocation is one entry and nobody enumerates descendants: what is registered
//! under the name of an ancestor is cut with it, and what is minted below it later is refused at its first use.
//!
//! Denials only grow. A repeated order widens or changes nothing; a database that was restored from a backup loses
//! none that this gateway knows, which writes them back. And a gateway that cannot tell what is revoked, because
//! its view is older than the lease, or because it cannot read an entry, refuses everything.
//!
//! What this crate leaves to others: writing no byte of a cut reply (ask [`Passage::cut`] before each chunk), and
//! the rule by which a reason reaches descendants under other names.

mod containment;
mod deny_set;
mod entry;
mod in_flight;
mod key;
mod ledger;
mod order;
mod passage;
mod reach;

pub use containment::Containment;
pub use entry::DenyEntry;
pub use key::{DenyKey, KeyKind, Path};
pub use order::{Cut, Order, Reason, Report};
pub use passage::Passage;
