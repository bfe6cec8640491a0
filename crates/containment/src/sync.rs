//! What the protocol is built of. The models put others in their place, which try every order of steps.

pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU32, Ordering},
};

pub(crate) use arc_swap::ArcSwap;
pub(crate) use tokio::sync::Notify;
pub(crate) use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Parts of the index. Requests seldom wait for each other.
pub(crate) const SHARDS: usize = 64;

/// Parts of the set of denials. An order copies one of them: of a million entries a thousand.
pub(crate) const PARTS: usize = 1024;
