//! The behaviour of the real gateway, seen from outside: one file per behaviour. Tests assert consequences: what the
//! application saw, what the caller got, what the record says.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking; a missing key reads as null"
)]

mod binary;
mod cli;
mod containment;
mod delegation;
mod door_one;
mod door_two;
mod durability;
mod errors;
mod gateway;
mod how_often;
mod http_apps;
mod limits;
mod listeners;
mod mcp;
mod outside;
mod policy;
mod quickstart;
mod record;
mod routes;
mod token_endpoint;
mod vault;
mod wire;
