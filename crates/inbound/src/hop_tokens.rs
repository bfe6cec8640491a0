use std::{fmt, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use quick_cache::sync::Cache;
use vestibule_model::{Clock, Denial, Digest, Refusal, Timestamp};

use crate::{
    Caller, Outcome, Presented, Scheme, VerificationKeys, authorization, hop_claims,
    jws::{Algorithm, JwsError, Key, Profile, Unverified},
};

/// The `typ` of an access token (RFC 9068 §2.1).
pub const ACCESS_TOKEN_TYPE: &str = "at+jwt";

const PROFILE: Profile =
    Profile { types: &[ACCESS_TOKEN_TYPE], is_type_optional: false, algorithms: &[Algorithm::Es256] };

/// How far in the future a token may have been issued: replicas of the gateway do not share one clock. An expiry gets
/// no such grace.
const CLOCK_SKEW: Duration = Duration::from_secs(5);

/// The scheme for our own tokens: a bearer `at+jwt` of our issuer, signed ES256, for exactly the resource asked for.
///
/// A verified token is remembered by the SHA-256 of its bytes, so that the signature is verified once. Time and
/// audience are checked at every request, and what is remembered stands only as long as the very key that verified it
/// is still among the keys. Revocation is checked elsewhere, at every request.
pub struct HopTokens {
    issuer: Arc<str>,
    keys: Arc<ArcSwap<VerificationKeys>>,
    clock: Arc<dyn Clock>,
    remembered: Cache<Digest, Arc<Remembered>>,
}

struct Remembered {
    caller: Caller,
    valid_from: Timestamp,
    kid: String,
    key: Arc<Key>,
}

impl HopTokens {
    /// For the tokens of `issuer`. At most about `cache_capacity` verified tokens are remembered; an entry takes a
    /// kilobyte or two.
    #[must_use]
    pub fn new(
        issuer: &str,
        keys: Arc<ArcSwap<VerificationKeys>>,
        clock: Arc<dyn Clock>,
        cache_capacity: usize,
    ) -> Self {
        Self { issuer: issuer.into(), keys, clock, remembered: Cache::new(cache_capacity) }
    }

    fn judge(&self, token: &str, resource: &str) -> Result<Caller, Refusal> {
        let digest = Digest::of(token.as_bytes());
        let known = match self.recall(&digest) {
            Some(known) => known,
            None => {
                let known = Arc::new(self.verify_anew(token, digest)?);
                self.remembered.insert(digest, Arc::clone(&known));
                known
            }
        };
        let facts = known.caller.token();
        if facts.audience != resource {
            return Err(Refusal::new(Denial::TokenWrongAudience, "`aud` is another resource"));
        }
        let now = self.clock.now();
        // RFC 7519 §4.1.4: "on or after which the JWT MUST NOT be accepted".
        if now >= facts.expires_at {
            return Err(Denial::TokenExpired.into());
        }
        if known.valid_from > now.plus(CLOCK_SKEW) {
            return Err(Denial::TokenNotYetValid.into());
        }
        Ok(known.caller.clone())
    }

    fn recall(&self, digest: &Digest) -> Option<Arc<Remembered>> {
        let known = self.remembered.get(digest)?;
        let is_same = self.keys.load().get(&known.kid).is_some_and(|key| Arc::ptr_eq(key, &known.key));
        is_same.then_some(known)
    }

    fn verify_anew(&self, token: &str, digest: Digest) -> Result<Remembered, Refusal> {
        let jws = Unverified::parse(token, &PROFILE).map_err(refusal)?;
        let kid = jws.kid().ok_or_else(|| Refusal::new(Denial::TokenKeyUnknown, "no `kid`"))?;
        let key = self.keys.load().get(kid).map(Arc::clone).ok_or(Denial::TokenKeyUnknown)?;
        let claims = hop_claims::read(jws.verify(&key).map_err(refusal)?, &self.issuer, digest)?;
        Ok(Remembered { caller: claims.caller, valid_from: claims.valid_from, kid: kid.to_owned(), key })
    }
}

fn refusal(error: JwsError) -> Refusal {
    let denial = match error {
        JwsError::WrongType => Denial::TokenWrongType,
        JwsError::AlgorithmRefused => Denial::TokenAlgorithmRefused,
        JwsError::TooLong | JwsError::Malformed | JwsError::Critical | JwsError::SignatureInvalid => {
            Denial::TokenInvalid
        }
    };
    Refusal::new(denial, error)
}

impl Scheme for HopTokens {
    fn name(&self) -> &'static str {
        "hop-token"
    }

    fn verify(&self, presented: &Presented<'_>) -> Outcome {
        let credential = match authorization(presented.headers) {
            Ok(Some(credential)) if credential.is("Bearer") => credential,
            Ok(Some(_) | None) => return Outcome::NotPresented,
            Err(error) => return Outcome::Rejected(Refusal::new(Denial::CredentialMalformed, error)),
        };
        match self.judge(credential.value, presented.resource) {
            Ok(caller) => Outcome::Verified(caller),
            Err(refusal) => Outcome::Rejected(refusal),
        }
    }
}

impl fmt::Debug for HopTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HopTokens").field("issuer", &self.issuer).finish_non_exhaustive()
    }
}
