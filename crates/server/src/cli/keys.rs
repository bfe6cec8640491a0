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
        let status = match self {
            Self::Status(all) => AdminClient::of(&all.target)?.get("/admin/v1/keys").await?,
            Self::Rotate(rotate) => {
                let of = if rotate.vault { "/admin/v1/keys/vault/rotate" } else { "/admin/v1/keys/rotate" };
                AdminClient::of(&rotate.target)?.post(of, &json!({})).await?
            }
        };
        out.result(&status, || shown(&status));
        Ok(())
    }
}

fn shown(status: &Value) -> String {
    let signing = status.get("signing").and_then(Value::as_str).unwrap_or("none");
    let retiring = status.get("retiring").and_then(Value::as_object).cloned().unwrap_or_default();
    let retiring = retiring.keys().map(|kid| format!("verifies  {kid}  until its last token has expired"));
    let vault = status.get("vault").cloned().unwrap_or_default();
    let keys = vault.get("keys").and_then(Value::as_array).cloned().unwrap_or_default();
    let keys = keys.iter().map(|key| {
        let does = if key.get("seals") == Some(&json!(true)) { "seals   " } else { "opens   " };
        format!("{does}  {}  {} rows, from {}", text(key, "id"), text(key, "rows"), text(&vault, "from"))
    });
    let unsealed = vault.get("unsealed").and_then(Value::as_u64).filter(|rows| *rows > 0);
    let unsealed = unsealed.map(|rows| format!("damaged   {rows} rows are not sealed as they should be"));
    let signs = format!("signs     {signing}");
    [signs].into_iter().chain(retiring).chain(keys).chain(unsealed).collect::<Vec<_>>().join("\n")
}
