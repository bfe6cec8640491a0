//! By `shuttle`: schedules drawn at random from a seed, so that a run can be repeated.

#[path = "../protocol/mod.rs"]
#[expect(dead_code, unreachable_pub, unused_imports, reason = "the code that runs, and not all of it here")]
mod protocol;
#[path = "scenarios.rs"]
mod scenarios;
#[path = "shims.rs"]
mod shims;

mod sync {
    pub(crate) use shuttle::{
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

use shuttle::{
    Config, Runner,
    scheduler::{PctScheduler, RandomScheduler},
};

/// Schedules of each kind for each scenario, and the seed from which they are drawn. Said when this is compiled.
const SCHEDULES: Option<&str> = option_env!("VESTIBULE_SCHEDULES");
const SEED: Option<&str> = option_env!("VESTIBULE_SCHEDULES_SEED");

/// A thread is preempted so often in a schedule of the second kind.
const DEPTH: usize = 3;

fn many_orders_of(scenario: impl Fn() + Send + Sync + Clone + 'static) {
    let schedules = SCHEDULES.map_or(2000, |number| number.parse().unwrap());
    let seed = SEED.map_or(1, |number| number.parse().unwrap());
    let random = RandomScheduler::new_from_seed(seed, schedules);
    Runner::new(random, Config::default()).run(scenario.clone());
    let few_preemptions = PctScheduler::new_from_seed(seed, DEPTH, schedules);
    Runner::new(few_preemptions, Config::default()).run(scenario);
}

scenarios::tests!(super::many_orders_of);
