//! The lock from outside: what is loaded, decided, listed and explained.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot be set up has failed"
)]

mod bound;
mod cases;
mod chain;
mod decide;
mod delegate;
mod explain;
mod listing;
mod load;
mod narrowing;
mod outside;
mod shipped;
mod support;
