//! Behaviour of containment, on a real store and on one that obeys.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "in tests a failure is a panic")]

mod breakers;
mod calls;
mod cutoff;
mod expiry;
mod freshness;
mod guard;
mod kinds;
mod race;
mod report;
mod restored;
mod resume;
mod revoke;
mod settle;
mod shelf;
mod superseded;
mod upstreams;
mod world;
