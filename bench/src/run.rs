use std::{path::PathBuf, time::Duration};

use serde_json::json;

use crate::{
    Failed, agents,
    application::{Application, companion},
    gateway::{Gateway, until_ready},
    incident,
    load::{self, Credentials, Measured, Plan},
    parts::{self, median},
    print,
    process::Process,
    report::{BOUND_DEPTH, Comparison, Figures, Report},
    wire::Target,
    workload::Workload,
};

/// Proofs for a turn that does not count, of all agents together.
const PROOFS_AT_FIRST: usize = 4_000;
/// Proofs for a turn that counts, as a multiple of what the last turns took.
const PROOFS_TO_SPARE: f64 = 1.5;

/// Compares the gateway with the pass-through proxy: the same application behind both, the same load on both, turn and
/// turn about.
#[derive(Debug, clap::Args)]
#[command(args_override_self = true)]
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
    #[command(flatten)]
    incident: incident::Size,
    #[command(flatten)]
    parts: parts::Amount,
}

/// The processes and where they listen.
struct Bench {
    gateway: Gateway,
    passthrough: Process,
    passthrough_at: Target,
    connections: usize,
    turn: Duration,
}

/// Who has its turn.
#[derive(Debug, Clone, Copy)]
enum Side {
    Passthrough,
    /// The gateway, for registered agents with bearer tokens.
    Bearer,
    /// The gateway, for agents at the end of a chain, with a proof for each request: at most so many requests.
    Bound {
        proofs: usize,
    },
}

/// One turn.
struct Turn {
    measured: Measured,
    cpu_us: f64,
}

impl Run {
    /// Whether the gates hold, or were not asked about.
    pub(crate) fn execute(self) -> Result<bool, Failed> {
        let application = Application::start()?;
        let report = self.compare(&application)?;
        if self.json {
            print(&json!(report));
        } else {
            print(&report);
        }
        Ok(report.holds() || !self.gate)
    }

    fn compare(&self, application: &Application) -> Result<Report, Failed> {
        let incident = incident::measure(&self.vestibule, application, self.incident)?;
        let parts = parts::measure(self.parts)?;
        let folder = tempfile::tempdir().map_err(|error| Failed::because("no temporary folder", error))?;
        let (passthrough, passthrough_url) = companion("passthrough", &["--to", &application.url])?;
        let mut gateway = Gateway::start(&self.vestibule, folder.path(), &application.url, "")?;
        gateway.register(self.agents)?;
        let bench = Bench {
            passthrough_at: Target::parse(&passthrough_url)?,
            passthrough,
            gateway,
            connections: self.connections,
            turn: Duration::from_secs(self.seconds),
        };
        for workload in Workload::ALL {
            until_ready(|| bench.warm_up(Side::Bearer, workload).map(drop))?;
            bench.warm_up(Side::Passthrough, workload)?;
        }
        let resident_mb = bench.resident_mb()?;
        let comparisons = Workload::ALL
            .into_iter()
            .map(|workload| bench.compare(workload, self.rounds))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Report {
            comparisons,
            agents: self.agents,
            resident_mb,
            resident_after_load_mb: bench.resident_mb()?,
            parts,
            incident,
        })
    }
}

impl Bench {
    fn plan(&self, side: Side, workload: Workload, rate: Option<f64>) -> Result<Plan, Failed> {
        let target = match side {
            Side::Passthrough => self.passthrough_at.at(workload.path()),
            Side::Bearer | Side::Bound { .. } => self.gateway.target(workload),
        };
        let credentials = match side {
            Side::Passthrough => Credentials::Nothing,
            Side::Bearer => Credentials::Bearer(self.gateway.tokens(workload)?),
            Side::Bound { proofs } => {
                let holders = self.gateway.chains(workload, BOUND_DEPTH)?;
                let each = proofs.div_ceil(holders.len().max(1));
                Credentials::Bound(agents::with_proofs(holders, &target, each))
            }
        };
        let (connections, duration) = (self.connections, self.turn);
        Ok(Plan { target, workload, headers: Vec::new(), credentials, connections, duration, rate })
    }

    /// A short turn that does not count.
    fn warm_up(&self, side: Side, workload: Workload) -> Result<Measured, Failed> {
        let plan = Plan { duration: Duration::from_millis(500), ..self.plan(side, workload, None)? };
        load::run(&plan)?.without_failures()
    }

    fn turn(&self, side: Side, workload: Workload, rate: Option<f64>) -> Result<Turn, Failed> {
        let process = match side {
            Side::Passthrough => &self.passthrough,
            Side::Bearer | Side::Bound { .. } => &self.gateway.process,
        };
        let plan = self.plan(side, workload, rate)?;
        let before = process.cpu()?;
        let measured = load::run(&plan)?.without_failures()?;
        let cpu = process.cpu()?.saturating_sub(before);
        let cpu_us = cpu.as_secs_f64() * 1e6 / measured.requests() as f64;
        Ok(Turn { measured, cpu_us })
    }

    /// Turns of all three, neighbours in time, so that a machine that slows down slows down all.
    fn full_load(&self, workload: Workload, rounds: u32) -> Result<Vec<[Turn; 3]>, Failed> {
        let first = Side::Bound { proofs: PROOFS_AT_FIRST };
        let mut pace = self.warm_up(first, workload)?.throughput();
        let mut turns = Vec::new();
        for _ in 0..rounds {
            let low = self.turn(Side::Passthrough, workload, None)?;
            let high = self.turn(Side::Bearer, workload, None)?;
            let proofs = (pace * self.turn.as_secs_f64() * PROOFS_TO_SPARE) as usize;
            let bound = self.turn(Side::Bound { proofs }, workload, None)?;
            pace = pace.max(bound.measured.throughput());
            turns.push([low, high, bound]);
        }
        Ok(turns)
    }

    fn half_load(&self, workload: Workload, rounds: u32, rate: f64) -> Result<Vec<[Turn; 2]>, Failed> {
        let turn = |side| self.turn(side, workload, Some(rate));
        (0..rounds).map(|_| Ok([turn(Side::Passthrough)?, turn(Side::Bearer)?])).collect()
    }

    fn compare(&self, workload: Workload, rounds: u32) -> Result<Comparison, Failed> {
        let full = self.full_load(workload, rounds)?;
        let gateway = figures(full.iter().map(|[_, high, _]| high));
        let half_load = gateway.throughput / 2.0;
        let half = self.half_load(workload, rounds, half_load)?;
        let p99 = |turn: &Turn| f64::from(turn.measured.percentile(0.99));
        let cpu = |low: &Turn, high: &Turn| high.cpu_us / low.cpu_us;
        let throughput = |low: &Turn, high: &Turn| high.measured.throughput() / low.measured.throughput();
        Ok(Comparison {
            title: workload.title(),
            passthrough: figures(full.iter().map(|[low, _, _]| low)),
            gateway,
            bound: figures(full.iter().map(|[_, _, bound]| bound)),
            cpu_ratio: median(full.iter().map(|[low, high, _]| cpu(low, high))),
            throughput_ratio: median(full.iter().map(|[low, high, _]| throughput(low, high))),
            bound_cpu_ratio: median(full.iter().map(|[low, _, bound]| cpu(low, bound))),
            bound_throughput_ratio: median(full.iter().map(|[low, _, bound]| throughput(low, bound))),
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
