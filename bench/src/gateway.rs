//! The gateway as an operator runs it: agents, tokens, orders. What is known of its API stands here, of its configuration
//! in `folder.rs`.

use std::{
    io,
    path::Path,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use vestibule_testkit::Holder;

use crate::{
    Failed,
    agents::{self, Client},
    folder::{self, CALLERS_GROUP, HTTP_APP, MCP_APP, POLICIES},
    process::Process,
    wire::{Answer, Connection, Target},
    workload::{HOLD_PATH, Workload},
};

/// Agents that call. The others are there to take room.
const CALLERS: usize = 8;
/// Connections over which agents are registered.
const REGISTRARS: usize = 8;

/// A running gateway with both doors, all policies and the record on.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) process: Process,
    issuer: Target,
    admin: Target,
    admin_token: String,
    callers: Vec<Client>,
}

impl Gateway {
    /// Starts `binary` on a fresh folder, in front of an application at `upstream`. `limits` is that section of the
    /// configuration, in one line; empty for the defaults.
    pub(crate) fn start(binary: &Path, folder: &Path, upstream: &str, limits: &str) -> Result<Self, Failed> {
        folder::prepare(folder, upstream, limits)
            .map_err(|error| Failed::because(folder.display(), error))?;
        let mut command = Command::new(binary);
        command.arg("run").arg("--dir").arg(folder).args(["--output", "json"]);
        let (process, line) = Process::start("vestibule", &mut command)?;
        let text = |key: &str| {
            line.get(key)
                .and_then(Value::as_str)
                .ok_or_else(|| Failed::because("vestibule does not announce", key))
        };
        Ok(Self {
            issuer: Target::parse(text("issuer")?)?,
            admin: Target::parse(text("admin_url")?)?,
            admin_token: text("admin_token")?.to_owned(),
            callers: Vec::new(),
            process,
        })
    }

    /// Registers `count` agents, the callers first.
    pub(crate) fn register(&mut self, count: usize) -> Result<(), Failed> {
        self.callers = (0..CALLERS).map(|number| self.add(number)).collect::<Result<_, _>>()?;
        let next = AtomicUsize::new(CALLERS);
        thread::scope(|scope| {
            let registrar = || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return Ok(());
                    }
                    self.add(number)?;
                }
            };
            let registrars: Vec<_> = (0..REGISTRARS).map(|_| scope.spawn(registrar)).collect();
            registrars.into_iter().try_for_each(|registrar| {
                registrar.join().unwrap_or_else(|_| Err(Failed("a registrar panicked".to_owned())))
            })
        })
    }

    fn add(&self, number: usize) -> Result<Client, Failed> {
        let group =
            if number < CALLERS { CALLERS_GROUP.to_owned() } else { format!("group-{}", number % POLICIES) };
        let agent =
            json!({ "id": format!("agent-{number}"), "groups": [group], "trust": 1, "scopes": ["reports"] });
        let target = self.admin.at("/admin/v1/agents");
        let added = post(&target, &self.authorization(), "application/json", &agent.to_string())?;
        let text = |key: &str| added.get(key).and_then(Value::as_str).unwrap_or_default();
        Ok(Client { id: text("client_id").to_owned(), secret: text("client_secret").to_owned() })
    }

    /// Where a workload is sent.
    pub(crate) fn target(&self, workload: Workload) -> Target {
        self.issuer.at(&match workload {
            Workload::ToolsCall => format!("/apps/{MCP_APP}/mcp"),
            Workload::Http => format!("/apps/{HTTP_APP}{}", workload.path()),
        })
    }

    /// Where requests are sent that nobody answers.
    pub(crate) fn hold(&self) -> Target {
        self.issuer.at(&format!("/apps/{HTTP_APP}{HOLD_PATH}"))
    }

    /// A fresh token of each caller for a workload.
    pub(crate) fn tokens(&self, workload: Workload) -> Result<Vec<String>, Failed> {
        let form = format!(
            "grant_type=client_credentials&resource={}",
            self.resource(workload).replace(':', "%3A").replace('/', "%2F")
        );
        let target = self.issuer.at("/oauth/token");
        let token = |Client { id, secret }: &Client| {
            let authorization = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
            let answer = post(&target, &authorization, "application/x-www-form-urlencoded", &form)?;
            let token = answer.get("access_token").and_then(Value::as_str);
            token.map(str::to_owned).ok_or_else(|| Failed("the issuer's answer has no token".to_owned()))
        };
        self.callers.iter().map(token).collect()
    }

    /// The last agents of fresh chains, one below each caller, each bound to its key.
    pub(crate) fn chains(&self, workload: Workload, depth: usize) -> Result<Vec<Holder>, Failed> {
        let (issuer, resource) = (self.issuer_url(), self.resource(workload));
        agents::block_on(async {
            let mut last = Vec::new();
            for caller in &self.callers {
                last.push(agents::chain(&issuer, caller, &resource, depth).await?);
            }
            Ok(last)
        })
    }

    /// A root of the first caller for plain HTTP, bound to its key, and the caller's name.
    pub(crate) async fn root(&self) -> Result<(String, Holder), Failed> {
        let caller = self.callers.first().ok_or_else(|| Failed("nobody is registered".to_owned()))?;
        let root = agents::root(&self.issuer_url(), caller, &self.resource(Workload::Http)).await?;
        Ok((caller.id.clone(), root))
    }

    /// A connection for orders.
    pub(crate) fn operator(&self) -> Result<Operator, Failed> {
        let target = self.admin.at("/admin/v1/revocations");
        let connection =
            Connection::open(&target.authority).map_err(|error| Failed::because(&target.authority, error))?;
        Ok(Operator { connection, target, authorization: self.authorization() })
    }

    fn issuer_url(&self) -> String {
        format!("http://{}", self.issuer.authority)
    }

    fn resource(&self, workload: Workload) -> String {
        match workload {
            Workload::ToolsCall => format!("{}/apps/{MCP_APP}/mcp", self.issuer_url()),
            Workload::Http => format!("{}/apps/{HTTP_APP}", self.issuer_url()),
        }
    }

    fn authorization(&self) -> String {
        format!("Bearer {}", self.admin_token)
    }
}

/// Whoever revokes, on a connection that is open already.
#[derive(Debug)]
pub(crate) struct Operator {
    connection: Connection,
    target: Target,
    authorization: String,
}

impl Operator {
    /// Revokes an agent, or tells only what that would do. Gives the report.
    pub(crate) fn revoke(&mut self, agent: &str, is_rehearsal: bool) -> Result<Value, Failed> {
        let order = json!({ "kind": "agent", "id": agent, "reason": "compromise", "dry_run": is_rehearsal });
        let request = request(&self.target, &self.authorization, "application/json", &order.to_string());
        answer(&self.target, self.connection.exchange(request.as_bytes()))
    }
}

fn post(target: &Target, authorization: &str, content_type: &str, body: &str) -> Result<Value, Failed> {
    let request = request(target, authorization, content_type, body);
    let exchange = |mut connection: Connection| connection.exchange(request.as_bytes());
    answer(target, Connection::open(&target.authority).and_then(exchange))
}

fn request(target: &Target, authorization: &str, content_type: &str, body: &str) -> String {
    format!(
        "POST {} HTTP/1.1\r\nhost: {}\r\nauthorization: {authorization}\r\ncontent-type: {content_type}\r\n\
         content-length: {}\r\n\r\n{body}",
        target.path,
        target.authority,
        body.len()
    )
}

fn answer(target: &Target, exchanged: io::Result<Answer>) -> Result<Value, Failed> {
    let failed = |error: &dyn std::fmt::Display| Failed::because(format!("POST {}", target.path), error);
    let Answer { status, body } = exchanged.map_err(|error| failed(&error))?;
    if !(200..300).contains(&status) {
        return Err(failed(&format!("{status} {}", String::from_utf8_lossy(&body))));
    }
    serde_json::from_slice(&body).map_err(|error| failed(&error))
}

/// Waits until the gateway has read the application's tools and loaded the policies.
#[expect(clippy::disallowed_methods, reason = "nothing tells when another process is ready")]
pub(crate) fn until_ready(mut is_ready: impl FnMut() -> Result<(), Failed>) -> Result<(), Failed> {
    for _ in 0..100 {
        if is_ready().is_ok() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(100));
    }
    is_ready()
}
