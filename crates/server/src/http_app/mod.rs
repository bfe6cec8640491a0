//! Which operation of an HTTP application a request is, and with which arguments.
//!
//! The attacker is an agent that wants this gateway to see one path, query or body and the application another. So
//! there is one reading and no repair: what is not in its normal form is refused, and what passes is forwarded byte for
//! byte. What is not declared is no operation. A path that another router could take for a sibling's, because it ignores
//! case or cuts a format off, is refused.
//!
//! It can't know routes that nobody declared: where an application serves `/repos/search` and only `/repos/{name}` is
//! declared, a request for it is decided as that operation with `name` = `search`.

mod config;
mod input;
mod openapi;
mod operation;
mod path;
mod routes;

pub use config::{BodyConfig, OpenApiConfig, OperationConfig, OperationReview, OperationsConfig};
pub use input::forwardable_request;
pub use operation::BodyRule;
pub use routes::{Match, Routes, RoutesError};
