use std::collections::{BTreeMap, BTreeSet};

use url::Url;
use vestibule_model::{WorkloadRule, WorkloadRules};

use crate::users::{UserIssuerConfig, address::Address};

/// A platform that vouches for workloads, as the operator named it.
#[derive(Debug, Clone)]
pub struct WorkloadIssuerConfig {
    /// Its name: 1 to 32 of `a-z`, `0-9` and `-`. A part of every id that comes from it.
    pub name: String,
    /// Its identifier, byte for byte as its tokens have it in `iss`. At most 255 bytes.
    pub issuer: String,
    /// Where its keys are; none: what its discovery document says.
    pub jwks_url: Option<Url>,
    /// Whether its keys may be fetched over plain HTTP from a host that is not this machine. Whoever stands in between
    /// can then be any workload.
    pub dangerous_plain_http: bool,
    /// The only `aud` of its tokens; none: our own issuer.
    pub audience: Option<String>,
    /// Which workload is which agent. The first that matches counts.
    pub rules: Vec<WorkloadMatch>,
}

/// A rule, and for which tokens it is besides their subject.
#[derive(Debug, Clone)]
pub struct WorkloadMatch {
    /// Which subjects, and what agents they are.
    pub rule: WorkloadRule,
    /// Claims, each a name or a JSON pointer (RFC 6901), that must have these values.
    pub claims: BTreeMap<String, String>,
    /// The claim that tells instances of one workload apart, if they are to be two agents.
    pub instance: Option<String>,
    /// Whether a token counts only with the proof of a key (DPoP).
    pub needs_proof: bool,
}

/// Why an issuer of workloads cannot be configured so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the issuer of workloads `{name}`: `{key}` {rule}")]
pub struct WorkloadIssuerConfigError {
    /// The name of the issuer, as it was given.
    pub name: String,
    /// The key of the configuration.
    pub key: &'static str,
    /// The rule it breaks.
    pub rule: &'static str,
}

impl WorkloadIssuerConfig {
    /// Whether these can be configured together, and beside the issuers of users.
    ///
    /// # Errors
    /// [`WorkloadIssuerConfigError`] for the first rule that is broken.
    pub fn check_all(
        configs: &[Self],
        users: &[UserIssuerConfig],
        own_issuer: &str,
    ) -> Result<(), WorkloadIssuerConfigError> {
        let (mut names, mut issuers) = (BTreeSet::new(), BTreeSet::new());
        for config in configs {
            config.address().check(own_issuer).map_err(|flaw| config.fault(flaw.key, flaw.rule))?;
            if !names.insert(&config.name) {
                return Err(config.fault("name", "is taken"));
            }
            if !issuers.insert(&config.issuer) {
                return Err(config.fault("issuer", "is configured twice"));
            }
            // A workload that chooses the audience of its token could be a human there.
            if users.iter().any(|user| user.issuer == config.issuer) {
                return Err(config
                    .fault("issuer", "is one of `user_issuers`: an issuer vouches for one or the other"));
            }
            if config.audience.as_ref().is_some_and(String::is_empty) {
                return Err(config.fault("audience", "must not be empty"));
            }
            if config
                .rules
                .iter()
                .flat_map(|each| each.claims.keys().chain(&each.instance))
                .any(String::is_empty)
            {
                return Err(config.fault("rules", "must not name an empty claim"));
            }
            config.rules()?;
        }
        Ok(())
    }

    fn rules(&self) -> Result<WorkloadRules, WorkloadIssuerConfigError> {
        let rules = self.rules.iter().map(|each| each.rule.clone()).collect();
        WorkloadRules::new([(self.name.clone(), rules)].into())
            .map_err(|error| self.fault(error.what, error.rule))
    }

    /// What the rules of all of them say that agents may be, for [`vestibule_model::Directory`].
    ///
    /// # Errors
    /// [`WorkloadIssuerConfigError`] for the first bound that a rule breaks.
    pub fn rules_of(configs: &[Self]) -> Result<WorkloadRules, WorkloadIssuerConfigError> {
        let mut all = BTreeMap::new();
        for config in configs {
            config.rules()?;
            all.insert(config.name.clone(), config.rules.iter().map(|each| each.rule.clone()).collect());
        }
        WorkloadRules::new(all).map_err(|error| WorkloadIssuerConfigError {
            name: String::new(),
            key: error.what,
            rule: error.rule,
        })
    }

    pub(super) fn address(&self) -> Address {
        Address {
            name: self.name.clone(),
            issuer: self.issuer.clone(),
            jwks_url: self.jwks_url.clone(),
            dangerous_plain_http: self.dangerous_plain_http,
        }
    }

    pub(super) fn fault(&self, key: &'static str, rule: &'static str) -> WorkloadIssuerConfigError {
        WorkloadIssuerConfigError { name: self.name.clone(), key, rule }
    }
}
