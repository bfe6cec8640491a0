//! The command line. Results go to standard output, diagnostics to standard error; `--output json` prints one JSON
//! object a line. Exit codes: 0 yes; 1 checked and the answer is no; 2 usage or invalid configuration; 3 cannot reach or
//! internal.

mod admin_client;
mod agent;
mod app;
mod attempt;
mod audit;
mod breaker;
mod config;
mod delegation;
mod incident;
mod keys;
mod limit;
mod order;
mod output;
mod policy;
mod quickstart;
mod revocation;
mod run;
mod sandbox;
mod secret;
mod starter;
mod tour;
mod trace;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum};

use output::Out;

/// An access-control gateway between AI agents and the applications they use.
///
/// Results go to standard output, diagnostics to standard error. Exit codes: 0 yes; 1 checked, and the answer is no; 2 wrong
/// usage or an invalid configuration; 3 the gateway cannot be reached, or something broke.
#[derive(Debug, Parser)]
#[command(name = "vestibule", version, about, max_term_width = 110, propagate_version = true)]
struct Cli {
    /// How results are printed.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    Quickstart(quickstart::Quickstart),
    Tour(tour::Tour),
    /// Start a gateway from a configuration file.
    Run(run::Run),
    /// Check a configuration, or print its JSON Schema.
    #[command(subcommand)]
    Config(config::Config),
    /// Add and look at agents.
    #[command(subcommand)]
    Agent(agent::Agent),
    /// Look at applications and test the way to them.
    #[command(subcommand)]
    App(app::App),
    Revoke(Box<order::Revoke>),
    Suspend(Box<order::Suspend>),
    Resume(order::Resume),
    #[command(subcommand)]
    Breaker(breaker::Breaker),
    #[command(subcommand)]
    Revocation(revocation::Revocation),
    #[command(subcommand)]
    Incident(Box<incident::Incident>),
    #[command(subcommand)]
    Delegation(delegation::Delegation),
    /// Read, search and verify the record.
    #[command(subcommand)]
    Audit(Box<audit::Audit>),
    /// Check, test and explain policies.
    #[command(subcommand)]
    Policy(policy::Policy),
    /// Look at and rotate the issuer's signing keys, and the keys of the vault.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Look at rates and quotas.
    #[command(subcommand)]
    Limit(limit::Limit),
    #[command(subcommand)]
    Secret(secret::Secret),
    #[command(subcommand)]
    Sandbox(sandbox::Sandbox),
}

/// Which gateway a command is about.
#[derive(Debug, Clone, Args)]
struct Target {
    /// The gateway's folder.
    #[arg(long, default_value = "vestibule-data", value_name = "DIR")]
    dir: PathBuf,
    /// The gateway's admin URL, instead of a folder. The token is then `VESTIBULE_ADMIN_TOKEN`, never an argument: those
    /// show in the process list.
    #[arg(long, env = "VESTIBULE_ADMIN_URL", value_name = "URL")]
    admin_url: Option<String>,
}

/// One variable of the environment. The command line and secret references read it, nothing else does.
#[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
enum Failure {
    /// Checked, and the answer is no. What there is to say has been said.
    No,
    /// Wrong usage or an invalid configuration.
    Usage(String),
    /// Cannot reach, or internal.
    Broken(String),
}

impl Failure {
    fn broken(error: impl std::fmt::Display) -> Self {
        Self::Broken(error.to_string())
    }

    fn usage(error: impl std::fmt::Display) -> Self {
        Self::Usage(error.to_string())
    }
}

type Outcome = Result<(), Failure>;

/// Runs the command of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let out = Out::new(cli.output == Format::Json);
    let failure = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(execute(cli.command, &out)).err(),
        Err(error) => Some(Failure::broken(error)),
    };
    match failure {
        None => ExitCode::SUCCESS,
        Some(Failure::No) => ExitCode::from(1),
        Some(Failure::Usage(message)) => {
            out.complain(&message);
            ExitCode::from(2)
        }
        Some(Failure::Broken(message)) => {
            out.complain(&message);
            ExitCode::from(3)
        }
    }
}

async fn execute(command: Command, out: &Out) -> Outcome {
    match command {
        Command::Quickstart(command) => command.execute(out).await,
        Command::Tour(command) => command.execute(out).await,
        Command::Run(command) => command.execute(out).await,
        Command::Config(command) => command.execute(out),
        Command::Agent(command) => command.execute(out).await,
        Command::App(command) => command.execute(out).await,
        Command::Revoke(command) => command.execute(out).await,
        Command::Suspend(command) => command.execute(out).await,
        Command::Resume(command) => command.execute(out).await,
        Command::Breaker(command) => command.execute(out).await,
        Command::Revocation(command) => command.execute(out).await,
        Command::Incident(command) => command.execute(out).await,
        Command::Delegation(command) => command.execute(out).await,
        Command::Audit(command) => command.execute(out).await,
        Command::Policy(command) => command.execute(out).await,
        Command::Keys(command) => command.execute(out).await,
        Command::Secret(command) => command.execute(out).await,
        Command::Limit(command) => command.execute(out).await,
        Command::Sandbox(command) => command.execute(out),
    }
}
