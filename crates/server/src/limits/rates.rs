use std::{num::NonZeroU32, sync::Arc, time::Duration};

use governor::{RateLimiter, clock::Clock as _, middleware::NoOpMiddleware, nanos::Nanos};
use vestibule_model::{Clock, Denial, Directory, Refusal, SpentLimit};

use super::{
    Standing,
    asking::{Asking, Key},
    cells::Cells,
    refused,
    ticks::Ticks,
};
use crate::config::Rate;

/// Most keys of one rate that are counted at once. Beyond it, a further caller is refused.
const KEYS_MAX: usize = 100_000;
const FULL: &str = "counts as many callers as it can";

/// All rates.
#[derive(Debug)]
pub(super) struct Rates(Vec<Limited>);

/// One rate and what it has counted: the generic cell rate algorithm, by `governor`.
#[derive(Debug)]
struct Limited {
    rate: Rate,
    cells: Cells,
    ticks: Ticks,
    limiter: RateLimiter<Key, Cells, Ticks, NoOpMiddleware<Nanos>>,
}

impl Rates {
    pub(super) fn new(rates: &[Rate], clock: &Arc<dyn Clock>) -> Self {
        Self(rates.iter().map(|rate| Limited::new(rate.clone(), clock, KEYS_MAX)).collect())
    }

    /// Counts an attempt against every rate that matches it, whatever the others say: which is asked first does not
    /// matter.
    pub(super) fn charge(&self, asking: &Asking<'_>, directory: &Directory) -> Result<(), Refusal> {
        let mut refusal: Option<Refusal> = None;
        for limited in &self.0 {
            let Some(key) = asking.key(&limited.rate.rule, directory) else { continue };
            if let Err((what, wait)) = limited.charge(&key) {
                let (rule, spent) = (&limited.rate.rule, limited.spent(wait));
                refused::add(&mut refusal, Denial::RateExceeded, rule, spent, what);
            }
        }
        refusal.map_or(Ok(()), Err)
    }

    pub(super) fn tidy(&self) {
        self.0.iter().for_each(|limited| limited.cells.tidy());
    }

    pub(super) fn configured(&self) -> impl Iterator<Item = &Rate> {
        self.0.iter().map(|limited| &limited.rate)
    }

    /// What is used of the rate with that name, by everybody who has used any.
    pub(super) fn standing(&self, name: &str) -> Option<Vec<Standing>> {
        let limited = self.0.iter().find(|limited| &*limited.rate.rule.name == name)?;
        Some(limited.standing())
    }
}

impl Limited {
    fn new(rate: Rate, clock: &Arc<dyn Clock>, keys_max: usize) -> Self {
        let ticks = Ticks::new(clock);
        let cells = Cells::new(ticks.clone(), keys_max);
        // INVARIANT: no number of a checked rate is zero.
        let at_least_one = |number: u32| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let quota = governor::Quota::with_period(Self::one_call(&rate))
            .unwrap_or_else(|| governor::Quota::per_hour(at_least_one(rate.calls)))
            .allow_burst(at_least_one(rate.burst));
        let limiter = RateLimiter::new(quota, cells.clone(), ticks.clone());
        Self { rate, cells, ticks, limiter }
    }

    /// After how long one call comes back.
    fn one_call(rate: &Rate) -> Duration {
        Duration::from_secs(rate.seconds.into()) / rate.calls.max(1)
    }

    /// If there is no room, why, and how long to wait.
    fn charge(&self, key: &Key) -> Result<(), (&'static str, Duration)> {
        if !self.cells.takes(key) {
            return Err((FULL, Duration::from_secs(1)));
        }
        let wait = |until: governor::NotUntil<Nanos>| until.wait_time_from(self.ticks.now());
        self.limiter.check_key(key).map_err(|until| (refused::USED_UP, wait(until)))
    }

    fn spent(&self, wait: Duration) -> SpentLimit {
        SpentLimit {
            rule: Arc::clone(&self.rate.rule.name),
            calls: self.rate.calls.into(),
            seconds: self.rate.seconds.into(),
            wait_seconds: refused::whole_seconds(wait),
        }
    }

    fn standing(&self) -> Vec<Standing> {
        let one = u64::try_from(Self::one_call(&self.rate).as_nanos()).unwrap_or(u64::MAX).max(1);
        let standing = |(key, left): (Key, u64)| Standing {
            key,
            used: left.div_ceil(one),
            of: self.rate.burst.into(),
            resets_in_seconds: refused::whole_seconds(Duration::from_nanos(left)),
        };
        self.cells.standing().into_iter().map(standing).collect()
    }
}

#[cfg(test)]
mod tests {
    use vestibule_model::{Actor, AgentId, AppId, FixedClock, Timestamp};

    use super::*;
    use crate::config::{Only, Per, Rule};

    fn rate(calls: u32, seconds: u32, burst: u32) -> Rate {
        let rule = Rule { name: "r".into(), per: [Per::Agent].into(), only: Only::default() };
        Rate { rule, calls, seconds, burst }
    }

    fn limited(rate: Rate, keys_max: usize) -> (Limited, Arc<FixedClock>) {
        let clock = Arc::new(FixedClock::at(Timestamp::from_seconds(1_800_000_000)));
        (Limited::new(rate, &(Arc::clone(&clock) as Arc<dyn Clock>), keys_max), clock)
    }

    fn key(agent: &str) -> Key {
        let chain = [Actor { issuer: "https://i".into(), agent: AgentId::new(agent).unwrap() }];
        let app = AppId::new("api").unwrap();
        let asking = Asking { chain: &chain, user: None, app: &app, operation: None };
        asking.key(&rate(1, 1, 1).rule, &Directory::default()).unwrap()
    }

    #[test]
    fn of_what_16_threads_ask_at_one_moment_the_burst_passes_and_then_one_call_after_the_other() {
        let (limited, clock) = limited(rate(10, 60, 7), 10);
        let passed = || {
            std::thread::scope(|scope| {
                let asked: Vec<_> = (0..16)
                    .map(|_| scope.spawn(|| (0..4).filter(|_| limited.charge(&key("a")).is_ok()).count()))
                    .collect();
                asked.into_iter().map(|asked| asked.join().unwrap()).sum::<usize>()
            })
        };
        assert_eq!(passed(), 7);
        assert_eq!(limited.charge(&key("a")), Err((refused::USED_UP, Duration::from_secs(6))));
        clock.advance(Duration::from_secs(5));
        assert_eq!(limited.charge(&key("a")), Err((refused::USED_UP, Duration::from_secs(1))));
        clock.advance(Duration::from_secs(1));
        assert_eq!(passed(), 1);
        clock.advance(Duration::from_secs(15));
        assert_eq!(passed(), 2, "and a half, which is kept");
        clock.advance(Duration::from_secs(3));
        assert_eq!(passed(), 1);
        clock.advance(Duration::from_secs(3_600));
        assert_eq!(passed(), 7);
    }

    #[test]
    fn so_many_keys_are_counted_and_what_is_fresh_again_makes_room() {
        let (limited, clock) = limited(rate(1, 10, 1), 2);
        assert!(limited.charge(&key("a")).is_ok());
        clock.advance(Duration::from_secs(5));
        assert!(limited.charge(&key("b")).is_ok());
        assert_eq!(limited.charge(&key("c")), Err((FULL, Duration::from_secs(1))));
        assert_eq!(limited.charge(&key("b")), Err((refused::USED_UP, Duration::from_secs(10))));
        clock.advance(Duration::from_secs(5));
        assert!(limited.charge(&key("c")).is_ok());
        assert!(limited.charge(&key("a")).is_err());
        assert_eq!(limited.standing().len(), 2);
        clock.advance(Duration::from_secs(10));
        limited.cells.tidy();
        assert!(limited.cells.takes(&key("a")) && limited.standing().is_empty());
    }

    #[test]
    fn what_is_used_goes_back_with_time() {
        let (limited, clock) = limited(rate(10, 60, 10), 10);
        for _ in 0..4 {
            limited.charge(&key("a")).unwrap();
        }
        let used = |limited: &Limited| limited.standing().first().map(|standing| standing.used);
        assert_eq!(used(&limited), Some(4));
        clock.advance(Duration::from_secs(7));
        assert_eq!(used(&limited), Some(3));
        clock.advance(Duration::from_secs(17));
        assert_eq!(used(&limited), None);
    }

    #[test]
    fn the_largest_and_the_smallest_rate_can_be_counted() {
        for (calls, seconds, burst) in [(1, 3_600, 1_000_000), (1_000_000, 1, 1), (1, 1, 1)] {
            let (limited, _) = limited(rate(calls, seconds, burst), 1);
            assert!((0..burst).all(|_| limited.charge(&key("a")).is_ok()));
            assert!(limited.charge(&key("a")).is_err());
        }
    }
}
