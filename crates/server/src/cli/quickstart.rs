use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use url::Url;
use vestibule_model::{AppId, OsEntropy};

use super::{Failure, Outcome, admin_client::AdminClient, output::Out, run, starter};
use crate::{
    Running,
    config::{FILE_NAME, Settings, rebase},
    gateway::private_folder,
    sandbox::{self, Sandbox, Signer, UserIssuer},
    secret_file,
};

/// What `tour` and `--dir` need.
pub(super) const QUICKSTART_FILE: &str = "quickstart.json";
/// The group of agents that the starter policies of `--app` permit.
pub(super) const GROUP: &str = "quickstart";

const CONFIG: &str = include_str!("../../assets/quickstart.yaml");
const GUARD_RAILS: &str = include_str!("../../../../policies/guard-rails.cedar");
const SANDBOX_POLICIES: &str = include_str!("../../../../policies/sandbox.cedar");
const SANDBOX_TESTS: &str = include_str!("../../../../policies/sandbox.tests.json");

/// The issuer of users that the quickstart runs itself, and the file of its key.
const SANDBOX_USERS: &str = "sandbox";
pub(super) const USERS_KEY: &str = "sandbox-users.key";

/// The applications that the quickstart runs itself.
const SANDBOX_APPS: [&str; 2] = ["sandbox", "sandbox-http"];

/// Start a gateway with a sandbox application, with nothing to configure.
///
/// Makes a folder with configuration, keys, policies and database, starts in the foreground, and prints what to try next.
#[derive(Debug, Args)]
pub(super) struct Quickstart {
    /// The folder; made if it is missing, used again if it is there.
    #[arg(long, default_value = "vestibule-data", value_name = "DIR")]
    dir: PathBuf,
    /// Address for agents; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    /// Address for operators; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    admin_listen: Option<SocketAddr>,
    /// Put a real MCP server behind the gateway at once; repeatable.
    #[arg(long = "app", value_name = "ID=URL", value_parser = app_argument)]
    apps: Vec<(AppId, Url)>,
    /// Permit everything that the servers of `--app` offer, also what destroys.
    #[arg(long, requires = "apps")]
    app_permit_all: bool,
}

fn app_argument(text: &str) -> Result<(AppId, Url), String> {
    let (id, url) = text.split_once('=').ok_or("must be ID=URL")?;
    let id = AppId::new(id).map_err(|error| error.to_string())?;
    let url = Url::parse(url).map_err(|error| format!("the URL is not one: {error}"))?;
    Ok((id, url))
}

impl Quickstart {
    pub(super) async fn execute(self, out: &Out) -> Outcome {
        run::log_to_stderr();
        let dir = run::absolute(&self.dir)?;
        prepare(&dir)?;
        let config_before = add_apps(&dir, &self.apps)?;
        let mut settings = Settings::read(&dir.join(FILE_NAME)).map_err(Failure::usage)?;
        settings.data.listen = self.listen.unwrap_or(settings.data.listen);
        settings.admin.listen = self.admin_listen.unwrap_or(settings.admin.listen);
        let stop = CancellationToken::new();
        let sandbox = serve_sandbox(&dir, &mut settings, stop.clone()).await?;
        let signals = run::Signals::take()?;
        let running = run::start(settings.clone()).await?;
        let agents = agents(&dir, &running).await?;
        if let Err(failure) = self.permit_apps(&running, &dir, out).await {
            // A URL that was mistyped must not stay in the configuration.
            std::fs::write(dir.join(FILE_NAME), config_before).map_err(Failure::broken)?;
            running.stop().await;
            return Err(failure);
        }
        if let Some(problem) = running.policy_status().problems.first() {
            out.complain(&format!(
                "the policies in {} are not loaded: {problem}",
                dir.join("policies").display()
            ));
        }
        run::announce(&settings, &running, &dir)?;
        let contract = run::contract(&running, &dir, &agents, &users(&settings));
        run::write_private(&dir.join(QUICKSTART_FILE), &contract)?;
        out.result(&contract, || next_steps(&running, &dir, &agents));
        let ended = run::until_stopped(running, signals, &dir).await;
        stop.cancel();
        let _ = sandbox.await;
        ended
    }
}

impl Quickstart {
    async fn permit_apps(&self, running: &Running, dir: &Path, out: &Out) -> Outcome {
        for (id, _) in &self.apps {
            starter::policy(running, dir, id, self.app_permit_all, out).await?;
        }
        Ok(())
    }
}

/// Makes what is missing of the folder. What is there is the operator's and stays.
fn prepare(dir: &Path) -> Outcome {
    private_folder(dir).map_err(Failure::broken)?;
    private_folder(&dir.join("policies")).map_err(Failure::broken)?;
    let secret = || secret_file::random_token("sbx_", &OsEntropy).expose_secret().as_bytes().to_vec();
    let files: [(&str, Vec<u8>); 5] = [
        (FILE_NAME, CONFIG.into()),
        ("policies/guard-rails.cedar", GUARD_RAILS.into()),
        ("policies/sandbox.cedar", SANDBOX_POLICIES.into()),
        ("policies/sandbox.tests.json", SANDBOX_TESTS.into()),
        ("sandbox.secret", secret()),
    ];
    for (name, content) in files {
        let path = dir.join(name);
        secret_file::create(&path, || content)
            .map_err(|error| Failure::Broken(format!("cannot write `{}`: {error}", path.display())))?;
    }
    Ok(())
}

/// Appends applications to the configuration and returns what it was. `apps` is its last section.
fn add_apps(dir: &Path, apps: &[(AppId, Url)]) -> Result<String, Failure> {
    let path = dir.join(FILE_NAME);
    let before = std::fs::read_to_string(&path).map_err(Failure::broken)?;
    if apps.is_empty() {
        return Ok(before);
    }
    let mut text = before.clone();
    let known = Settings::read(&path).map_err(Failure::usage)?;
    for (id, url) in apps {
        match known.apps.iter().find(|app| app.id == *id) {
            Some(app) if app.url == *url => {}
            Some(app) => {
                let file = path.display();
                return Err(Failure::Usage(format!("`{id}` is {} in `{file}`: change it there", app.url)));
            }
            None => text.push_str(&format!("  {id}:\n    mcp:\n      url: {url}\n")),
        }
    }
    std::fs::write(&path, text).map_err(Failure::broken)?;
    Settings::read(&path).map(|_| before).map_err(|error| {
        Failure::Usage(format!("`--app` could not be added, `apps` must be the last section: {error}"))
    })
}

/// Serves the sandbox on its configured port, or on a free one where that is taken.
async fn serve_sandbox(
    dir: &Path,
    settings: &mut Settings,
    stop: CancellationToken,
) -> Result<tokio::task::JoinHandle<()>, Failure> {
    let secret = std::fs::read_to_string(dir.join("sandbox.secret")).map_err(Failure::broken)?;
    let sandbox = Sandbox::new(SecretString::from(secret.trim().to_owned()), Arc::new(OsEntropy));
    let key = Signer::load_or_create(&dir.join(USERS_KEY)).map_err(Failure::broken)?;
    let configured = settings.apps.iter().find(|app| SANDBOX_APPS.contains(&app.id.as_str()));
    let port = configured.and_then(|app| app.url.port()).unwrap_or(0);
    let listener = match TcpListener::bind(("127.0.0.1", port)).await {
        Ok(listener) => listener,
        Err(_) => TcpListener::bind(("127.0.0.1", 0)).await.map_err(Failure::broken)?,
    };
    let port = listener.local_addr().map_err(Failure::broken)?.port();
    for app in settings.apps.iter_mut().filter(|app| SANDBOX_APPS.contains(&app.id.as_str())) {
        app.url.set_port(Some(port)).map_err(|()| Failure::usage("the sandbox's URL has no port"))?;
    }
    let users = settings.user_issuers.iter_mut().find(|issuer| issuer.name == SANDBOX_USERS).map(|issuer| {
        rebase(issuer, port);
        UserIssuer::new(&issuer.issuer, key)
    });
    Ok(tokio::spawn(async move {
        if let Err(error) = sandbox::serve(sandbox, users, listener, stop.cancelled_owned()).await {
            tracing::error!(%error, "the sandbox ended");
        }
    }))
}

/// The agents of the quickstart: those of the file, or fresh ones.
async fn agents(dir: &Path, running: &Running) -> Result<Vec<Value>, Failure> {
    if let Ok(text) = std::fs::read_to_string(dir.join(QUICKSTART_FILE)) {
        let known: Value = serde_json::from_str(&text).map_err(Failure::broken)?;
        if let Some(agents) = known.get("agents").and_then(Value::as_array) {
            return Ok(agents.clone());
        }
    }
    let admin = AdminClient::new(running.admin_url(), running.admin_token().clone())?;
    let mut agents = Vec::new();
    for agent in [
        json!({
            "id": "demo-agent", "groups": ["sandbox-agents", GROUP], "trust": 1, "scopes": ["profile", "repo"],
            "claims": { "role": ["developer"], "department": ["engineering"], "tenant": ["acme"] },
        }),
        json!({ "id": "demo-admin", "groups": ["sandbox-admins"], "trust": 2, "scopes": ["profile", "repo"] }),
    ] {
        let added = admin.post("/admin/v1/agents", &agent).await?;
        let part = |key: &str| added.get(key).cloned().unwrap_or_default();
        agents.push(json!({
            "id": part("id"), "client_id": part("client_id"), "client_secret": part("client_secret"),
        }));
    }
    Ok(agents)
}

/// Who can log in at the sandbox, and where.
fn users(settings: &Settings) -> Vec<Value> {
    let issuer = settings.user_issuers.iter().find(|issuer| issuer.name == SANDBOX_USERS);
    let user = |issuer: &str| sandbox::users().map(|id| json!({ "id": id, "issuer": issuer })).collect();
    issuer.map(|issuer| user(&issuer.issuer)).unwrap_or_default()
}

fn next_steps(running: &Running, dir: &Path, agents: &[Value]) -> String {
    let apps: Vec<String> = running
        .apps()
        .into_iter()
        .map(|(id, kind, url)| format!("  {id:<14} {:<5} {url}", kind.to_string()))
        .collect();
    let first = |key: &str| {
        agents.first().and_then(|agent| agent.get(key)).and_then(Value::as_str).unwrap_or_default()
    };
    let dir = dir.display();
    format!(
        "Vestibule is running. Everything it needs lies in {dir}.

Applications, as agents reach them
{}

An agent to try it with
  client_id      {}
  client_secret  {}

In another terminal
  vestibule tour --dir {dir}              the whole story in a minute
  vestibule tour --incident --dir {dir}   an agent is compromised, and cut with all below it
  vestibule audit tail --dir {dir}        what happens, as it happens
  vestibule policy applicable --agent {} --dir {dir}
  vestibule revoke agent {} --dir {dir}   stop it, now

Stop with Ctrl-C.",
        apps.join("\n"),
        first("client_id"),
        first("client_secret"),
        first("id"),
        first("id"),
    )
}
