//! The figures, side by side, and the gates.

use std::fmt::{self, Write};

use serde::Serialize;

/// Least throughput, as a share of the pass-through proxy's.
const THROUGHPUT_MIN: f64 = 0.6;
/// Most CPU time per request, as a multiple of the pass-through proxy's.
const CPU_MAX: f64 = 2.5;
/// Most that is added to the 99th percentile at half load, in milliseconds.
const P99_ADDED_MAX_MS: f64 = 1.0;
/// Most resident memory with the registered agents, in megabytes.
const RESIDENT_MAX_MB: f64 = 80.0;

/// What one of the two did under one workload.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Figures {
    /// CPU time per request, in microseconds.
    pub(crate) cpu_us: f64,
    /// Requests per second, as fast as they are answered.
    pub(crate) throughput: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// Both under one workload.
#[derive(Debug, Serialize)]
pub(crate) struct Comparison {
    pub(crate) title: &'static str,
    pub(crate) passthrough: Figures,
    pub(crate) gateway: Figures,
    /// Medians of the ratios of neighbouring rounds, which a machine that is now faster and now slower spoils least.
    pub(crate) cpu_ratio: f64,
    pub(crate) throughput_ratio: f64,
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
        gates
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for comparison in &self.comparisons {
            comparison.fmt(f)?;
        }
        writeln!(f, "resident memory with {} agents, MB", self.agents)?;
        writeln!(
            f,
            "  registered {:.1}, after all load {:.1}\n",
            self.resident_mb, self.resident_after_load_mb
        )?;
        for gate in self.gates() {
            let sign = if gate.is_at_least { ">=" } else { "<=" };
            let verdict = if gate.holds() { "holds" } else { "FAILS" };
            writeln!(f, "{verdict}  {:<66} {:>8.2} {sign} {}", gate.name, gate.value, gate.limit)?;
        }
        Ok(())
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (low, high) = (self.passthrough, self.gateway);
        let mut table = String::new();
        let mut row = |name: &str, low: f64, high: f64, ratio: f64| {
            let _ = writeln!(table, "  {name:<34}{low:>14.1}{high:>14.1}{ratio:>10.2}");
        };
        row("CPU per request, us", low.cpu_us, high.cpu_us, self.cpu_ratio);
        row("requests per second", low.throughput, high.throughput, self.throughput_ratio);
        row("p50, us", low.p50_us, high.p50_us, high.p50_us / low.p50_us);
        row("p99, us", low.p99_us, high.p99_us, high.p99_us / low.p99_us);
        let (half_low, half_high) = (self.half_passthrough_p99_us, self.half_gateway_p99_us);
        row(&format!("p99 at {:.0} a second, us", self.half_load), half_low, half_high, half_high / half_low);
        let heads = ["pass-through", "gateway", "ratio"];
        writeln!(f, "{:<36}{:>14}{:>14}{:>10}\n{table}", self.title, heads[0], heads[1], heads[2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(cpu_ratio: f64, throughput_ratio: f64, p99_added_ms: f64, resident_mb: f64) -> Report {
        let figures = Figures { cpu_us: 1.0, throughput: 1.0, p50_us: 1.0, p99_us: 1.0 };
        let comparison = Comparison {
            title: "test",
            passthrough: figures,
            gateway: figures,
            cpu_ratio,
            throughput_ratio,
            half_load: 1.0,
            half_passthrough_p99_us: 1.0,
            half_gateway_p99_us: 1.0,
            p99_added_ms,
        };
        Report {
            comparisons: vec![comparison],
            agents: 1,
            resident_mb: 1.0,
            resident_after_load_mb: resident_mb,
        }
    }

    #[test]
    fn each_gate_can_fail_alone() {
        assert!(report(2.5, 0.6, 1.0, 80.0).holds());
        for failing in [
            report(2.6, 0.6, 1.0, 80.0),
            report(2.5, 0.59, 1.0, 80.0),
            report(2.5, 0.6, 1.1, 80.0),
            report(2.5, 0.6, 1.0, 80.1),
            report(f64::NAN, 0.6, 1.0, 80.0),
        ] {
            assert!(!failing.holds());
            assert_eq!(failing.to_string().matches("FAILS").count(), 1);
        }
    }
}
