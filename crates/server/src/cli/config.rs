use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use super::{Failure, Outcome, output::Out};
use crate::config::{FILE_NAME, GatewayConfig, Settings};

/// Check a configuration, or print its JSON Schema.
#[derive(Debug, Subcommand)]
pub(super) enum Config {
    /// Check a configuration file as a start does. Secrets, certificates and addresses are tried by the start only.
    Check {
        /// The configuration file.
        #[arg(default_value = FILE_NAME)]
        file: PathBuf,
    },
    /// Print the JSON Schema of the configuration file.
    Schema,
}

impl Config {
    pub(super) fn execute(self, out: &Out) -> Outcome {
        match self {
            Self::Check { file } => {
                let settings = Settings::read(&file).map_err(Failure::usage)?;
                let apps: Vec<_> = settings.apps.iter().map(|app| app.id.to_string()).collect();
                out.result(&json!({ "ok": true, "file": file, "apps": apps }), || {
                    format!("{}: ok, {} applications", file.display(), apps.len())
                });
            }
            Self::Schema => {
                let schema =
                    serde_json::to_string_pretty(&GatewayConfig::json_schema()).map_err(Failure::broken)?;
                out.line(&schema);
            }
        }
        Ok(())
    }
}
