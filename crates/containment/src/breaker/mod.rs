//! Circuit breakers: an agent that misbehaves is suspended by itself, with all below it, and let back by itself.

mod board;
mod breakers;
mod installed;
mod ledger;
mod meter;
mod meters;
mod phase;
mod stored;
mod thresholds;
mod upstreams;
mod window;

pub(crate) use board::Board;
pub use breakers::{Breakers, Change};
pub use installed::Tripped;
pub(crate) use installed::{Installed, Probe};
pub use meter::{Charge, End};
pub use phase::{Breaker, Phase};
pub use thresholds::{Cause, Rest, Share, Signal, Thresholds, UpstreamThresholds};
pub use upstreams::{Resting, Trying, UpstreamChange, Upstreams};
