//! Stops a token, an agent, a delegation, a user, a session, a client, a key, an application or everything *now*: what
//! it has in flight and what it sends next.
//!
//! The attack: an agent is compromised while its calls, and those of the agents that it spawned and called, are under
//! way. A deny list alone stops the next request and lets the running ones finish; and a request that was checked just
//! before the list changed, but had not been noted as running when the running ones were cut, escapes both.
//!
//! # The order of touching
//! There are two structures and one order.
//! - The request path ([`Containment::admit`]) **registers** the attempt, with every name on its path, in the index of
//!   what is in flight, **then checks** each name against the snapshot of denials.
//! - The writer ([`Containment::order`], and a [`Follower`](vestibule_store::Follower) that brings another gateway's
//!   order) makes the order durable, **swaps the snapshot, then walks** the index and cuts what it finds.
//!
//! Both meet at the lock of the part of the index that holds the attempt. Either the attempt was registered before the
//! walk came by, and the walk cuts it; or the walk came first, and the attempt's check, which comes after its
//! registration, sees the new snapshot. There is no third way.
//!
//! A token names its ancestors, so an order is one entry and nobody enumerates descendants: what has the name of an
//! ancestor is cut with it, and what is minted below it later is refused at its first use. Each name has its own time,
//! so that an order can be back-dated: see [`Path`]. A reason either cascades or, [`Superseded`](Reason::Superseded),
//! ends nothing but minting.
//!
//! # The acknowledgement
//! An order returns when not a byte of what it cut will be written any more. How far an attempt has come and why it was
//! cut are one word, so of the two, "the reply begins" ([`Passage::streaming`]) and the cut, one always sees the other:
//! the reply is not begun, or the cut finds it being written.
//! - A [`Wire`] of its own (HTTP/1), on which the reply is being written, is **severed** at once: what the layers of HTTP
//!   and TLS still buffer is dropped.
//! - Everything else that was cut is woken and **settles**: it leaves when its [`Passage`] is dropped. The order waits
//!   for that, at most a second, and then severs the wires of what has not left, shared ones (HTTP/2) too.
//!
//! Bytes that the kernel has taken before may still arrive. What a follower brings is cut in the same way, and nobody
//! waits; an order that finds it in force already waits for that as well.
//!
//! # Calls within calls
//! An agent that is called through this gateway makes its own calls *within* that call ([`Path::calls`]), and they end
//! with it, in whatever way it ends. They are registered with the outer call too, and admitted only while it is under
//! way; its end takes out of the index at once the call and all that is registered with it, and a cut first marks the
//! call and then looks for what is within it. Against an agent that was called by somebody who has been cut off, or has
//! given up, and goes on in their name.
//!
//! # Failing closed
//! Denials only grow: a repeated order makes an entry severer or changes nothing, and a database that was restored from
//! a backup loses none that this gateway knows, which writes them back. Only a suspension is taken back, by an order of
//! its own that leaves a record, so that no backup and no gateway that was away brings the suspension back. And a
//! gateway that cannot tell what is denied, because its view is older than the lease, or because it cannot read an
//! entry, refuses everything.
//!
//! What this crate leaves to others: to keep each [`Passage`] as long as anything of its attempt can be written, to ask
//! [`Passage::cut`] before each chunk, and to make [`Wire::sever`] true.
//!
//! The protocol is compiled a second and third time in `models/`, where every order of its steps is tried.

pub mod breaker;
mod containment;
mod entry;
mod key;
mod ledger;
#[cfg(test)]
#[expect(clippy::duplicate_mod, reason = "the code that runs, with other primitives")]
mod models;
mod order;
mod path;
mod protocol;
mod reach;
mod report;
mod sync;
mod wire;

pub use containment::Containment;
pub use entry::DenyEntry;
pub use key::{DenyKey, KeyKind};
pub use order::{Order, OrderError, Reason, State};
pub use path::Path;
pub use protocol::{OffSwitch, Passage};
pub use report::{Cut, CutAttempt, Report, Stage};
pub use vestibule_model::Foreign;
pub use wire::Wire;
