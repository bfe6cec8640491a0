//! Behaviour of containment, on a real store and on one that obeys.

#![expect(clippy::unwrap_used, reason = "in tests a failure is a panic")]

mod freshness;
mod race;
mod restored;
mod revoke;
mod shelf;
mod world;
