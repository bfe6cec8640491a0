//! Strategies: how the credential of an application is obtained. One file each.

mod answered;
mod assertion;
mod called_agent;
mod client_credentials;
mod entra;
mod jwt_bearer;
mod notary;
mod scopes;
mod static_secret;
mod token_exchange;
mod token_source;
mod txn_token;
mod vouching;

use std::{collections::HashMap, fmt, path::Path, sync::Arc};

use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use vestibule_inbound::Caller;
use vestibule_model::{AgentId, AppId, Denial, Digest, Fault, Refusal, Stop};
use vestibule_policy::Permit;

pub use answered::{Check, Wider};
use assertion::Assertion;
pub use assertion::{ASSERTION_TYPE, AssertionConfig};
use called_agent::CalledAgent;
pub use called_agent::{CallTokenSource, CalledAgentConfig};
use client_credentials::ClientCredentials;
pub use client_credentials::{ClientCredentialsConfig, Per};
use entra::EntraObo;
pub use entra::{BlueprintConfig, EntraMode, EntraOboConfig};
use jwt_bearer::JwtBearer;
pub use jwt_bearer::{BearerSubject, JwtBearerConfig};
use notary::About;
pub use notary::LifeSeconds;
pub use scopes::ScopesConfig;
pub use static_secret::StaticConfig;
use static_secret::StaticSecret;
use token_exchange::TokenExchange;
pub use token_exchange::{ActorKind, Subject, SubjectTokenType, TokenExchangeConfig};
pub(crate) use token_source::{TokenAccess, TokenSource};
use txn_token::TxnToken;
pub use txn_token::{TXN_TOKEN_TYPE, TxnTokenConfig};
use vouching::Vouching;

use crate::{
    Backing, Calling, OutboundError, UserTokens,
    access::{AccessFacts, Placement, Purpose, Used},
    authorization_server::{AuthorizationServer, ServerMaker},
    cache::Cache,
};

/// A key of the configuration, and the rule that it breaks.
type BrokenRule = (&'static str, &'static str);

fn broken(app: &AppId, (key, rule): BrokenRule) -> OutboundError {
    OutboundError::Access { app: app.clone(), key, rule }
}

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
    /// A token for the gateway itself.
    ClientCredentials(ClientCredentialsConfig),
    /// A token in the name of the user, with the agents that act for them.
    TokenExchange(TokenExchangeConfig),
    /// A token for our word about the user and the agents.
    JwtBearer(JwtBearerConfig),
    /// A token that the gateway signs for each call, for an application that trusts the gateway.
    Assertion(AssertionConfig),
    /// A transaction token for each call, for the services of a trust domain.
    TxnToken(TxnTokenConfig),
    /// A token of Microsoft Entra Agent ID.
    EntraObo(EntraOboConfig),
}

impl StrategyConfig {
    /// The same configuration, with relative paths of secrets starting at `folder`.
    #[must_use]
    pub fn resolved(&self, folder: &Path) -> Self {
        match self {
            Self::None => Self::None,
            Self::Static(config) => Self::Static(config.resolved(folder)),
            Self::Agent(config) => Self::Agent(config.clone()),
            Self::ClientCredentials(config) => Self::ClientCredentials(config.clone()),
            Self::TokenExchange(config) => Self::TokenExchange(config.clone()),
            Self::JwtBearer(config) => Self::JwtBearer(config.clone()),
            Self::Assertion(config) => Self::Assertion(config.clone()),
            Self::TxnToken(config) => Self::TxnToken(config.clone()),
            Self::EntraObo(config) => Self::EntraObo(config.resolved(folder)),
        }
    }

    /// Checks what can be checked without a secret. `issuer` is our own.
    ///
    /// # Errors
    /// The key below `access`, and the rule that it breaks.
    pub fn check(&self, issuer: &str) -> Result<(), (&'static str, &'static str)> {
        match self {
            Self::Assertion(config) => config.check(issuer),
            Self::TxnToken(config) => config.check(issuer),
            Self::EntraObo(config) => config.check(),
            Self::None
            | Self::Static(_)
            | Self::Agent(_)
            | Self::ClientCredentials(_)
            | Self::TokenExchange(_)
            | Self::JwtBearer(_) => Ok(()),
        }
    }

    /// Whether it exchanges the tokens with which users were proven, so that they have to be kept.
    #[must_use]
    pub fn needs_user_tokens(&self) -> bool {
        match self {
            Self::TokenExchange(config) => config.subject == Subject::UserToken,
            Self::EntraObo(config) => config.mode == EntraMode::OnBehalfOf,
            Self::None
            | Self::Static(_)
            | Self::Agent(_)
            | Self::ClientCredentials(_)
            | Self::JwtBearer(_)
            | Self::Assertion(_)
            | Self::TxnToken(_) => false,
        }
    }

    /// The authorization server that it needs, by its name in the configuration.
    #[must_use]
    pub fn server(&self) -> Option<&str> {
        match self {
            Self::None
            | Self::Static(_)
            | Self::Agent(_)
            | Self::Assertion(_)
            | Self::TxnToken(_)
            | Self::EntraObo(_) => None,
            Self::ClientCredentials(config) => Some(&config.server),
            Self::TokenExchange(config) => Some(&config.server),
            Self::JwtBearer(config) => Some(&config.server),
        }
    }
}

/// With which token the gateway asks an application whose tokens are in the names of users for its operations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OwnQuestions {
    /// With none.
    #[default]
    None,
    /// With one of its own, by the client credentials grant. Never used for a call of an agent.
    ClientCredentials,
}

/// What strategies need to be at work.
pub(crate) struct Means {
    pub(crate) backing: Backing,
    pub(crate) servers: HashMap<String, Arc<AuthorizationServer>>,
    /// Makes a server that is named nowhere else.
    pub(crate) maker: ServerMaker,
    pub(crate) cache: Arc<Cache>,
}

impl Means {
    fn server(&self, name: &str) -> Result<Arc<AuthorizationServer>, OutboundError> {
        let server = self.servers.get(name).map(Arc::clone);
        server.ok_or_else(|| OutboundError::UnknownServer { name: name.to_owned() })
    }

    fn vouching(&self) -> Vouching {
        let Backing { signer, clock, entropy, .. } = &self.backing;
        Vouching { signer: Arc::clone(signer), clock: Arc::clone(clock), entropy: Arc::clone(entropy) }
    }
}

/// Of everything that the tokens of a strategy depend on. No secret is in a configuration.
fn configuration(config: &impl fmt::Debug, server: &AuthorizationServer) -> Digest {
    Digest::of(format!("{config:?}|{:?}", server.config()).as_bytes())
}

/// The token with which the human was proven: what came with this very call, or what the root rests on.
async fn user_token(caller: &Caller, kept: &dyn UserTokens) -> Result<Option<SecretString>, Fault> {
    match (&caller.token().user_token, caller.token().nodes.first()) {
        (Some(token), _) => Ok(Some(SecretString::clone(token))),
        (None, Some(root)) => kept.of_root(&root.id).await,
        (None, None) => Ok(None),
    }
}

/// The application is called in a user's name, and there is no user.
fn user_required() -> Refusal {
    let mut refusal = Refusal::new(Denial::UserRequired, "the caller acts for no user");
    refusal.hints = vec![
        "exchange a token of the user at the token endpoint of this gateway for one in their name".to_owned(),
    ];
    refusal
}

/// A credential that was obtained.
pub(crate) struct Granted {
    pub(crate) placement: Placement,
    pub(crate) facts: AccessFacts,
    /// Which of the tokens that are kept it is.
    pub(crate) used: Option<Used>,
}

impl Granted {
    /// A credential that is kept nowhere.
    pub(crate) fn of(strategy: &'static str, placement: Placement) -> Self {
        Self { placement, facts: AccessFacts { strategy, ..AccessFacts::default() }, used: None }
    }

    /// None.
    pub(crate) fn nothing(strategy: &'static str) -> Self {
        Self::of(strategy, Placement::Nowhere)
    }
}

/// A strategy at work.
#[derive(Debug)]
pub(crate) enum Strategy {
    None,
    Static(StaticSecret),
    Agent(CalledAgent),
    Assertion(Assertion),
    TxnToken(TxnToken),
    Token(TokenAccess),
}

impl Strategy {
    pub(crate) fn new(app: &AppId, config: StrategyConfig, means: &Means) -> Result<Self, OutboundError> {
        let token = |source| Self::Token(TokenAccess::new(app.clone(), source, Arc::clone(&means.cache)));
        let Backing { secrets, clock, call_tokens, signer, .. } = &means.backing;
        config.check(signer.issuer()).map_err(|rule| broken(app, rule))?;
        Ok(match config {
            StrategyConfig::None => Self::None,
            StrategyConfig::Static(config) => {
                Self::Static(StaticSecret::new(config, secrets.clone(), Arc::clone(clock))?)
            }
            StrategyConfig::Agent(config) => Self::Agent(CalledAgent::new(config, Arc::clone(call_tokens))),
            StrategyConfig::ClientCredentials(config) => {
                token(Arc::new(ClientCredentials::new(config, means)?))
            }
            StrategyConfig::TokenExchange(config) => token(Arc::new(TokenExchange::new(config, means)?)),
            StrategyConfig::JwtBearer(config) => token(Arc::new(JwtBearer::new(config, means)?)),
            StrategyConfig::Assertion(config) => Self::Assertion(Assertion::new(app, config, means)?),
            StrategyConfig::TxnToken(config) => Self::TxnToken(TxnToken::new(app, config, means)),
            StrategyConfig::EntraObo(config) => token(Arc::new(EntraObo::new(app, config, means)?)),
        })
    }

    /// For the call that `permit` allows.
    pub(crate) async fn obtain(&self, permit: &Permit, calling: &Calling) -> Result<Granted, Stop> {
        match self {
            Self::None => Ok(Granted::nothing("none")),
            Self::Static(secret) => Ok(Granted::of("static", secret.obtain().await?)),
            Self::Agent(agent) => Ok(Granted::of("agent", agent.obtain(permit.caller(), calling)?)),
            Self::Assertion(assertion) => Ok(assertion.obtain(About::Call(permit, calling))?),
            Self::TxnToken(txn) => Ok(txn.obtain(About::Call(permit, calling))?),
            Self::Token(token) => token.obtain(permit.caller(), permit.operation()).await,
        }
    }

    /// For a question of the gateway itself.
    pub(crate) async fn obtain_own(&self) -> Result<Granted, Fault> {
        match self {
            Self::Static(secret) => Ok(Granted::of("static", secret.obtain().await?)),
            Self::Assertion(assertion) => assertion.obtain(About::Own),
            Self::TxnToken(txn) => txn.obtain(About::Own),
            Self::Token(token) => token.obtain_own().await,
            // A token for a call says on whose behalf. A question of the gateway is on nobody's, and a token in somebody's
            // name that no call stands behind would be one too many.
            Self::None => Ok(Granted::nothing("none")),
            Self::Agent(_) => Ok(Granted::nothing("agent")),
        }
    }

    /// For the message that the call is over, where the credential of the call itself does not do.
    pub(crate) fn withdrawing(&self, purpose: &Purpose) -> Option<Result<Placement, Fault>> {
        let Purpose { permit, calling } = purpose;
        let granted = match self {
            Self::Assertion(assertion) => assertion.obtain(About::Withdrawal(permit, calling)),
            Self::TxnToken(txn) => txn.obtain(About::Withdrawal(permit, calling)),
            Self::None | Self::Static(_) | Self::Agent(_) | Self::Token(_) => return None,
        };
        Some(granted.map(|granted| granted.placement))
    }

    /// The strategy whose tokens are kept, if it is one.
    pub(crate) fn token(&self) -> Option<&TokenAccess> {
        match self {
            Self::Token(token) => Some(token),
            Self::None | Self::Static(_) | Self::Agent(_) | Self::Assertion(_) | Self::TxnToken(_) => None,
        }
    }

    /// The agent that it calls.
    pub(crate) fn called_agent(&self) -> Option<&AgentId> {
        match self {
            Self::None | Self::Static(_) | Self::Assertion(_) | Self::TxnToken(_) | Self::Token(_) => None,
            Self::Agent(called) => Some(called.agent()),
        }
    }

    /// What it is and where its secret lies, in words.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::None => "none: the application is called without a credential".to_owned(),
            Self::Static(secret) => secret.describe(),
            Self::Agent(agent) => agent.describe(),
            Self::Assertion(assertion) => assertion.describe(),
            Self::TxnToken(txn) => txn.describe(),
            Self::Token(token) => token.source().describe(),
        }
    }
}
