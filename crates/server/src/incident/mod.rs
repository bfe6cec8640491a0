//! Incidents: one agent that is stopped, what it and everything below it have done, and what became of it.
//!
//! **What it guarantees.** An incident is opened when its agent is suspended, never before; closing it resumes or revokes
//! the agent first. Of one agent, one incident is open at most. What is gathered is a bundle that stands by itself, see
//! [`vestibule_evidence::verify_bundle`]: no secret and no token is in it, for no record holds one.
//!
//! **What it leaves to others.** To stop: containment. To record: evidence. Whether what was gathered is all there is:
//! the whole log tells. Every bound that was reached is said in the summary.

mod error;
mod gather;
mod incidents;
mod parts;
mod people;
mod policies;
mod scope;
mod story;
mod summary;
mod wording;

pub(crate) use error::GatherError;
pub(crate) use gather::Gathering;
pub(crate) use incidents::{Closing, Incident, IncidentState, Incidents, Kept};
pub(crate) use parts::Parts;
pub(crate) use people::oldest_node;

/// The most attempts of one bundle; of more, the newest.
pub(crate) const ATTEMPTS_MAX: usize = 10_000;
/// The most delegation nodes of one bundle.
pub(crate) const NODES_MAX: usize = 5_000;
/// The longest note of an operator, in bytes.
pub(crate) const NOTE_MAX_BYTES: usize = 400;
