use std::{net::IpAddr, path::PathBuf, sync::Arc};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use vestibule_model::SystemClock;

use super::{
    Failure, Outcome, Target,
    admin_client::AdminClient,
    output::{Out, table, text},
};
use crate::{
    policies::read_folder,
    policy_desk::{Desk, Question, read_cases},
};

/// Check, test and explain policies. Asks the running gateway, or works from its folder where none runs.
#[derive(Debug, Subcommand)]
pub(super) enum Policy {
    /// Check that policies load: types, names, conditions that can never be met.
    Check(Files),
    /// Run the cases that lie beside the policies (`*.tests.json`).
    Test(Files),
    /// Which policies decide a call, and what would have to change.
    Explain(Explain),
    /// What an agent may call, under which conditions, by which policies and guard rails.
    Applicable(Applicable),
}

#[derive(Debug, Args)]
pub(super) struct Files {
    /// A folder of policies to look at, instead of the gateway's.
    folder: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The agent that would call.
    #[arg(long)]
    agent: String,
    /// The agents above it, from the root on; repeatable.
    #[arg(long = "ancestor", value_name = "AGENT")]
    ancestors: Vec<String>,
    /// The human that it acts for, as ISSUER#SUBJECT.
    #[arg(long)]
    user: Option<String>,
    /// A group of that human; repeatable.
    #[arg(long = "user-group", value_name = "GROUP", requires = "user")]
    user_groups: Vec<String>,
    /// The operation, as `app__name`.
    #[arg(long, required_unless_present = "delegate")]
    operation: Option<String>,
    /// Ask about handing on to this agent, in place of an operation.
    #[arg(long, value_name = "CHILD", conflicts_with_all = ["operation", "arguments"])]
    delegate: Option<String>,
    /// For how many seconds it would be handed on.
    #[arg(long, value_name = "SECONDS", requires = "delegate", default_value_t = 3_600)]
    expires: u64,
    /// The arguments, as a JSON object.
    #[arg(long, default_value = "{}", value_name = "JSON")]
    arguments: String,
    /// A scope of the token; repeatable. Without any: all that the agent may ask for.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// A token without any scope.
    #[arg(long, conflicts_with = "scopes")]
    no_scope: bool,
    /// The address that the call would come from.
    #[arg(long)]
    ip: Option<IpAddr>,
    /// When it would come (RFC 3339). Without: now.
    #[arg(long, value_name = "TIME")]
    at: Option<jiff::Timestamp>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(super) struct Applicable {
    /// The agent.
    #[arg(long)]
    agent: String,
    /// The human that it acts for, as ISSUER#SUBJECT.
    #[arg(long)]
    user: Option<String>,
    /// A group of that human; repeatable.
    #[arg(long = "user-group", value_name = "GROUP", requires = "user")]
    user_groups: Vec<String>,
    #[command(flatten)]
    target: Target,
}

impl Policy {
    pub(super) async fn execute(self, out: &Out) -> Outcome {
        match self {
            Self::Check(files) => check(files, out).await,
            Self::Test(files) => test(files, out).await,
            Self::Explain(explain) => explain.execute(out).await,
            Self::Applicable(applicable) => applicable.execute(out).await,
        }
    }
}

/// Asks the running gateway; works from the folder where none runs.
async fn ask(target: &Target, question: &str, body: &Value) -> Result<Value, Failure> {
    let path = format!("/admin/v1/policies/{question}");
    let refused = match AdminClient::of(target) {
        Ok(client) => match client.post(&path, body).await {
            Err(Failure::Broken(_)) if target.admin_url.is_none() => None,
            answered => return answered,
        },
        Err(refused) if target.admin_url.is_some() => return Err(refused),
        Err(refused) => Some(refused),
    };
    let desk = match Desk::of_folder(&target.dir, Arc::new(SystemClock::default())).await {
        Ok(desk) => desk,
        Err(error) => return Err(refused.unwrap_or(Failure::Usage(error))),
    };
    let parse = |error: serde_json::Error| Failure::Usage(error.to_string());
    let body = body.clone();
    let question = match question {
        "check" => Question::Check(serde_json::from_value(body).map_err(parse)?),
        "test" => Question::Test(serde_json::from_value(body).map_err(parse)?),
        "explain" => Question::Explain(Box::new(serde_json::from_value(body).map_err(parse)?)),
        _ => Question::Applicable(serde_json::from_value(body).map_err(parse)?),
    };
    desk.answer(question).map_err(Failure::Usage)
}

/// The files of a local folder, for a question to bring along.
fn brought(files: &Files) -> Result<Value, Failure> {
    let Some(folder) = &files.folder else { return Ok(json!({})) };
    if !folder.is_dir() {
        return Err(Failure::Usage(format!("`{}` is not a folder", folder.display())));
    }
    let policies = read_folder(folder).map_err(Failure::usage)?;
    let cases = read_cases(folder).map_err(Failure::Usage)?;
    let policies = policies.into_iter().map(|file| json!({ "name": file.name, "text": file.text }));
    let cases = cases.into_iter().map(|(name, text)| json!({ "name": name, "text": text }));
    Ok(json!({ "files": policies.chain(cases).collect::<Vec<_>>() }))
}

async fn check(files: Files, out: &Out) -> Outcome {
    let checked = ask(&files.target, "check", &brought(&files)?).await?;
    let is_ok = checked.get("ok") == Some(&Value::Bool(true));
    out.result(&checked, || {
        let mut lines: Vec<String> =
            items(&checked, "problems").chain(items(&checked, "warnings")).map(|p| problem(&p)).collect();
        if is_ok {
            lines.push(format!("ok  {} policies", checked.get("policies").cloned().unwrap_or_default()));
        }
        lines.join("\n")
    });
    // A policy set that is not valid is invalid configuration as much as an answer: the answer is no.
    if is_ok { Ok(()) } else { Err(Failure::No) }
}

fn items(value: &Value, key: &str) -> impl Iterator<Item = Value> + use<> {
    value.get(key).and_then(Value::as_array).cloned().unwrap_or_default().into_iter()
}

fn problem(problem: &Value) -> String {
    let place = format!("{}:{}:{}", text(problem, "file"), text(problem, "line"), text(problem, "column"));
    let help = text(problem, "help");
    let help = if help.is_empty() { String::new() } else { format!("\n  help: {help}") };
    format!("{} {place}: {}{help}", text(problem, "severity"), text(problem, "message"))
}

async fn test(files: Files, out: &Out) -> Outcome {
    let tested = ask(&files.target, "test", &brought(&files)?).await?;
    let results: Vec<Value> = items(&tested, "items").collect();
    let is_passed = |item: &&Value| item.pointer("/result/passed") == Some(&Value::Bool(true));
    let passed = results.iter().filter(is_passed).count();
    let failed = results.len() - passed;
    if out.is_json() {
        out.list(&results, &[]);
    } else {
        for item in &results {
            let result = item.get("result").cloned().unwrap_or_default();
            let mark = if is_passed(&item) { "ok    " } else { "FAILED" };
            out.line(&format!(
                "{mark}  {}: {}  {}",
                text(item, "file"),
                text(&result, "name"),
                text(&result, "cause")
            ));
        }
        out.line(&format!("{passed} passed, {failed} failed"));
    }
    if failed > 0 || results.is_empty() { Err(Failure::No) } else { Ok(()) }
}

impl Explain {
    async fn execute(self, out: &Out) -> Outcome {
        let arguments: Value = serde_json::from_str(&self.arguments)
            .map_err(|error| Failure::Usage(format!("`--arguments` is not JSON: {error}")))?;
        let scopes = if self.scopes.is_empty() && !self.no_scope { Value::Null } else { json!(self.scopes) };
        let delegate = self.delegate.map(|child| json!({ "child": child, "expires": self.expires }));
        let body = json!({
            "agent": self.agent, "ancestors": self.ancestors, "user": self.user.as_deref().map(user).transpose()?,
            "user_groups": self.user_groups, "operation": self.operation, "arguments": arguments,
            "delegate": delegate, "scopes": scopes, "ip": self.ip,
            "at": self.at.map(jiff::Timestamp::as_millisecond),
        });
        let explained_by = ask(&self.target, "explain", &body).await?;
        out.result(&explained_by, || explained(&explained_by));
        if text(&explained_by, "outcome") == "permit" { Ok(()) } else { Err(Failure::No) }
    }
}

/// An explanation for people.
pub(super) fn explained(explanation: &Value) -> String {
    let mut lines = vec![format!("{}  {}", text(explanation, "outcome"), text(explanation, "operation"))];
    for (label, key) in [("denial", "denial"), ("cause", "cause")] {
        let said = text(explanation, key);
        if !said.is_empty() {
            lines.push(format!("  {label}: {said}"));
        }
    }
    for subject in items(explanation, "subjects") {
        lines.push(format!("  {}: {}", text(&subject, "subject"), text(&subject, "outcome")));
        for (label, key) in [("decided by", "determining"), ("nearest", "nearest")] {
            for policy in items(&subject, key) {
                let place = format!("{}:{}", text(&policy, "file"), text(&policy, "line"));
                lines.push(format!(
                    "    {label} {} {} ({place})",
                    text(&policy, "effect"),
                    text(&policy, "id")
                ));
                let reason = text(&policy, "reason");
                if !reason.is_empty() {
                    lines.push(format!("      reason: {reason}"));
                }
                lines.extend(changes(&policy));
            }
        }
        if is_without_grant(&subject) {
            lines.push("    no permit covers this operation".to_owned());
        }
    }
    lines.join("\n")
}

/// What would have to change: all of it for a permit to apply, one of it for a forbid not to.
fn changes(policy: &Value) -> Vec<String> {
    let changes: Vec<Value> = items(policy, "changes").collect();
    let any = if text(policy, "effect") == "forbid" && changes.len() > 1 { " (any of these)" } else { "" };
    changes
        .iter()
        .map(|change| format!("      would have to change{any}: {}", change.as_str().unwrap_or_default()))
        .collect()
}

fn is_without_grant(subject: &Value) -> bool {
    let is_empty = |key: &str| items(subject, key).next().is_none();
    text(subject, "outcome") == "deny" && ["determining", "nearest", "errors"].iter().all(|key| is_empty(key))
}

impl Applicable {
    async fn execute(self, out: &Out) -> Outcome {
        let user = self.user.as_deref().map(user).transpose()?;
        let body = json!({ "agent": self.agent, "user": user, "user_groups": self.user_groups });
        let applicable = ask(&self.target, "applicable", &body).await?;
        let operations: Vec<Value> = items(&applicable, "operations").collect();
        if out.is_json() {
            out.list(&operations, &[]);
            return Ok(());
        }
        let rows: Vec<Vec<String>> = operations
            .iter()
            .map(|operation| {
                let ids = |key: &str| {
                    items(operation, key).map(|policy| text(&policy, "id")).collect::<Vec<_>>().join(", ")
                };
                let cells = [
                    text(operation, "operation"),
                    text(operation, "may"),
                    conditions(operation),
                    ids("grants"),
                    guards(operation),
                ];
                cells.map(|cell| if cell.is_empty() { "-".to_owned() } else { cell }).to_vec()
            })
            .collect();
        out.line(&table(&["operation", "may", "when", "granted by", "unless"], &rows));
        Ok(())
    }
}

/// The conditions of the grants: one of them must hold.
fn conditions(operation: &Value) -> String {
    let grants = items(operation, "grants").map(|grant| {
        items(&grant, "conditions")
            .filter_map(|condition| condition.as_str().map(ToOwned::to_owned))
            .collect::<Vec<_>>()
            .join(" && ")
    });
    grants.filter(|conditions| !conditions.is_empty()).collect::<Vec<_>>().join(" || ")
}

/// What can still forbid it.
fn guards(operation: &Value) -> String {
    let guards = items(operation, "guards").map(|guard| match text(&guard, "reason") {
        reason if reason.is_empty() => text(&guard, "id"),
        reason => format!("{}: {reason}", text(&guard, "id")),
    });
    guards.collect::<Vec<_>>().join("; ")
}

fn user(text: &str) -> Result<Value, Failure> {
    let (issuer, subject) =
        text.split_once('#').ok_or_else(|| Failure::Usage("`--user` must be ISSUER#SUBJECT".to_owned()))?;
    Ok(json!({ "issuer": issuer, "subject": subject }))
}
