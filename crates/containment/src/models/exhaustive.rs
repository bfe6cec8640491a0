//! By `loom`, which also lets each thread see whatever the memory model allows it to see.

#[path = "../protocol/mod.rs"]
#[expect(dead_code, unreachable_pub, unused_imports, reason = "the code that runs, and not all of it here")]
mod protocol;
#[path = "scenarios.rs"]
mod scenarios;
#[path = "shims.rs"]
mod shims;

mod sync {
    pub(crate) use loom::{
        future::block_on,
        sync::{
            Mutex, MutexGuard,
            atomic::{AtomicU32, AtomicUsize, Ordering},
        },
        thread,
    };

    pub(crate) use super::shims::{ArcSwap, CancellationToken, Notify, WaitForCancellationFutureOwned};

    pub(crate) const SHARDS: usize = 2;
    pub(crate) const PARTS: usize = 2;
}

/// Between two steps of one thread the others run at will; so often may a thread be interrupted that could go on. Most
/// faults of this kind show with two.
const PREEMPTIONS: usize = 2;

fn all_orders_of(scenario: impl Fn() + Send + Sync + 'static) {
    // Takes `LOOM_MAX_PREEMPTIONS` from the environment, for longer searches.
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(PREEMPTIONS);
    builder.max_branches = 10_000;
    builder.check(scenario);
}

scenarios::tests!(super::all_orders_of);
