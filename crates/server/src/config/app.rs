use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vestibule_model::Effect;
use vestibule_outbound::StrategyConfig;

use crate::http_app::OperationsConfig;

/// A protected application: `mcp: {…}` or `http: {…}`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum AppConfig {
    /// An MCP server over streamable HTTP.
    Mcp(McpAppConfig),
    /// A plain HTTP API.
    Http(HttpAppConfig),
}

/// An MCP server over streamable HTTP. Its operations are read from it.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct McpAppConfig {
    /// The MCP endpoint.
    pub url: String,
    /// With which credential the gateway calls it.
    #[serde(default)]
    pub access: StrategyConfig,
    /// What the operator knows better than the server's own annotations, by tool.
    #[serde(default)]
    pub review: BTreeMap<String, ReviewConfig>,
    /// What the record keeps of arguments.
    #[serde(default)]
    pub record: RecordConfig,
    /// How often its tools are read again, in seconds. 5 to 86,400.
    #[serde(default = "refresh_default")]
    pub refresh_seconds: u64,
}

/// A plain HTTP API.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpAppConfig {
    /// The base of all paths.
    pub url: String,
    /// With which credential the gateway calls it.
    #[serde(default)]
    pub access: StrategyConfig,
    /// Its operations, or the OpenAPI document that has them.
    pub operations: OperationsConfig,
    /// What the record keeps of arguments.
    #[serde(default)]
    pub record: RecordConfig,
}

/// The operator's review of one tool.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ReviewConfig {
    /// `read`, `write` or `destroy`.
    #[schemars(with = "Option<String>")]
    pub effect: Option<Effect>,
    /// A token must hold one of these scopes.
    pub scopes: BTreeSet<String>,
}

/// What the record keeps of arguments. Their digest is always kept.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RecordConfig {
    /// Keep the arguments themselves.
    pub arguments: bool,
    /// Arguments whose values are replaced by `[redacted]`.
    pub redact: BTreeSet<String>,
}

fn refresh_default() -> u64 {
    60
}
