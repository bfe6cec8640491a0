use std::{cmp::Reverse, time::Duration};

use serde::Serialize;
use vestibule_model::Timestamp;

use super::Rest;

/// Waiting is doubled at most so often, whatever the configuration allows.
const STRIKES_MAX: u32 = 16;

/// A breaker that has been closed is remembered so long, here and in the store: longer than any delegation lives, so that a
/// gateway that was away hears of it, and not for ever, for spawned agents are many.
const KEPT: Duration = Duration::from_secs(25 * 60 * 60);

/// Where a breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum Phase {
    /// Calls pass, and are measured.
    Closed,
    /// Nothing passes.
    Open {
        /// From then on it may be probed. None: until somebody resets it.
        until: Option<Timestamp>,
    },
    /// A few calls pass, and what becomes of the first of them decides.
    Probing {
        /// Without a verdict by then, it may be probed anew.
        until: Timestamp,
    },
}

/// The state machine of one breaker, an agent's or an application's. A value: each transition consumes it and gives the next.
/// See the module's page for the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    /// Where it stands.
    pub phase: Phase,
    /// Counts its transitions. Of two that contradict each other, the later turn holds; see [`Breaker::supersedes`].
    pub turn: u64,
    /// How often in a row it has opened again.
    pub strikes: u32,
    /// When it came to stand there.
    pub since: Timestamp,
    /// How long it stays open, and how it is probed.
    pub rest: Rest,
}

impl Breaker {
    /// One that has never opened.
    #[must_use]
    pub fn new(rest: Rest) -> Self {
        Self { phase: Phase::Closed, turn: 0, strikes: 0, since: Timestamp::from_millis(0), rest }
    }

    /// Opens it, from now on with this rest. One that is open stays as it is. Who trips soon after a probe has closed it, or
    /// in a probe, waits twice as long as before: a good probe does not buy a fresh start.
    #[must_use]
    pub fn trip(self, now: Timestamp, rest: Rest) -> Self {
        let strikes = match self.phase {
            Phase::Open { .. } => return self,
            Phase::Probing { .. } => self.strikes + 1,
            Phase::Closed if self.turn > 0 && now.since(self.since) < self.wait() => self.strikes + 1,
            Phase::Closed => 0,
        };
        let next = Self { strikes: strikes.min(STRIKES_MAX), rest, ..self };
        next.to(Phase::Open { until: Some(now.plus(next.wait())) }, now)
    }

    /// Opens it by hand, until then. Takes the place of whatever it was.
    #[must_use]
    pub fn hold(self, now: Timestamp, until: Option<Timestamp>, rest: Rest) -> Self {
        Self { strikes: 0, rest, ..self }.to(Phase::Open { until }, now)
    }

    /// Lets probes through, when it is time for them.
    #[must_use]
    pub fn probe(self, now: Timestamp) -> Option<Self> {
        self.is_due(now).then(|| self.to(Phase::Probing { until: now.plus(self.rest.open) }, now))
    }

    /// Closes it: after a good probe, or by hand. One that is closed stays as it is.
    #[must_use]
    pub fn close(self, now: Timestamp) -> Self {
        match self.phase {
            Phase::Closed => self,
            Phase::Open { .. } | Phase::Probing { .. } => self.to(Phase::Closed, now),
        }
    }

    fn to(self, phase: Phase, now: Timestamp) -> Self {
        Self { phase, turn: self.turn + 1, since: now, ..self }
    }

    /// Whether it is time for probes: it has been open long enough, or those that were let through told nothing.
    #[must_use]
    pub fn is_due(&self, now: Timestamp) -> bool {
        match self.phase {
            Phase::Closed | Phase::Open { until: None } => false,
            Phase::Open { until: Some(until) } | Phase::Probing { until } => until <= now,
        }
    }

    /// Whether it is open, due or not.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }

    /// Whether it is open, and not to be probed yet.
    #[must_use]
    pub fn is_shut(&self, now: Timestamp) -> bool {
        self.is_open() && !self.is_due(now)
    }

    /// When to come again, for who is refused: at least a second.
    #[must_use]
    pub fn retry_after(&self, now: Timestamp) -> Duration {
        let until = match self.phase {
            Phase::Open { until: None } => return self.rest.open_max,
            Phase::Open { until: Some(until) } => until,
            Phase::Closed | Phase::Probing { .. } => now,
        };
        Duration::from_secs(until.since(now).as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX).max(1))
    }

    /// How long it stays open: twice as long with each strike, within its bounds.
    #[must_use]
    pub fn wait(&self) -> Duration {
        self.rest.open.saturating_mul(1 << self.strikes.min(STRIKES_MAX)).min(self.rest.open_max)
    }

    /// Whether it is the later word about the same name. Of two of the same turn, from two gateways, the severer holds, and
    /// of two that are open the longer: all gateways come to the same.
    #[must_use]
    pub fn supersedes(&self, other: &Self) -> bool {
        let rank = |breaker: &Self| match breaker.phase {
            Phase::Closed => (0, Reverse(None), None),
            Phase::Probing { until } => (1, Reverse(None), Some(until)),
            // No end at all comes last.
            Phase::Open { until: Some(until) } => (2, Reverse(Some(())), Some(until)),
            Phase::Open { until: None } => (2, Reverse(None), None),
        };
        (self.turn, rank(self)) > (other.turn, rank(other))
    }

    /// From then on it is as if it had never opened: where it is closed, or nobody bears the name any more.
    pub(crate) fn ends_at(&self, is_short_lived: bool) -> Option<Timestamp> {
        let until = match self.phase {
            Phase::Closed => self.since,
            Phase::Open { .. } | Phase::Probing { .. } if !is_short_lived => return None,
            Phase::Open { until } => until.unwrap_or(self.since).max(self.since),
            Phase::Probing { until } => until,
        };
        Some(until.plus(KEPT))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REST: Rest = Rest { open: Duration::from_secs(60), open_max: Duration::from_secs(300), probes: 3 };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_seconds(1_800_000_000 + seconds)
    }

    fn tripped(now: i64) -> Breaker {
        Breaker::new(REST).trip(at(now), REST)
    }

    fn open_until(seconds: i64) -> Phase {
        Phase::Open { until: Some(at(seconds)) }
    }

    #[test]
    fn every_transition_is_the_one_of_the_table() {
        let closed = Breaker::new(REST);
        let open = tripped(0);
        let probing = open.probe(at(60)).unwrap();
        let again = probing.trip(at(61), REST);
        let held = closed.hold(at(0), None, REST);
        for (name, from, next, phase, turn) in [
            ("closed, tripped", closed, open, open_until(60), 1),
            ("open, tripped", open, open.trip(at(30), REST), open_until(60), 1),
            ("open, due", open, probing, Phase::Probing { until: at(120) }, 2),
            ("probing, a bad probe", probing, again, open_until(181), 3),
            ("probing, a good probe", probing, probing.close(at(61)), Phase::Closed, 3),
            (
                "probing, no verdict",
                probing,
                probing.probe(at(120)).unwrap(),
                Phase::Probing { until: at(180) },
                3,
            ),
            ("open, reset", open, open.close(at(1)), Phase::Closed, 2),
            ("closed, reset", closed, closed.close(at(1)), Phase::Closed, 0),
            ("closed, held", closed, held, Phase::Open { until: None }, 1),
            ("open, held", open, open.hold(at(1), Some(at(9)), REST), open_until(9), 2),
            ("held, reset", held, held.close(at(1)), Phase::Closed, 2),
        ] {
            assert_eq!((next.phase, next.turn), (phase, turn), "{name}");
            assert!(next == from || next.supersedes(&from), "{name}");
        }
    }

    #[test]
    fn nothing_is_probed_before_its_time() {
        assert_eq!(Breaker::new(REST).probe(at(0)), None);
        assert_eq!(tripped(0).probe(at(59)), None);
        assert_eq!(tripped(0).probe(at(60)).unwrap().probe(at(119)), None);
        assert_eq!(Breaker::new(REST).hold(at(0), None, REST).probe(at(1_000_000)), None);
    }

    #[test]
    fn each_bad_probe_doubles_the_wait_up_to_the_bound() {
        let (mut breaker, mut now) = (tripped(0), 0);
        for wait in [60, 120, 240, 300, 300] {
            assert_eq!(breaker.phase, open_until(now + wait));
            now += wait;
            breaker = breaker.probe(at(now)).unwrap().trip(at(now), REST);
        }
    }

    #[test]
    fn who_trips_soon_after_a_good_probe_goes_on_where_it_was() {
        let closed = tripped(0).probe(at(60)).unwrap().close(at(60));
        assert_eq!(closed.trip(at(119), REST).phase, open_until(119 + 120));
        assert_eq!(closed.trip(at(120), REST).phase, open_until(120 + 60));
    }

    #[test]
    fn who_is_refused_is_told_when_to_come_again() {
        let secs = |breaker: Breaker, now| breaker.retry_after(at(now)).as_secs();
        assert_eq!((secs(tripped(0), 0), secs(tripped(0), 59), secs(tripped(0), 70)), (60, 1, 1));
        assert_eq!(secs(tripped(0).probe(at(60)).unwrap(), 60), 1);
        assert_eq!(secs(Breaker::new(REST).hold(at(0), None, REST), 5), 300);
    }

    #[test]
    fn of_one_turn_the_severer_holds_and_of_two_that_are_open_the_longer() {
        let base = tripped(0);
        let of = |phase| Breaker { phase, ..base };
        let order = [
            of(Phase::Closed),
            of(Phase::Probing { until: at(99) }),
            of(open_until(10)),
            of(open_until(20)),
            of(Phase::Open { until: None }),
        ];
        for (place, one) in order.iter().enumerate() {
            for (other_place, other) in order.iter().enumerate() {
                assert_eq!(one.supersedes(other), place > other_place, "{one:?} {other:?}");
            }
            assert!(Breaker { turn: 2, ..*one }.supersedes(&order[4]));
        }
    }

    #[test]
    fn one_that_is_open_is_forgotten_only_when_nobody_bears_the_name() {
        assert_eq!(tripped(0).ends_at(false), None);
        assert_eq!(tripped(0).ends_at(true), Some(at(60).plus(KEPT)));
        assert_eq!(tripped(0).close(at(5)).ends_at(false), Some(at(5).plus(KEPT)));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Trip,
        Hold(Option<u16>),
        Probe,
        Close,
    }

    fn steps() -> impl Strategy<Value = Vec<(u16, Step)>> {
        let step = prop_oneof![
            Just(Step::Trip),
            proptest::option::of(1..500u16).prop_map(Step::Hold),
            Just(Step::Probe),
            Just(Step::Close),
        ];
        proptest::collection::vec((0..400u16, step), 1..40)
    }

    proptest! {
        /// Whatever happens, in whatever order: nothing passes while it is open, it stays open neither shorter nor longer
        /// than its bounds say, and each change is a later word than what it changes.
        #[test]
        fn a_breaker_never_serves_while_it_is_open(steps in steps()) {
            let (mut breaker, mut now) = (Breaker::new(REST), at(0));
            for (wait, step) in steps {
                now = now.plus(Duration::from_secs(wait.into()));
                let next = match step {
                    Step::Trip => breaker.trip(now, REST),
                    Step::Hold(until) => {
                        breaker.hold(now, until.map(|s| now.plus(Duration::from_secs(s.into()))), REST)
                    }
                    Step::Probe => match breaker.probe(now) {
                        Some(next) => {
                            prop_assert!(!breaker.is_shut(now) && breaker.phase != Phase::Closed);
                            next
                        }
                        None => breaker,
                    },
                    Step::Close => breaker.close(now),
                };
                prop_assert!(next == breaker || next.supersedes(&breaker));
                prop_assert!(!breaker.supersedes(&next));
                if let (Step::Trip, Phase::Open { until: Some(until) }) = (&step, next.phase) && next != breaker {
                    prop_assert!(next.is_shut(now));
                    prop_assert!((REST.open..=REST.open_max).contains(&until.since(now)));
                }
                prop_assert!(next.retry_after(now) >= Duration::from_secs(1));
                breaker = next;
            }
        }
    }
}
