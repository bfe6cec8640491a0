//! What the gateway costs, against a bare pass-through proxy on the same HTTP stack, and how fast it cuts, in one run on
//! one machine. Ratios are gates, because they survive a change of machine; absolute figures are reported.

mod agents;
mod application;
mod folder;
mod gateway;
mod incident;
mod load;
mod parts;
mod passthrough;
mod process;
mod report;
mod run;
mod server;
mod upstream;
mod wire;
mod workload;

use std::{
    io::{self, Write},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, Subcommand};
use serde_json::json;

use crate::{
    application::Application,
    load::{Credentials, Plan},
    wire::Target,
    workload::Workload,
};

/// The allocator of the gateway, so that the pass-through proxy has no handicap and no advantage.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Why a measurement cannot be made, in one sentence.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Failed(String);

impl Failed {
    /// `what` failed because of `cause`.
    pub(crate) fn because(what: impl std::fmt::Display, cause: impl std::fmt::Display) -> Self {
        Self(format!("{what}: {cause}"))
    }
}

/// Measures the gateway against a bare pass-through proxy.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve an application that answers at once: MCP at `/mcp`, plain HTTP everywhere else. What asks for `/hold` is never
    /// answered; `/held` tells how many are waiting so.
    Upstream {
        /// Address to bind; port 0 takes a free one, which is printed.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
    },
    /// Serve a proxy that passes everything through and decides nothing.
    Passthrough {
        /// Address to bind; port 0 takes a free one, which is printed.
        #[arg(long, default_value = "127.0.0.1:0")]
        listen: SocketAddr,
        /// Where everything goes, as `http://HOST:PORT`.
        #[arg(long)]
        to: String,
    },
    /// Put load on one URL and print what was measured.
    Load(Load),
    /// Revoke an agent with much in flight, and measure how long that takes.
    Incident(Incident),
    /// Measure parts of the gateway through their libraries.
    Parts(parts::Amount),
    /// Compare the gateway with the pass-through proxy, then the incidents and the parts.
    Run(run::Run),
}

#[derive(Debug, clap::Args)]
struct Incident {
    /// The gateway's binary, a release build.
    #[arg(long, default_value = "target/release/vestibule", value_name = "FILE")]
    vestibule: PathBuf,
    #[command(flatten)]
    size: incident::Size,
}

impl Incident {
    fn execute(self) -> Result<(), Failed> {
        print(&incident::measure(&self.vestibule, &Application::start()?, self.size)?);
        Ok(())
    }
}

#[derive(Debug, clap::Args)]
struct Load {
    /// Where to, as `http://HOST:PORT/PATH`.
    #[arg(long)]
    url: String,
    /// Bearer tokens, one a line; connections take them in turn.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// A header for every request, as `name: value`; repeatable.
    #[arg(long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// Connections at once, one request in flight on each.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// How long.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Requests per second, sent on time whatever the answers do. Default: as fast as they are answered.
    #[arg(long)]
    rate: Option<f64>,
    /// What is sent.
    #[arg(long, value_enum, default_value_t = Workload::ToolsCall)]
    body: Workload,
}

impl Load {
    fn execute(self) -> Result<(), Failed> {
        let credentials = match &self.token_file {
            None => Credentials::Nothing,
            Some(path) => {
                let text =
                    std::fs::read_to_string(path).map_err(|error| Failed::because(path.display(), error))?;
                Credentials::Bearer(text.lines().map(str::to_owned).collect())
            }
        };
        let plan = Plan {
            target: Target::parse(&self.url)?,
            workload: self.body,
            headers: self.headers,
            credentials,
            connections: self.connections,
            duration: Duration::try_from_secs_f64(self.seconds)
                .map_err(|error| Failed::because("--seconds", error))?,
            rate: self.rate,
        };
        print(&json!(load::run(&plan)?.summary()));
        Ok(())
    }
}

/// One line on standard output. A reader that has gone away ends nothing.
pub(crate) fn print(line: &impl std::fmt::Display) {
    let mut stdout = io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Upstream { listen } => server::block_on(upstream::serve(listen)).map(|()| true),
        Command::Passthrough { listen, to } => {
            server::block_on(passthrough::serve(listen, &to)).map(|()| true)
        }
        Command::Load(load) => load.execute().map(|()| true),
        Command::Incident(incident) => incident.execute().map(|()| true),
        Command::Parts(amount) => parts::measure(amount).map(|parts| print(&parts)).map(|()| true),
        Command::Run(run) => run.execute(),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(failed) => {
            let _ = writeln!(io::stderr(), "vestibule-bench: {failed}");
            ExitCode::from(3)
        }
    }
}
