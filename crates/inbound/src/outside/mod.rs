//! Access tokens of outside issuers, as callers: an agent that its issuer knows by another name, and the human who is in
//! the same token, if there is one.
//!
//! It stops, against whoever presents a token:
//!
//! - one of an issuer that the operator did not name for this, and one that is not an access token for this resource;
//! - one whose client is no registered agent of ours, or whose agent may not use the application: what the operator
//!   said of an agent bounds it, whoever issued the token;
//! - one in which a machine would pass for a human, or a human be overlooked;
//! - one that is bound to a key without a proof of that key.
//!
//! Its `act` gives nobody anything: see [`facts`].

mod facts;

pub(crate) use facts::binding;

use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use quick_cache::sync::Cache;
use vestibule_model::{Agent, AgentState, Clock, Denial, Digest, Directory, Refusal, Thumbprint, json::Json};

use crate::{
    Caller, Credential, Presented,
    dpop::Proofs,
    jws::{Profile, Unverified},
    possession,
    users::{
        REFETCH_INTERVAL, UserIssuers, UserTokenError, UserTokenKind,
        claims::{Times, audiences},
        key_set::{KeySet, Wanted},
        key_source::KeySource,
        kind::Marked,
    },
};

/// Verified tokens that are remembered. An entry may hold the token itself, so it takes up to some ten kilobytes.
const REMEMBERED: usize = 10_000;
/// An expiry gets no grace here, as that of our own tokens gets none.
const NO_LEEWAY: Duration = Duration::ZERO;

/// Judges access tokens of outside issuers.
pub struct OutsideTokens {
    users: Arc<UserIssuers>,
    directory: Arc<ArcSwap<Directory>>,
    proofs: Arc<Proofs>,
    clock: Arc<dyn Clock>,
    remembered: Cache<Digest, Arc<Known>>,
}

/// A token whose signature was verified, for one resource.
pub(crate) struct Known {
    caller: Caller,
    times: Times,
    /// As it was registered then.
    agent: Arc<Agent>,
    source: Arc<KeySource>,
    keys: Arc<KeySet>,
    kid: Option<Box<str>>,
    key: Thumbprint,
}

impl OutsideTokens {
    /// For the issuers among `users` whose tokens are callers. `directory` is to be kept current.
    #[must_use]
    pub fn new(users: Arc<UserIssuers>, directory: Arc<ArcSwap<Directory>>, proofs: Arc<Proofs>) -> Self {
        let clock = Arc::clone(users.clock());
        Self { users, directory, proofs, clock, remembered: Cache::new(REMEMBERED) }
    }

    /// Whether the token says that one of the issuers made it. Nothing of it is verified yet: it decides only who
    /// verifies it, and a token that lies about its issuer fails there.
    pub(crate) fn is_named_by(&self, token: &str) -> bool {
        Unverified::parse(token, profile()).is_ok_and(|jws| self.issuer_of(&jws).is_some())
    }

    fn issuer_of(&self, jws: &Unverified<'_>) -> Option<&crate::users::Issuer> {
        let named = jws.unverified_claims().get("iss").and_then(Json::as_str)?;
        self.users.of_callers(named)
    }

    /// What was verified before, if the very key that did is still the issuer's and the agent is registered as it was.
    pub(crate) fn remembered(&self, token: &Digest, resource: &str) -> Option<Arc<Known>> {
        let known = self.remembered.get(&place(token, resource))?;
        let keys = known.source.current()?;
        let is_trusted = Arc::ptr_eq(&keys, &known.keys) || keys.has(known.kid.as_deref(), &known.key);
        let agent = self.directory.load().get(&known.agent.id).cloned();
        let is_same = agent.is_some_and(|agent| Arc::ptr_eq(&agent, &known.agent));
        (is_trusted && is_same).then_some(known)
    }

    /// What has to be asked at every request.
    pub(crate) fn let_in(
        &self,
        known: &Known,
        credential: &Credential<'_>,
        presented: &Presented<'_>,
    ) -> Result<Caller, Refusal> {
        let caller = &known.caller;
        known.times.check(self.clock.now(), NO_LEEWAY).map_err(refusal)?;
        if known.agent.state != AgentState::Active {
            return Err(Refusal::new(Denial::AgentUnknown, format!("`{}` is retired", known.agent.id)));
        }
        if !known.agent.apps.is_empty() && !known.agent.apps.contains(presented.app) {
            let cause = format!("`{}` is not an application of `{}`", presented.app, known.agent.id);
            return Err(Refusal::new(Denial::TokenWrongAudience, cause));
        }
        possession::checked(caller, credential, presented, &self.proofs)
    }

    /// Verifies a token, which may have to wait for its issuer, at most some seconds, and lets its caller in.
    pub(crate) async fn admit(
        &self,
        credential: Credential<'_>,
        digest: Digest,
        presented: &Presented<'_>,
    ) -> Result<Caller, Refusal> {
        let known = Arc::new(self.verified(credential.value, digest, presented.resource).await?);
        self.remembered.insert(place(&digest, presented.resource), Arc::clone(&known));
        self.let_in(&known, &credential, presented)
    }

    async fn verified(&self, token: &str, digest: Digest, resource: &str) -> Result<Known, Refusal> {
        const KIND: UserTokenKind = UserTokenKind::AccessToken;
        let jws =
            Unverified::parse(token, profile()).map_err(|error| refusal(UserTokenError::of(error, KIND)))?;
        let issuer = self.issuer_of(&jws).ok_or(Denial::TokenWrongIssuer)?;
        let config = &issuer.config;
        let marked = KIND.check_header(jws.header(), &config.caller_types()).map_err(refusal)?;
        let wanted = Wanted { kid: jws.kid(), algorithm: jws.algorithm() };
        let keys = issuer.keys(wanted).await.map_err(refusal)?;
        let signed = keys.fitting(wanted).find_map(|key| Some((jws.verify(key).ok()?, key.thumbprint())));
        let (claims, key) = signed.ok_or_else(|| refusal(UserTokenError::SignatureInvalid))?;
        let marked = if config.mapping().marks_access(claims) { Marked::Yes } else { marked };
        KIND.check_claims(claims, marked).map_err(refusal)?;
        let times = Times::read(claims).map_err(refusal)?;
        let now = self.clock.now();
        times.check(now, NO_LEEWAY).map_err(refusal)?;
        self.is_for(config, claims, resource)?;
        let client = config.mapping().client(claims).map_err(refusal)?;
        let agent = config.agent_named(client).and_then(|id| self.directory.load().get(id).cloned());
        let agent = agent.ok_or_else(|| {
            Refusal::new(
                Denial::AgentUnknown,
                format!("`{client}` at `{}` is no registered agent", config.name),
            )
        })?;
        let about =
            facts::About { config, agent: &agent, client, own_issuer: self.users.own_issuer(), resource };
        let caller = about.caller(claims, times.seen_at(now), (token, digest))?;
        let (source, kid) = (Arc::clone(&issuer.source), wanted.kid.map(Box::from));
        Ok(Known { caller, times, agent, source, keys: Arc::clone(&keys), kid, key })
    }

    /// RFC 9068 §4: the resource server "MUST validate that the aud claim contains a resource indicator value
    /// corresponding to an identifier the resource server expects for itself".
    fn is_for(
        &self,
        config: &crate::users::UserIssuerConfig,
        claims: &Json,
        resource: &str,
    ) -> Result<(), Refusal> {
        if claims.get("aud").is_none() {
            return Err(Refusal::new(
                Denial::TokenWrongAudience,
                "no `aud`: map an audience into the issuer's tokens",
            ));
        }
        let named = audiences(claims, UserTokenKind::AccessToken, None).map_err(refusal)?;
        let expected = config.callers.as_ref().map(|callers| &callers.audiences);
        let is_expected = |audience: &String| match expected {
            Some(expected) if !expected.is_empty() => expected.contains(audience),
            Some(_) | None => audience == resource,
        };
        if named.iter().any(is_expected) {
            Ok(())
        } else {
            Err(Refusal::new(
                Denial::TokenWrongAudience,
                "`aud` names neither the resource nor what is configured",
            ))
        }
    }
}

/// A token may be for several resources: what is remembered is what was checked for one.
fn place(token: &Digest, resource: &str) -> Digest {
    Digest::of(&[token.bytes().as_slice(), resource.as_bytes()].concat())
}

fn profile() -> &'static Profile {
    UserTokenKind::AccessToken.profile()
}

/// What is wrong with a token, in the words of the door.
fn refusal(error: UserTokenError) -> Refusal {
    let denial = match error {
        UserTokenError::IssuerUnknown => Denial::TokenWrongIssuer,
        UserTokenError::WrongType { .. } => Denial::TokenWrongType,
        UserTokenError::AlgorithmRefused => Denial::TokenAlgorithmRefused,
        UserTokenError::KeyUnknown => Denial::TokenKeyUnknown,
        UserTokenError::Expired => Denial::TokenExpired,
        UserTokenError::NotYetValid => Denial::TokenNotYetValid,
        UserTokenError::KeysUnavailable { .. } => {
            let mut refusal = Refusal::new(Denial::TokenKeysUnavailable, error);
            refusal.retry_after = Some(REFETCH_INTERVAL);
            return refusal;
        }
        UserTokenError::Malformed(_)
        | UserTokenError::SignatureInvalid
        | UserTokenError::KeyBound
        | UserTokenError::Delegated
        | UserTokenError::NotAUser
        | UserTokenError::TooManyGroups { .. }
        | UserTokenError::GroupTooLong
        | UserTokenError::GroupsLeftOut => Denial::TokenInvalid,
    };
    Refusal::new(denial, error)
}

impl fmt::Debug for OutsideTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutsideTokens").finish_non_exhaustive()
    }
}
