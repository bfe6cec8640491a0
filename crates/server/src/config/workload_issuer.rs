use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vestibule_inbound::workloads::{WorkloadIssuerConfig as Checked, WorkloadMatch};
use vestibule_model::{AppId, SubjectPattern, WorkloadRule};

use super::{ConfigError, settings::http_url};

/// A platform whose workloads are agents without being registered: a Kubernetes cluster, a CI.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkloadIssuerConfig {
    /// Its identifier, byte for byte as its tokens have it in `iss`.
    pub issuer: String,
    /// Where its keys are; by default what its discovery document says.
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// Its keys may come over plain HTTP from another machine. Whoever stands in between can then be any workload.
    #[serde(default)]
    pub dangerous_plain_http: bool,
    /// The only audience of its tokens; by default this gateway's issuer identifier, its `data.public_url`.
    #[serde(default)]
    pub audience: Option<String>,
    /// Which workload is which agent: the first that matches. A workload without a rule is nobody.
    pub rules: Vec<WorkloadRuleConfig>,
}

/// Which workloads are agents, and what those may be. Their ids are `workload:{issuer}/{agent}#{subject}`, and the
/// instance after another `#`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkloadRuleConfig {
    /// The `sub` of the token. One `*` stands for the rest, at the end after `:` or `/`, or for one part between two of
    /// these.
    pub subject: String,
    /// Claims that must have these values; each a name, or a JSON pointer such as `/kubernetes.io/namespace`.
    #[serde(default)]
    pub claims: BTreeMap<String, String>,
    /// What its agents are called: 1 to 32 of `a-z`, `0-9` and `-`, once for each issuer.
    pub agent: String,
    /// A claim that tells the instances of one workload apart, such as `run_id` or `/kubernetes.io/pod/uid`: each is an
    /// agent of its own. By default they are one.
    #[serde(default)]
    pub instance: Option<String>,
    /// Groups that policies name as `AgentGroup::"…"`.
    #[serde(default)]
    pub groups: BTreeSet<String>,
    /// 0 unknown to 3 attested and reviewed.
    #[serde(default)]
    pub trust: u8,
    /// The scopes its agents may ask for.
    #[serde(default)]
    pub scopes: BTreeSet<String>,
    /// The applications they may ask tokens for; by default all. A bound, not a grant.
    #[serde(default)]
    pub apps: BTreeSet<String>,
    /// Whether the token counts only with the proof of a key (DPoP), to which what it is exchanged for is then bound.
    #[serde(default)]
    pub proof: WorkloadProof,
}

/// Whether a proof of possession has to come beside a workload's token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WorkloadProof {
    /// It may.
    #[default]
    Optional,
    /// It must.
    Required,
}

impl WorkloadIssuerConfig {
    pub(super) fn check(self, name: &str) -> Result<Checked, ConfigError> {
        let key = format!("workload_issuers.{name}");
        let rules = self.rules.into_iter().enumerate();
        let rules = rules.map(|(position, rule)| rule.check(&format!("{key}.rules[{position}]")));
        Ok(Checked {
            name: name.to_owned(),
            issuer: self.issuer,
            jwks_url: self.jwks_url.map(|url| http_url(&format!("{key}.jwks_url"), &url)).transpose()?,
            dangerous_plain_http: self.dangerous_plain_http,
            audience: self.audience,
            rules: rules.collect::<Result<_, _>>()?,
        })
    }
}

impl WorkloadRuleConfig {
    fn check(self, key: &str) -> Result<WorkloadMatch, ConfigError> {
        let subject = SubjectPattern::new(&self.subject)
            .map_err(|error| ConfigError::value(format!("{key}.subject"), error.rule))?;
        let app = |id: String| {
            AppId::new(&id).map_err(|error| ConfigError::value(format!("{key}.apps"), error.to_string()))
        };
        let rule = WorkloadRule {
            agent: self.agent,
            subject,
            has_instance: self.instance.is_some(),
            groups: self.groups,
            trust: self.trust,
            scopes: self.scopes,
            apps: self.apps.into_iter().map(app).collect::<Result<_, _>>()?,
        };
        let needs_proof = self.proof == WorkloadProof::Required;
        Ok(WorkloadMatch { rule, claims: self.claims, instance: self.instance, needs_proof })
    }
}
