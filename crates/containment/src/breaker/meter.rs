use std::{collections::HashMap, time::Duration};

use super::{Cause, Share, Signal, Thresholds, window::Window};

/// What an attempt adds to what is known about its agent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Charge {
    /// How the attempt went; none for bytes that come later.
    pub end: Option<End>,
    /// The operation that was asked for, by a hash of its name.
    pub operation: Option<u64>,
    /// Of the request, and of the reply as it goes out.
    pub bytes: u64,
}

/// How an attempt went, as far as its agent can be blamed for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Policy denied an operation.
    Denied,
    /// An operation was permitted, and the application answered that the request was wrong.
    Erred,
    /// An operation was permitted, and whatever else happened is not the agent's doing.
    Done,
    /// No operation: a list, a ping, a request that could not be read.
    Other,
}

/// The places of the counts.
const CALLS: usize = 0;
const DECIDED: usize = 1;
const DENIED: usize = 2;
const ERRED: usize = 3;
const BYTES: usize = 4;

/// What one agent, or all that one agent has spawned, did within the window.
#[derive(Debug)]
pub(super) struct Meter {
    window: Window<5>,
    /// The slice in which each operation was asked for last. Kept only while operations are judged, and then never more
    /// than may be asked for and one.
    operations: HashMap<u64, u64>,
}

impl Meter {
    pub(super) fn new(length: Duration) -> Self {
        Self { window: Window::new(length), operations: HashMap::new() }
    }

    /// Counts, and says why the breaker trips if it does. A signal is judged when it grows: whoever is refused for the
    /// denials of somebody else must at least have been denied something.
    pub(super) fn charge(&mut self, charge: &Charge, by: &Thresholds, now: Duration) -> Option<Cause> {
        let is = |end| u64::from(charge.end == Some(end));
        let (denied, erred) = (is(End::Denied), is(End::Erred));
        let call = u64::from(charge.end.is_some());
        let decided = denied + erred + is(End::Done);
        let sums = self.window.add(now, [call, decided, denied, erred, charge.bytes]);
        let sum = |place: usize| sums.get(place).copied().unwrap_or(0);
        let within = by.window.as_secs();
        let share = |signal, share: Option<Share>, place, what: &str| {
            let (part, all) = (sum(place), sum(DECIDED));
            share
                .filter(|share| share.is_reached(part, all))
                .map(|_| Cause::own(signal, format!("{part} of {all} operations {what} within {within} s")))
        };
        let most = |signal, max: Option<u64>, count: u64, what: &str| {
            max.filter(|max| count > *max)
                .map(|max| Cause::own(signal, format!("{count} {what} within {within} s, {max} may be")))
        };
        let operations = by.operations.and(charge.operation).map(|one| self.note(one, now));
        let denials = || share(Signal::Denials, by.denials, DENIED, "were denied");
        let errors = || share(Signal::Errors, by.errors, ERRED, "failed for the caller's fault");
        (denied > 0)
            .then(denials)
            .flatten()
            .or_else(|| (erred > 0).then(errors).flatten())
            .or_else(|| most(Signal::Calls, by.calls.filter(|_| call > 0), sum(CALLS), "attempts"))
            .or_else(|| {
                operations
                    .and_then(|count| most(Signal::Operations, by.operations, count, "distinct operations"))
            })
            .or_else(|| most(Signal::Bytes, by.bytes.filter(|_| charge.bytes > 0), sum(BYTES), "bytes"))
    }

    /// Notes an operation, and says how many there were.
    fn note(&mut self, operation: u64, now: Duration) -> u64 {
        let slice = self.window.slice_at(now);
        // All that is not older is distinct: to look for what is older only when one is new keeps the usual call cheap.
        if self.operations.insert(operation, slice).is_none() {
            let oldest = self.window.oldest();
            self.operations.retain(|_, last| *last >= oldest);
        }
        self.operations.len() as u64
    }

    /// Whether nothing of it counts any more.
    pub(super) fn is_idle(&self, now: Duration) -> bool {
        self.window.is_empty_at(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::breaker::Rest;

    const REST: Rest = Rest { open: Duration::from_secs(60), open_max: Duration::from_secs(60), probes: 1 };
    const NOTHING: Thresholds = Thresholds {
        window: Duration::from_secs(60),
        denials: None,
        errors: None,
        calls: None,
        operations: None,
        bytes: None,
        rest: REST,
    };
    const HALF: Option<Share> = Some(Share { percent: 50, calls_min: 4 });

    /// After how many of these charges, one a second, it trips, and over what.
    fn trips(by: &Thresholds, charges: impl IntoIterator<Item = Charge>) -> Option<(usize, Signal, String)> {
        let mut meter = Meter::new(by.window);
        charges.into_iter().enumerate().find_map(|(place, charge)| {
            let cause = meter.charge(&charge, by, Duration::from_secs(place as u64))?;
            Some((place + 1, cause.signal, cause.detail))
        })
    }

    fn ends(ends: &[End]) -> Vec<Charge> {
        ends.iter().map(|end| Charge { end: Some(*end), ..Charge::default() }).collect()
    }

    #[test]
    fn each_signal_trips_at_its_threshold_and_says_so() {
        use End::{Denied as N, Done as Y, Erred as E, Other as O};
        let denials = Thresholds { denials: HALF, ..NOTHING };
        let errors = Thresholds { errors: HALF, ..NOTHING };
        let calls = Thresholds { calls: Some(2), ..NOTHING };
        let said = |place, signal, text: &str| Some((place, signal, format!("{text} within 60 s")));
        for (by, given, expected) in [
            (&denials, vec![N, N, N], None),
            (&denials, vec![N, N, N, N], said(4, Signal::Denials, "4 of 4 operations were denied")),
            (&denials, vec![Y, Y, N, N], said(4, Signal::Denials, "2 of 4 operations were denied")),
            (&denials, vec![Y, Y, Y, N, N], None),
            (&denials, vec![O, O, N, O, N, O, Y], None),
            (&denials, vec![N, N, N, Y, Y, Y], None),
            (&denials, vec![E, E, E, E], None),
            (&errors, vec![N, N, N, N], None),
            (
                &errors,
                vec![E, Y, E, E],
                said(4, Signal::Errors, "3 of 4 operations failed for the caller's fault"),
            ),
            (&calls, vec![O, Y], None),
            (&NOTHING, vec![N; 1000], None),
        ] {
            assert_eq!(trips(by, ends(&given)), expected, "{given:?}");
        }
        let (place, signal, detail) = trips(&calls, ends(&[O, Y, N])).unwrap();
        assert_eq!((place, signal, &*detail), (3, Signal::Calls, "3 attempts within 60 s, 2 may be"));
    }

    #[test]
    fn bytes_and_distinct_operations_are_counted_over_the_window() {
        let bytes = Thresholds { bytes: Some(99), ..NOTHING };
        let sent = |bytes| Charge { bytes, ..Charge::default() };
        assert_eq!(trips(&bytes, [sent(50), sent(49)]), None);
        assert_eq!(trips(&bytes, [sent(50), sent(49), sent(1)]).unwrap().0, 3);
        let operations = Thresholds { operations: Some(10), ..NOTHING };
        let asked = |operation| Charge { end: Some(End::Done), operation: Some(operation), bytes: 0 };
        assert_eq!(trips(&operations, (0..1000).map(|n| asked(n % 10))), None);
        assert_eq!(trips(&operations, (0..1000).map(asked)).unwrap().0, 11);
        // One every ten seconds: never more than seven in the window.
        let slow = |n: u64| if n.is_multiple_of(10) { asked(n) } else { Charge::default() };
        assert_eq!(trips(&operations, (0..10_000).map(slow)), None);
    }
}
