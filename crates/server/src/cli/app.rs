use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Failure, Outcome, Target,
    admin_client::{AdminClient, encoded},
    output::{Out, fields, table, text},
};

/// Characters of a digest that a table shows.
const DIGEST_SHOWN: usize = 12;

/// Look at applications and test the way to them.
#[derive(Debug, Subcommand)]
pub(super) enum App {
    /// List the applications.
    Ls(All),
    /// Show one application and its operations.
    Show(Named),
    /// Reach an application with its credential and tell each step, secrets redacted.
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
                out.result(&app, || shown(&app));
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

fn shown(app: &Value) -> String {
    let head = fields(&[
        ("application", text(app, "id")),
        ("kind", text(app, "kind")),
        ("for agents", text(app, "url")),
        ("upstream", text(app, "upstream")),
        ("access", text(app, "access")),
        ("metadata", text(app, "metadata")),
    ]);
    let Some(operations) = app.get("operations").and_then(Value::as_array) else {
        return format!("{head}\n\nIts operations are not known yet: it has not answered.");
    };
    let rows: Vec<Vec<String>> = operations.iter().map(operation).collect();
    format!(
        "{head}\n\n{}",
        table(&["operation", "effect", "risk", "scopes", "arguments", "definition"], &rows)
    )
}

fn operation(operation: &Value) -> Vec<String> {
    let definition = if operation.get("pinned") == Some(&Value::Bool(false)) {
        "changed, waits for review".to_owned()
    } else {
        text(operation, "definition_digest").chars().take(DIGEST_SHOWN).collect()
    };
    let named = ["name", "effect", "risk", "scopes"].map(|key| text(operation, key));
    named
        .into_iter()
        .chain([arguments(operation), definition])
        .map(|cell| if cell.is_empty() { "-".to_owned() } else { cell })
        .collect()
}

/// The names of the arguments; those that may be left out have a question mark.
fn arguments(operation: &Value) -> String {
    let schema = operation.get("input_schema").cloned().unwrap_or_default();
    let required = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let properties = schema.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let shown =
        |name: &String| if required.contains(&json!(name)) { name.clone() } else { format!("{name}?") };
    properties.keys().map(shown).collect::<Vec<_>>().join(", ")
}

fn steps(tested: &Value) -> String {
    let steps = tested.get("steps").and_then(Value::as_array).cloned().unwrap_or_default();
    let line = |step: &Value| {
        let mark = if step.get("ok") == Some(&Value::Bool(true)) { "ok    " } else { "FAILED" };
        format!("{mark}  {:<12} {}", text(step, "name"), text(step, "detail"))
    };
    steps.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn path(id: &str) -> String {
    format!("/admin/v1/apps/{}", encoded(id))
}
