//! Vestibule: an access-control gateway between AI agents and the applications they use.
//!
//! START HERE: `pipeline.rs`, which is the order of everything that happens to a request. `gateway.rs` assembles the
//! rooms, `config` is the one YAML file, `data.rs` and `admin` are the two listeners, `cli` is the command line.

mod admin;
mod apps;
mod arrival;
mod body;
mod breakers;
pub mod cli;
mod clients;
pub mod config;
mod data;
mod edge;
mod forward;
mod gateway;
mod give_back;
pub mod http_app;
mod http_arrival;
mod incident;
mod keepers;
mod limits;
mod listener;
mod mcp_arrival;
mod mcp_reply;
mod metrics;
mod names;
mod notes;
mod outer_calls;
mod pipeline;
mod policies;
mod policy_desk;
mod reply;
pub mod routes;
mod running;
pub mod sandbox;
mod secret_file;
mod shelf;
mod slots;
mod stall;
mod tls;
mod token_endpoint;
mod vault;
mod withdrawal;

pub use apps::Operations;
pub use gateway::StartError;
pub use policies::PolicyStatus;
pub use running::{Running, Surroundings};
