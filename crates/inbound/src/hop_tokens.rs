use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use quick_cache::sync::Cache;
use vestibule_model::{Clock, Denial, Digest, Refusal};

use crate::{
    Caller, Credential, Expired, Outcome, Presented, Scheme, VerificationKeys, authorization,
    dpop::{Demand, Proofs},
    hop_claims::{HopClaims, Kind},
    jws::{Algorithm, Profile},
    own_tokens::{OwnTokens, Signed},
};

/// The `typ` of an access token (RFC 9068 §2.1).
pub const ACCESS_TOKEN_TYPE: &str = "at+jwt";

const PROFILE: Profile =
    Profile { types: &[ACCESS_TOKEN_TYPE], is_type_optional: false, algorithms: &[Algorithm::Es256] };

/// The scheme for our own tokens: an `at+jwt` of our issuer, signed ES256, for exactly the resource asked for. One that
/// is bound to a key comes as `DPoP` with a proof of that key (RFC 9449 §7.1), any other as `Bearer`; neither is ever
/// read as the other.
///
/// A verified token is remembered by the SHA-256 of its bytes, so that the signature is verified once. Time, audience
/// and the proof of its key are checked at every request, and what is remembered stands only as long as the very key
/// that verified it is still among the keys. Revocation is checked elsewhere, at every request.
pub struct HopTokens {
    own: OwnTokens,
    proofs: Arc<Proofs>,
    remembered: Cache<Digest, Arc<Signed<HopClaims>>>,
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
        proofs: Arc<Proofs>,
    ) -> Self {
        let own = OwnTokens { issuer: issuer.into(), keys, clock };
        Self { own, proofs, remembered: Cache::new(cache_capacity) }
    }

    /// What a hop token says, for whichever resource it is: for the token endpoint, where it is the subject of a
    /// request and not the credential of one.
    ///
    /// Whether whoever presents it holds the key that it is bound to is *not* checked: ask [`Proofs::verify`] and
    /// compare with [`TokenFacts::bound_to`](crate::TokenFacts::bound_to).
    ///
    /// # Errors
    /// As for a credential, save the audience and what is wrong with its proof.
    pub fn read(&self, token: &str, expired: Expired) -> Result<Caller, Refusal> {
        let known = self.verified(token)?;
        self.own.check_time(&known.content, expired)?;
        Ok(known.content.caller.clone())
    }

    fn verified(&self, token: &str) -> Result<Arc<Signed<HopClaims>>, Refusal> {
        let digest = Digest::of(token.as_bytes());
        if let Some(known) = self.remembered.get(&digest).filter(|known| self.own.still_trusts(known)) {
            return Ok(known);
        }
        let read = |claims: &_| self.own.read(claims, digest, Kind::Hop);
        let known = Arc::new(self.own.verify(token, &PROFILE, read)?);
        self.remembered.insert(digest, Arc::clone(&known));
        Ok(known)
    }

    fn judge(&self, credential: &Credential<'_>, presented: &Presented<'_>) -> Result<Caller, Refusal> {
        let known = self.verified(credential.value)?;
        let caller = &known.content.caller;
        if caller.token().audience != presented.resource {
            return Err(Refusal::new(Denial::TokenWrongAudience, "`aud` is another resource"));
        }
        self.own.check_time(&known.content, Expired::Refused)?;
        match (credential.is("DPoP"), caller.token().bound_to) {
            // RFC 9449 §7.2: "MUST reject a DPoP-bound access token received as a bearer token".
            (false, Some(_)) => {
                Err(Refusal::new(Denial::ProofMissing, "a token bound to a key came as a bearer token"))
            }
            (false, None) if Proofs::is_presented(presented.headers) => Err(Refusal::new(
                Denial::CredentialMalformed,
                "a proof of possession beside a token that is bound to no key",
            )),
            (false, None) => Ok(caller.clone()),
            // RFC 9449 §4.3 (12): "the public key to which the access token is bound matches".
            (true, None) => Err(Refusal::new(Denial::ProofWrongKey, "the token is bound to no key")),
            (true, Some(key)) => {
                let demand = Demand {
                    method: presented.method,
                    url: presented.url,
                    token: Some(caller.token().digest),
                    key: Some(key),
                };
                let proof = self.proofs.judge(presented.headers, &demand)?;
                let proof = proof.ok_or_else(|| Refusal::new(Denial::ProofMissing, "no `DPoP` header"))?;
                Ok(caller.clone().proven(proof))
            }
        }
    }
}

impl Scheme for HopTokens {
    fn name(&self) -> &'static str {
        "hop-token"
    }

    fn verify(&self, presented: &Presented<'_>) -> Outcome {
        let credential = match authorization(presented.headers) {
            Ok(Some(credential)) if credential.is("Bearer") || credential.is("DPoP") => credential,
            Ok(Some(_) | None) => return Outcome::NotPresented,
            Err(error) => return Outcome::Rejected(Refusal::new(Denial::CredentialMalformed, error)),
        };
        match self.judge(&credential, presented) {
            Ok(caller) => Outcome::Verified(caller),
            Err(refusal) => Outcome::Rejected(refusal),
        }
    }
}

impl fmt::Debug for HopTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HopTokens").field("issuer", &self.own.issuer).finish_non_exhaustive()
    }
}
