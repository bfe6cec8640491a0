use std::{net::SocketAddr, path::PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vestibule_outbound::SecretRef;

/// A certificate and its key, PEM files, read again when they change.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// Certificate chain, leaf first.
    pub cert: PathBuf,
    /// Private key of the leaf.
    pub key: PathBuf,
}

/// The listener that agents use.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// Address to bind. A bind that is not loopback needs `tls`.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// What clients call this listener: the base of `iss`, of resource identifiers and of the `Host` check. Default:
    /// the bound address.
    pub public_url: Option<String>,
    /// Further authorities that are served, as `host` or `host:port`.
    pub also_known_as: Vec<String>,
    /// Origins of browsers that may call, as `https://host`. The listener's own origin always may.
    pub allowed_origins: Vec<String>,
    /// Serve TLS.
    pub tls: Option<TlsConfig>,
    /// Accept plain HTTP on an address that is not loopback. Tokens then travel in the clear.
    pub dangerous_plain_http: bool,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8700)),
            public_url: None,
            also_known_as: Vec::new(),
            allowed_origins: Vec::new(),
            tls: None,
            dangerous_plain_http: false,
        }
    }
}

/// The listener of operators.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Address to bind. A bind that is not loopback needs `tls`.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// What operators call this listener. Default: the bound address.
    pub public_url: Option<String>,
    /// Further authorities that are served.
    pub also_known_as: Vec<String>,
    /// Serve TLS.
    pub tls: Option<TlsConfig>,
    /// Accept plain HTTP on an address that is not loopback.
    pub dangerous_plain_http: bool,
    /// The bearer token of operators, at least 32 characters. Default: the file `admin.token`, made on first start.
    pub token: Option<SecretRef>,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8701)),
            public_url: None,
            also_known_as: Vec::new(),
            tls: None,
            dangerous_plain_http: false,
            token: None,
        }
    }
}
