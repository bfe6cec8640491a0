//! The chores of this repository: `cargo xtask check` is exactly what CI runs.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a chore talks to the person who runs it")]

mod check;
mod dependencies;
mod generate;
mod licence;
mod measure;
mod process;
mod soak;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::process::Failure;

/// Chores of the Vestibule repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Debug, Subcommand)]
enum Chore {
    /// Everything that CI demands; stops at the first failure.
    Check {
        /// Leave out the documentation and cargo-deny.
        #[arg(long)]
        quick: bool,
    },
    /// Rewrite the reference pages that are made from the code.
    Generate,
    /// Measure the gateway against a bare proxy and in incidents, then run the micro benches.
    Bench {
        /// Leave out the micro benches.
        #[arg(long)]
        no_micro: bool,
        /// Use debug builds: shows that the bench runs, measures nothing.
        #[arg(long)]
        debug: bool,
        /// Arguments for `vestibule-bench run`.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Run foreign implementations against the gateway.
    Peers {
        /// Use a debug build.
        #[arg(long)]
        debug: bool,
        /// Arguments for `tests/peers/run.sh`.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Search the protocol of a cut for a fault, race orders against a running gateway, run a session and a stream of ten
    /// minutes over tokens of one, then the property tests with many cases.
    Soak {
        /// A few minutes of it all: fewer schedules, races and cases, and a short session.
        #[arg(long)]
        quick: bool,
        /// Use a debug build of the gateway.
        #[arg(long)]
        debug: bool,
        /// No round of property tests starts after this many minutes of them. Default 10, with `--quick` 1.
        #[arg(long)]
        minutes: Option<u64>,
        /// Cases for each property in a round. Default 20,000, with `--quick` 2,000.
        #[arg(long)]
        cases: Option<u32>,
    },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().chore {
        Chore::Check { quick } => check::run_all(quick),
        Chore::Generate => generate::write(),
        Chore::Bench { no_micro, debug, arguments } => measure::bench(no_micro, debug, &arguments),
        Chore::Peers { debug, arguments } => measure::peers(debug, &arguments),
        Chore::Soak { quick, debug, minutes, cases } => {
            soak::run_all(debug, &soak::Extent::new(quick, minutes, cases))
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { message, code }) => {
            eprintln!("error: {message}");
            ExitCode::from(code)
        }
    }
}
