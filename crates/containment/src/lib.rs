//! placeholder

mod containment;
mod entry;
mod key;
mod ledger;
#[cfg(test)]
#[expect(clippy::duplicate_mod, reason = "the code that runs, with other primitives")]
mod models;
mod order;
mod path;
mod protocol;
mod reach;
mod report;
mod sync;
mod wire;

pub use containment::Containment;
pub use entry::DenyEntry;
pub use key::{DenyKey, Foreign, KeyKind};
pub use order::{Order, OrderError, Reason, State};
pub use path::Path;
pub use protocol::{OffSwitch, Passage};
pub use report::{Cut, CutAttempt, Report, Stage};
pub use wire::Wire;
