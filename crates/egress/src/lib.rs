//! The only HTTP client of the gateway.
//!
//! Guarantees, against whoever can choose or influence a URL or a name server's answer:
//!
//! - every address is checked before a connection is made to it ([`Addresses`]), the name is resolved once per
//!   connection, and only the checked addresses are connected to;
//! - a redirect is an answer like any other and is never followed;
//! - connecting and the head of the answer have a time limit, a collected body has a size limit;
//! - an error names the host, and never the path, the query, a header or a body.
//!
//! Which headers and which credential a request carries is the caller's business.

mod addresses;
mod body;
mod certificate;
mod client;
mod connector;
mod error;
mod resolver;
mod trust;

pub use addresses::Addresses;
pub use body::{BoxError, EgressBody, empty, full};
pub use certificate::ClientCertificate;
pub use client::{Client, EgressLimits};
pub use error::EgressError;
pub use trust::Trust;
