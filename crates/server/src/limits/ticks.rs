use std::sync::Arc;

use governor::{clock, nanos::Nanos};
use vestibule_model::{Clock, Monotonic};

/// The program's clock as `governor` reads one: nanoseconds since it was made.
#[derive(Debug, Clone)]
pub(super) struct Ticks {
    clock: Arc<dyn Clock>,
    start: Monotonic,
}

impl Ticks {
    pub(super) fn new(clock: &Arc<dyn Clock>) -> Self {
        Self { clock: Arc::clone(clock), start: clock.monotonic() }
    }
}

impl clock::Clock for Ticks {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        let since = self.clock.monotonic().since(self.start);
        Nanos::new(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }
}
