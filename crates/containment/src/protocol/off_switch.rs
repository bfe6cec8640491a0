use std::{fmt, sync::Arc};

use vestibule_model::Denial;

use super::{flight::Flight, index::Index};

/// By which whoever made an attempt can call it off: what is made within it ends with it.
pub struct OffSwitch {
    index: Arc<Index>,
    flight: Arc<Flight>,
}

impl OffSwitch {
    pub(super) fn new(index: &Arc<Index>, flight: &Arc<Flight>) -> Self {
        Self { index: Arc::clone(index), flight: Arc::clone(flight) }
    }

    /// Cuts the attempt and what is made within it, unless it was cut before or has left.
    pub fn call_off(&self) {
        self.index.cut(vec![(Arc::clone(&self.flight), Denial::CallCalledOff)]);
    }
}

impl fmt::Debug for OffSwitch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OffSwitch").field("attempt", &self.flight.attempt).finish_non_exhaustive()
    }
}
