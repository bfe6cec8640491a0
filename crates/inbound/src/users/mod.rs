//! Tokens of users: what an agent shows to prove for whom it asks, issued by an OpenID Connect issuer that the operator
//! has named.
//!
//! It stops, against an agent that presents whatever it got hold of:
//!
//! - a token of an issuer that nobody named, or signed by a key that its issuer does not publish (any more); the keys of
//!   two issuers never mix, whatever their `kid`;
//! - one kind of token taken for another: an ID token for an access token, a logout token or an assertion for either;
//! - a token that was issued to somebody else ([`UserToken::is_for`]), which is what a stolen one is;
//! - a token that must come with a proof of its key, that somebody else already acts with, or that no user stands
//!   behind: accepting it would drop the proof or the actor, or make a human of a machine;
//! - a storm of unknown `kid`s, which makes at most one fetch per issuer and [`REFETCH_INTERVAL`].
//!
//! Who presents the token, and whether policy lets them act for the user, is the token endpoint's to say. What is
//! revoked is containment's.

pub(crate) mod address;
pub(crate) mod claims;
mod config;
mod document;
mod error;
pub(crate) mod groups;
pub(crate) mod key_set;
pub(crate) mod key_source;
pub(crate) mod kind;
pub(crate) mod mapping;
mod token;

use std::sync::Arc;

use vestibule_egress::Client;
use vestibule_model::{Clock, json::Json};

use crate::jws::Unverified;
use key_set::{KID_MAX_BYTES, KeySet, Wanted};
use key_source::{KeySource, Missing};

pub use config::{AccessTokenType, Callers, UserIssuerConfig, UserIssuerConfigError};
pub use document::IssuerError;
pub use error::UserTokenError;
pub use groups::{GROUP_MAX_BYTES, GROUPS_MAX};
pub use key_set::KEYS_MAX;
pub use key_source::{IssuerStatus, KEPT_AT_MOST, REFETCH_INTERVAL, REFRESH_INTERVAL};
pub use kind::UserTokenKind;
pub use mapping::{ClaimNames, Mapping};
pub use token::UserToken;

/// The clients that keys are fetched with, one per class of addresses.
#[derive(Debug, Clone)]
pub struct IssuerClients {
    /// With [`vestibule_egress::Addresses::Operator`]: for what the configuration names, and for a `jwks_uri` of the
    /// same origin as its issuer.
    pub operator: Client,
    /// With [`vestibule_egress::Addresses::Stranger`]: for a `jwks_uri` that leads elsewhere. An issuer must not be able
    /// to send the gateway into the operator's network.
    pub stranger: Client,
}

/// The issuers whose users agents may act for. Share it in an `Arc`.
#[derive(Debug)]
pub struct UserIssuers {
    issuers: Vec<Issuer>,
    own_issuer: Arc<str>,
    clock: Arc<dyn Clock>,
}

/// One of them, with its keys.
#[derive(Debug)]
pub(crate) struct Issuer {
    pub(crate) config: Arc<UserIssuerConfig>,
    pub(crate) source: Arc<KeySource>,
}

/// Why an issuer could not be tested.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IssuerTestError {
    /// No issuer has that name.
    #[error("no issuer of users is named `{name}`")]
    Unknown {
        /// The name asked for.
        name: String,
    },
    /// Its keys cannot be had.
    #[error("the keys of the issuer `{name}` cannot be had")]
    Unreachable {
        /// Its name.
        name: String,
        /// Why.
        source: Arc<IssuerError>,
    },
}

impl UserIssuers {
    /// Nothing is fetched yet: see [`UserIssuers::warm`]. `own_issuer` is our own issuer identifier: in whose namespace
    /// a `may_act` names our agents.
    ///
    /// # Errors
    /// [`UserIssuerConfigError`]: the first rule that one of the issuers breaks, alone or beside the others.
    pub fn new(
        configs: Vec<UserIssuerConfig>,
        clients: &IssuerClients,
        own_issuer: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, UserIssuerConfigError> {
        Self::check(&configs, own_issuer)?;
        let mut issuers: Vec<Issuer> = Vec::with_capacity(configs.len());
        for config in configs {
            let source = KeySource::new(&config.address(), clients.clone(), Arc::clone(&clock))
                .map_err(|flaw| config.flawed(&flaw))?;
            issuers.push(Issuer { config: Arc::new(config), source: Arc::new(source) });
        }
        Ok(Self { issuers, own_issuer: own_issuer.into(), clock })
    }

    /// Whether these can be configured together: what [`UserIssuers::new`] asks first.
    ///
    /// # Errors
    /// As [`UserIssuers::new`].
    pub fn check(configs: &[UserIssuerConfig], own_issuer: &str) -> Result<(), UserIssuerConfigError> {
        let mut before: Vec<&UserIssuerConfig> = Vec::with_capacity(configs.len());
        for config in configs {
            config.check(own_issuer, before.iter().copied())?;
            before.push(config);
        }
        Ok(())
    }

    /// Verifies a token that was presented as one of `kind`. It may have to wait for the issuer, at most some seconds.
    ///
    /// That it is good does not make it the presenter's: ask [`UserToken::is_for`].
    ///
    /// # Errors
    /// The first [`UserTokenError`] in the order form, type, issuer, key, signature, claims.
    pub async fn verify(&self, token: &str, kind: UserTokenKind) -> Result<UserToken, UserTokenError> {
        let jws =
            Unverified::parse(token, kind.profile()).map_err(|error| UserTokenError::of(error, kind))?;
        // RFC 7519 §4.1.1, RFC 8725 §3.8: the issuer says whose keys count, so it is looked up before, and compared
        // byte for byte.
        let named = jws.unverified_claims().get("iss").and_then(Json::as_str);
        let issuer = self
            .issuers
            .iter()
            .find(|issuer| named == Some(issuer.config.issuer.as_str()))
            .ok_or(UserTokenError::IssuerUnknown)?;
        let marked = kind.check_header(jws.header(), &issuer.config.access_token_types)?;
        let wanted = Wanted { kid: jws.kid(), algorithm: jws.algorithm() };
        let keys = issuer.keys(wanted).await?;
        let claims = keys
            .fitting(wanted)
            .find_map(|key| jws.verify(key).ok())
            .ok_or(UserTokenError::SignatureInvalid)?;
        kind.check_claims(claims, marked)?;
        claims::read(claims, kind, token, &issuer.config, &self.own_issuer, self.clock.now())
    }

    /// The issuer of that identifier, if its access tokens are callers.
    pub(crate) fn of_callers(&self, issuer: &str) -> Option<&Issuer> {
        self.issuers.iter().find(|known| known.config.issuer == issuer && known.config.callers.is_some())
    }

    /// Whether access tokens of any of them are callers.
    #[must_use]
    pub fn have_callers(&self) -> bool {
        self.issuers.iter().any(|issuer| issuer.config.callers.is_some())
    }

    pub(crate) fn own_issuer(&self) -> &Arc<str> {
        &self.own_issuer
    }

    pub(crate) fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Fetches the keys of every issuer that has none yet or whose keys are half-way to their next refresh. Called at
    /// the start and every few minutes, it keeps requests from waiting for an issuer. What fails is logged and shown by
    /// [`UserIssuers::status`]; the next request tries again.
    pub async fn warm(&self) {
        let mut fetches = tokio::task::JoinSet::new();
        for issuer in &self.issuers {
            let source = Arc::clone(&issuer.source);
            fetches.spawn(async move { source.warm().await });
        }
        while fetches.join_next().await.is_some() {}
    }

    /// What is known about the keys of each issuer, in the order of the configuration. Fetches nothing.
    #[must_use]
    pub fn status(&self) -> Vec<IssuerStatus> {
        self.issuers.iter().map(|issuer| issuer.source.status()).collect()
    }

    /// Fetches the keys of the issuer `name` now, whenever they were fetched before, and uses them from now on: for an
    /// operator who asks.
    ///
    /// # Errors
    /// [`IssuerTestError`].
    pub async fn test(&self, name: &str) -> Result<IssuerStatus, IssuerTestError> {
        let unknown = || IssuerTestError::Unknown { name: name.to_owned() };
        let issuer = self.issuers.iter().find(|issuer| issuer.config.name == name).ok_or_else(unknown)?;
        let unreachable = |source| IssuerTestError::Unreachable { name: name.to_owned(), source };
        issuer.source.test().await.map_err(unreachable)
    }
}

impl Issuer {
    pub(crate) async fn keys(&self, wanted: Wanted<'_>) -> Result<Arc<KeySet>, UserTokenError> {
        if wanted.kid.is_some_and(|kid| kid.len() > KID_MAX_BYTES) {
            return Err(UserTokenError::KeyUnknown);
        }
        self.source.keys(wanted).await.map_err(|missing| match missing {
            Missing::Unknown => UserTokenError::KeyUnknown,
            Missing::Unavailable => UserTokenError::KeysUnavailable { issuer: self.config.name.clone() },
        })
    }
}
