//! Tokens by which a platform vouches for a workload: a projected service account token of Kubernetes, an OpenID Connect
//! token of a CI. With one, an agent that nobody registered authenticates as a client (RFC 7523 §2.2).
//!
//! It stops, against a workload, or whoever got hold of its token:
//!
//! - a token of a platform that nobody named, or one that is meant for somebody else: its only audience is us;
//! - a workload for which the operator has no rule, by subject and by claims;
//! - one name for two: an id holds the name of the issuer, the name of the rule and the whole subject
//!   ([`WorkloadRule::agent`](vestibule_model::WorkloadRule::agent)).
//!
//! A platform gives the same token again and again, so one that was seen before is taken as long as it is valid: who
//! finds it can be that agent for so long, unless the rule demands a proof of a key beside it, or the operator revokes
//! the token.

mod config;
mod error;

use std::{sync::Arc, time::Duration};

use vestibule_model::{Agent, Clock, Thumbprint, Timestamp, TokenId, json::Json};

use crate::{
    jws::{Algorithm, Profile, Unverified, sole_audience},
    outside::binding,
    users::{
        IssuerClients, UserIssuerConfig,
        claims::{LEEWAY, Times, text},
        groups,
        key_set::{KID_MAX_BYTES, KeySet, Wanted},
        key_source::{KeySource, Missing},
    },
};

pub use config::{WorkloadIssuerConfig, WorkloadIssuerConfigError, WorkloadMatch};
pub use error::WorkloadError;

/// From `iat` to `exp`. Whoever finds a token is the workload for so long.
const LIFE_MAX: Duration = Duration::from_secs(24 * 3600);
/// As of an agent's id: the subject becomes a part of it.
const SUBJECT_MAX_BYTES: usize = 512;
const JTI_MAX_BYTES: usize = 255;

/// Kubernetes leaves `typ` out. The second is that of draft-ietf-oauth-rfc7523bis.
const PROFILE: Profile = Profile {
    types: &["jwt", "client-authentication+jwt"],
    is_type_optional: true,
    algorithms: Algorithm::ALL,
};

/// The platforms that vouch for workloads.
#[derive(Debug)]
pub struct WorkloadIssuers {
    issuers: Vec<Issuer>,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct Issuer {
    config: WorkloadIssuerConfig,
    audience: String,
    source: Arc<KeySource>,
}

/// A workload whose token was verified, and which is an agent by a rule.
#[derive(Debug, Clone)]
pub struct Workload {
    /// The agent.
    pub agent: Arc<Agent>,
    /// The token.
    pub token: TokenId,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// Whether it counts only beside the proof of a key: the rule says so.
    pub needs_proof: bool,
    /// The key that it is bound to: only a proof of that one counts.
    pub bound_to: Option<Thumbprint>,
}

impl WorkloadIssuers {
    /// Nothing is fetched yet: see [`WorkloadIssuers::warm`]. `own_issuer` is our own issuer identifier: whom a token has
    /// to be for, unless the configuration says otherwise.
    ///
    /// # Errors
    /// [`WorkloadIssuerConfigError`]: the first rule that one of the issuers breaks, alone or beside the others and the
    /// issuers of `users`.
    pub fn new(
        configs: Vec<WorkloadIssuerConfig>,
        users: &[UserIssuerConfig],
        clients: &IssuerClients,
        own_issuer: &str,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, WorkloadIssuerConfigError> {
        WorkloadIssuerConfig::check_all(&configs, users, own_issuer)?;
        let open = |config: WorkloadIssuerConfig| {
            let source = KeySource::new(&config.address(), clients.clone(), Arc::clone(&clock))
                .map_err(|flaw| config.fault(flaw.key, flaw.rule))?;
            let audience = config.audience.clone().unwrap_or_else(|| own_issuer.to_owned());
            Ok(Issuer { config, audience, source: Arc::new(source) })
        };
        let issuers = configs.into_iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { issuers, clock })
    }

    /// Whether a token says that one of them made it. It decides only who verifies it.
    #[must_use]
    pub fn are_named_by(&self, token: &Unverified<'_>) -> bool {
        self.issuer_of(token).is_some()
    }

    fn issuer_of(&self, token: &Unverified<'_>) -> Option<&Issuer> {
        let named = token.unverified_claims().get("iss").and_then(Json::as_str)?;
        self.issuers.iter().find(|issuer| issuer.config.issuer == named)
    }

    /// The agent that presents `token` as its authentication. It may have to wait for the issuer, at most some seconds.
    ///
    /// # Errors
    /// The first [`WorkloadError`] in the order form, issuer, key, signature, audience, time, rule.
    pub async fn verify(&self, token: &str) -> Result<Workload, WorkloadError> {
        let jws = Unverified::parse(token, &PROFILE)?;
        let issuer = self.issuer_of(&jws).ok_or(WorkloadError::IssuerUnknown)?;
        let wanted = Wanted { kid: jws.kid(), algorithm: jws.algorithm() };
        let keys = issuer.keys(wanted).await?;
        let claims = keys
            .fitting(wanted)
            .find_map(|key| jws.verify(key).ok())
            .ok_or(WorkloadError::SignatureInvalid)?;
        // RFC 7523 §3: it "MUST contain an aud claim containing a value that identifies the authorization server". And
        // nobody else, or the other one could be the workload here.
        if sole_audience(claims) != Some(issuer.audience.as_str()) {
            return Err(WorkloadError::WrongAudience);
        }
        let times = Times::read(claims)?;
        let now = self.clock.now();
        times.check(now, LEEWAY)?;
        if times.expires_at > times.issued_at.plus(LIFE_MAX) {
            return Err(WorkloadError::TooLong);
        }
        issuer.workload(claims, token, times.seen_at(now).issued_at)
    }

    /// Fetches the keys of every issuer that has none yet or whose keys are half-way to their next refresh, as
    /// [`UserIssuers::warm`](crate::users::UserIssuers::warm).
    pub async fn warm(&self) {
        let mut fetches = tokio::task::JoinSet::new();
        for issuer in &self.issuers {
            let source = Arc::clone(&issuer.source);
            fetches.spawn(async move { source.warm().await });
        }
        while fetches.join_next().await.is_some() {}
    }
}

impl Issuer {
    async fn keys(&self, wanted: Wanted<'_>) -> Result<Arc<KeySet>, WorkloadError> {
        if wanted.kid.is_some_and(|kid| kid.len() > KID_MAX_BYTES) {
            return Err(WorkloadError::KeyUnknown);
        }
        self.source.keys(wanted).await.map_err(|missing| match missing {
            Missing::Unknown => WorkloadError::KeyUnknown,
            Missing::Unavailable => WorkloadError::KeysUnavailable { issuer: self.config.name.clone() },
        })
    }

    /// The first rule that is for the workload says which agent it is.
    fn workload(&self, claims: &Json, token: &str, issued_at: Timestamp) -> Result<Workload, WorkloadError> {
        let subject = text(claims, "sub", SUBJECT_MAX_BYTES)?.ok_or(WorkloadError::SubjectMissing)?;
        let found = self.config.rules.iter().find_map(|each| {
            let agent = each.agent(&self.config.name, subject, claims)?;
            Some((agent, each.needs_proof))
        });
        let (agent, needs_proof) = found.ok_or_else(|| WorkloadError::NoRule {
            issuer: self.config.name.clone(),
            subject: subject.to_owned(),
        })?;
        let token = match text(claims, "jti", JTI_MAX_BYTES)? {
            Some(jti) => TokenId::foreign(&self.config.issuer, jti)?,
            None => {
                let digest = vestibule_model::Digest::of(token.as_bytes());
                TokenId::foreign(&self.config.issuer, &format!("sha-256:{digest}"))?
            }
        };
        Ok(Workload { agent, token, issued_at, needs_proof, bound_to: binding(claims)? })
    }
}

impl WorkloadMatch {
    fn agent(&self, issuer: &str, subject: &str, claims: &Json) -> Option<Arc<Agent>> {
        let claim = |name: &str| groups::find(claims, name).and_then(Json::as_str);
        if !self.claims.iter().all(|(name, value)| claim(name) == Some(value)) {
            return None;
        }
        let instance = match &self.instance {
            Some(name) => Some(claim(name)?),
            None => None,
        };
        self.rule.agent(issuer, subject, instance)
    }
}
