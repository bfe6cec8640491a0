use std::{path::PathBuf, process::Command, time::Duration};

use serde_json::{Value, json};

use crate::{
    Failed,
    gateway::{Gateway, until_ready},
    load::{self, Measured, Plan},
    print,
    process::Process,
    report::{Comparison, Figures, Report},
    wire::Target,
    workload::Workload,
};

/// Compares the gateway with the pass-through proxy: the same application behind both, the same load on both, turn and
/// turn about.
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// The gateway's binary, a release build.
    #[arg(long, default_value = "target/release/vestibule", value_name = "FILE")]
    vestibule: PathBuf,
    /// Agents to register.
    #[arg(long, default_value_t = 10_000)]
    agents: usize,
    /// Connections at once.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// How often each of the two has its turn.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// How long a turn is.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
    /// Exit with 1 when a gate fails.
    #[arg(long)]
    gate: bool,
}

/// The processes and where they listen.
struct Bench {
    gateway: Gateway,
    passthrough: Process,
    passthrough_at: Target,
    connections: usize,
    turn: Duration,
}

/// Which of the two has its turn.
#[derive(Debug, Clone, Copy)]
enum Side {
    Passthrough,
    Gateway,
}

/// One turn.
struct Turn {
    measured: Measured,
    cpu_us: f64,
}

impl Run {
    /// Whether the gates hold, or were not asked about.
    pub(crate) fn execute(self) -> Result<bool, Failed> {
        let folder = tempfile::tempdir().map_err(|error| Failed::because("no temporary folder", error))?;
        let (_upstream, upstream_url) = companion("upstream", &[])?;
        let (passthrough, passthrough_url) = companion("passthrough", &["--to", &upstream_url])?;
        let mut gateway = Gateway::start(&self.vestibule, folder.path(), &upstream_url)?;
        gateway.register(self.agents)?;
        let bench = Bench {
            passthrough_at: Target::parse(&passthrough_url)?,
            passthrough,
            gateway,
            connections: self.connections,
            turn: Duration::from_secs(self.seconds),
        };
        for workload in Workload::ALL {
            until_ready(|| bench.warm_up(Side::Gateway, workload))?;
            bench.warm_up(Side::Passthrough, workload)?;
        }
        let resident_mb = bench.resident_mb()?;
        let comparisons = Workload::ALL
            .into_iter()
            .map(|workload| bench.compare(workload, self.rounds))
            .collect::<Result<Vec<_>, _>>()?;
        let report = Report {
            comparisons,
            agents: self.agents,
            resident_mb,
            resident_after_load_mb: bench.resident_mb()?,
        };
        if self.json {
            print(&json!(report));
        } else {
            print(&report);
        }
        Ok(report.holds() || !self.gate)
    }
}

/// Starts this binary once more, as one of the two servers, and gives its URL.
fn companion(command: &'static str, args: &[&str]) -> Result<(Process, String), Failed> {
    let myself = std::env::current_exe().map_err(|error| Failed::because(command, error))?;
    let (process, line) = Process::start(command, Command::new(myself).arg(command).args(args))?;
    let listen = line.get("listen").and_then(Value::as_str).unwrap_or_default();
    Ok((process, format!("http://{listen}")))
}

impl Bench {
    fn plan(&self, side: Side, workload: Workload, rate: Option<f64>) -> Result<Plan, Failed> {
        let (target, tokens) = match side {
            Side::Passthrough => (self.passthrough_at.at(workload.path()), Vec::new()),
            Side::Gateway => (self.gateway.target(workload), self.gateway.tokens(workload)?),
        };
        let (connections, duration) = (self.connections, self.turn);
        Ok(Plan { target, workload, headers: Vec::new(), tokens, connections, duration, rate })
    }

    /// A short turn that does not count.
    fn warm_up(&self, side: Side, workload: Workload) -> Result<(), Failed> {
        let plan = Plan { duration: Duration::from_millis(500), ..self.plan(side, workload, None)? };
        load::run(&plan)?.without_failures().map(drop)
    }

    fn turn(&self, side: Side, workload: Workload, rate: Option<f64>) -> Result<Turn, Failed> {
        let process = match side {
            Side::Passthrough => &self.passthrough,
            Side::Gateway => &self.gateway.process,
        };
        let plan = self.plan(side, workload, rate)?;
        let before = process.cpu()?;
        let measured = load::run(&plan)?.without_failures()?;
        let cpu = process.cpu()?.saturating_sub(before);
        let cpu_us = cpu.as_secs_f64() * 1e6 / measured.requests() as f64;
        Ok(Turn { measured, cpu_us })
    }

    /// Turns of both, neighbours in time, so that a machine that slows down slows down both.
    fn turns(&self, workload: Workload, rounds: u32, rate: Option<f64>) -> Result<Vec<[Turn; 2]>, Failed> {
        (0..rounds)
            .map(|_| {
                Ok([self.turn(Side::Passthrough, workload, rate)?, self.turn(Side::Gateway, workload, rate)?])
            })
            .collect()
    }

    fn compare(&self, workload: Workload, rounds: u32) -> Result<Comparison, Failed> {
        let full = self.turns(workload, rounds, None)?;
        let gateway = figures(full.iter().map(|[_, high]| high));
        let half_load = gateway.throughput / 2.0;
        let half = self.turns(workload, rounds, Some(half_load))?;
        let p99 = |turn: &Turn| f64::from(turn.measured.percentile(0.99));
        Ok(Comparison {
            title: workload.title(),
            passthrough: figures(full.iter().map(|[low, _]| low)),
            gateway,
            cpu_ratio: median(full.iter().map(|[low, high]| high.cpu_us / low.cpu_us)),
            throughput_ratio: median(
                full.iter().map(|[low, high]| high.measured.throughput() / low.measured.throughput()),
            ),
            half_load,
            half_passthrough_p99_us: median(half.iter().map(|[low, _]| p99(low))),
            half_gateway_p99_us: median(half.iter().map(|[_, high]| p99(high))),
            p99_added_ms: median(half.iter().map(|[low, high]| (p99(high) - p99(low)) / 1000.0)),
        })
    }

    fn resident_mb(&self) -> Result<f64, Failed> {
        Ok(self.gateway.process.resident_bytes()? as f64 / 1e6)
    }
}

fn figures<'a>(turns: impl Iterator<Item = &'a Turn> + Clone) -> Figures {
    let of = |figure: fn(&Turn) -> f64| median(turns.clone().map(figure));
    Figures {
        cpu_us: of(|turn| turn.cpu_us),
        throughput: of(|turn| turn.measured.throughput()),
        p50_us: of(|turn| f64::from(turn.measured.percentile(0.5))),
        p99_us: of(|turn| f64::from(turn.measured.percentile(0.99))),
    }
}

/// The middle one; of an even number the lower one.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median([4.0, 1.0, 3.0, 2.0].into_iter()), 2.0);
        assert!(median(std::iter::empty()).is_nan());
    }
}
