//! The one YAML file. What serde reads is a `…Config`; `Settings` is what the rest of the program sees, checked and
//! with every path resolved. Unknown keys, duplicate keys and literal secrets are errors with line and column.

mod app;
mod authorization_server;
mod breakers;
mod limit_rules;
mod limits;
mod listener;
mod settings;
mod user_issuer;
mod workload_issuer;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vestibule_outbound::{LITERAL_SECRET, SecretRef};

pub use app::{AppConfig, HttpAppConfig, McpAppConfig, RecordConfig};
pub use authorization_server::AuthorizationServerConfig;
pub use breakers::{
    AgentBreakerConfig, AgentBreakersConfig, BreakerSettings, BreakersConfig, ShareConfig,
    UpstreamBreakerConfig, UpstreamBreakersConfig,
};
pub use limit_rules::{Only, OnlyConfig, Per, Period, Quota, QuotaConfig, Rate, RateConfig, Rule};
pub use limits::LimitsConfig;
pub use listener::{AdminConfig, DataConfig, TlsConfig};
pub use settings::{AppSettings, ListenerSettings, Settings};
pub(crate) use user_issuer::rebase;
pub use user_issuer::{
    AccessTokenTypeConfig, CallersConfig, ClaimsConfig, GroupsConfig, PresetConfig, UserIssuerConfig,
};
pub use workload_issuer::{WorkloadIssuerConfig, WorkloadProof, WorkloadRuleConfig};

/// The name of the configuration file in a gateway's folder.
pub const FILE_NAME: &str = "vestibule.yaml";

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not valid YAML of this shape. The text has line, column and an excerpt.
    #[error("`{}`: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
    /// A value is out of its bounds or contradicts another.
    #[error("`{key}`: {message}")]
    Value {
        /// The key, with dots.
        key: String,
        /// The rule, and the way out.
        message: String,
    },
}

impl ConfigError {
    pub(crate) fn value(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Value { key: key.into(), message: message.into() }
    }
}

/// A gateway's configuration file.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GatewayConfig {
    /// The listener that agents and applications' clients use.
    pub data: DataConfig,
    /// The listener of operators: admin API, probes, metrics.
    pub admin: AdminConfig,
    /// Where the state lies.
    pub state: StateConfig,
    /// What seals secrets in the state.
    pub vault: VaultConfig,
    /// The tamper-evident record.
    pub evidence: EvidenceSection,
    /// The tokens that the embedded issuer mints.
    pub tokens: TokensConfig,
    /// Whose users agents may act for, by a name of your choice: OpenID Connect issuers.
    pub user_issuers: BTreeMap<String, UserIssuerConfig>,
    /// Who gives the gateway tokens for applications, by a name of your choice: `access` of an application refers to it.
    pub authorization_servers: BTreeMap<String, AuthorizationServerConfig>,
    /// Whose workloads are agents without being registered, by a name of your choice: Kubernetes clusters, CIs.
    pub workload_issuers: BTreeMap<String, WorkloadIssuerConfig>,
    /// What each scope releases. A scope that is not here releases no claim.
    pub scopes: BTreeMap<String, ScopeConfig>,
    /// The policies.
    pub policies: PoliciesConfig,
    /// Bounds on everything that comes in.
    pub limits: LimitsConfig,
    /// When agents and applications are suspended by themselves.
    pub breakers: BreakersConfig,
    /// The protected applications.
    pub apps: BTreeMap<String, AppConfig>,
}

/// Where the state lies.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StateConfig {
    /// Folder of the embedded database, relative to this file.
    pub folder: PathBuf,
    /// Beyond this age of its view of what is revoked, in milliseconds, the gateway refuses. 500 to 60,000.
    pub lease_ms: u64,
}

impl Default for StateConfig {
    fn default() -> Self {
        Self { folder: "state".into(), lease_ms: 2_000 }
    }
}

/// What seals secrets in the state: signing keys, and what `vestibule secret set` was given.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct VaultConfig {
    /// Where its keys come from: a file that only its owner may read, or a variable of the environment. Each key is 32 bytes
    /// in base64; several are separated by line ends or commas, the first one seals and the others open. Without this key,
    /// the file `vault.key` in the state folder, which is made at the first start. Whoever has it and the state folder has
    /// the secrets: keep it out of the folder's backups.
    pub key: Option<SecretRef>,
}

/// When an entry of the record must be on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EvidenceMode {
    /// Within 10 ms.
    #[default]
    Batched,
    /// Before the application sees a byte, and before the last byte of the reply.
    Required,
}

/// The tamper-evident record.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvidenceSection {
    /// Folder of the log, relative to this file.
    pub folder: PathBuf,
    /// `batched` or `required`.
    pub mode: EvidenceMode,
    /// The name of this log, unique among all gateways of the organisation.
    pub origin: String,
    /// Size at which a segment file is closed, in bytes. 64 KiB to 1 GiB.
    pub segment_max_bytes: u64,
}

impl Default for EvidenceSection {
    fn default() -> Self {
        Self {
            folder: "evidence".into(),
            mode: EvidenceMode::Batched,
            origin: "vestibule.local/gateway".into(),
            segment_max_bytes: 64 << 20,
        }
    }
}

/// The tokens that the embedded issuer mints.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TokensConfig {
    /// Life of a hop token, in seconds. 60 to 300.
    pub ttl_seconds: u64,
    /// Life of a root delegation, in seconds. 300 to 86,400.
    pub delegation_ttl_seconds: u64,
    /// The deepest chain of agents. 1 to 8.
    pub max_depth: u8,
    /// Most agents that one delegation may have spawned and that live. 1 to 10,000.
    pub max_children: u32,
    /// Most living delegations of one tree, its root included. 1 to 1,000,000.
    pub max_tree_nodes: u32,
    /// Most living root delegations of one agent. 1 to 1,000,000.
    pub max_roots: u32,
}

impl Default for TokensConfig {
    fn default() -> Self {
        Self {
            ttl_seconds: 120,
            delegation_ttl_seconds: 3_600,
            max_depth: 4,
            max_children: 1_000,
            max_tree_nodes: 10_000,
            max_roots: 10_000,
        }
    }
}

/// What a scope releases.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScopeConfig {
    /// The agent's claims that enter a token with this scope.
    pub claims: BTreeSet<String>,
}

/// The policies.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PoliciesConfig {
    /// Folder of `*.cedar` files, relative to this file. `*.shadow.cedar` is decided and recorded, not enforced.
    pub folder: PathBuf,
    /// The IANA time zone of `context.env.weekday` and `context.env.minuteOfDay`.
    pub timezone: String,
}

impl Default for PoliciesConfig {
    fn default() -> Self {
        Self { folder: "policies".into(), timezone: "UTC".into() }
    }
}

impl GatewayConfig {
    /// Reads the file and refuses what it does not know.
    ///
    /// # Errors
    /// [`ConfigError`] with line and column where there are any.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(&text).map_err(|message| ConfigError::Syntax { path: path.to_owned(), message })
    }

    /// Parses the text of a configuration file.
    ///
    /// # Errors
    /// A message with line, column and an excerpt; without the excerpt where it would show a literal secret.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_saphyr::from_str(text).map_err(|error| {
            let bare = error.without_snippet().to_string();
            if bare.contains(LITERAL_SECRET) { bare } else { error.to_string() }
        })
    }

    /// The JSON Schema of the file.
    #[must_use]
    pub fn json_schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }
}
