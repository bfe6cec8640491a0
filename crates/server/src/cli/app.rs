use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Failure, Outcome, Target,
    admin_client::{AdminClient, encoded},
    output::Out,
};

/// Look at applications and test the way to them.
#[derive(Debug, Subcommand)]
pub(super) enum App {
    /// List the applications.
    Ls(All),
    /// Show one application and its operations.
    Show(Named),
    /// Go through door two for real and tell each step, secrets redacted.
    Test(Named),
}

/// A command about all applications.
#[derive(Debug, Args)]
pub(super) struct All {
    #[command(flatten)]
    target: Target,
}

/// A command about one application.
#[derive(Debug, Args)]
pub(super) struct Named {
    /// The application's id.
    id: String,
    #[command(flatten)]
    target: Target,
}

impl App {
    pub(super) async fn execute(self, out: &Out) -> Outcome {
        match self {
            Self::Ls(all) => {
                let apps = AdminClient::of(&all.target)?.all("/admin/v1/apps").await?;
                out.list(&apps, &["id", "kind", "ready", "operation_count", "url"]);
            }
            Self::Show(named) => {
                let app = AdminClient::of(&named.target)?.get(&path(&named.id)).await?;
                out.result(&app, || serde_json::to_string_pretty(&app).unwrap_or_default());
            }
            Self::Test(named) => {
                let client = AdminClient::of(&named.target)?;
                let tested = client.post(&format!("{}/test", path(&named.id)), &json!({})).await?;
                out.result(&tested, || steps(&tested));
                if tested.get("ok") != Some(&Value::Bool(true)) {
                    return Err(Failure::No);
                }
            }
        }
        Ok(())
    }
}

fn steps(tested: &Value) -> String {
    let steps = tested.get("steps").and_then(Value::as_array).cloned().unwrap_or_default();
    let line = |step: &Value| {
        let mark = if step.get("ok") == Some(&Value::Bool(true)) { "ok    " } else { "FAILED" };
        let text = |key: &str| step.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        format!("{mark}  {:<12} {}", text("name"), text("detail"))
    };
    steps.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn path(id: &str) -> String {
    format!("/admin/v1/apps/{}", encoded(id))
}
