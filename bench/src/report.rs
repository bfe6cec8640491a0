//! The figures, side by side, and the gates.

use std::fmt::{self, Write};

use serde::Serialize;

use crate::{incident::Incident, parts::Parts};

/// Least throughput, as a share of the pass-through proxy's.
const THROUGHPUT_MIN: f64 = 0.6;
/// Most CPU time per request, as a multiple of the pass-through proxy's.
const CPU_MAX: f64 = 2.5;
/// Most that is added to the 99th percentile at half load, in milliseconds.
const P99_ADDED_MAX_MS: f64 = 1.0;
/// Most resident memory with the registered agents, in megabytes.
const RESIDENT_MAX_MB: f64 = 80.0;

/// Most CPU time to be let in and to leave, as a share of the gateway's CPU time for a request, and so of its throughput.
const ADMISSION_MAX: f64 = 0.03;
/// Most time to verify a proof of possession, as a multiple of what its signature takes.
const PROOF_MAX: f64 = 1.1;
/// What the 99th percentile of an order in an incident is to be, in milliseconds. No gate: it waits for a disk.
const ACKNOWLEDGED_AIM_MS: f64 = 10.0;
/// What looking up one name is to take, in nanoseconds. No gate: it waits for memory.
const LOOKUP_AIM_NS: f64 = 50.0;

/// Agents in the chains that have bound tokens.
pub(crate) const BOUND_DEPTH: usize = 4;

/// What one of them did under one workload.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Figures {
    /// CPU time per request, in microseconds.
    pub(crate) cpu_us: f64,
    /// Requests per second, as fast as they are answered.
    pub(crate) throughput: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// All under one workload.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) title: &'static str,
    pub(crate) passthrough: Figures,
    /// For registered agents with bearer tokens.
    pub(crate) gateway: Figures,
    /// For agents at the end of a chain of [`BOUND_DEPTH`], with a proof for each request.
    pub(crate) bound: Figures,
    /// Medians of the ratios of neighbouring rounds, which a machine that is now faster and now slower spoils least.
    pub(crate) cpu_ratio: f64,
    pub(crate) throughput_ratio: f64,
    pub(crate) bound_cpu_ratio: f64,
    pub(crate) bound_throughput_ratio: f64,
    /// Half of the gateway's throughput: the load for the latencies below, in requests per second.
    pub(crate) half_load: f64,
    pub(crate) half_passthrough_p99_us: f64,
    pub(crate) half_gateway_p99_us: f64,
    pub(crate) p99_added_ms: f64,
}

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) comparisons: Vec<Comparison>,
    pub(crate) agents: usize,
    /// Once the agents are registered.
    pub(crate) resident_mb: f64,
    /// After all load.
    pub(crate) resident_after_load_mb: f64,
    pub(crate) parts: Parts,
    pub(crate) incident: Incident,
}

/// A limit and what was measured against it.
struct Gate {
    name: String,
    value: f64,
    limit: f64,
    is_at_least: bool,
}

impl Gate {
    fn holds(&self) -> bool {
        if self.is_at_least { self.value >= self.limit } else { self.value <= self.limit }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, [yes, no]: [&str; 2]) -> fmt::Result {
        let Self { name, value, limit, is_at_least } = self;
        let sign = if *is_at_least { ">=" } else { "<=" };
        let verdict = if self.holds() { yes } else { no };
        writeln!(f, "{verdict:<6} {name:<66} {value:>9.3} {sign} {limit}")
    }
}

impl Report {
    /// Whether every gate holds.
    pub(crate) fn holds(&self) -> bool {
        self.gates().iter().all(Gate::holds)
    }

    fn gates(&self) -> Vec<Gate> {
        let gate = |name: String, value, limit, is_at_least| Gate { name, value, limit, is_at_least };
        let mut gates = Vec::new();
        for comparison in &self.comparisons {
            let title = comparison.title;
            gates.push(gate(
                format!("CPU per request, ratio: {title}"),
                comparison.cpu_ratio,
                CPU_MAX,
                false,
            ));
            gates.push(gate(
                format!("throughput, ratio: {title}"),
                comparison.throughput_ratio,
                THROUGHPUT_MIN,
                true,
            ));
            gates.push(gate(
                format!("p99 added at half load, ms: {title}"),
                comparison.p99_added_ms,
                P99_ADDED_MAX_MS,
                false,
            ));
        }
        let resident = self.resident_mb.max(self.resident_after_load_mb);
        gates.push(gate(
            format!("resident memory, MB: {} agents", self.agents),
            resident,
            RESIDENT_MAX_MB,
            false,
        ));
        for (chain, share) in self.admission_shares() {
            gates.push(gate(
                format!("to be let in and to leave, share of CPU: {chain}"),
                share,
                ADMISSION_MAX,
                false,
            ));
        }
        let ratio = self.parts.verification.ratio;
        gates.push(gate("a proof against its signature alone, ratio".to_owned(), ratio, PROOF_MAX, false));
        gates
    }

    /// Of the workload where it is the most.
    fn admission_shares(&self) -> [(&'static str, f64); 2] {
        let admission = self.parts.admission;
        let share = |part: f64, whole: fn(&Comparison) -> f64| {
            let shares = self.comparisons.iter().map(|comparison| part / whole(comparison));
            // Of no number is known whether it is more: it must not get lost.
            shares.fold(0.0, |most: f64, share| if most.is_nan() || share <= most { most } else { share })
        };
        [
            ("depth 1", share(admission.shallow_us, |comparison| comparison.gateway.cpu_us)),
            ("depth 4", share(admission.deep_us, |comparison| comparison.bound.cpu_us)),
        ]
    }

    fn aims(&self) -> [Gate; 2] {
        let aim = |name: &str, value, limit| Gate { name: name.to_owned(), value, limit, is_at_least: false };
        [
            aim(
                "an agent revoked with much in flight, p99, ms",
                self.incident.acknowledged.p99_ms,
                ACKNOWLEDGED_AIM_MS,
            ),
            aim("one name looked up among those denied, ns", self.parts.admission.lookup_ns, LOOKUP_AIM_NS),
        ]
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "bearer: registered agents with bearer tokens")?;
        writeln!(
            f,
            "bound: the last of chains of {BOUND_DEPTH} agents, with a DPoP proof for each request\n"
        )?;
        for comparison in &self.comparisons {
            comparison.fmt(f)?;
        }
        writeln!(f, "resident memory with {} agents, MB", self.agents)?;
        writeln!(
            f,
            "  registered {:.1}, after all load {:.1}\n",
            self.resident_mb, self.resident_after_load_mb
        )?;
        writeln!(f, "{}\n{}", self.parts, self.incident)?;
        for gate in self.gates() {
            gate.write(f, ["holds", "FAILS"])?;
        }
        for aim in self.aims() {
            aim.write(f, ["met", "missed"])?;
        }
        Ok(())
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = ["pass-through", "bearer", "ratio", "bound", "ratio"];
        let [first, rest @ ..] = heads;
        let mut table = format!("{:<36}{first:>14}", self.title);
        for head in rest {
            let _ = write!(table, "{head:>12}");
        }
        let _ = writeln!(table);
        let mut row = |name: &str, [low, high, bound]: [f64; 3], [ratio, bound_ratio]: [f64; 2]| {
            let _ = write!(table, "  {name:<34}{low:>14.1}{high:>12.1}{ratio:>12.2}");
            let _ = writeln!(table, "{bound:>12.1}{bound_ratio:>12.2}");
        };
        let all = [self.passthrough, self.gateway, self.bound];
        let ratios = |[low, high, bound]: [f64; 3]| [high / low, bound / low];
        let (p50, p99) = (all.map(|one| one.p50_us), all.map(|one| one.p99_us));
        row("CPU per request, us", all.map(|one| one.cpu_us), [self.cpu_ratio, self.bound_cpu_ratio]);
        row(
            "requests per second",
            all.map(|one| one.throughput),
            [self.throughput_ratio, self.bound_throughput_ratio],
        );
        row("p50, us", p50, ratios(p50));
        row("p99, us", p99, ratios(p99));
        let (low, high) = (self.half_passthrough_p99_us, self.half_gateway_p99_us);
        let name = format!("p99 at {:.0} a second, us", self.half_load);
        let _ = writeln!(table, "  {name:<34}{low:>14.1}{high:>12.1}{:>12.2}", high / low);
        writeln!(f, "{table}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        incident::Times,
        parts::{Admission, Verification},
    };

    /// In which every gate holds by a hair.
    fn report() -> Report {
        let figures = Figures { cpu_us: 100.0, throughput: 1.0, p50_us: 1.0, p99_us: 1.0 };
        let comparison = |title| Comparison {
            title,
            passthrough: figures,
            gateway: figures,
            bound: Figures { cpu_us: 200.0, ..figures },
            cpu_ratio: 2.5,
            throughput_ratio: 0.6,
            bound_cpu_ratio: 5.0,
            bound_throughput_ratio: 0.3,
            half_load: 1.0,
            half_passthrough_p99_us: 1.0,
            half_gateway_p99_us: 1.0,
            p99_added_ms: 1.0,
        };
        let times = Times { min_ms: 1.0, median_ms: 2.0, p99_ms: 9.0, max_ms: 9.0 };
        Report {
            comparisons: vec![comparison("first"), comparison("second")],
            agents: 1,
            resident_mb: 1.0,
            resident_after_load_mb: 80.0,
            parts: Parts {
                admission: Admission {
                    shallow_us: 3.0,
                    deep_us: 6.0,
                    threads: 2,
                    denied: 1,
                    lookup_ns: 50.0,
                },
                verification: Verification { whole_us: 110.0, signature_us: 100.0, ratio: 1.1 },
            },
            incident: Incident {
                in_flight: 10,
                cut: 2,
                cpu_us: 1.0,
                queued: 1,
                incidents: 1,
                acknowledged: times,
                acknowledged_idle: times,
                told: 2,
                closed: 0,
            },
        }
    }

    #[test]
    fn each_gate_can_fail_alone() {
        assert!(report().holds());
        fn of(report: &mut Report) -> &mut Comparison {
            report.comparisons.first_mut().unwrap()
        }
        let spoilers: [fn(&mut Report); 10] = [
            |report| of(report).cpu_ratio = 2.6,
            |report| of(report).cpu_ratio = f64::NAN,
            |report| of(report).throughput_ratio = 0.59,
            |report| of(report).p99_added_ms = 1.1,
            |report| of(report).bound.cpu_us = f64::NAN,
            |report| report.resident_after_load_mb = 80.1,
            |report| report.parts.admission.shallow_us = 3.1,
            |report| report.parts.admission.deep_us = 6.1,
            |report| report.parts.admission.deep_us = f64::NAN,
            |report| report.parts.verification.ratio = 1.11,
        ];
        for (number, spoil) in spoilers.into_iter().enumerate() {
            let mut failing = report();
            spoil(&mut failing);
            assert!(!failing.holds(), "{number}");
            assert_eq!(failing.to_string().matches("FAILS").count(), 1, "{number}");
        }
    }

    #[test]
    fn an_aim_that_is_missed_fails_nothing() {
        let mut slow = report();
        slow.incident.acknowledged.p99_ms = 10.1;
        slow.parts.admission.lookup_ns = 51.0;
        assert!(slow.holds());
        assert_eq!(slow.to_string().matches("missed").count(), 2);
        assert_eq!(report().to_string().matches("missed").count(), 0);
    }
}
