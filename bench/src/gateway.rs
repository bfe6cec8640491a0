//! The gateway as an operator sets it up: a folder, agents, tokens. Everything that knows the gateway's configuration
//! and its API stands here.

use std::{
    fmt::Write,
    fs,
    path::Path,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    Failed,
    process::Process,
    wire::{Answer, Connection, Target},
    workload::{self, Workload},
};

/// Policies in the folder.
const POLICIES: usize = 1_000;
/// Agents that call. The others are there to take room.
const CALLERS: usize = 8;
/// Connections over which agents are registered.
const REGISTRARS: usize = 8;
/// The MCP application.
const MCP_APP: &str = "bench";
/// The HTTP application.
const HTTP_APP: &str = "bench-http";

/// A running gateway with both doors, all policies and the record on.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) process: Process,
    issuer: Target,
    admin: Target,
    admin_token: String,
    /// `client_id:client_secret`.
    callers: Vec<String>,
}

impl Gateway {
    /// Starts `binary` on a fresh folder, in front of an application at `upstream`.
    pub(crate) fn start(binary: &Path, folder: &Path, upstream: &str) -> Result<Self, Failed> {
        prepare(folder, upstream).map_err(|error| Failed::because(folder.display(), error))?;
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

    fn add(&self, number: usize) -> Result<String, Failed> {
        let group =
            if number < CALLERS { "bench".to_owned() } else { format!("group-{}", number % POLICIES) };
        let agent =
            json!({ "id": format!("agent-{number}"), "groups": [group], "trust": 1, "scopes": ["reports"] });
        let target = self.admin.at("/admin/v1/agents");
        let authorization = format!("Bearer {}", self.admin_token);
        let added = post(&target, &authorization, "application/json", &agent.to_string())?;
        let text = |key: &str| added.get(key).and_then(Value::as_str).unwrap_or_default();
        Ok(format!("{}:{}", text("client_id"), text("client_secret")))
    }

    /// Where a workload is sent.
    pub(crate) fn target(&self, workload: Workload) -> Target {
        self.issuer.at(&match workload {
            Workload::ToolsCall => format!("/apps/{MCP_APP}/mcp"),
            Workload::Http => format!("/apps/{HTTP_APP}{}", workload.path()),
        })
    }

    /// A fresh token of each caller for a workload.
    pub(crate) fn tokens(&self, workload: Workload) -> Result<Vec<String>, Failed> {
        let resource = match workload {
            Workload::ToolsCall => format!("http://{}/apps/{MCP_APP}/mcp", self.issuer.authority),
            Workload::Http => format!("http://{}/apps/{HTTP_APP}", self.issuer.authority),
        };
        let form = format!(
            "grant_type=client_credentials&resource={}",
            resource.replace(':', "%3A").replace('/', "%2F")
        );
        let target = self.issuer.at("/oauth/token");
        self.callers
            .iter()
            .map(|caller| {
                let authorization = format!("Basic {}", STANDARD.encode(caller));
                let answer = post(&target, &authorization, "application/x-www-form-urlencoded", &form)?;
                let token = answer.get("access_token").and_then(Value::as_str);
                token.map(str::to_owned).ok_or_else(|| Failed("the issuer's answer has no token".to_owned()))
            })
            .collect()
    }
}

fn post(target: &Target, authorization: &str, content_type: &str, body: &str) -> Result<Value, Failed> {
    let request = format!(
        "POST {} HTTP/1.1\r\nhost: {}\r\nauthorization: {authorization}\r\ncontent-type: {content_type}\r\n\
         content-length: {}\r\n\r\n{body}",
        target.path,
        target.authority,
        body.len()
    );
    let failed = |error: &dyn std::fmt::Display| Failed::because(format!("POST {}", target.path), error);
    let Answer { status, body } = Connection::open(&target.authority)
        .and_then(|mut connection| connection.exchange(request.as_bytes()))
        .map_err(|error| failed(&error))?;
    if !(200..300).contains(&status) {
        return Err(failed(&format!("{status} {}", String::from_utf8_lossy(&body))));
    }
    serde_json::from_slice(&body).map_err(|error| failed(&error))
}

/// Writes the configuration, the secret of door two and the policies.
fn prepare(folder: &Path, upstream: &str) -> std::io::Result<()> {
    let policies = folder.join("policies");
    fs::create_dir_all(&policies)?;
    fs::write(folder.join("vestibule.yaml"), configuration(upstream))?;
    fs::write(folder.join("application.secret"), "the-credential-that-no-agent-sees\n")?;
    fs::write(policies.join("bench.cedar"), policy_text())
}

fn configuration(upstream: &str) -> String {
    let path = Workload::Http.path();
    let body = workload::arguments_schema();
    format!(
        r#"data: {{ listen: "127.0.0.1:0" }}
admin: {{ listen: "127.0.0.1:0" }}
evidence: {{ mode: batched }}
apps:
  {MCP_APP}:
    mcp:
      url: {upstream}{}
      access: {{ static: {{ bearer: {{ token: {{ file: application.secret }} }} }} }}
  {HTTP_APP}:
    http:
      url: {upstream}
      access: {{ static: {{ bearer: {{ token: {{ file: application.secret }} }} }} }}
      operations:
        routes:
          add_report: {{ route: "POST {path}", effect: write, body: {{ json: {body} }} }}
"#,
        Workload::ToolsCall.path()
    )
}

/// [`POLICIES`] policies: guard rails for every call, grants of the two operations that are called, and grants to other
/// groups of all tools, of which ten are about the called one and look at its arguments.
fn policy_text() -> String {
    let called = format!(r#"action == Action::"{MCP_APP}__{}""#, workload::tool(workload::CALLED_TOOL));
    let mut policies = vec![
        r#"forbid (principal, action in Action::"call", resource) when { context.caller.depth > 3 };"#.to_owned(),
        r#"forbid (principal, action in Action::"call", resource) unless { resource.pinned };"#.to_owned(),
        r#"forbid (principal, action in Action::"call", resource) when { context.caller.chain in AgentGroup::"suspects" };"#
            .to_owned(),
        format!(r#"forbid (principal, {called}, resource) when {{ context.input.path like "*/secret/*" }};"#),
        format!(
            r#"permit (principal in AgentGroup::"bench", {called}, resource) when {{ context.input.path like "/work/*" && context.input.count < 100 }};"#
        ),
        format!(r#"permit (principal in AgentGroup::"bench", action == Action::"{HTTP_APP}__add_report", resource);"#),
    ];
    for number in policies.len()..POLICIES {
        let tool = workload::tool(number % workload::TOOLS);
        policies.push(format!(
            r#"permit (principal in AgentGroup::"group-{number}", action == Action::"{MCP_APP}__{tool}", resource) when {{ context.input.path like "/work/*" && context.input.count < {number} }};"#
        ));
    }
    let mut text = String::new();
    for (number, policy) in policies.iter().enumerate() {
        let _ = writeln!(text, "@id(\"bench.{number}\")\n{policy}");
    }
    text
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_policies_as_promised_and_a_handful_are_about_the_called_tool() {
        let text = policy_text();
        assert_eq!(text.matches("@id(").count(), POLICIES);
        let about =
            text.matches(r#"Action::"bench__tool_0""#).count() + text.matches(r#"Action::"call""#).count();
        assert!((10..20).contains(&about), "{about}");
    }
}
