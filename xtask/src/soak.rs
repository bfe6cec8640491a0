use std::time::Duration;

use vestibule_model::{Clock, SystemClock};

use crate::process::{Failure, build, cargo, command, read, root, run};

/// Crates whose property tests a soak runs: what parses or judges what a stranger sent.
const SOAKED: &[&str] = &["vestibule-model", "vestibule-mcp", "vestibule-policy", "vestibule-evidence"];

/// The tests that race orders against a running gateway.
const RACES: &str = "containment::races";

/// How far a soak goes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Extent {
    /// How often a thread may be interrupted that could go on, in the models of which every order of steps is tried.
    preemptions: u32,
    /// Schedules of each kind that are drawn for each of the same models.
    schedules: u32,
    /// Whether orders race against a running gateway thousands of times and not hundreds.
    has_all_races: bool,
    /// How long the session lasts. The sandbox of the quickstart streams for ten minutes at most.
    session_seconds: u32,
    minutes: u64,
    cases: u32,
}

impl Extent {
    pub(crate) fn new(quick: bool, minutes: Option<u64>, cases: Option<u32>) -> Self {
        let all = Self {
            preemptions: 4,
            schedules: 100_000,
            has_all_races: true,
            session_seconds: 600,
            minutes: minutes.unwrap_or(10),
            cases: cases.unwrap_or(20_000),
        };
        if !quick {
            return all;
        }
        Self {
            preemptions: 3,
            schedules: 10_000,
            has_all_races: false,
            session_seconds: 90,
            minutes: minutes.unwrap_or(1),
            cases: cases.unwrap_or(2_000),
        }
    }
}

/// The models, the races, a session of a foreign client that outlives its tokens, the property tests.
pub(crate) fn run_all(debug: bool, extent: &Extent) -> Result<(), Failure> {
    models(extent)?;
    races(extent)?;
    let gateway = build("vestibule-server", "vestibule", !debug)?;
    let mut session = command(root().join("tests/peers/long_session.sh"));
    session.env("VESTIBULE_BIN", gateway).arg(extent.session_seconds.to_string());
    run(session)?;
    properties(extent.minutes, extent.cases)
}

/// The protocol of a cut, by `loom` in every order of steps and by `shuttle` in many that are drawn.
fn models(extent: &Extent) -> Result<(), Failure> {
    let mut test =
        cargo(["test", "--release", "--locked", "--package", "vestibule-containment", "--lib", "models::"]);
    test.env("LOOM_MAX_PREEMPTIONS", extent.preemptions.to_string());
    test.env("VESTIBULE_SCHEDULES", extent.schedules.to_string());
    run(test)
}

fn races(extent: &Extent) -> Result<(), Failure> {
    let test =
        || cargo(["test", "--release", "--locked", "--package", "vestibule-server", "--test", "it", RACES]);
    let mut list = test();
    list.args(["--", "--list"]);
    // A filter that fits nothing passes.
    if !read(list)?.contains(": test") {
        return Err(format!("there is no test in `{RACES}`").into());
    }
    let mut race = test();
    if extent.has_all_races {
        race.env("VESTIBULE_RACES", "all");
    }
    run(race)
}

/// Property tests, round after round with fresh seeds, until the time is over or one fails.
fn properties(minutes: u64, cases: u32) -> Result<(), Failure> {
    let clock = SystemClock::default();
    let start = clock.monotonic();
    let limit = Duration::from_secs(minutes.saturating_mul(60));
    for round in 1_u32.. {
        for package in SOAKED {
            println!("\n==== round {round}: {package} ====");
            let mut test = cargo(["test", "--release", "--locked", "--package", package]);
            test.env("PROPTEST_CASES", cases.to_string());
            run(test)?;
            if clock.monotonic().since(start) > limit {
                println!("\nround {round}: time is over, and nothing failed");
                return Ok(());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_is_less_of_everything_unless_it_is_asked_for() {
        let (all, quick) = (Extent::new(false, None, None), Extent::new(true, None, None));
        assert!(quick.preemptions < all.preemptions && quick.schedules < all.schedules);
        assert!(!quick.has_all_races && all.has_all_races);
        assert!(quick.session_seconds < all.session_seconds);
        assert!(quick.minutes < all.minutes && quick.cases < all.cases);
        assert_eq!(Extent::new(true, Some(7), Some(8)), Extent { minutes: 7, cases: 8, ..quick });
    }
}
