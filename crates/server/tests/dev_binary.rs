//! dev
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
#[path = "it/binary.rs"]
mod binary;
#[path = "it/cli.rs"]
mod cli;
#[path = "it/durability.rs"]
mod durability;
#[path = "it/quickstart.rs"]
mod quickstart;
