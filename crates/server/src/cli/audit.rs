use std::path::PathBuf;

use clap::{Args, Subcommand};
use http::Method;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::{
    Failure, Outcome, Target,
    admin_client::{AdminClient, encoded},
    output::Out,
};

/// The members of an attempt that a table shows.
const COLUMNS: &[&str] = &["at", "attempt", "agent", "app", "operation", "decision", "denial", "outcome"];

/// Read, search and verify the record.
#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Show attempts as they end, until interrupted.
    Tail(Search),
    /// Show one attempt with everything that is known about it.
    Show {
        /// The attempt's id: the `x-request-id` of its reply.
        attempt: String,
        #[command(flatten)]
        target: Target,
    },
    /// Find attempts.
    Search(Search),
    /// Prove that nothing was removed or changed since it was signed. Needs no running gateway with `--folder`.
    Verify {
        /// A folder of evidence, verified offline with the public key that lies in it.
        #[arg(long, value_name = "FOLDER")]
        folder: Option<PathBuf>,
        /// The public key (signed-note verifier key) to trust, instead of the one in the folder.
        #[arg(long, value_name = "KEY", requires = "folder")]
        key: Option<String>,
        #[command(flatten)]
        target: Target,
    },
}

/// Which attempts.
#[derive(Debug, Args)]
pub(super) struct Search {
    /// By this agent.
    #[arg(long)]
    agent: Option<String>,
    /// For this user (subject).
    #[arg(long)]
    user: Option<String>,
    /// To this application.
    #[arg(long)]
    app: Option<String>,
    /// This operation.
    #[arg(long)]
    operation: Option<String>,
    /// `permit`, `deny`, `fault`.
    #[arg(long)]
    decision: Option<String>,
    /// With this denial or fault code.
    #[arg(long)]
    denial: Option<String>,
    /// With this outcome.
    #[arg(long)]
    outcome: Option<String>,
    /// At or after this moment (RFC 3339).
    #[arg(long, value_name = "TIME")]
    since: Option<jiff::Timestamp>,
    /// Before this moment (RFC 3339).
    #[arg(long, value_name = "TIME")]
    until: Option<jiff::Timestamp>,
    /// In this workflow.
    #[arg(long)]
    workflow: Option<String>,
    /// Under this delegation.
    #[arg(long)]
    node: Option<String>,
    /// With this agent or delegation anywhere in the chain.
    #[arg(long)]
    ancestor: Option<String>,
    /// At most so many.
    #[arg(long, default_value_t = 100)]
    limit: usize,
    #[command(flatten)]
    target: Target,
}

impl Search {
    fn query(&self) -> String {
        let millis = |moment: Option<jiff::Timestamp>| moment.map(|moment| moment.as_millisecond().to_string());
        let pairs = [
            ("agent", self.agent.clone()),
            ("user", self.user.clone()),
            ("app", self.app.clone()),
            ("operation", self.operation.clone()),
            ("decision", self.decision.clone()),
            ("denial", self.denial.clone()),
            ("outcome", self.outcome.clone()),
            ("since", millis(self.since)),
            ("until", millis(self.until)),
            ("workflow", self.workflow.clone()),
            ("node", self.node.clone()),
            ("ancestor", self.ancestor.clone()),
            ("limit", Some(self.limit.to_string())),
        ];
        let given = pairs.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", encoded(&value?))));
        given.collect::<Vec<_>>().join("&")
    }
}

impl Audit {
    pub(super) async fn execute(self, out: &Out) -> Outcome {
        match self {
            Self::Tail(search) => tail(&search, out).await,
            Self::Show { attempt, target } => {
                let path = format!("/admin/v1/attempts/{}", encoded(&attempt));
                let shown = AdminClient::of(&target)?.get(&path).await?;
                out.result(&shown, || serde_json::to_string_pretty(&shown).unwrap_or_default());
                Ok(())
            }
            Self::Search(search) => {
                let path = format!("/admin/v1/attempts?{}", search.query());
                let found = AdminClient::of(&search.target)?.get(&path).await?;
                let items = found.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
                out.list(&dated(items, out), COLUMNS);
                Ok(())
            }
            Self::Verify { folder: Some(folder), key, .. } => offline(&folder, key.as_deref(), out),
            Self::Verify { folder: None, target, .. } => {
                let answer = AdminClient::of(&target)?.post("/admin/v1/evidence/verify", &json!({})).await?;
                verdict(&answer, out)
            }
        }
    }
}

fn offline(folder: &std::path::Path, key: Option<&str>, out: &Out) -> Outcome {
    let key = match key {
        Some(key) => key.to_owned(),
        None => std::fs::read_to_string(folder.join("log.vkey"))
            .map_err(|error| Failure::Usage(format!("no public key in `{}`: {error}", folder.display())))?,
    };
    let key = vestibule_evidence::PublicKey::parse(key.trim()).map_err(Failure::usage)?;
    let answer = match vestibule_evidence::verify(folder, &key) {
        Ok(report) => json!({ "ok": true, "report": report }),
        Err(error) => json!({ "ok": false, "error": error.to_string() }),
    };
    verdict(&answer, out)
}

fn verdict(answer: &Value, out: &Out) -> Outcome {
    let is_ok = answer.get("ok") == Some(&Value::Bool(true));
    out.result(answer, || match answer.get("error").and_then(Value::as_str) {
        Some(error) => format!("FAILED  {error}"),
        None => {
            let number = |key: &str| answer.pointer(&format!("/report/{key}")).cloned().unwrap_or_default();
            format!(
                "ok  {} entries, {} signed by {} checkpoints, {} not yet signed, {} gaps",
                number("entries"),
                number("signed"),
                number("checkpoints"),
                number("unsigned"),
                number("gaps")
            )
        }
    });
    if is_ok { Ok(()) } else { Err(Failure::No) }
}

async fn tail(search: &Search, out: &Out) -> Outcome {
    let client = AdminClient::of(&search.target)?;
    let path = format!("/admin/v1/attempts/live?{}", search.query());
    let mut body = client.send(Method::GET, &path, None).await?.into_body();
    let mut pending = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(Failure::broken)?;
        pending.extend_from_slice(frame.data_ref().map(AsRef::as_ref).unwrap_or_default());
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            if let Ok(attempt) = serde_json::from_slice::<Value>(&line) {
                out.result(&attempt, || one_line(&attempt));
            }
        }
    }
    Ok(())
}

fn one_line(attempt: &Value) -> String {
    let text = |key: &str| match attempt.get(key) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    };
    let [at, rest @ ..] = COLUMNS else { return String::new() };
    let cells: Vec<String> = rest.iter().map(|column| text(column)).collect();
    format!("{} {}", moment(attempt.get(*at)), cells.join(" "))
}

/// Moments as people read them.
fn dated(mut items: Vec<Value>, out: &Out) -> Vec<Value> {
    if !out.is_json() {
        for item in &mut items {
            let shown = moment(item.get("at"));
            if let Some(members) = item.as_object_mut() {
                members.insert("at".to_owned(), json!(shown));
            }
        }
    }
    items
}

fn moment(at: Option<&Value>) -> String {
    at.and_then(Value::as_i64)
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
        .map(|moment| moment.to_string())
        .unwrap_or_default()
}
