//! The story of one agent, played against a running quickstart: what happens on the wire, and why.

mod agent;
mod holder;
mod incident;
mod shown;
mod story;

use std::path::PathBuf;

use clap::Args;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::{Failure, Outcome, admin_client::AdminClient, output::Out, quickstart::QUICKSTART_FILE};

/// Play the story against a running quickstart: what is permitted, what is denied, and why.
#[derive(Debug, Args)]
pub(super) struct Tour {
    /// Play an incident instead: an agent acts for a human and spawns others, their calls are under way, and one order
    /// cuts a branch of them.
    #[arg(long)]
    incident: bool,
    /// The quickstart's folder.
    #[arg(long, default_value = "vestibule-data", value_name = "DIR")]
    dir: PathBuf,
}

impl Tour {
    pub(super) async fn execute(self, out: &Out) -> Outcome {
        let path = self.dir.join(QUICKSTART_FILE);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            Failure::Usage(format!(
                "cannot read `{}`: {error}; start `vestibule quickstart --dir {}` first",
                path.display(),
                self.dir.display()
            ))
        })?;
        let contract: Value = serde_json::from_str(&text).map_err(Failure::broken)?;
        let part = |key: &str| contract.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        let app = |id: &str| {
            let apps = contract.get("apps").and_then(Value::as_array).cloned().unwrap_or_default();
            let found = apps.iter().find(|app| app.get("id") == Some(&json!(id))).cloned();
            found
                .and_then(|app| app.get("url").and_then(Value::as_str).map(ToOwned::to_owned))
                .unwrap_or_default()
        };
        let admin = AdminClient::new(&part("admin_url"), SecretString::from(part("admin_token")))?;
        let places = story::Places { issuer: part("issuer"), mcp: app("sandbox"), http: app("sandbox-http") };
        let mut stage = Stage { out, number: 0, failed: 0 };
        if self.incident {
            let users = contract.pointer("/users/0/issuer").and_then(Value::as_str);
            let users = users.ok_or_else(|| Failure::usage("this quickstart has no issuer of users"))?;
            incident::play(&mut stage, &admin, &places, &incident::Backstage { dir: &self.dir, users })
                .await?;
            return stage
                .end("That is an incident. By hand, with your own: docs/guides/respond-to-an-incident.md");
        }
        story::play(&mut stage, &admin, &places).await?;
        stage.end(
            "That is the tour. Next: put an application of yours behind it, docs/guides/put-an-app-behind.md",
        )
    }
}

/// Where the story is told, and whether it went as it should.
struct Stage<'a> {
    out: &'a Out,
    number: u32,
    failed: u32,
}

impl Stage<'_> {
    /// Opens a scene.
    fn scene(&mut self, title: &str, why: &str) {
        self.number += 1;
        if !self.out.is_json() {
            let number = self.number;
            self.out.line(&if self.out.is_terminal() {
                format!("\n\x1b[1m{number}. {title}\x1b[0m\n   \x1b[2m{why}\x1b[0m")
            } else {
                format!("\n{number}. {title}\n   {why}")
            });
        }
    }

    /// What went over the wire.
    fn wire(&self, text: &str) {
        if !self.out.is_json() {
            for line in text.lines() {
                self.out.line(&format!("     {line}"));
            }
        }
    }

    /// What must be so.
    fn check(&mut self, is_so: bool, what: &str) {
        if !is_so {
            self.failed += 1;
        }
        let mark = if is_so { "ok" } else { "FAILED" };
        let step = json!({ "scene": self.number, "ok": is_so, "what": what });
        self.out.result(&step, || {
            if self.out.is_terminal() {
                let colour = if is_so { 32 } else { 31 };
                format!("   \x1b[{colour}m{mark}\x1b[0m {what}")
            } else {
                format!("   {mark} {what}")
            }
        });
    }

    fn end(self, next: &str) -> Outcome {
        if self.failed > 0 {
            self.out.complain(&format!("{} steps of the tour did not go as they should", self.failed));
            return Err(Failure::No);
        }
        if !self.out.is_json() {
            self.out.line(&format!("\n{next}"));
        }
        Ok(())
    }
}
