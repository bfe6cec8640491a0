//! The order in which what is denied and what is under way are touched: see the crate's page.
//!
//! Everything here takes its primitives from `super::sync`, so that the models (`models/`) compile these very files once
//! more with primitives that try every order of steps.

mod deny_set;
mod flight;
mod gate;
mod index;
mod off_switch;
mod passage;
mod writer;

pub(crate) use gate::Gate;
pub use off_switch::OffSwitch;
pub use passage::Passage;
