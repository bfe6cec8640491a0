use std::collections::BTreeMap;

use vestibule_model::AttemptId;

/// The earliest of what is offered, up to a bound. Whatever the order in which they come, the same ones stay; and what
/// made a tree came before what was done in it.
pub(super) struct Kept<T> {
    all: BTreeMap<AttemptId, T>,
    max: usize,
    left_out: u64,
}

impl<T> Kept<T> {
    pub(super) fn new(max: usize) -> Self {
        Self { all: BTreeMap::new(), max, left_out: 0 }
    }

    pub(super) fn offer(&mut self, id: AttemptId, value: T) {
        self.all.insert(id, value);
        if self.all.len() > self.max {
            self.all.pop_last();
            self.left_out += 1;
        }
    }

    pub(super) fn all(&self) -> &BTreeMap<AttemptId, T> {
        &self.all
    }

    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    pub(super) fn into_all(self) -> BTreeMap<AttemptId, T> {
        self.all
    }
}
