use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vestibule_inbound::Caller;
use vestibule_model::{AppId, Clock, Digest, Fault, OperationId, Stop};

use super::{Means, ScopesConfig, Wider, answered::Asked, scopes::Scopes, token_source::TokenSource};
use crate::{
    OutboundError, ProbeStep,
    authorization_server::{AuthorizationServer, Form, probe::Needs},
    cache::{Ask, Cache, Obtained, Target},
};

const GRANT: &str = "client_credentials";

/// A token for the gateway itself (RFC 6749 §4.4). The application learns nothing of the agent nor of the user: what may be
/// done is policy's to say alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientCredentialsConfig {
    /// The authorization server, by its name in `authorization_servers`.
    pub server: String,
    /// The scopes that are asked for.
    #[serde(default)]
    pub scopes: ScopesConfig,
    /// The `audience` that is asked for.
    #[serde(default)]
    pub audience: Option<String>,
    /// The `resource` that is asked for (RFC 8707).
    #[serde(default)]
    pub resource: Option<String>,
    /// Whether all agents share a token.
    #[serde(default)]
    pub per: Per,
    /// What becomes of a token that has scopes that nobody asked for.
    #[serde(default)]
    pub wider: Wider,
}

/// Whose a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Per {
    /// All agents share one.
    #[default]
    App,
    /// Each agent has one, which is dropped and given back when the agent is revoked.
    Agent,
}

/// Client credentials at work.
#[derive(Debug)]
pub(crate) struct ClientCredentials {
    server: Arc<AuthorizationServer>,
    configuration: Digest,
    scopes: Scopes,
    audience: Option<Arc<str>>,
    resource: Option<Arc<str>>,
    per: Per,
    wider: Wider,
    clock: Arc<dyn Clock>,
}

impl ClientCredentials {
    pub(super) fn new(config: ClientCredentialsConfig, means: &Means) -> Result<Self, OutboundError> {
        let server = means.server(&config.server)?;
        Ok(Self {
            configuration: super::configuration(&config, &server),
            server,
            scopes: Scopes::new(config.scopes),
            audience: config.audience.map(Into::into),
            resource: config.resource.map(Into::into),
            per: config.per,
            wider: config.wider,
            clock: Arc::clone(&means.backing.clock),
        })
    }

    fn target(&self, operation: Option<&OperationId>) -> Target {
        Target {
            scopes: self.scopes.of(operation),
            audience: self.audience.clone(),
            resource: self.resource.clone(),
        }
    }
}

#[async_trait]
impl TokenSource for ClientCredentials {
    fn name(&self) -> &'static str {
        "client-credentials"
    }

    fn server(&self) -> &Arc<AuthorizationServer> {
        &self.server
    }

    fn configuration(&self) -> Digest {
        self.configuration
    }

    fn ask(&self, app: &AppId, caller: &Caller, operation: &OperationId) -> Result<Ask, Stop> {
        let (now, target) = (self.clock.now(), self.target(Some(operation)));
        Ok(match self.per {
            Per::App => Ask::of_app(app, now, target),
            Per::Agent => Ask::of_agent(app, caller, now, target),
        })
    }

    fn ask_own(&self, app: &AppId) -> Option<Ask> {
        Some(Ask::of_app(app, self.clock.now(), self.target(None)))
    }

    async fn fetch(self: Arc<Self>, ask: Ask, _: Arc<Cache>) -> Result<Obtained, Stop> {
        Ok(own_token(&self.server, &ask, self.wider, &*self.clock).await?)
    }

    fn describe(&self) -> String {
        let per = match self.per {
            Per::App => "one for all agents",
            Per::Agent => "one for each agent; the gateway's own here",
        };
        format!("client-credentials: token of `{}`, {per}", self.server.name())
    }

    async fn probe(&self) -> Vec<ProbeStep> {
        let needs = Needs { grant: GRANT, scopes: self.scopes.all(), introspection: false };
        self.server.examine(&needs).await
    }
}

/// A token for the gateway itself, as it is asked for.
pub(super) async fn own_token(
    server: &AuthorizationServer,
    ask: &Ask,
    wider: Wider,
    clock: &dyn Clock,
) -> Result<Obtained, Fault> {
    let form = Form::grant(GRANT)
        .with_scopes(&*ask.key.scopes)
        .with_some("audience", ask.key.audience.as_deref())
        .with_some("resource", ask.key.resource.as_deref());
    let asked = Asked::of(&ask.key, wider);
    let requested_at = clock.now();
    asked.accept(server, server.token(form).await?, requested_at)
}
