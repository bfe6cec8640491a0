use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use vestibule_model::{Clock, Denial, Digest, Refusal, json::Json};

use crate::{
    VerificationKeys,
    hop_claims::{self, HopClaims, Kind},
    jws::{JwsError, Key, Profile, Unverified},
};

/// How far in the future a token may have been issued: replicas of the gateway do not share one clock. An expiry gets
/// no such grace.
const CLOCK_SKEW: Duration = Duration::from_secs(5);

/// What to do with a token that is past its `exp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expired {
    /// Refuse it.
    Refused,
    /// Take it as long as its node lives, if it is bound to a key: the proof of that key, which the caller of this has
    /// to ask for, says more than the age of the token. One that is bound to nothing is refused all the same.
    Accepted,
}

/// What all tokens of our own have in common: our issuer, our keys, our clock.
pub(crate) struct OwnTokens {
    pub(crate) issuer: Arc<str>,
    pub(crate) keys: Arc<ArcSwap<VerificationKeys>>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// A token whose signature was verified, with the key that did.
pub(crate) struct Signed<T> {
    pub(crate) content: T,
    kid: String,
    key: Arc<Key>,
}

impl OwnTokens {
    /// Type, algorithm, key and signature, then what `read` makes of the claims.
    pub(crate) fn verify<T>(
        &self,
        token: &str,
        profile: &Profile,
        read: impl FnOnce(&Json) -> Result<T, Refusal>,
    ) -> Result<Signed<T>, Refusal> {
        let jws = Unverified::parse(token, profile).map_err(refusal)?;
        let kid = jws.kid().ok_or_else(|| Refusal::new(Denial::TokenKeyUnknown, "no `kid`"))?;
        let key = self.keys.load().get(kid).map(Arc::clone).ok_or(Denial::TokenKeyUnknown)?;
        let content = read(jws.verify(&key).map_err(refusal)?)?;
        Ok(Signed { content, kid: kid.to_owned(), key })
    }

    /// Whether the very key that verified it is still among the keys.
    pub(crate) fn still_trusts<T>(&self, signed: &Signed<T>) -> bool {
        self.keys.load().get(&signed.kid).is_some_and(|key| Arc::ptr_eq(key, &signed.key))
    }

    pub(crate) fn read(&self, claims: &Json, digest: Digest, kind: Kind) -> Result<HopClaims, Refusal> {
        hop_claims::read(claims, &self.issuer, digest, kind)
    }

    /// Whether it is good at this moment.
    pub(crate) fn check_time(&self, claims: &HopClaims, expired: Expired) -> Result<(), Refusal> {
        let now = self.clock.now();
        let facts = claims.caller.token();
        let end = match expired {
            Expired::Accepted if facts.bound_to.is_some() => facts.node_expires_at,
            Expired::Accepted | Expired::Refused => facts.expires_at,
        };
        // RFC 7519 §4.1.4: "on or after which the JWT MUST NOT be accepted".
        if now >= end {
            return Err(Denial::TokenExpired.into());
        }
        if claims.valid_from > now.plus(CLOCK_SKEW) {
            return Err(Denial::TokenNotYetValid.into());
        }
        Ok(())
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
