use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{Outcome, Target, admin_client::AdminClient, output::Out};

/// Look at and rotate the issuer's signing keys.
#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// List the keys that sign and verify.
    Status(All),
    /// Sign with a new key at once; tokens of the old one stay valid until they expire.
    Rotate(All),
}

/// The gateway.
#[derive(Debug, Args)]
pub(super) struct All {
    #[command(flatten)]
    target: Target,
}

impl Keys {
    pub(super) async fn execute(self, out: &Out) -> Outcome {
        let status = match self {
            Self::Status(all) => AdminClient::of(&all.target)?.get("/admin/v1/keys").await?,
            Self::Rotate(all) => {
                AdminClient::of(&all.target)?.post("/admin/v1/keys/rotate", &json!({})).await?
            }
        };
        out.result(&status, || {
            let signing = status.get("signing").and_then(Value::as_str).unwrap_or("none");
            let retiring = status.get("retiring").and_then(Value::as_object).cloned().unwrap_or_default();
            let retiring =
                retiring.keys().map(|kid| format!("verifies  {kid}  until its last token has expired"));
            [format!("signs     {signing}")].into_iter().chain(retiring).collect::<Vec<_>>().join("\n")
        });
        Ok(())
    }
}
