use std::sync::Arc;

use async_trait::async_trait;
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use vestibule_inbound::Caller;
use vestibule_model::{Actor, AppId, Clock, Digest, OperationId, Refusal, Stop, UserId};

use super::{
    Check, Means, OwnQuestions, ScopesConfig, Wider,
    answered::{Actors, Asked, Named},
    client_credentials::own_token,
    scopes::Scopes,
    token_source::TokenSource,
    user_required, user_token,
    vouching::Vouching,
};
use crate::{
    OutboundError, ProbeStep, UserTokens,
    authorization_server::{
        AuthorizationServer, Form,
        probe::{Needs, no_token},
    },
    cache::{Ask, Cache, Obtained, Target},
};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// A token in the name of the user, with the agents that act for them (RFC 8693): the application sees who asks for whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenExchangeConfig {
    /// The authorization server, by its name in `authorization_servers`.
    pub server: String,
    /// How the server learns who the user is.
    pub subject: Subject,
    /// What the server takes the user's own token for.
    #[serde(default)]
    pub subject_token_type: SubjectTokenType,
    /// Which agents the server learns of.
    pub actor: ActorKind,
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

/// How the server learns who the user is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// By the user's own token, with which the agent came to us.
    UserToken,
    /// By our word: a JWT of our issuer, which the server believes.
    Assertion,
}

/// What the user's own token is (RFC 8693 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SubjectTokenType {
    /// An access token.
    #[default]
    AccessToken,
    /// An ID token.
    IdToken,
    /// Some other JWT.
    Jwt,
}

/// Which agents the server learns of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ActorKind {
    /// None: the application sees the user alone.
    None,
    /// The one that acts now.
    Agent,
    /// All of them. With the user's own token that takes an exchange for each, the root first.
    Chain,
}

/// Token exchange at work.
#[derive(Debug)]
pub(crate) struct TokenExchange {
    server: Arc<AuthorizationServer>,
    configuration: Digest,
    config: TokenExchangeConfig,
    scopes: Scopes,
    target: Target,
    vouching: Vouching,
    user_tokens: Arc<dyn UserTokens>,
    clock: Arc<dyn Clock>,
}

impl TokenExchange {
    pub(super) fn new(config: TokenExchangeConfig, means: &Means) -> Result<Self, OutboundError> {
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
            user_tokens: Arc::clone(&means.backing.user_tokens),
            clock: Arc::clone(&means.backing.clock),
        })
    }

    fn target(&self, operation: Option<&OperationId>) -> Target {
        Target { scopes: self.scopes.of(operation), ..self.target.clone() }
    }

    /// The subject token and its type.
    async fn subject(
        self: &Arc<Self>,
        ask: &Ask,
        (caller, user): (&Caller, &UserId),
        cache: &Arc<Cache>,
    ) -> Result<(SecretString, &'static str), Stop> {
        match (self.config.subject, self.config.actor, ask.above()) {
            (Subject::Assertion, kind, _) => {
                // RFC 8693 §4.1: who acted before stands in the subject token's `act`.
                let before = match kind {
                    ActorKind::Chain => {
                        ask.minted_for.agents.split_last().map_or(&[][..], |(_, before)| before)
                    }
                    ActorKind::None | ActorKind::Agent => &[],
                };
                let audience = self.server.audience().await?;
                Ok((self.vouching.subject(Some(user), before, &audience)?, JWT))
            }
            (Subject::UserToken, ActorKind::Chain, Some(above)) => {
                let source: Arc<dyn TokenSource> = Arc::clone(self) as Arc<dyn TokenSource>;
                Ok((cache.obtain(above, &source).await?.token.clone(), ACCESS_TOKEN))
            }
            (Subject::UserToken, _, _) => {
                // Nobody but its issuer is shown it: anybody else would be one more party that can present it.
                if self.server.issuer() != Some(user.issuer.as_str()) {
                    return Err(Stop::from(no_user_token()));
                }
                let token = user_token(caller, self.user_tokens.as_ref()).await?;
                let token = token.ok_or_else(|| Stop::from(no_user_token()))?;
                Ok((token, self.config.subject_token_type.urn()))
            }
        }
    }

    /// The agent that stands behind the token as the one that acts.
    fn actor<'a>(&self, ask: &'a Ask) -> Option<&'a Actor> {
        match self.config.actor {
            ActorKind::None => None,
            ActorKind::Agent | ActorKind::Chain => ask.minted_for.agents.last(),
        }
    }

    fn named<'a>(&'a self, ask: &'a Ask, user: &'a UserId) -> Named<'a> {
        let agents = || ask.minted_for.agents.iter().rev().map(|actor| actor.agent.as_str());
        let expected = match self.config.actor {
            ActorKind::None => vec![self.server.config().client_id.as_str()],
            ActorKind::Agent => agents().take(1).collect(),
            ActorKind::Chain => agents().collect(),
        };
        let actors = match (self.config.actor, self.config.subject) {
            (ActorKind::None, _) => Actors::IfAny(expected),
            (ActorKind::Agent | ActorKind::Chain, Subject::Assertion) => Actors::All(expected),
            // The user's token may name somebody who acted before.
            (ActorKind::Agent | ActorKind::Chain, Subject::UserToken) => Actors::First(expected),
        };
        Named { subject: &user.subject, actors }
    }

    fn form(&self, ask: &Ask) -> Form {
        Form::grant(GRANT)
            .with("requested_token_type", ACCESS_TOKEN)
            .with_scopes(&*ask.key.scopes)
            .with_some("audience", ask.key.audience.as_deref())
            .with_some("resource", ask.key.resource.as_deref())
    }
}

#[async_trait]
impl TokenSource for TokenExchange {
    fn name(&self) -> &'static str {
        "token-exchange"
    }

    fn server(&self) -> &Arc<AuthorizationServer> {
        &self.server
    }

    fn configuration(&self) -> Digest {
        self.configuration
    }

    fn ask(&self, app: &AppId, caller: &Caller, operation: &OperationId) -> Result<Ask, Stop> {
        if caller.user().is_none() {
            return Err(user_required().into());
        }
        Ok(Ask::of_node(app, caller, self.clock.now(), self.target(Some(operation))))
    }

    fn ask_own(&self, app: &AppId) -> Option<Ask> {
        match self.config.own {
            OwnQuestions::None => None,
            OwnQuestions::ClientCredentials => Some(Ask::of_app(app, self.clock.now(), self.target(None))),
        }
    }

    async fn fetch(self: Arc<Self>, ask: Ask, cache: Arc<Cache>) -> Result<Obtained, Stop> {
        let Some(caller) = &ask.caller else {
            return Ok(own_token(&self.server, &ask, self.config.wider, &*self.clock).await?);
        };
        let user = caller.user().ok_or_else(|| Stop::from(user_required()))?;
        let (subject, subject_type) = self.subject(&ask, (caller, user), &cache).await?;
        let mut form =
            self.form(&ask).with_secret("subject_token", &subject).with("subject_token_type", subject_type);
        if let Some(actor) = self.actor(&ask) {
            let audience = self.server.audience().await?;
            let token = self.vouching.actor(actor, &audience)?;
            form = form.with_secret("actor_token", &token).with("actor_token_type", JWT);
        }
        let requested_at = self.clock.now();
        let answer = self.server.token(form).await?;
        // RFC 8693 §2.2.1: REQUIRED, and nothing but what was asked for. A server that gives a refresh token, or a token of
        // another kind, has not understood.
        if !matches!(answer.issued_token_type.as_deref(), Some(ACCESS_TOKEN | JWT)) {
            let rule = "has no token whose `issued_token_type` is an access token";
            return Err(self.server.wrong("the token request", rule).into());
        }
        let asked = Asked::of(&ask.key, self.config.wider);
        let named = self.named(&ask, user);
        Ok(asked.verify(&self.server, answer, requested_at, (self.config.check, &named)).await?)
    }

    fn describe(&self) -> String {
        let own = match self.config.own {
            OwnQuestions::None => "there is no user now, so none is sent",
            OwnQuestions::ClientCredentials => "there is no user now, so the gateway's own is sent",
        };
        format!("token-exchange: a token of `{}` in the user's name; {own}", self.server.name())
    }

    async fn probe(&self) -> Vec<ProbeStep> {
        let introspection = self.config.check == Check::Introspection;
        let needs = Needs { grant: GRANT, scopes: self.scopes.all(), introspection };
        let mut steps = self.server.examine(&needs).await;
        if steps.iter().all(|step| step.ok) {
            let form = Form::grant(GRANT)
                .with_secret("subject_token", &no_token())
                .with("subject_token_type", self.config.subject_token_type.urn());
            steps.push(self.server.try_in_vain(form).await);
            let actors = match (self.config.actor, self.config.check) {
                (ActorKind::None, _) => "none are told",
                (_, Check::None) => "nobody finds out whether the server honours them: `check` is none",
                (_, Check::Claims | Check::Introspection) => {
                    "with each token it is found out whether the server honours them"
                }
            };
            steps.push(ProbeStep::good("actors", actors));
        }
        steps
    }
}

impl SubjectTokenType {
    fn urn(self) -> &'static str {
        match self {
            Self::AccessToken => ACCESS_TOKEN,
            Self::IdToken => ID_TOKEN,
            Self::Jwt => JWT,
        }
    }
}

/// The user is known, and what the server wants to see of them is not at hand.
fn no_user_token() -> Refusal {
    let mut refusal = user_required();
    refusal.cause = "the user's token is not kept, or has expired".to_owned();
    refusal.hints = vec![
        "ask for a token in exchange for a fresh token of the user: the one that this delegation rests on cannot be \
         used any more"
            .to_owned(),
    ];
    refusal
}
