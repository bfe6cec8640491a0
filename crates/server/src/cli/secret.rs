use std::io::{IsTerminal, Read};

use clap::{Args, Subcommand};
use serde_json::json;
use zeroize::Zeroizing;

use super::{
    Failure, Outcome, Target,
    admin_client::{AdminClient, encoded},
    output::{Out, fields, moment, text},
};

/// Largest secret that is read, in bytes: what the gateway takes, and line ends.
const READ_MAX_BYTES: u64 = (64 << 10) + 16;

/// Keep secrets in the gateway, sealed. A configuration refers to one as `{ vault: NAME }`.
#[derive(Debug, Subcommand)]
pub(super) enum Secret {
    /// Set a secret, or change it. Its value is read from standard input, never from an argument: those show in the process
    /// list. Calls use it within five seconds.
    Set(Named),
    /// List the secrets, without their values.
    Ls(All),
    /// Remove a secret. What uses it is closed within five seconds.
    Rm(Named),
}

/// The gateway.
#[derive(Debug, Args)]
pub(super) struct All {
    #[command(flatten)]
    target: Target,
}

/// A command about one secret.
#[derive(Debug, Args)]
pub(super) struct Named {
    /// Its name: `[a-z0-9][a-z0-9._-]{0,63}`.
    name: String,
    #[command(flatten)]
    target: Target,
}

impl Secret {
    pub(super) async fn execute(self, out: &Out) -> Outcome {
        match self {
            Self::Set(set) => {
                let client = AdminClient::of(&set.target)?;
                let value = from_stdin()?;
                let kept = client.put(&path(&set.name), &json!({ "value": *value })).await?;
                out.result(&kept, || {
                    fields(&[
                        ("secret", text(&kept, "id")),
                        ("version", text(&kept, "version")),
                        ("set", moment(kept.get("set_at"))),
                    ])
                });
                Ok(())
            }
            Self::Ls(ls) => {
                let secrets = AdminClient::of(&ls.target)?.all("/admin/v1/secrets").await?;
                out.list(&secrets, &["id", "version", "usable"]);
                Ok(())
            }
            Self::Rm(rm) => {
                let removed = AdminClient::of(&rm.target)?.delete(&path(&rm.name)).await?;
                out.result(&removed, || format!("removed  {}", text(&removed, "id")));
                Ok(())
            }
        }
    }
}

fn path(name: &str) -> String {
    format!("/admin/v1/secrets/{}", encoded(name))
}

fn from_stdin() -> Result<Zeroizing<String>, Failure> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        return Err(Failure::usage(
            "the secret is read from standard input, and a terminal would show it: `vestibule secret set NAME < FILE`",
        ));
    }
    let mut value = Zeroizing::new(String::with_capacity(READ_MAX_BYTES as usize + 1));
    let read = stdin.lock().take(READ_MAX_BYTES + 1).read_to_string(&mut value);
    read.map_err(|error| Failure::usage(format!("standard input cannot be read as text: {error}")))?;
    if value.len() as u64 > READ_MAX_BYTES {
        return Err(Failure::usage("the secret is larger than 64 KiB"));
    }
    Ok(value)
}
