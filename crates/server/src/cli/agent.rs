use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::{
    Failure, Outcome, Target,
    admin_client::{AdminClient, encoded},
    output::{Out, fields, moment, table, text},
};

/// Add and look at agents.
#[derive(Debug, Subcommand)]
pub(super) enum Agent {
    /// Register an agent. Its secret is shown once.
    Add(Add),
    /// List the registered agents.
    Ls(All),
    /// Show one agent.
    Show(Named),
    /// Give an agent a new secret; the old one is dead at once, tokens that it got live until they expire.
    Rotate(Named),
}

/// A command about all agents.
#[derive(Debug, Args)]
pub(super) struct All {
    #[command(flatten)]
    target: Target,
}

/// A command about one agent.
#[derive(Debug, Args)]
pub(super) struct Named {
    /// The agent's id.
    id: String,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// The agent's id: `[a-z0-9][a-z0-9._-]{0,63}`.
    id: String,
    /// A group for policies to name; repeatable.
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// How far it is trusted: 0 unknown, 1 known, 2 attested, 3 attested and reviewed.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=3))]
    trust: u8,
    /// A scope that it may ask for; repeatable. A scope bounds, it never grants.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// A claim; repeatable. It enters a token with a granted scope that releases it.
    #[arg(long = "claim", value_name = "NAME=VALUE")]
    claims: Vec<String>,
    /// An application that it may ask tokens for; repeatable. Without any: all.
    #[arg(long = "app", value_name = "APP")]
    apps: Vec<String>,
    /// A file with its public keys (JWK Set): it then signs assertions and has no secret.
    #[arg(long, value_name = "FILE")]
    jwks: Option<PathBuf>,
    #[command(flatten)]
    target: Target,
}

impl Agent {
    pub(super) async fn execute(self, out: &Out) -> Outcome {
        match self {
            Self::Add(add) => add.execute(out).await,
            Self::Ls(ls) => {
                let agents = AdminClient::of(&ls.target)?.all("/admin/v1/agents").await?;
                out.items(&agents, || table(&HEAD, &agents.iter().map(row).collect::<Vec<_>>()));
                Ok(())
            }
            Self::Show(show) => {
                let agent = AdminClient::of(&show.target)?.get(&path(&show.id)).await?;
                out.result(&agent, || shown(&agent));
                Ok(())
            }
            Self::Rotate(rotate) => {
                let client = AdminClient::of(&rotate.target)?;
                let rotated = client.post(&format!("{}/rotate", path(&rotate.id)), &json!({})).await?;
                credentials(out, &rotated);
                Ok(())
            }
        }
    }
}

impl Add {
    async fn execute(self, out: &Out) -> Outcome {
        let jwks: Option<Value> = match &self.jwks {
            None => None,
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .map_err(|error| Failure::Usage(format!("cannot read `{}`: {error}", file.display())))?;
                let parsed = serde_json::from_str(&text)
                    .map_err(|error| Failure::Usage(format!("`{}` is not JSON: {error}", file.display())))?;
                Some(parsed)
            }
        };
        let mut body = json!({
            "id": self.id, "groups": self.groups, "trust": self.trust, "scopes": self.scopes,
            "claims": claims(&self.claims)?, "apps": self.apps,
        });
        if let (Some(members), Some(jwks)) = (body.as_object_mut(), jwks) {
            members.insert("jwks".to_owned(), jwks);
        }
        let added = AdminClient::of(&self.target)?.post("/admin/v1/agents", &body).await?;
        credentials(out, &added);
        Ok(())
    }
}

const HEAD: [&str; 5] = ["id", "groups", "trust", "scopes", "state"];

fn row(agent: &Value) -> Vec<String> {
    let cells =
        [text(agent, "id"), text(agent, "groups"), text(agent, "trust"), text(agent, "scopes"), state(agent)];
    cells.map(|cell| if cell.is_empty() { "-".to_owned() } else { cell }).into()
}

/// With the moment, where only what began before it is dead.
fn state(agent: &Value) -> String {
    format!("{} {}", text(agent, "state"), moment(agent.get("cutoff"))).trim_end().to_owned()
}

fn shown(agent: &Value) -> String {
    let claims = agent.get("claims").and_then(Value::as_object).cloned().unwrap_or_default();
    let claims: Vec<String> =
        claims.iter().map(|(name, _)| format!("{name}={}", text(&json!(claims), name))).collect();
    let apps = text(agent, "apps");
    fields(&[
        ("agent", text(agent, "id")),
        ("state", state(agent)),
        ("groups", text(agent, "groups")),
        ("trust", text(agent, "trust")),
        ("scopes", text(agent, "scopes")),
        ("claims", claims.join(" ")),
        ("apps", if apps.is_empty() { "all".to_owned() } else { apps }),
        ("created", moment(agent.get("created_at"))),
    ])
}

fn credentials(out: &Out, agent: &Value) {
    out.result(agent, || {
        let mut lines = vec![format!("client_id      {}", text(agent, "client_id"))];
        match agent.get("client_secret").and_then(Value::as_str) {
            Some(secret) => {
                lines.push(format!("client_secret  {secret}"));
                lines.push("The secret is not shown again.".to_owned());
            }
            None => lines.push("It signs assertions with its own key (private_key_jwt).".to_owned()),
        }
        lines.join("\n")
    });
}

/// `role=admin role=dev team=x` as `{role: [admin, dev], team: [x]}`.
fn claims(pairs: &[String]) -> Result<Value, Failure> {
    let mut claims: Map<String, Value> = Map::new();
    for pair in pairs {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| Failure::Usage(format!("`--claim {pair}` must be NAME=VALUE")))?;
        if let Value::Array(values) = claims.entry(name).or_insert_with(|| json!([])) {
            values.push(json!(value));
        }
    }
    Ok(Value::Object(claims))
}

fn path(id: &str) -> String {
    format!("/admin/v1/agents/{}", encoded(id))
}
