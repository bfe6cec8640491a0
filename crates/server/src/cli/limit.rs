use clap::{Args, Subcommand};
use serde_json::Value;

use super::{
    Outcome, Target,
    admin_client::{AdminClient, encoded},
    output::{Out, fields, table, text},
};

/// Look at the rates and quotas of the configuration, and at what is used of them.
#[derive(Debug, Subcommand)]
pub(super) enum Limit {
    /// List the rates and quotas.
    Ls(All),
    /// Show one, and what is used of it now by whom.
    Show(Named),
}

/// The gateway.
#[derive(Debug, Args)]
pub(super) struct All {
    #[command(flatten)]
    target: Target,
}

/// A command about one limit.
#[derive(Debug, Args)]
pub(super) struct Named {
    /// The limit's name.
    name: String,
    /// What this agent has used.
    #[arg(long, value_name = "AGENT")]
    agent: Option<String>,
    /// What is used for this user, `ISSUER#SUBJECT`.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// What is used of this application.
    #[arg(long, value_name = "APP")]
    app: Option<String>,
    /// What is used of this operation, `APP__OPERATION`.
    #[arg(long, value_name = "OPERATION")]
    operation: Option<String>,
    #[command(flatten)]
    target: Target,
}

impl Limit {
    pub(super) async fn execute(self, out: &Out) -> Outcome {
        match self {
            Self::Ls(all) => {
                let limits = AdminClient::of(&all.target)?.all("/admin/v1/limits").await?;
                out.list(&limits, &["id", "kind", "limit", "per"]);
            }
            Self::Show(named) => {
                let limit = AdminClient::of(&named.target)?.get(&named.path()).await?;
                out.result(&limit, || shown(&limit));
            }
        }
        Ok(())
    }
}

impl Named {
    fn path(&self) -> String {
        let whose = [
            ("agent", &self.agent),
            ("user", &self.user),
            ("app", &self.app),
            ("operation", &self.operation),
        ];
        let given = whose.iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
        let query: Vec<String> = given.map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        format!("/admin/v1/limits/{}?{}", encoded(&self.name), query.join("&"))
    }
}

fn shown(limit: &Value) -> String {
    let only = limit.get("only").cloned().unwrap_or_default();
    let head = fields(&[
        ("limit", text(limit, "id")),
        ("kind", text(limit, "kind")),
        ("calls", text(limit, "limit")),
        ("per", text(limit, "per")),
        ("only apps", text(&only, "apps")),
        ("only operations", text(&only, "operations")),
        ("only agents", text(&only, "agents")),
        ("only groups", text(&only, "groups")),
        ("not known", text(limit, "unknown_operations")),
    ]);
    let used = limit.get("used").and_then(Value::as_array).cloned().unwrap_or_default();
    if used.is_empty() {
        return format!("{head}\n\nNothing of it is used.");
    }
    let columns = ["agent", "user", "app", "operation", "used", "of", "resets_in_seconds"];
    let cell = |item: &Value, column: &str| Some(text(item, column)).filter(|cell| !cell.is_empty());
    let row = |item: &Value| columns.iter().map(|it| cell(item, it).unwrap_or("-".to_owned())).collect();
    let rows: Vec<Vec<String>> = used.iter().map(row).collect();
    let note = if limit.get("is_complete") == Some(&Value::Bool(true)) { "" } else { "\n… and more" };
    format!("{head}\n\n{}{note}", table(&columns, &rows))
}
