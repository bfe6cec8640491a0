//! The behaviour of the real gateway, seen from outside: one file per behaviour. Tests assert consequences: what the
//! application saw, what the caller got, what the record says.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking; a missing key reads as null")]

mod containment;
mod gateway;
