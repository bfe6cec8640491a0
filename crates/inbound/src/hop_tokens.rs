use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use quick_cache::sync::Cache;
use vestibule_model::{Clock, Denial, Digest, Refusal};

use crate::{
    Caller, Credential, Expired, Outcome, Presented, Scheme, VerificationKeys,
    access_tokens::presented_token,
    dpop::Proofs,
    hop_claims::{HopClaims, Kind},
    jws::{Algorithm, Profile},
    own_tokens::{OwnTokens, Signed},
    possession,
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
        let known = self.known(token)?;
        self.own.check_time(&known.content, expired)?;
        Ok(known.content.caller.clone())
    }

    /// What was verified before, if the very key that did is still among ours.
    pub(crate) fn remembered(&self, token: &Digest) -> Option<Arc<Signed<HopClaims>>> {
        self.remembered.get(token).filter(|known| self.own.still_trusts(known))
    }

    /// Verifies a token of that digest, and remembers it.
    pub(crate) fn verified(&self, token: &str, digest: Digest) -> Result<Arc<Signed<HopClaims>>, Refusal> {
        let read = |claims: &_| self.own.read(claims, digest, Kind::Hop);
        let known = Arc::new(self.own.verify(token, &PROFILE, read)?);
        self.remembered.insert(digest, Arc::clone(&known));
        Ok(known)
    }

    fn known(&self, token: &str) -> Result<Arc<Signed<HopClaims>>, Refusal> {
        let digest = Digest::of(token.as_bytes());
        self.remembered(&digest).map_or_else(|| self.verified(token, digest), Ok)
    }

    /// What has to be asked at every request.
    pub(crate) fn let_in(
        &self,
        known: &Signed<HopClaims>,
        credential: &Credential<'_>,
        presented: &Presented<'_>,
    ) -> Result<Caller, Refusal> {
        let caller = &known.content.caller;
        if caller.token().audience != presented.resource {
            return Err(Refusal::new(Denial::TokenWrongAudience, "`aud` is another resource"));
        }
        self.own.check_time(&known.content, Expired::Refused)?;
        possession::checked(caller, credential, presented, &self.proofs)
    }
}

impl Scheme for HopTokens {
    fn name(&self) -> &'static str {
        "hop-token"
    }

    fn verify<'a>(&'a self, presented: &'a Presented<'a>) -> Outcome<'a> {
        match presented_token(presented.headers) {
            Ok(Some(credential)) => self
                .known(credential.value)
                .and_then(|known| self.let_in(&known, &credential, presented))
                .into(),
            Ok(None) => Outcome::NotPresented,
            Err(refusal) => Outcome::Rejected(refusal),
        }
    }
}

impl fmt::Debug for HopTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HopTokens").field("issuer", &self.own.issuer).finish_non_exhaustive()
    }
}
