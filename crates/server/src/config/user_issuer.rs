use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;
use vestibule_inbound::users::{AccessTokenType, UserIssuerConfig as Checked};
use vestibule_model::AgentId;

use super::{ConfigError, settings::http_url};

/// An OpenID Connect issuer whose users agents may act for.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UserIssuerConfig {
    /// Its identifier, byte for byte as its tokens have it in `iss`.
    pub issuer: String,
    /// Where its keys are; by default what its discovery document says.
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// Its keys may come over plain HTTP from another machine. Whoever stands in between can then make users.
    #[serde(default)]
    pub dangerous_plain_http: bool,
    /// Which tokens of users each agent may present: those with one of these values in `aud` or `azp` (of an access token
    /// also `client_id`, `cid` or `appid`), that is, issued to or for that agent. A token of any other client is refused,
    /// whoever presents it.
    #[serde(default)]
    pub agents: BTreeMap<String, BTreeSet<String>>,
    /// The groups of its users; by default they have none.
    #[serde(default)]
    pub groups: Option<GroupsConfig>,
    /// The types that its access tokens may have in `typ`; by default only ID tokens are accepted.
    #[serde(default)]
    pub access_token_types: BTreeSet<AccessTokenTypeConfig>,
}

/// Where the groups of users come from. Policies name them `UserGroup::"{name of the issuer}:{group}"`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupsConfig {
    /// The claim: a name, or a JSON pointer such as `/realm_access/roles`. A text, or an array of texts.
    pub claim: String,
    /// Only these are taken; by default all, of which a user may have 32.
    #[serde(default)]
    pub only: Option<BTreeSet<String>>,
}

/// What the `typ` of an issuer's access tokens is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AccessTokenTypeConfig {
    /// `at+jwt` (RFC 9068).
    AtJwt,
    /// `JWT`, or none: Keycloak (unless told otherwise), Entra, Okta, Cognito.
    Jwt,
}

impl UserIssuerConfig {
    pub(super) fn check(self, name: &str) -> Result<Checked, ConfigError> {
        let key = format!("user_issuers.{name}");
        let agent = |(id, values): (String, BTreeSet<String>)| {
            let id = AgentId::new(&id)
                .map_err(|error| ConfigError::value(format!("{key}.agents"), error.to_string()));
            id.map(|id| (id, values))
        };
        Ok(Checked {
            name: name.to_owned(),
            issuer: self.issuer,
            jwks_url: self.jwks_url.map(|url| http_url(&format!("{key}.jwks_url"), &url)).transpose()?,
            dangerous_plain_http: self.dangerous_plain_http,
            agents: self.agents.into_iter().map(agent).collect::<Result<_, _>>()?,
            groups_claim: self.groups.as_ref().map(|groups| groups.claim.clone()),
            groups: self.groups.and_then(|groups| groups.only),
            access_token_types: self.access_token_types.into_iter().map(Into::into).collect(),
        })
    }
}

impl From<AccessTokenTypeConfig> for AccessTokenType {
    fn from(config: AccessTokenTypeConfig) -> Self {
        match config {
            AccessTokenTypeConfig::AtJwt => Self::AtJwt,
            AccessTokenTypeConfig::Jwt => Self::Jwt,
        }
    }
}

/// Gives an issuer another port: that of the sandbox, which takes a free one where its own is not.
pub(crate) fn rebase(issuer: &mut Checked, port: u16) -> Option<()> {
    let mut url = Url::parse(&issuer.issuer).ok()?;
    url.set_port(Some(port)).ok()?;
    issuer.issuer = url.to_string();
    Some(())
}
