use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use http::Method;
use http_body_util::BodyExt;
use serde_json::{Map, Value, json};
use vestibule_model::AttemptId;

use super::{
    Failure, Outcome, Target,
    admin_client::{AdminClient, encoded},
    attempt, incident,
    output::{Out, moment, text},
    trace,
};

/// Read, search and verify the record.
#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Show attempts as they end, until interrupted.
    Tail(Which),
    /// Show one attempt with everything that is known about it.
    Show {
        /// The attempt's id: the `x-request-id` of its reply.
        attempt: String,
        /// A folder of evidence, read offline.
        #[arg(long, value_name = "FOLDER")]
        folder: Option<PathBuf>,
        #[command(flatten)]
        target: Target,
    },
    /// Find attempts: the newest that fit, in the order in which they ended.
    Search {
        #[command(flatten)]
        which: Which,
        /// At most so many.
        #[arg(long, default_value_t = 100)]
        limit: usize,
        /// A folder of evidence, read offline.
        #[arg(long, value_name = "FOLDER")]
        folder: Option<PathBuf>,
    },
    Trace(trace::Trace),
    /// Prove that nothing was removed or changed since it was signed. Needs no running gateway with `--folder`.
    Verify {
        /// A folder of evidence, verified offline with the public key that lies in it.
        #[arg(long, value_name = "FOLDER")]
        folder: Option<PathBuf>,
        /// The bundle of an incident, verified offline: no file was changed, removed or added, and each entry stands in
        /// the record.
        #[arg(long, value_name = "DIR", conflicts_with = "folder")]
        bundle: Option<PathBuf>,
        /// The public key (signed-note verifier key) to trust, instead of the one in the folder or the bundle. Get it by
        /// another way.
        #[arg(long, value_name = "KEY")]
        key: Option<String>,
        #[command(flatten)]
        target: Target,
    },
}

/// Which attempts.
#[derive(Debug, Args)]
pub(super) struct Which {
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
    /// With this decision: `permit`, `deny`, `fault` or `undecided`.
    #[arg(long)]
    decision: Option<String>,
    /// With this denial or fault code.
    #[arg(long)]
    denial: Option<String>,
    /// That ended like this: `completed`, `refused`, `cut`, `unknown`, `upstream-failed`, `abandoned`, `failed`.
    #[arg(long)]
    outcome: Option<String>,
    /// At or after this moment (RFC 3339).
    #[arg(long, value_name = "TIME")]
    since: Option<jiff::Timestamp>,
    /// Before this moment (RFC 3339).
    #[arg(long, value_name = "TIME")]
    until: Option<jiff::Timestamp>,
    /// In this workflow, which is the tree of delegations below one root.
    #[arg(long)]
    workflow: Option<String>,
    /// Under this delegation.
    #[arg(long)]
    node: Option<String>,
    /// With this agent or delegation anywhere in the chain.
    #[arg(long)]
    ancestor: Option<String>,
    /// Of this kind: `call`, `token-request`, `token-introspection`, `token-revocation` or `administration`.
    #[arg(long)]
    kind: Option<String>,
    /// With a token that is bound to this key (its thumbprint).
    #[arg(long, value_name = "JKT")]
    key: Option<String>,
    /// Made within this call, which is an attempt of an agent that called another.
    #[arg(long, value_name = "ATTEMPT")]
    call: Option<String>,
    #[command(flatten)]
    target: Target,
}

impl Which {
    /// As the admin API and the reader of a folder take it.
    fn filter(&self) -> Map<String, Value> {
        let millis = |moment: Option<jiff::Timestamp>| json!(moment.map(jiff::Timestamp::as_millisecond));
        let pairs = [
            ("agent", json!(self.agent)),
            ("user", json!(self.user)),
            ("app", json!(self.app)),
            ("operation", json!(self.operation)),
            ("decision", json!(self.decision)),
            ("denial", json!(self.denial)),
            ("outcome", json!(self.outcome)),
            ("since", millis(self.since)),
            ("until", millis(self.until)),
            ("workflow", json!(self.workflow)),
            ("node", json!(self.node)),
            ("ancestor", json!(self.ancestor)),
            ("kind", json!(self.kind)),
            ("key", json!(self.key)),
            ("call", json!(self.call)),
        ];
        pairs
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .map(|(key, value)| (key.to_owned(), value))
            .collect()
    }

    fn query(&self) -> String {
        let filter = Value::Object(self.filter());
        let keys = filter.as_object().into_iter().flat_map(Map::keys);
        keys.map(|key| format!("{key}={}", encoded(&text(&filter, key)))).collect::<Vec<_>>().join("&")
    }

    async fn search(&self, limit: usize, folder: Option<&Path>) -> Result<Vec<Value>, Failure> {
        let Some(folder) = folder else {
            let path = format!("/admin/v1/attempts?limit={limit}&{}", self.query());
            let found = AdminClient::of(&self.target)?.get(&path).await?;
            return Ok(found.get("items").and_then(Value::as_array).cloned().unwrap_or_default());
        };
        let filter = serde_json::from_value(Value::Object(self.filter())).map_err(Failure::usage)?;
        let found = vestibule_evidence::newest(folder, &filter, limit).map_err(Failure::broken)?;
        Ok(found.iter().map(|attempt| json!(attempt)).collect())
    }
}

impl Audit {
    pub(super) async fn execute(self, out: &Out) -> Outcome {
        match self {
            Self::Tail(which) => tail(&which, out).await,
            Self::Show { attempt, folder, target } => {
                let shown = match folder {
                    None => {
                        AdminClient::of(&target)?
                            .get(&format!("/admin/v1/attempts/{}", encoded(&attempt)))
                            .await?
                    }
                    Some(folder) => read(&folder, &attempt)?,
                };
                out.result(&shown, || serde_json::to_string_pretty(&shown).unwrap_or_default());
                Ok(())
            }
            Self::Search { which, limit, folder } => {
                let found = which.search(limit, folder.as_deref()).await?;
                out.items(&found, || attempt::listed(&found));
                Ok(())
            }
            Self::Trace(trace) => trace.execute(out).await,
            Self::Verify { bundle: Some(bundle), key, .. } => incident::verify(&bundle, key.as_deref(), out),
            Self::Verify { folder: Some(folder), key, .. } => offline(&folder, key.as_deref(), out),
            Self::Verify { key: Some(_), .. } => Err(Failure::usage(
                "`--key` goes with `--folder` or `--bundle`: a gateway verifies with its own",
            )),
            Self::Verify { folder: None, target, .. } => {
                let answer = AdminClient::of(&target)?.post("/admin/v1/evidence/verify", &json!({})).await?;
                verdict(&answer, out)
            }
        }
    }
}

/// One attempt of a folder.
fn read(folder: &Path, attempt: &str) -> Result<Value, Failure> {
    let id = AttemptId::parse(attempt).map_err(Failure::usage)?;
    let found = vestibule_evidence::get(folder, id).map_err(Failure::broken)?;
    found.map(|attempt| json!(attempt)).ok_or_else(|| Failure::usage("no such attempt"))
}

fn offline(folder: &Path, key: Option<&str>, out: &Out) -> Outcome {
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
            let report = answer.get("report").cloned().unwrap_or_default();
            let gaps = report.get("gaps").and_then(Value::as_array).cloned().unwrap_or_default();
            let summary = format!(
                "ok  {} entries, {} signed by {} checkpoints, {} not yet signed, {} gaps",
                text(&report, "entries"),
                text(&report, "signed"),
                text(&report, "checkpoints"),
                text(&report, "unsigned"),
                gaps.len()
            );
            let gaps = gaps
                .iter()
                .map(|gap| format!("gap {} to {}", moment(gap.get("from")), moment(gap.get("to"))));
            [summary].into_iter().chain(gaps).collect::<Vec<_>>().join("\n")
        }
    });
    if is_ok { Ok(()) } else { Err(Failure::No) }
}

async fn tail(which: &Which, out: &Out) -> Outcome {
    let client = AdminClient::of(&which.target)?;
    let path = format!("/admin/v1/attempts/live?{}", which.query());
    let mut body = client.send(Method::GET, &path, None).await?.into_body();
    let mut pending = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(Failure::broken)?;
        pending.extend_from_slice(frame.data_ref().map(AsRef::as_ref).unwrap_or_default());
        while let Some(end) = pending.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = pending.drain(..=end).collect();
            if let Ok(ended) = serde_json::from_slice::<Value>(&line) {
                out.result(&ended, || attempt::line(&ended));
            }
        }
    }
    Ok(())
}
