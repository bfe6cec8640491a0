use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vestibule_inbound::Caller;
use vestibule_model::{AppId, Clock, Digest, OperationId, Stop, UserId};

use super::{
    Check, Means, OwnQuestions, ScopesConfig, Wider,
    answered::{Actors, Asked, Named},
    client_credentials::own_token,
    scopes::Scopes,
    token_source::TokenSource,
    user_required,
    vouching::Vouching,
};
use crate::{
    OutboundError, ProbeStep,
    authorization_server::{
        AuthorizationServer, Form,
        probe::{Needs, no_token},
    },
    cache::{Ask, Cache, Obtained, Target},
};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// A token for our word (RFC 7523 §2.1): a JWT of our issuer, which the server has been told to believe, says who the user
/// is and which agents act for them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JwtBearerConfig {
    /// The authorization server, by its name in `authorization_servers`.
    pub server: String,
    /// In whose name the token is.
    #[serde(default)]
    pub subject: BearerSubject,
    /// The `audience` that is asked for.
    #[serde(default)]
    pub audience: Option<String>,
    /// The `resource` that is asked for (RFC 8707).
    #[serde(default)]
    pub resource: Option<String>,
    /// The scopes that are asked for.
    #[serde(default)]
    pub scopes: ScopesConfig,
    /// By what a token is found to be in the right names.
    #[serde(default)]
    pub check: Check,
    /// What becomes of a token that has scopes or audiences that nobody asked for.
    #[serde(default)]
    pub wider: Wider,
    /// With which token the gateway asks for the application's operations.
    #[serde(default)]
    pub own: OwnQuestions,
}

/// In whose name a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BearerSubject {
    /// The user's. A call without a user is refused.
    #[default]
    User,
    /// That of the agent at the root of the chain, whether or not it acts for a user.
    Agent,
}

/// The JWT bearer grant at work.
#[derive(Debug)]
pub(crate) struct JwtBearer {
    server: Arc<AuthorizationServer>,
    configuration: Digest,
    config: JwtBearerConfig,
    scopes: Scopes,
    target: Target,
    vouching: Vouching,
    clock: Arc<dyn Clock>,
}

impl JwtBearer {
    pub(super) fn new(config: JwtBearerConfig, means: &Means) -> Result<Self, OutboundError> {
        let server = means.server(&config.server)?;
        Ok(Self {
            configuration: super::configuration(&config, &server),
            server,
            scopes: Scopes::new(config.scopes.clone()),
            target: Target {
                audience: config.audience.as_deref().map(Into::into),
                resource: config.resource.as_deref().map(Into::into),
                ..Target::default()
            },
            config,
            vouching: means.vouching(),
            clock: Arc::clone(&means.backing.clock),
        })
    }

    fn target(&self, operation: Option<&OperationId>) -> Target {
        Target { scopes: self.scopes.of(operation), ..self.target.clone() }
    }

    fn user<'a>(&self, caller: &'a Caller) -> Result<Option<&'a UserId>, Stop> {
        match self.config.subject {
            BearerSubject::Agent => Ok(None),
            BearerSubject::User => caller.user().map(Some).ok_or_else(|| user_required().into()),
        }
    }
}

#[async_trait]
impl TokenSource for JwtBearer {
    fn name(&self) -> &'static str {
        "jwt-bearer"
    }

    fn server(&self) -> &Arc<AuthorizationServer> {
        &self.server
    }

    fn configuration(&self) -> Digest {
        self.configuration
    }

    fn ask(&self, app: &AppId, caller: &Caller, operation: &OperationId) -> Result<Ask, Stop> {
        self.user(caller)?;
        Ok(Ask::of_node(app, caller, self.clock.now(), self.target(Some(operation))))
    }

    fn ask_own(&self, app: &AppId) -> Option<Ask> {
        match self.config.own {
            OwnQuestions::None => None,
            OwnQuestions::ClientCredentials => Some(Ask::of_app(app, self.clock.now(), self.target(None))),
        }
    }

    async fn fetch(self: Arc<Self>, ask: Ask, _: Arc<Cache>) -> Result<Obtained, Stop> {
        let Some(caller) = &ask.caller else {
            return Ok(own_token(&self.server, &ask, self.config.wider, &*self.clock).await?);
        };
        let user = self.user(caller)?;
        let agents = &ask.minted_for.agents;
        let assertion = self.vouching.subject(user, agents, &self.server.audience().await?)?;
        let form = Form::grant(GRANT)
            .with_secret("assertion", &assertion)
            .with_scopes(&*ask.key.scopes)
            .with_some("audience", ask.key.audience.as_deref())
            .with_some("resource", ask.key.resource.as_deref());
        let requested_at = self.clock.now();
        let answer = self.server.token(form).await?;
        let names = || agents.iter().map(|actor| actor.agent.as_str());
        let root = names().next().unwrap_or_default();
        let (subject, before) = user.map_or((root, 1), |user| (user.subject.as_str(), 0));
        // RFC 7523 says nothing of `act`: a server that tells must tell the truth.
        let acting: Vec<&str> = names().skip(before).collect();
        let named = Named { subject, actors: Actors::IfAny(acting.into_iter().rev().collect()) };
        let asked = Asked::of(&ask.key, self.config.wider);
        Ok(asked.verify(&self.server, answer, requested_at, (self.config.check, &named)).await?)
    }

    fn describe(&self) -> String {
        let own = match self.config.own {
            OwnQuestions::None => "there is no caller now, so none is sent",
            OwnQuestions::ClientCredentials => "there is no caller now, so the gateway's own is sent",
        };
        format!("jwt-bearer: a token of `{}` for our word; {own}", self.server.name())
    }

    async fn probe(&self) -> Vec<ProbeStep> {
        let introspection = self.config.check == Check::Introspection;
        let needs = Needs { grant: GRANT, scopes: self.scopes.all(), introspection };
        let mut steps = self.server.examine(&needs).await;
        if steps.iter().all(|step| step.ok) {
            let form = Form::grant(GRANT).with_secret("assertion", &no_token());
            steps.push(self.server.try_in_vain(form).await);
        }
        steps
    }
}
