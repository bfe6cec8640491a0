//! Strategies: how the credential of an application is obtained. One file each.

mod static_secret;

use std::{path::Path, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vestibule_model::{Clock, Fault};

pub use static_secret::StaticConfig;
use static_secret::StaticSecret;

use crate::{OutboundError, Secrets, access::Placement};

/// With which credential the gateway calls an application. The agent's own never goes there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum StrategyConfig {
    /// None: the application trusts the network it stands in.
    #[default]
    None,
    /// One secret for all calls.
    Static(StaticConfig),
}

impl StrategyConfig {
    /// The same configuration, with relative paths of secrets starting at `folder`.
    #[must_use]
    pub fn resolved(&self, folder: &Path) -> Self {
        match self {
            Self::None => Self::None,
            Self::Static(config) => Self::Static(config.resolved(folder)),
        }
    }
}

/// A strategy at work.
#[derive(Debug)]
pub(crate) enum Strategy {
    None,
    Static(StaticSecret),
}

impl Strategy {
    pub(crate) fn new(
        config: StrategyConfig,
        secrets: Secrets,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, OutboundError> {
        Ok(match config {
            StrategyConfig::None => Self::None,
            StrategyConfig::Static(config) => {
                Self::Static(StaticSecret::new(config, secrets, Arc::clone(clock))?)
            }
        })
    }

    pub(crate) async fn obtain(&self) -> Result<Placement, Fault> {
        match self {
            Self::None => Ok(Placement::Nowhere),
            Self::Static(secret) => secret.obtain().await,
        }
    }

    /// What it is and where its secret lies, in words.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::None => "none: the application is called without a credential".to_owned(),
            Self::Static(secret) => secret.describe(),
        }
    }
}
