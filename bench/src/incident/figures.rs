use std::{fmt, time::Duration};

use serde::Serialize;

/// How long orders took, from the request to the acknowledgement, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Times {
    pub(crate) min_ms: f64,
    pub(crate) median_ms: f64,
    /// By the nearest rank: of fewer than a hundred the longest.
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

/// What came of the incidents. That nothing was left uncut, nobody else was touched and no byte came late is no figure:
/// otherwise there is none.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Incident {
    /// Requests in flight at each.
    pub(crate) in_flight: usize,
    /// How many of them were cut.
    pub(crate) cut: usize,
    pub(crate) incidents: u32,
    pub(crate) acknowledged: Times,
    /// Of as many orders, given in between, under whose name nothing was in flight.
    pub(crate) acknowledged_idle: Times,
    /// CPU time of the gateway until the acknowledgement, for each request that was cut, in microseconds.
    pub(crate) cpu_us: f64,
    /// Of all requests that were cut: those that were waiting for their turn. The application had the others.
    pub(crate) queued: usize,
    /// Those that were answered that their agent is revoked.
    pub(crate) told: usize,
    /// Those whose connection was closed instead.
    pub(crate) closed: usize,
}

impl Times {
    pub(super) fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |share: f64| {
            let rank = (times.len() as f64 * share).ceil() as usize;
            times.get(rank.saturating_sub(1)).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
        };
        Self { min_ms: at(0.0), median_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1.0) }
    }
}

impl fmt::Display for Incident {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { in_flight, cut, incidents, cpu_us, queued, told, closed, .. } = self;
        writeln!(f, "{incidents} incidents: {cut} of {in_flight} requests in flight are cut")?;
        writeln!(
            f,
            "  {:<38}{:>10}{:>10}{:>10}{:>10}",
            "until acknowledged, ms", "min", "median", "p99", "max"
        )?;
        for (name, times) in
            [("the incident", self.acknowledged), ("nothing under the name", self.acknowledged_idle)]
        {
            let Times { min_ms, median_ms, p99_ms, max_ms } = times;
            writeln!(f, "    {name:<36}{min_ms:>10.2}{median_ms:>10.2}{p99_ms:>10.2}{max_ms:>10.2}")?;
        }
        writeln!(f, "  CPU per request that is cut, us: {cpu_us:.1}")?;
        let all = told + closed;
        writeln!(f, "  of all {all}, {queued} were waiting and {} at the application", all - queued)?;
        writeln!(
            f,
            "  {told} were told and {closed} were closed; no byte came later, and nobody else was touched"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_twenty_the_longest_is_the_99th_percentile() {
        let times = Times::of((1..=20).rev().map(Duration::from_millis).collect());
        assert_eq!(times, Times { min_ms: 1.0, median_ms: 10.0, p99_ms: 20.0, max_ms: 20.0 });
        let times = Times::of((1..=200).map(Duration::from_millis).collect());
        assert_eq!((times.p99_ms, times.max_ms), (198.0, 200.0));
    }
}
