use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;
use vestibule_inbound::users::{AccessTokenType, Callers, ClaimNames, Mapping, UserIssuerConfig as Checked};
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
    /// The types that its access tokens may have in `typ`; by default only ID tokens are accepted for a user, and for
    /// callers what is usual at such an issuer.
    #[serde(default)]
    pub access_token_types: BTreeSet<AccessTokenTypeConfig>,
    /// Its access tokens open applications as they are: the agent is the client that they were issued to, by its name in
    /// `agents`, and the user is in the same token. By default they do not.
    #[serde(default)]
    pub callers: Option<CallersConfig>,
}

/// How access tokens of an issuer are read at the doors of applications. With neither `preset` nor `claims` as RFC 9068
/// has it: the client in `client_id` or `azp`, the user in `sub`, and no user where the two are one.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CallersConfig {
    /// What they must be for, in `aud`: one of these. By default the resource identifier of the application. A token for
    /// something else opens every application that the agent may use.
    pub audiences: BTreeSet<String>,
    /// What kind of issuer it is. It also says how users are named, and whether there is one, where their tokens are
    /// exchanged.
    pub preset: Option<PresetConfig>,
    /// Which claims say who calls, instead of a preset.
    pub claims: Option<ClaimsConfig>,
}

/// What kind of issuer it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PresetConfig {
    /// The client in `azp`, the user in `sub`; a service account is no user.
    Keycloak,
    /// Microsoft Entra, with and without agent identities: the client in `azp` or `appid`, the user in `oid`, the token's
    /// identifier in `uti`; `idtyp` and the facets say whether there is a user.
    Entra,
}

/// Claims, each a name or a JSON pointer.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClaimsConfig {
    /// The client that the token was issued to, as `agents` names it.
    pub agent: String,
    /// One to three that name the user together, in this order.
    #[serde(default = "subject")]
    pub user: Vec<String>,
    /// There is no user in a token in which one of these has this value. Nor is there where the subject is the client.
    #[serde(default)]
    pub alone: BTreeMap<String, String>,
    /// The identifier of the token; without one it is named by its hash.
    #[serde(default = "token_id")]
    pub token_id: String,
}

fn subject() -> Vec<String> {
    vec!["sub".to_owned()]
}

fn token_id() -> String {
    "jti".to_owned()
}

impl CallersConfig {
    fn check(self, key: &str) -> Result<Callers, ConfigError> {
        let mapping = match (self.preset, self.claims) {
            (None, None) => Mapping::Standard,
            (Some(PresetConfig::Keycloak), None) => Mapping::Keycloak,
            (Some(PresetConfig::Entra), None) => Mapping::Entra,
            (None, Some(ClaimsConfig { agent, user, alone, token_id })) => {
                Mapping::Claims(ClaimNames { agent, user, alone, token_id })
            }
            (Some(_), Some(_)) => {
                let rule =
                    "takes `preset` or `claims`, not both: name the claims where the preset does not fit";
                return Err(ConfigError::value(format!("{key}.callers"), rule));
            }
        };
        Ok(Callers { audiences: self.audiences, mapping })
    }
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
            callers: self.callers.map(|callers| callers.check(&key)).transpose()?,
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
