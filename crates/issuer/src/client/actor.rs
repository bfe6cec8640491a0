//! The actor token of a spawn (RFC 8693 §2.1): the child proves that it exists, wants to act under this very delegation,
//! and holds a key of its own. Two kinds, told apart by `typ`:
//!
//! - `vst-actor+jwt`, signed by the key that it carries. The child is that key, or a registered agent that has it.
//! - The client assertion of a registered agent, as at client authentication. It names no subject token: what keeps it
//!   from being used for a delegation that the agent did not want is that it is used once and binds to the agent's key.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use vestibule_inbound::{
    dpop,
    jws::{Algorithm, JwsError, Key, Profile, Unverified, sole_audience},
};
use vestibule_model::{AgentId, AgentState, Digest, Thumbprint, Timestamp, json::Json};

use super::{
    Clients, SingleUse,
    assertion::{self, LEEWAY, TYPES, jti, text},
    naming,
};
use crate::{OAuthError, Reason, registry::Credential};

/// The child will prove the same key at every call, so it signs with what a proof may be signed with.
const PROFILE: Profile =
    Profile { types: &["vst-actor+jwt"], is_type_optional: false, algorithms: dpop::ALGORITHMS };

/// Here `typ` decides, so it must be there.
const ASSERTION_PROFILE: Profile =
    Profile { types: TYPES, is_type_optional: false, algorithms: Algorithm::ALL };

/// From its `iat` to its `exp`.
const LIFE_MAX: Duration = Duration::from_secs(60);

/// A child that has proved itself, perhaps with a token that was used before: see [`Clients::use_up`].
#[must_use]
pub(crate) struct Actor {
    pub(crate) id: AgentId,
    /// The key that its tokens will be bound to.
    pub(crate) key: Thumbprint,
    single_use: SingleUse,
}

impl Clients {
    /// The child that signed `token` for a delegation under `subject_token`.
    ///
    /// # Errors
    /// A [`Reason`] about the actor token.
    pub(crate) fn actor(&self, token: &str, subject_token: &str) -> Result<Actor, OAuthError> {
        match Unverified::parse(token, &PROFILE) {
            Ok(jws) => self.by_own_key(&jws, subject_token),
            Err(JwsError::WrongType) => match Unverified::parse(token, &ASSERTION_PROFILE) {
                Ok(jws) => self.by_registered_key(&jws),
                Err(error) => Err(OAuthError::new(Reason::ActorTokenInvalid, error)),
            },
            Err(error) => Err(OAuthError::new(Reason::ActorTokenInvalid, error)),
        }
    }

    /// Uses the actor token up. The last check of all.
    ///
    /// # Errors
    /// [`Reason::ActorTokenReplayed`], [`Reason::StoreUnavailable`].
    pub(crate) async fn use_up(&self, actor: Actor) -> Result<(), OAuthError> {
        if actor.single_use.claim(self.store.as_ref()).await? {
            Ok(())
        } else {
            Err(OAuthError::new(Reason::ActorTokenReplayed, naming(actor.id.as_str())))
        }
    }

    fn by_own_key(&self, jws: &Unverified<'_>, subject_token: &str) -> Result<Actor, OAuthError> {
        let invalid = |cause: &str| OAuthError::new(Reason::ActorTokenInvalid, cause);
        let jwk = jws.unverified_claims().get("cnf").and_then(|cnf| cnf.get("jwk"));
        let key = Key::from_json(jwk.ok_or_else(|| invalid("no `cnf.jwk`"))?)
            .map_err(|error| OAuthError::new(Reason::ActorTokenInvalid, error))?;
        let claims = jws.verify(&key).map_err(|error| OAuthError::new(Reason::ActorTokenInvalid, error))?;
        let key = key.thumbprint();
        let id = self.child(claims, &key)?;
        if sole_audience(claims) != Some(&self.audience.issuer) {
            return Err(Reason::ActorTokenWrongAudience.into());
        }
        let expires_at = life(claims, self.clock.now())?;
        // Else whoever sees the child's token could have it act under a delegation of their own.
        let expected = URL_SAFE_NO_PAD.encode(Digest::of(subject_token.as_bytes()).bytes());
        if text(claims, "sth") != Some(&expected) {
            return Err(Reason::ActorTokenOtherSubject.into());
        }
        let jti = jti(claims).ok_or_else(|| invalid("`jti` is missing or too long"))?;
        let single_use = SingleUse::new("actor-token", &key.to_string(), jti, expires_at.plus(LEEWAY));
        Ok(Actor { id, key, single_use })
    }

    /// Whom the claims name: the key itself, or a registered agent whose key it is.
    fn child(&self, claims: &Json, key: &Thumbprint) -> Result<AgentId, OAuthError> {
        let named = text(claims, "sub").ok_or(Reason::ActorTokenWrongSubject)?;
        if text(claims, "iss") != Some(named) {
            return Err(Reason::ActorTokenWrongSubject.into());
        }
        let id =
            AgentId::new(named).map_err(|error| OAuthError::new(Reason::ActorTokenWrongSubject, error))?;
        if id.as_key().is_some() {
            return if id.as_key() == Some(*key) {
                Ok(id)
            } else {
                Err(Reason::ActorTokenWrongSubject.into())
            };
        }
        match self.registry.client(&id) {
            Some((agent, credential)) if agent.state == AgentState::Active && credential.has_key(key) => {
                Ok(id)
            }
            Some(_) | None => Err(OAuthError::new(Reason::ActorUnknown, naming(named))),
        }
    }

    fn by_registered_key(&self, jws: &Unverified<'_>) -> Result<Actor, OAuthError> {
        let named = assertion::subject(jws).map_err(|_| Reason::ActorTokenWrongSubject)?;
        let unknown = || OAuthError::new(Reason::ActorUnknown, naming(named));
        let (agent, credential) =
            AgentId::new(named).ok().and_then(|id| self.registry.client(&id)).ok_or_else(unknown)?;
        let Credential::Keys(keys) = credential.as_ref() else { return Err(unknown()) };
        if agent.state != AgentState::Active {
            return Err(unknown());
        }
        let verified = assertion::verify(jws, keys, &self.audience, self.clock.now())
            .map_err(|reason| OAuthError::new(as_actor(reason), naming(named)))?;
        Ok(Actor { id: agent.id.clone(), key: verified.key, single_use: verified.single_use })
    }
}

/// Its expiry.
fn life(claims: &Json, now: Timestamp) -> Result<Timestamp, Reason> {
    let moment = |name| claims.get(name).and_then(Json::as_i64).map(Timestamp::from_seconds);
    let (Some(issued_at), Some(expires_at)) = (moment("iat"), moment("exp")) else {
        return Err(Reason::ActorTokenInvalid);
    };
    if issued_at > now.plus(LEEWAY) {
        return Err(Reason::ActorTokenNotYetValid);
    }
    if now >= expires_at.plus(LEEWAY) {
        return Err(Reason::ActorTokenExpired);
    }
    if expires_at > issued_at.plus(LIFE_MAX) {
        return Err(Reason::ActorTokenTooLong);
    }
    Ok(expires_at)
}

/// What is wrong with an assertion, said of an actor token.
fn as_actor(reason: Reason) -> Reason {
    const PAIRS: &[(Reason, Reason)] = &[
        (Reason::AssertionWrongSubject, Reason::ActorTokenWrongSubject),
        (Reason::AssertionWrongAudience, Reason::ActorTokenWrongAudience),
        (Reason::AssertionExpired, Reason::ActorTokenExpired),
        (Reason::AssertionTooLong, Reason::ActorTokenTooLong),
        (Reason::AssertionNotYetValid, Reason::ActorTokenNotYetValid),
    ];
    PAIRS.iter().find(|(one, _)| *one == reason).map_or(Reason::ActorTokenInvalid, |(_, other)| *other)
}
