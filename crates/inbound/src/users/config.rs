use std::collections::{BTreeMap, BTreeSet};

use url::Url;
use vestibule_model::AgentId;

use super::{
    GROUP_MAX_BYTES, Mapping,
    address::{Address, Flaw},
};
use crate::ACCESS_TOKEN_TYPE;

/// An OpenID Connect issuer whose users agents may act for, as the operator named it.
#[derive(Debug, Clone)]
pub struct UserIssuerConfig {
    /// Its name: 1 to 32 of `a-z`, `0-9` and `-`. The first part of every group that comes from it.
    pub name: String,
    /// Its identifier, byte for byte as its tokens have it in `iss`. At most 255 bytes.
    pub issuer: String,
    /// Where its keys are; none: what its discovery document says.
    pub jwks_url: Option<Url>,
    /// Whether its keys may be fetched over plain HTTP from a host that is not this machine. Whoever stands in between
    /// can then make users.
    pub dangerous_plain_http: bool,
    /// Whose tokens each agent may present: the names by which the agent is known at this issuer, as they stand in `aud`
    /// or as the client (see [`vestibule_model::Represented::client`]). A name that stands in the tokens of other
    /// clients too (Keycloak's `account`) gives their tokens away.
    pub agents: BTreeMap<AgentId, BTreeSet<String>>,
    /// The claim with the user's groups: a name, or a JSON pointer (RFC 6901) such as `/realm_access/roles`. None: users
    /// have no groups.
    pub groups_claim: Option<String>,
    /// Only these groups are taken; none: all.
    pub groups: Option<BTreeSet<String>>,
    /// The types that its access tokens may have. Empty: only its ID tokens are accepted for a user.
    pub access_token_types: BTreeSet<AccessTokenType>,
    /// Whether its access tokens are callers at door one.
    pub callers: Option<Callers>,
}

/// How access tokens of an issuer are callers at door one.
#[derive(Debug, Clone, Default)]
pub struct Callers {
    /// What they must be for, in `aud`. Empty: the resource identifier of the application, as with tokens of ours.
    pub audiences: BTreeSet<String>,
    /// Which claims say who calls.
    pub mapping: Mapping,
}

/// What the `typ` of an issuer's access tokens is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AccessTokenType {
    /// `at+jwt` (RFC 9068 §2.1): nothing else has it.
    AtJwt,
    /// `JWT`, or no `typ` at all: Keycloak (unless told otherwise), Entra, Okta, Cognito. Such a token is told from an
    /// ID token by its claims.
    Jwt,
}

impl AccessTokenType {
    /// Of a header that the profile of access tokens has let through.
    pub(super) fn of(typ: Option<&str>) -> Self {
        if typ.is_some_and(|typ| typ.to_ascii_lowercase().ends_with(ACCESS_TOKEN_TYPE)) {
            Self::AtJwt
        } else {
            Self::Jwt
        }
    }
}

/// Why an issuer of users cannot be configured so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the issuer of users `{name}`: `{key}` {rule}")]
pub struct UserIssuerConfigError {
    /// The name of the issuer, as it was given.
    pub name: String,
    /// The key of the configuration.
    pub key: &'static str,
    /// The rule it breaks.
    pub rule: &'static str,
}

/// The claims of a user, at most, beside each other.
const USER_CLAIMS_MAX: usize = 3;

impl UserIssuerConfig {
    /// Checks it, beside our own issuer and `others`.
    pub(super) fn check<'a>(
        &self,
        own_issuer: &str,
        others: impl Iterator<Item = &'a Self>,
    ) -> Result<(), UserIssuerConfigError> {
        self.address().check(own_issuer).map_err(|flaw| self.flawed(&flaw))?;
        for other in others {
            // Two entries with one name would share their groups; two with one issuer, their users.
            if other.name == self.name {
                return Err(self.fault("name", "is taken"));
            }
            if other.issuer == self.issuer {
                return Err(self.fault("issuer", "is configured twice"));
            }
        }
        if self.agents.values().flatten().any(String::is_empty) {
            return Err(self.fault("agents", "must not name an empty audience"));
        }
        if self.groups.is_some() && self.groups_claim.is_none() {
            return Err(self.fault("groups", "needs the claim that they come from"));
        }
        if self.groups.iter().flatten().any(|group| group.is_empty() || group.len() > GROUP_MAX_BYTES) {
            return Err(self.fault("groups", "must be 1 to 64 bytes long each"));
        }
        self.callers.as_ref().map_or(Ok(()), |callers| self.check_callers(callers))
    }

    fn check_callers(&self, callers: &Callers) -> Result<(), UserIssuerConfigError> {
        let mut names = BTreeSet::new();
        if !self.agents.values().flatten().all(|name| names.insert(name)) {
            return Err(
                self.fault("agents", "must give a name to one agent only, where tokens are `callers`")
            );
        }
        if callers.audiences.iter().any(String::is_empty) {
            return Err(self.fault("callers.audiences", "must not name an empty audience"));
        }
        let Mapping::Claims(claims) = &callers.mapping else { return Ok(()) };
        if !(1..=USER_CLAIMS_MAX).contains(&claims.user.len()) {
            return Err(self.fault("callers.claims.user", "must be one to three claims"));
        }
        let named = claims.user.iter().chain(claims.alone.keys()).chain([&claims.agent, &claims.token_id]);
        if named.into_iter().any(String::is_empty) {
            return Err(self.fault("callers.claims", "must not name an empty claim"));
        }
        Ok(())
    }

    /// How its tokens are read.
    pub(crate) fn mapping(&self) -> &Mapping {
        const STANDARD: &Mapping = &Mapping::Standard;
        self.callers.as_ref().map_or(STANDARD, |callers| &callers.mapping)
    }

    /// The types that a token may have with which somebody calls: what the operator says, else what such an issuer gives
    /// out unless told otherwise.
    pub(crate) fn caller_types(&self) -> BTreeSet<AccessTokenType> {
        if !self.access_token_types.is_empty() {
            return self.access_token_types.clone();
        }
        match self.mapping() {
            Mapping::Standard | Mapping::Claims(_) => [AccessTokenType::AtJwt].into(),
            Mapping::Keycloak => [AccessTokenType::AtJwt, AccessTokenType::Jwt].into(),
            Mapping::Entra => [AccessTokenType::Jwt].into(),
        }
    }

    /// The agent that the issuer calls `name`.
    pub(crate) fn agent_named(&self, name: &str) -> Option<&AgentId> {
        self.agents.iter().find(|(_, names)| names.contains(name)).map(|(agent, _)| agent)
    }

    pub(super) fn address(&self) -> Address {
        Address {
            name: self.name.clone(),
            issuer: self.issuer.clone(),
            jwks_url: self.jwks_url.clone(),
            dangerous_plain_http: self.dangerous_plain_http,
        }
    }

    pub(super) fn flawed(&self, flaw: &Flaw) -> UserIssuerConfigError {
        self.fault(flaw.key, flaw.rule)
    }

    fn fault(&self, key: &'static str, rule: &'static str) -> UserIssuerConfigError {
        UserIssuerConfigError { name: self.name.clone(), key, rule }
    }
}
