use std::path::{Path, PathBuf};

use clap::Args;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use vestibule_model::{OsEntropy, SystemClock};
use vestibule_outbound::SecretRef;

use super::{
    Failure, Outcome,
    admin_client::{RUNNING_FILE, RunningAt},
    environment,
    output::Out,
};
use crate::{
    Running, StartError, Surroundings,
    config::{FILE_NAME, Settings},
    secret_file,
};

/// Start a gateway from a configuration file.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// The gateway's folder, with `vestibule.yaml` in it.
    #[arg(long, default_value = "vestibule-data", value_name = "DIR")]
    dir: PathBuf,
    /// The configuration file, if it is not in the folder.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Run {
    pub(super) async fn execute(self, out: &Out) -> Outcome {
        log_to_stderr();
        let file = self.config.unwrap_or_else(|| self.dir.join(FILE_NAME));
        let settings = Settings::read(&file).map_err(Failure::usage)?;
        let signals = Signals::take()?;
        let running = start(settings.clone()).await?;
        if let Some(problem) = running.policy_status().problems.first() {
            out.complain(&format!("the policies are not loaded, everything is refused: {problem}"));
        }
        announce(&settings, &running, &self.dir)?;
        let dir = absolute(&self.dir)?;
        out.result(&contract(&running, &dir, &[], &[]), || {
            format!("gateway  {}\nadmin    {}", running.gateway_url(), running.admin_url())
        });
        until_stopped(running, signals, &self.dir).await
    }
}

/// Starts a gateway of this process.
pub(super) async fn start(settings: Settings) -> Result<Running, Failure> {
    let surroundings = Surroundings {
        clock: Arc::new(SystemClock::default()),
        entropy: Arc::new(OsEntropy),
        env: environment,
    };
    Running::start(settings, surroundings).await.map_err(|error| match error {
        StartError::Configuration(message) => Failure::Usage(message),
        StartError::Broken { .. } => Failure::broken(error),
    })
}

/// Writes where the gateway is, for the other commands.
pub(super) fn announce(settings: &Settings, running: &Running, dir: &Path) -> Outcome {
    let token = if let SecretRef::File(file) = &settings.admin_token { Some(absolute(file)?) } else { None };
    let at = RunningAt {
        gateway_url: running.gateway_url().to_owned(),
        admin_url: running.admin_url().to_owned(),
        admin_token_file: token,
    };
    write_private(&dir.join(RUNNING_FILE), &json!(at))
}

/// Replaces a file that only its owner may read.
pub(super) fn write_private(path: &Path, content: &Value) -> Outcome {
    let fault =
        |error: std::io::Error| Failure::Broken(format!("cannot write `{}`: {error}", path.display()));
    let fresh = path.with_extension("json.new");
    match std::fs::remove_file(&fresh) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(fault(error)),
    }
    secret_file::create(&fresh, || content.to_string().into_bytes()).map_err(fault)?;
    std::fs::rename(&fresh, path).map_err(fault)
}

/// What a started gateway tells on its one line.
pub(super) fn contract(running: &Running, dir: &Path, agents: &[Value], users: &[Value]) -> Value {
    let apps: Vec<Value> = running
        .apps()
        .into_iter()
        .map(|(id, kind, url)| json!({ "id": id, "kind": kind, "url": url }))
        .collect();
    json!({
        "gateway_url": running.gateway_url(),
        "issuer": running.gateway_url(),
        "admin_url": running.admin_url(),
        "admin_token": running.admin_token().expose_secret(),
        "dir": dir,
        "apps": apps,
        "agents": agents,
        "users": users,
    })
}

/// SIGTERM and SIGINT. Taken before the gateway starts, so that one that comes early does not end the process in the
/// middle: it is met when the start is complete.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn take() -> Result<Self, Failure> {
        let take = |kind| signal(kind).map_err(Failure::broken);
        Ok(Self { terminate: take(SignalKind::terminate())?, interrupt: take(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Serves until a signal, then drains. A second signal ends at once.
pub(super) async fn until_stopped(running: Running, mut signals: Signals, dir: &Path) -> Outcome {
    signals.next().await;
    tracing::info!("draining");
    let is_drained = running.stop_unless(signals.next()).await;
    // Whoever gets the port next must not be sent the operators' token.
    if let Err(error) = std::fs::remove_file(dir.join(RUNNING_FILE)) {
        tracing::warn!(%error, "`{RUNNING_FILE}` cannot be removed");
    }
    if is_drained { Ok(()) } else { Err(Failure::Broken("ended before the drain was complete".to_owned())) }
}

pub(super) fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(Failure::broken)
}

/// The log goes to standard error; `VESTIBULE_LOG` chooses what (for example `info`, or `vestibule_server=debug`).
pub(super) fn log_to_stderr() {
    let filter = environment("VESTIBULE_LOG").unwrap_or_else(|| "warn".to_owned());
    let filter = tracing_subscriber::EnvFilter::new(filter);
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}
