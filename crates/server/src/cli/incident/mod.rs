//! Incidents from the responder's side: stop, gather, decide.

mod folder;
mod verify;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Failure, Outcome, Target,
    admin_client::{AdminClient, encoded},
    order::{self, Reason},
    output::{Out, fields, moment, table, text},
};

pub(super) use verify::verify;

/// Stop an agent and gather what it did: one command for the responder.
#[derive(Debug, Subcommand)]
pub(super) enum Incident {
    /// Suspend an agent with everything below it, now; then gather into a folder what it and they have done.
    ///
    /// Whatever happens to the gathering, the suspension stands. Of an agent whose incident is open the same command
    /// gathers anew.
    Open(Open),
    /// Gather an incident anew, without stopping anybody.
    Gather(Gather),
    /// Decide: let the agent in again, or revoke it for good.
    Close(Close),
    /// List the incidents.
    Ls(All),
    /// Show one incident.
    Show(Named),
}

#[derive(Debug, Args)]
pub(super) struct Open {
    /// The agent's id.
    agent: String,
    /// Why.
    #[arg(long, value_enum, default_value_t = Reason::Unspecified)]
    reason: Reason,
    /// Gather what was done from this moment on: RFC 3339, or milliseconds since the Unix epoch. By default, since the
    /// agent's oldest delegation was made that lives, or for 24 hours back.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// The folder to make. By default `incident-ID`.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(super) struct Gather {
    /// The incident's id.
    id: String,
    /// The folder to make. By default `incident-ID`.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(super) struct Close {
    /// The incident's id.
    id: String,
    /// Let the agent in again: it was a false alarm, or is mended.
    #[arg(long, conflicts_with = "revoke", required_unless_present = "revoke")]
    resume: bool,
    /// Revoke the agent, for good.
    #[arg(long)]
    revoke: bool,
    /// What is to be remembered about it.
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(super) struct All {
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(super) struct Named {
    /// The incident's id.
    id: String,
    #[command(flatten)]
    target: Target,
}

impl Incident {
    pub(super) async fn execute(self, out: &Out) -> Outcome {
        match self {
            Self::Open(open) => open.execute(out).await,
            Self::Gather(gather) => {
                let client = AdminClient::of(&gather.target)?;
                let bundle = folder::gather(&client, &gather.id, gather.folder.as_deref()).await?;
                out.result(&bundle, || gathered(&bundle));
                Ok(())
            }
            Self::Close(close) => close.execute(out).await,
            Self::Ls(ls) => {
                let incidents = AdminClient::of(&ls.target)?.all("/admin/v1/incidents").await?;
                out.items(&incidents, || table(&HEAD, &incidents.iter().map(row).collect::<Vec<_>>()));
                Ok(())
            }
            Self::Show(show) => {
                let incident = AdminClient::of(&show.target)?.get(&path(&show.id)).await?;
                out.result(&incident, || shown(&incident));
                Ok(())
            }
        }
    }
}

impl Open {
    async fn execute(self, out: &Out) -> Outcome {
        let since = self.since.as_deref().map(|text| order::instant("--since", text)).transpose()?;
        let client = AdminClient::of(&self.target)?;
        let body = json!({ "agent": self.agent, "reason": order::name(&self.reason), "since": since });
        let opened = client.post("/admin/v1/incidents", &body).await?;
        // At once: a person who waits for the folder must know that the agent is stopped.
        let report = opened.get("report").cloned().unwrap_or_default();
        if !out.is_json() {
            out.line(&order::told(&report, false));
            let is_again = opened.get("again") == Some(&Value::Bool(true));
            let is = if is_again { "was open already: gathered anew" } else { "is open" };
            out.line(&format!("incident {} {is}", text(&opened, "id")));
        }
        order::warn_if_unknown(&client, &self.agent, out).await;
        let id = text(&opened, "id");
        match folder::gather(&client, &id, self.folder.as_deref()).await {
            Ok(bundle) => {
                let mut whole = opened;
                if let Some(members) = whole.as_object_mut() {
                    members.insert("bundle".to_owned(), bundle.clone());
                }
                out.result(&whole, || gathered(&bundle));
                Ok(())
            }
            Err(failure) => {
                if out.is_json() {
                    out.result(&opened, String::new);
                }
                out.complain(&format!(
                    "the agent is {}, and that stands; only the bundle is not whole. To repeat it: `vestibule incident \
                     gather {id} --folder DIR`",
                    text(&report, "state")
                ));
                Err(failure)
            }
        }
    }
}

impl Close {
    async fn execute(self, out: &Out) -> Outcome {
        let verdict = if self.resume { "resume" } else { "revoke" };
        let body = json!({ "verdict": verdict, "note": self.note });
        let client = AdminClient::of(&self.target)?;
        let closed = client.post(&format!("{}/close", path(&self.id)), &body).await?;
        out.result(&closed, || {
            let report = closed.get("report").map(|report| format!("{}\n", order::told(report, false)));
            let is = format!("incident {} is closed: {}", text(&closed, "id"), text(&closed, "state"));
            let agent = format!("agent {} is {}", text(&closed, "agent"), text(&closed, "standing"));
            format!("{}{is}\n{agent}", report.unwrap_or_default())
        });
        Ok(())
    }
}

fn gathered(bundle: &Value) -> String {
    let report = bundle.get("report").cloned().unwrap_or_default();
    format!(
        "gathered  {}\n          {} attempts, {} entries with their proofs, {} files; begin with README.md\n          check: vestibule \
         audit verify --bundle {}",
        text(bundle, "folder"),
        text(&report, "attempts"),
        text(&report, "entries"),
        text(&report, "files"),
        text(bundle, "folder"),
    )
}

const HEAD: [&str; 7] = ["id", "opened", "agent", "state", "reason", "agent is", "closed"];

fn row(incident: &Value) -> Vec<String> {
    let closed = moment(incident.pointer("/closed/at"));
    let cells = [
        text(incident, "id"),
        moment(incident.get("opened_at")),
        text(incident, "agent"),
        text(incident, "state"),
        text(incident, "reason"),
        text(incident, "standing"),
        if closed.is_empty() { "-".to_owned() } else { closed },
    ];
    cells.into()
}

fn shown(incident: &Value) -> String {
    let cut = |key: &str| {
        let number = incident.pointer(&format!("/suspension/cut/{key}")).and_then(Value::as_u64);
        number.unwrap_or(0)
    };
    let note = incident.pointer("/closed/note").and_then(Value::as_str).unwrap_or_default().to_owned();
    fields(&[
        ("incident", text(incident, "id")),
        ("state", text(incident, "state")),
        ("agent", text(incident, "agent")),
        ("agent is", text(incident, "standing")),
        ("reason", text(incident, "reason")),
        ("opened", moment(incident.get("opened_at"))),
        ("by", text(incident, "by")),
        ("since", moment(incident.get("since"))),
        (
            "cut",
            format!(
                "{} calls, {} of them streams, {} delegations dead",
                cut("attempts"),
                cut("streams"),
                cut("nodes")
            ),
        ),
        ("closed", moment(incident.pointer("/closed/at"))),
        ("note", note),
    ])
}

fn path(id: &str) -> String {
    format!("/admin/v1/incidents/{}", encoded(id))
}

/// What a failure says, as a text.
fn said(failure: &Failure) -> String {
    match failure {
        Failure::No => "the answer is no".to_owned(),
        Failure::Usage(text) | Failure::Broken(text) => text.clone(),
    }
}
