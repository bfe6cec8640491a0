//! The protocol, run in every order of steps.
//!
//! The files of `protocol/` are compiled here once more as they are, with primitives whose every step is a choice: in
//! [`exhaustive`] all choices are tried, up to a number of preemptions; in [`random`] many of them, of longer runs. So
//! the models check the code that runs, and not a copy of it.

mod exhaustive;
mod random;
