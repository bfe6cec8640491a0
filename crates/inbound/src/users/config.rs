use std::collections::{BTreeMap, BTreeSet};

use url::{Host, Url};
use vestibule_model::AgentId;

use super::GROUP_MAX_BYTES;
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
    /// The types that its access tokens may have. Empty: only its ID tokens are accepted.
    pub access_token_types: BTreeSet<AccessTokenType>,
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

const NAME_MAX_BYTES: usize = 32;
/// The issuer is the first part of every user's identifier.
const ISSUER_MAX_BYTES: usize = 255;

impl UserIssuerConfig {
    /// Checks it, beside our own issuer and `others`.
    pub(super) fn check<'a>(
        &self,
        own_issuer: &str,
        others: impl Iterator<Item = &'a Self>,
    ) -> Result<(), UserIssuerConfigError> {
        let is_name = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if !(1..=NAME_MAX_BYTES).contains(&self.name.len()) || !self.name.bytes().all(is_name) {
            return Err(self.fault("name", "must be 1 to 32 of a-z, 0-9 and -"));
        }
        self.check_issuer(own_issuer)?;
        for other in others {
            // Two entries with one name would share their groups; two with one issuer, their users.
            if other.name == self.name {
                return Err(self.fault("name", "is taken"));
            }
            if other.issuer == self.issuer {
                return Err(self.fault("issuer", "is configured twice"));
            }
        }
        if let Some(url) = &self.jwks_url {
            self.check_url("jwks_url", url)?;
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
        Ok(())
    }

    fn check_issuer(&self, own_issuer: &str) -> Result<(), UserIssuerConfigError> {
        let is_plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\' | b'<' | b'>');
        if self.issuer.len() > ISSUER_MAX_BYTES || !self.issuer.bytes().all(is_plain) {
            return Err(self.fault("issuer", "must be at most 255 visible ASCII characters"));
        }
        // A token of ours comes with a path and a node, and is read by those who look at them.
        if self.issuer == own_issuer {
            return Err(self.fault("issuer", "is this gateway itself"));
        }
        let url = Url::parse(&self.issuer).map_err(|_| self.fault("issuer", "must be a URL"))?;
        // OpenID Connect Discovery §3: "no query or fragment components".
        if url.query().is_some() || url.fragment().is_some() {
            return Err(self.fault("issuer", "must have no query and no fragment"));
        }
        self.check_url("issuer", &url)
    }

    fn check_url(&self, key: &'static str, url: &Url) -> Result<(), UserIssuerConfigError> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err(self.fault(key, "must not hold a user name or a password"));
        }
        let is_loopback = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => return Err(self.fault(key, "must have a host")),
        };
        match url.scheme() {
            "https" => Ok(()),
            "http" if is_loopback || self.dangerous_plain_http => Ok(()),
            "http" => Err(self.fault(
                key,
                "must start with https://: over plain HTTP, whoever stands in between makes users",
            )),
            _ => Err(self.fault(key, "must start with https://")),
        }
    }

    pub(super) fn fault(&self, key: &'static str, rule: &'static str) -> UserIssuerConfigError {
        UserIssuerConfigError { name: self.name.clone(), key, rule }
    }
}
