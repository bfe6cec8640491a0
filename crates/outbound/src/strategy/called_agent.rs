use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderValue, header};
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use vestibule_inbound::Caller;
use vestibule_model::{AgentId, AttemptId, Fault, FaultKind};

use crate::{Calling, access::Placement};

/// The application is itself a registered agent. It gets a token of its own for each call, as `Authorization: Bearer …`,
/// which says on whose behalf it is called. With that token and its own client authentication it asks for a hop token
/// below the caller's delegation, so what it does for the call ends with the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CalledAgentConfig {
    /// The agent's id, as it is registered.
    #[schemars(with = "String")]
    pub id: AgentId,
}

/// Makes the token that a called agent gets. The issuer does, for it has the keys.
pub trait CallTokenSource: fmt::Debug + Send + Sync {
    /// The token that tells `agent` that `caller` calls it in the attempt `call`: good for `agent` only, and for `life` at
    /// most. A fresh one each time.
    ///
    /// # Errors
    /// [`Fault`] when none can be made.
    fn call_token(
        &self,
        caller: &Caller,
        agent: &AgentId,
        call: AttemptId,
        life: Duration,
    ) -> Result<SecretString, Fault>;
}

/// A called agent at work.
#[derive(Debug)]
pub(crate) struct CalledAgent {
    agent: AgentId,
    tokens: Arc<dyn CallTokenSource>,
}

impl CalledAgent {
    pub(super) fn new(config: CalledAgentConfig, tokens: Arc<dyn CallTokenSource>) -> Self {
        Self { agent: config.id, tokens }
    }

    pub(crate) fn agent(&self) -> &AgentId {
        &self.agent
    }

    /// Never cached: the token names this very call, and is worth nothing when the call is over. One that served two
    /// calls would keep what was done for the first alive in the second.
    pub(super) fn obtain(&self, caller: &Caller, calling: &Calling) -> Result<Placement, Fault> {
        let token = self.tokens.call_token(caller, &self.agent, calling.attempt, calling.life)?;
        let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
            .map_err(|_| Fault::new(FaultKind::Internal, "a token for a call cannot stand in a header"))?;
        value.set_sensitive(true);
        Ok(Placement::Header(header::AUTHORIZATION, value))
    }

    pub(super) fn describe(&self) -> String {
        format!("agent: a token per call for `{}`; there is no caller now, so none is sent", self.agent)
    }
}
