use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

use super::{
    super::{BrokenRule, ScopesConfig, Wider},
    DEFAULT,
};
use crate::{ClientAuthConfig, SigningAlgorithm};

/// Where Entra is, unless the configuration says otherwise.
const AUTHORITY: &str = "https://login.microsoftonline.com";

/// A token of Microsoft Entra Agent ID: each agent is an agent identity, and acts for the user who signed in to its
/// blueprint, or for itself. Such a token names one agent: the chain stands in the gateway's record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EntraOboConfig {
    /// The id of the tenant, a GUID: agent identities live in one tenant, and tokens are checked to be of it.
    pub tenant: String,
    /// The blueprint of the agent identities, which has the credential.
    pub blueprint: BlueprintConfig,
    /// Which agent is which agent identity: the id of the agent, and the app id (client id) of the identity. An agent that
    /// is not here gets no token.
    pub agents: BTreeMap<String, String>,
    /// For whom the token is.
    pub mode: EntraMode,
    /// The scopes, each with its resource: `https://graph.microsoft.com/Mail.Read`; in mode `autonomous` the one
    /// `RESOURCE/.default`.
    pub scopes: ScopesConfig,
    /// What becomes of a token that has scopes that nobody asked for: Entra gives every one of the resource that was
    /// consented to.
    #[serde(default)]
    pub wider: Wider,
    /// Where Entra is: another one in national clouds. With https, but for one on this machine.
    #[serde(default = "authority")]
    pub authority: String,
    /// How long one request to Entra may take, in seconds: 1 to 60.
    #[serde(default = "timeout")]
    pub timeout_seconds: u64,
}

/// The blueprint: an application that has the credential of its agent identities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BlueprintConfig {
    /// Its application (client) id.
    pub client_id: String,
    /// How the gateway proves to be it: `federated` (a managed identity or workload), `private-key-jwt` with PS256 and a
    /// certificate, or `secret-post`, which is for development.
    pub auth: ClientAuthConfig,
}

/// For whom a token of Entra is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum EntraMode {
    /// For the user, by delegated scopes.
    OnBehalfOf,
    /// For the agent identity itself, by application roles.
    Autonomous,
}

fn authority() -> String {
    AUTHORITY.to_owned()
}

fn timeout() -> u64 {
    10
}

impl EntraOboConfig {
    pub(in crate::strategy) fn resolved(&self, folder: &Path) -> Self {
        let mut resolved = self.clone();
        resolved.blueprint.auth = self.blueprint.auth.resolved(folder);
        resolved
    }

    /// The key below `access` and the rule that it breaks.
    pub(in crate::strategy) fn check(&self) -> Result<(), BrokenRule> {
        if !is_guid(&self.tenant) {
            return Err((
                "entra-obo.tenant",
                "must be the tenant's id, a GUID: not a domain, and not `common`",
            ));
        }
        if !is_guid(&self.blueprint.client_id) {
            return Err(("entra-obo.blueprint.client_id", "must be the blueprint's application id, a GUID"));
        }
        if let Some(rule) = auth_rule(&self.blueprint.auth) {
            return Err(("entra-obo.blueprint.auth", rule));
        }
        self.check_agents().map_err(|rule| ("entra-obo.agents", rule))?;
        for scopes in std::iter::once(&self.scopes.default).chain(self.scopes.operations.values()) {
            self.check_scopes(scopes).map_err(|rule| ("entra-obo.scopes", rule))?;
        }
        if self.scopes.default.is_empty() {
            return Err(("entra-obo.scopes", "needs `default`: Entra gives no token without a scope"));
        }
        self.token_url().map_err(|rule| ("entra-obo.authority", rule))?;
        match self.timeout_seconds {
            1..=60 => Ok(()),
            _ => Err(("entra-obo.timeout_seconds", "must be 1 to 60")),
        }
    }

    /// OBO page: the endpoint of the agent identities' home tenant.
    pub(super) fn token_url(&self) -> Result<Url, &'static str> {
        const RULE: &str = "must be a URL with https, without a query";
        let authority = self.authority.trim_end_matches('/');
        let url = Url::parse(&format!("{authority}/{}/oauth2/v2.0/token", self.tenant)).map_err(|_| RULE)?;
        let is_here = match url.host() {
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            Some(Host::Domain(name)) => name == "localhost",
            None => return Err(RULE),
        };
        let is_plain =
            url.username().is_empty() && url.password().is_none() && !authority.contains(['?', '#']);
        match url.scheme() {
            "https" if is_plain => Ok(url),
            "http" if is_plain && is_here => Ok(url),
            _ => Err(RULE),
        }
    }

    fn check_agents(&self) -> Result<(), &'static str> {
        if self.agents.is_empty() {
            return Err("names no agent: give each agent its agent identity");
        }
        if !self.agents.values().all(|identity| is_guid(identity)) {
            return Err("must name agent identities by their app id, a GUID");
        }
        let identities: BTreeSet<&String> = self.agents.values().collect();
        if identities.len() < self.agents.len() {
            return Err(
                "names an agent identity twice: two agents could not be told apart at the application",
            );
        }
        if identities.contains(&self.blueprint.client_id) {
            return Err("names the blueprint: an agent is an agent identity, a child of it");
        }
        Ok(())
    }

    fn check_scopes(&self, scopes: &BTreeSet<String>) -> Result<(), &'static str> {
        let resources: BTreeSet<Option<&str>> =
            scopes.iter().map(|scope| scope.rsplit_once('/').map(|(resource, _)| resource)).collect();
        if resources.contains(&None) || scopes.iter().any(|scope| scope.contains(char::is_whitespace)) {
            return Err("must name the resource of each scope: `https://graph.microsoft.com/Mail.Read`");
        }
        if resources.len() > 1 {
            return Err("must be of one resource: a token of Entra is for one");
        }
        let is_default = |scope: &String| scope.ends_with(DEFAULT);
        match self.mode {
            EntraMode::Autonomous if !scopes.iter().all(is_default) => {
                Err("must be `RESOURCE/.default` in mode `autonomous`: the roles are granted in Entra")
            }
            EntraMode::OnBehalfOf if scopes.len() > 1 && scopes.iter().any(is_default) => {
                Err("must be `RESOURCE/.default` alone, or scopes by name")
            }
            EntraMode::Autonomous | EntraMode::OnBehalfOf => Ok(()),
        }
    }
}

/// What the documentation of agent identities does not show is not used.
fn auth_rule(auth: &ClientAuthConfig) -> Option<&'static str> {
    match auth {
        ClientAuthConfig::SecretPost { .. } | ClientAuthConfig::Federated { .. } => None,
        ClientAuthConfig::PrivateKeyJwt {
            algorithm: SigningAlgorithm::PS256, certificate: Some(_), ..
        } => None,
        ClientAuthConfig::PrivateKeyJwt { .. } => Some(
            "`private-key-jwt` needs `algorithm: PS256` and the `certificate` that Entra knows the key by",
        ),
        ClientAuthConfig::SecretBasic { .. } | ClientAuthConfig::Mtls { .. } => {
            Some("must be `federated`, `private-key-jwt` or `secret-post`: agent identities know no other")
        }
    }
}

fn is_guid(text: &str) -> bool {
    let lengths = text.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && text.bytes().all(|byte| matches!(byte, b'-' | b'0'..=b'9' | b'a'..=b'f'))
}
