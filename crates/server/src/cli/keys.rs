use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{
    Outcome, Target,
    admin_client::AdminClient,
    output::{Out, text},
};

/// Look at and rotate the issuer's signing keys, and the keys of the vault.
#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// List the keys that sign and verify, and those of the vault with how many rows are under each.
    Status(All),
    /// Sign with a new key at once; tokens of the old one stay valid until they expire.
    Rotate(Rotate),
}

/// The gateway.
#[derive(Debug, Args)]
pub(super) struct All {
    #[command(flatten)]
    target: Target,
}

/// What to rotate.
#[derive(Debug, Args)]
pub(super) struct Rotate {
    /// Rotate the vault's key instead: everything that is sealed goes under a new one, and the old one is dropped. Where the
    /// keys come from the environment, under the first of them.
    #[arg(long)]
    vault: bool,
    #[command(flatten)]
    target: Target,
}

impl Keys {
    pub(super) async fn execute(self, out: &Out) -> Outcome {
        let (status, shown): (Value, fn(&Value) -> Vec<String>) = match self {
            Self::Status(all) => {
                let status = AdminClient::of(&all.target)?.get("/admin/v1/keys").await?;
                (status, |status| [signing(status), vault(status)].concat())
            }
            Self::Rotate(Rotate { vault: false, target }) => {
                (AdminClient::of(&target)?.post("/admin/v1/keys/rotate", &json!({})).await?, signing)
            }
            Self::Rotate(Rotate { vault: true, target }) => {
                (AdminClient::of(&target)?.post("/admin/v1/keys/vault/rotate", &json!({})).await?, vault)
            }
        };
        out.result(&status, || shown(&status).join("\n"));
        Ok(())
    }
}

fn signing(status: &Value) -> Vec<String> {
    let signing = status.get("signing").and_then(Value::as_str).unwrap_or("none");
    let retiring = status.get("retiring").and_then(Value::as_object).cloned().unwrap_or_default();
    let retiring = retiring.keys().map(|kid| format!("verifies  {kid}  until its last token has expired"));
    [format!("signs     {signing}")].into_iter().chain(retiring).collect()
}

fn vault(status: &Value) -> Vec<String> {
    let vault = status.get("vault").cloned().unwrap_or_default();
    let keys = vault.get("keys").and_then(Value::as_array).cloned().unwrap_or_default();
    let keys = keys.iter().map(|key| {
        let does = if key.get("seals") == Some(&json!(true)) { "seals   " } else { "opens   " };
        format!("{does}  {}  {} rows, from {}", text(key, "id"), text(key, "rows"), text(&vault, "from"))
    });
    let unsealed = vault.get("unsealed").and_then(Value::as_u64).filter(|rows| *rows > 0);
    let unsealed = unsealed.map(|rows| format!("damaged   {rows} rows are not sealed as they should be"));
    keys.chain(unsealed).collect()
}
