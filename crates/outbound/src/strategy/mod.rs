//! Strategies: how the credential of an application is obtained. One file each.

mod called_agent;
mod static_secret;

use std::{path::Path, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vestibule_inbound::Caller;
use vestibule_model::{AgentId, Clock, Fault};

use called_agent::CalledAgent;
pub use called_agent::{CallTokenSource, CalledAgentConfig};
pub use static_secret::StaticConfig;
use static_secret::StaticSecret;

use crate::{Calling, OutboundError, Secrets, access::Placement};

/// With which credential the gateway calls an application. The agent's own never goes there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum StrategyConfig {
    /// None: the application trusts the network it stands in.
    #[default]
    None,
    /// One secret for all calls.
    Static(StaticConfig),
    /// A token per call, for an application that is itself an agent.
    Agent(CalledAgentConfig),
}

impl StrategyConfig {
    /// The same configuration, with relative paths of secrets starting at `folder`.
    #[must_use]
    pub fn resolved(&self, folder: &Path) -> Self {
        match self {
            Self::None => Self::None,
            Self::Static(config) => Self::Static(config.resolved(folder)),
            Self::Agent(config) => Self::Agent(config.clone()),
        }
    }
}

/// What strategies need to be at work.
pub(crate) struct Means {
    pub(crate) secrets: Secrets,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) call_tokens: Arc<dyn CallTokenSource>,
}

/// A strategy at work.
#[derive(Debug)]
pub(crate) enum Strategy {
    None,
    Static(StaticSecret),
    Agent(CalledAgent),
}

impl Strategy {
    pub(crate) fn new(config: StrategyConfig, means: &Means) -> Result<Self, OutboundError> {
        Ok(match config {
            StrategyConfig::None => Self::None,
            StrategyConfig::Static(config) => {
                Self::Static(StaticSecret::new(config, means.secrets.clone(), Arc::clone(&means.clock))?)
            }
            StrategyConfig::Agent(config) => {
                Self::Agent(CalledAgent::new(config, Arc::clone(&means.call_tokens)))
            }
        })
    }

    /// For a call of `caller`.
    pub(crate) async fn obtain(&self, caller: &Caller, calling: &Calling) -> Result<Placement, Fault> {
        match self {
            Self::None => Ok(Placement::Nowhere),
            Self::Static(secret) => secret.obtain().await,
            Self::Agent(agent) => agent.obtain(caller, calling),
        }
    }

    /// For a question of the gateway itself.
    pub(crate) async fn obtain_own(&self) -> Result<Placement, Fault> {
        match self {
            Self::Static(secret) => secret.obtain().await,
            // A token for a call says on whose behalf. A question of the gateway is on nobody's, and a token in somebody's
            // name that no call stands behind would be one too many.
            Self::None | Self::Agent(_) => Ok(Placement::Nowhere),
        }
    }

    /// The agent that it calls.
    pub(crate) fn called_agent(&self) -> Option<&AgentId> {
        match self {
            Self::None | Self::Static(_) => None,
            Self::Agent(called) => Some(called.agent()),
        }
    }

    /// What it is and where its secret lies, in words.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::None => "none: the application is called without a credential".to_owned(),
            Self::Static(secret) => secret.describe(),
            Self::Agent(agent) => agent.describe(),
        }
    }
}
