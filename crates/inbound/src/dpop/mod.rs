//! Proof of possession (DPoP, RFC 9449): who sends the request holds the key that their token is bound to.
//!
//! It stops whoever finds a token, in a log or on an upstream, from using it; and whoever sees a whole request from
//! sending it again, elsewhere or another time: a proof is for one method, one URL, one token, it carries a nonce of this
//! very process that is good for two minutes at most, and within those it is good once. It says nothing about the body,
//! and nothing about whose the key is: that is what the token says.
//!
//! Nothing is kept outside of this process. Because the nonce is of this process, a proof that another one has seen is
//! refused here for its nonce, so what was used has to be remembered here only.

mod claims;
mod error;
mod nonce;
mod replay;
mod signer;
mod uri;

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderName};
use vestibule_model::{Clock, Digest, Entropy, Thumbprint};

use crate::jws::{Algorithm, Parts};

pub use error::{Flaw, Mismatch, ProofError};

pub(crate) use claims::Demand;
use nonce::Nonces;
use replay::{Bounds, PROOFS_MAX, PROOFS_OF_A_KEY_MAX, Replays, Used};
use signer::Signers;

/// The algorithms that may sign a proof: `dpop_signing_alg_values_supported` (RFC 9449 §5.1).
pub const ALGORITHMS: &[Algorithm] =
    &[Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa, Algorithm::Ps256, Algorithm::Rs256];

/// The `typ` of a proof (RFC 9449 §4.2).
pub const PROOF_TYPE: &str = "dpop+jwt";

const HEADER: HeaderName = HeaderName::from_static("dpop");

/// Judges proofs: hands out nonces, and remembers what was used.
pub struct Proofs {
    clock: Arc<dyn Clock>,
    nonces: Nonces,
    replays: Replays,
    signers: Signers,
}

/// The request that a proof has to be for.
#[derive(Clone, Copy)]
pub struct Expected<'a> {
    /// Its method.
    pub method: &'a str,
    /// Its URL without a query: the origin from configuration and the path as sent.
    pub url: &'a str,
    /// The token that came with it: a proof beside a token has to name it in `ath`. Secret.
    pub token: Option<&'a str>,
}

/// That whoever sent the request holds this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proof {
    /// The key.
    pub key: Thumbprint,
    /// Whether the nonce will not be taken for long: send [`Proofs::nonce`] with the reply (RFC 9449 §8.2).
    pub is_nonce_old: bool,
}

impl Proofs {
    /// With a secret of its own for the nonces, and nothing used yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, entropy: &dyn Entropy) -> Arc<Self> {
        let bounds = Bounds { proofs: PROOFS_MAX, of_a_key: PROOFS_OF_A_KEY_MAX };
        Arc::new(Self::bounded(clock, entropy, bounds))
    }

    /// The same, but at most `proofs_max` proofs are remembered for each nonce, and at most `of_a_key_max` of one key.
    #[cfg(feature = "test-util")]
    #[must_use]
    pub fn for_test(
        clock: Arc<dyn Clock>,
        entropy: &dyn Entropy,
        proofs_max: usize,
        of_a_key_max: usize,
    ) -> Arc<Self> {
        Arc::new(Self::bounded(clock, entropy, Bounds { proofs: proofs_max, of_a_key: of_a_key_max }))
    }

    fn bounded(clock: Arc<dyn Clock>, entropy: &dyn Entropy, bounds: Bounds) -> Self {
        let nonces = Nonces::new(Arc::clone(&clock), entropy);
        Self { clock, nonces, replays: Replays::new(bounds), signers: Signers::default() }
    }

    /// The nonce that the next proof should have, for the header `DPoP-Nonce` (RFC 9449 §8). The same for everybody: it
    /// says when a proof was made, not for whom.
    #[must_use]
    pub fn nonce(&self) -> String {
        self.nonces.current()
    }

    /// The proof in the `DPoP` header; none when there is no such header.
    ///
    /// A proof that passes is used up. Whether its key is the right one is the caller's to check. Ask only for somebody
    /// who is known by other means: what passes is remembered, and when that memory is full, everybody is refused. One
    /// key alone cannot fill it: it has a share, beyond which it alone is refused until the next nonce.
    ///
    /// # Errors
    /// [`ProofError`]; nothing is used up then.
    pub fn verify(&self, headers: &HeaderMap, expected: &Expected<'_>) -> Result<Option<Proof>, ProofError> {
        let token = expected.token.map(|token| Digest::of(token.as_bytes()));
        self.judge(headers, &Demand { method: expected.method, url: expected.url, token, key: None })
    }

    /// Whether a proof is there, good or not.
    pub(crate) fn is_presented(headers: &HeaderMap) -> bool {
        headers.contains_key(HEADER)
    }

    pub(crate) fn judge(
        &self,
        headers: &HeaderMap,
        demand: &Demand<'_>,
    ) -> Result<Option<Proof>, ProofError> {
        let mut values = headers.get_all(HEADER).iter();
        let Some(value) = values.next() else { return Ok(None) };
        // RFC 9449 §4.3 (1): "There is not more than one DPoP HTTP request header field."
        if values.next().is_some() {
            return Err(Flaw::Repeated.into());
        }
        // (2): "a single and well-formed JWT".
        let text = value.to_str().map_err(|_| Flaw::NotText)?;
        let parts = Parts::split(text)?;
        let found = self.signers.of(&parts)?;
        let signer = &found.signer;
        let payload = parts.payload()?;
        let claims = claims::check(&payload, demand, self.clock.now())?;
        // (10): "If the server provided a nonce value to the client, the nonce claim matches". It is always demanded, and
        // looked at after what another nonce would not mend.
        let epoch = claims.nonce.and_then(|nonce| self.nonces.epoch_of(nonce));
        let epoch = epoch.ok_or(ProofError::NonceNeeded)?;
        // (6): "The JWT signature verifies with the public key contained in the jwk JOSE Header Parameter." After what
        // is cheap to check, so that garbage costs little.
        if !parts.is_signed_by(&signer.key, signer.algorithm) {
            return Err(Mismatch::Signature.into());
        }
        self.signers.remember(&found);
        let key = signer.key.thumbprint();
        // (12): "the public key to which the access token is bound matches the public key from the DPoP proof".
        if demand.key.is_some_and(|expected| expected != key) {
            return Err(ProofError::WrongKey);
        }
        // RFC 9449 §11.1. Last: whatever is refused above must not use up a proof, else whoever sees one could burn it.
        let now = self.nonces.epoch();
        self.replays.use_up(Used { signer: &key, jti: claims.jti, epoch }, now)?;
        Ok(Some(Proof { key, is_nonce_old: epoch != now }))
    }
}

impl fmt::Debug for Proofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proofs").finish_non_exhaustive()
    }
}

impl fmt::Debug for Expected<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expected")
            .field("method", &self.method)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}
