//! Counts over the last so many seconds.

use std::time::Duration;

/// A window is counted in so many slices and forgets one at a time: it covers its length, or up to a sixth less.
const SLICES: u64 = 6;

/// `N` counts over a window. Time is what its owner says, from any start.
#[derive(Debug, Clone)]
pub(super) struct Window<const N: usize> {
    slice: Duration,
    /// The number of the newest slice.
    head: u64,
    slices: [[u64; N]; SLICES as usize],
    sums: [u64; N],
}

impl<const N: usize> Window<N> {
    pub(super) fn new(length: Duration) -> Self {
        let slice = (length / SLICES as u32).max(Duration::from_millis(1));
        Self { slice, head: 0, slices: [[0; N]; SLICES as usize], sums: [0; N] }
    }

    /// Adds to the counts at `now` and gives the sums over the window. Time that goes back stands still.
    pub(super) fn add(&mut self, now: Duration, counts: [u64; N]) -> [u64; N] {
        self.roll(now);
        let head = usize::try_from(self.head % SLICES).unwrap_or_default();
        if let Some(slice) = self.slices.get_mut(head) {
            for ((count, sum), more) in slice.iter_mut().zip(&mut self.sums).zip(counts) {
                // What a slice has lost at its bound, the sum must not have either.
                let more = more.min(u64::MAX - *sum);
                *count += more;
                *sum += more;
            }
        }
        self.sums
    }

    /// The number of the slice that `now` falls in, at least the newest known.
    pub(super) fn slice_at(&self, now: Duration) -> u64 {
        let number = now.as_nanos() / self.slice.as_nanos();
        u64::try_from(number).unwrap_or(u64::MAX).max(self.head)
    }

    /// The oldest slice that still counts.
    pub(super) fn oldest(&self) -> u64 {
        (self.head + 1).saturating_sub(SLICES)
    }

    /// Whether all it counted is forgotten at `now`.
    pub(super) fn is_empty_at(&self, now: Duration) -> bool {
        self.slice_at(now) >= self.head + SLICES || self.sums.iter().all(|sum| *sum == 0)
    }

    fn roll(&mut self, now: Duration) {
        let to = self.slice_at(now);
        for number in (self.head + 1..=to).take(SLICES as usize) {
            // The last so many numbers up to `to`, in whatever order, are all places.
            let place = usize::try_from(number % SLICES).unwrap_or_default();
            if let Some(slice) = self.slices.get_mut(place) {
                for (sum, count) in self.sums.iter_mut().zip(slice.iter_mut()) {
                    *sum -= std::mem::take(count);
                }
            }
        }
        self.head = to;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn what_is_older_than_the_window_is_forgotten_a_sixth_at_a_time() {
        let mut window = Window::<1>::new(ms(600));
        assert_eq!(window.add(ms(0), [1]), [1]);
        assert_eq!(window.add(ms(150), [2]), [3]);
        assert_eq!(window.add(ms(599), [0]), [3]);
        assert_eq!(window.add(ms(600), [0]), [2]);
        assert_eq!(window.add(ms(700), [4]), [4]);
        assert!(!window.is_empty_at(ms(1299)) && window.is_empty_at(ms(1300)));
        assert_eq!(window.add(ms(1_000_000), [0]), [0]);
    }

    #[test]
    fn a_clock_that_goes_back_forgets_nothing_and_a_count_never_overflows() {
        let mut window = Window::<2>::new(ms(600));
        window.add(ms(5_000), [1, 1]);
        assert_eq!(window.add(ms(10), [1, u64::MAX]), [2, u64::MAX]);
        assert_eq!(window.add(ms(6_000), [0, 0]), [0, 0]);
    }

    proptest! {
        /// As if every count were kept with its time.
        #[test]
        fn the_sums_are_those_of_a_list_of_all_counts(steps in proptest::collection::vec((0..900u64, 0..5u64), 1..200)) {
            let (mut window, mut all, mut now) = (Window::<1>::new(ms(600)), Vec::new(), 0);
            for (wait, count) in steps {
                now += wait;
                all.push((now / 100, count));
                let slice = now / 100;
                let sum: u64 = all.iter().filter(|(at, _)| at + SLICES > slice).map(|(_, count)| count).sum();
                prop_assert_eq!(window.add(ms(now), [count]), [sum]);
            }
        }
    }
}
