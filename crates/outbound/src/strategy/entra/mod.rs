//! Tokens of Microsoft Entra Agent ID, by its documentation to the letter:
//! `agent-id/identity-platform/agent-on-behalf-of-oauth-flow` (OBO page), `…/agent-autonomous-app-oauth-flow` (autonomous
//! page) and `…/agent-token-claims` (claims page), all below learn.microsoft.com/entra.
//!
//! Guarantees, against an Entra that gives something else than was asked for, and against a configuration that mixes up
//! agents:
//!
//! - an agent is one agent identity, and an agent without one gets no token: never the blueprint's, never another's;
//! - a user's token goes to Entra only if Entra has issued it, in this tenant, for this blueprint;
//! - a token is used only if it says the tenant, the agent identity and the user that it was asked for.
//!
//! Such a token names one agent and no chain (there is no RFC 8693 `act`): through whom the call came stands in the
//! gateway's record alone.

mod claims;
mod config;
mod exchange;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use secrecy::SecretString;
use vestibule_inbound::Caller;
use vestibule_model::{AgentId, AppId, Clock, Digest, Fault, FaultKind, OperationId, Stop};

use self::{
    claims::{Claims, Expected},
    exchange::Identity,
};
pub use config::{BlueprintConfig, EntraMode, EntraOboConfig};

use super::{Means, TokenSource, answered::Asked, scopes::Scopes, user_required, user_token};
use crate::{
    AuthorizationServerConfig, EndpointsConfig, OutboundError, ProbeStep, UserTokens, Wider,
    authorization_server::{AuthorizationServer, Form},
    cache::{Ask, Cache, Obtained, Target},
};

/// Everything that was consented to, or granted, of a resource.
const DEFAULT: &str = "/.default";
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// How many agents `app test` asks a token for.
const PROBED_MAX: usize = 8;

/// Agent identities at work.
#[derive(Debug)]
pub(crate) struct EntraObo {
    tenant: String,
    blueprint: String,
    identities: BTreeMap<AgentId, Identity>,
    scopes: Scopes,
    mode: EntraMode,
    wider: Wider,
    configuration: Digest,
    server: Arc<AuthorizationServer>,
    user_tokens: Arc<dyn UserTokens>,
    clock: Arc<dyn Clock>,
}

impl EntraObo {
    pub(super) fn new(app: &AppId, config: EntraOboConfig, means: &Means) -> Result<Self, OutboundError> {
        let broken = |rule| super::broken(app, rule);
        let invalid = |_| broken(("entra-obo.agents", "has a name that no agent can have"));
        let agents = config.agents.iter();
        let identities = agents
            .map(|(agent, identity)| Ok((AgentId::new(agent).map_err(invalid)?, Identity::new(identity))))
            .collect::<Result<_, OutboundError>>()?;
        let server = means.maker.make(AuthorizationServerConfig {
            name: format!("Entra for {app}"),
            endpoints: EndpointsConfig::Given {
                issuer: None,
                token: config.token_url().map_err(|rule| broken(("entra-obo.authority", rule)))?,
                // RFC 7009 and RFC 7662 are not offered.
                revocation: None,
                introspection: None,
            },
            client_id: config.blueprint.client_id.clone(),
            auth: config.blueprint.auth.clone(),
            timeout: Duration::from_secs(config.timeout_seconds),
        })?;
        Ok(Self {
            configuration: super::configuration(&config, &server),
            tenant: config.tenant,
            blueprint: config.blueprint.client_id,
            identities,
            scopes: Scopes::new(config.scopes),
            mode: config.mode,
            wider: config.wider,
            server: Arc::new(server),
            user_tokens: Arc::clone(&means.backing.user_tokens),
            clock: Arc::clone(&means.backing.clock),
        })
    }

    fn identity(&self, agent: &AgentId) -> Result<&Identity, Fault> {
        self.identities.get(agent).ok_or_else(|| {
            let cause = format!("agent `{agent}` has no agent identity: name it in `entra-obo.agents`");
            Fault::new(FaultKind::AccessUnavailable, cause)
        })
    }

    /// The token with which the user was proven, if it may be shown to Entra. OBO page: "Tc.aud == blueprint client ID".
    async fn user_token(&self, caller: &Caller) -> Result<(SecretString, String), Fault> {
        let unusable = |rule: &str| {
            Fault::new(FaultKind::AccessUnavailable, format!("the token of the user {rule}: sign in again"))
        };
        let token = user_token(caller, self.user_tokens.as_ref()).await?;
        let token = token.ok_or_else(|| unusable("is not kept, or has expired"))?;
        // A token of another issuer would be one more party that knows it.
        let claims = Claims::of(&token).filter(|claims| claims.text("tid") == Some(&self.tenant));
        let claims = claims.ok_or_else(|| unusable("is not one of this tenant of Entra"))?;
        let audience = claims.text("aud").unwrap_or_default();
        if audience.strip_prefix("api://").unwrap_or(audience) != self.blueprint {
            return Err(unusable("is not for the blueprint (`aud`)"));
        }
        let user = claims.text("oid").ok_or_else(|| unusable("has no `oid`"))?.to_owned();
        Ok((token, user))
    }

    /// Step 2: the agent identity, which stands on the exchange token of its blueprint, asks for the resource's token.
    async fn resource_token(&self, ask: &Ask, caller: &Caller) -> Result<Obtained, Fault> {
        let identity = self.identity(caller.agent())?;
        let user = match self.mode {
            EntraMode::OnBehalfOf => Some(self.user_token(caller).await?),
            EntraMode::Autonomous => None,
        };
        let form = match &user {
            // OBO page, step 2.
            Some((token, _)) => Form::grant(JWT_BEARER)
                .with_scopes(&*ask.key.scopes)
                .with_secret("assertion", token)
                .with("requested_token_use", "on_behalf_of"),
            // Autonomous page, step 2.
            None => Form::grant("client_credentials").with_scopes(&*ask.key.scopes),
        };
        let exchange = identity.exchange_token(&self.server, &*self.clock).await?;
        let requested_at = self.clock.now();
        let answer = self.server.token_as(form, identity.id(), &exchange).await;
        let answer = answer.inspect_err(|_| identity.forget(&exchange))?;
        let user = user.as_ref().map(|(_, oid)| oid.as_str());
        let expected = Expected { tenant: &self.tenant, identity: identity.id(), user };
        expected.check(&answer.token).map_err(|rule| self.server.wrong("the token request", rule))?;
        if ask.key.scopes.iter().any(|scope| scope.ends_with(DEFAULT)) {
            // Whatever was consented to, or granted, is what was asked for.
            let scopes = answer.scope.unwrap_or_else(|| (*ask.key.scopes).clone()).into_iter().collect();
            let expires_at = requested_at.plus(answer.life);
            return Ok(Obtained { token: answer.token, expires_at, scopes, wider: Vec::new() });
        }
        Asked::of(&ask.key, self.wider).accept(&self.server, answer, requested_at)
    }
}

#[async_trait]
impl TokenSource for EntraObo {
    fn name(&self) -> &'static str {
        "entra-obo"
    }

    fn server(&self) -> &Arc<AuthorizationServer> {
        &self.server
    }

    fn configuration(&self) -> Digest {
        self.configuration
    }

    fn ask(&self, app: &AppId, caller: &Caller, operation: &OperationId) -> Result<Ask, Stop> {
        self.identity(caller.agent())?;
        let target = Target { scopes: self.scopes.of(Some(operation)), ..Target::default() };
        let now = self.clock.now();
        match self.mode {
            EntraMode::OnBehalfOf if caller.user().is_none() => Err(user_required().into()),
            EntraMode::OnBehalfOf => Ok(Ask::of_node(app, caller, now, target)),
            EntraMode::Autonomous => Ok(Ask::of_agent(app, caller, now, target)),
        }
    }

    /// There is no agent identity that is the gateway's own.
    fn ask_own(&self, _: &AppId) -> Option<Ask> {
        None
    }

    async fn fetch(self: Arc<Self>, ask: Ask, _: Arc<Cache>) -> Result<Obtained, Stop> {
        let nobody = || Fault::new(FaultKind::Internal, "a token of an agent identity is for a caller");
        let caller = ask.caller.as_ref().ok_or_else(nobody)?;
        Ok(self.resource_token(&ask, caller).await?)
    }

    fn describe(&self) -> String {
        let (tenant, agents) = (&self.tenant, self.identities.len());
        match self.mode {
            EntraMode::OnBehalfOf => {
                format!(
                    "entra-obo: for the user, as the agent identity of the caller ({agents} of tenant {tenant})"
                )
            }
            EntraMode::Autonomous => {
                format!("entra-obo: as the agent identity of the caller ({agents} of tenant {tenant})")
            }
        }
    }

    /// Whether Entra knows the blueprint and its agents: step 1 for each.
    async fn probe(&self) -> Vec<ProbeStep> {
        let mut steps = Vec::new();
        for (agent, identity) in self.identities.iter().take(PROBED_MAX) {
            steps.push(match identity.exchange_token(&self.server, &*self.clock).await {
                Ok(_) => ProbeStep::good(
                    "identity",
                    format!("agent `{agent}` is an agent identity of the blueprint"),
                ),
                Err(fault) => ProbeStep::bad("identity", format!("agent `{agent}`: {}", fault.cause)),
            });
        }
        steps
    }
}
