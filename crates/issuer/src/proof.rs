//! Proof of possession at our own endpoints (RFC 9449 §5).

use vestibule_inbound::dpop::{Expected, Proof};
use vestibule_model::Thumbprint;

use crate::{Issuer, OAuthError, Reason, token::TokenRequest};

/// RFC 9449 §4.1.
const HEADER: &str = "dpop";

impl Issuer {
    /// The proof that came with a request at `url`. `token` is the token that it has to be about (`ath`).
    ///
    /// To be asked after whatever tells a stranger from somebody whom we know: each proof that passes is remembered,
    /// and strangers must not fill that memory.
    pub(crate) fn proof(
        &self,
        request: &TokenRequest<'_>,
        url: &str,
        token: Option<&str>,
    ) -> Result<Option<Proof>, OAuthError> {
        let expected = Expected { method: "POST", url, token };
        let verified = self.proofs.verify(request.headers, &expected);
        verified.map_err(|error| OAuthError::new(Reason::of(error.denial()), error))
    }

    /// A proof about `token`, by the key that it is bound to.
    pub(crate) fn proof_by(
        &self,
        key: &Thumbprint,
        request: &TokenRequest<'_>,
        url: &str,
        token: &str,
    ) -> Result<(), OAuthError> {
        match self.proof(request, url, Some(token))? {
            Some(proof) if proof.key == *key => Ok(()),
            Some(_) => Err(Reason::ProofWrongKey.into()),
            None => Err(Reason::ProofMissing.into()),
        }
    }

    /// RFC 9449 §8.2: a new nonce may come with any answer. It comes with each to a client that proves, so that the
    /// next proof has a fresh one, and with the refusal of a request that lacks a proof, which then needs one attempt
    /// less. `place` is where the answer has it.
    pub(crate) fn with_nonce<T>(
        &self,
        request: &TokenRequest<'_>,
        mut answer: Result<T, OAuthError>,
        place: impl FnOnce(&mut T) -> &mut Option<String>,
    ) -> Result<T, OAuthError> {
        let is_due = match &answer {
            Ok(_) => Self::has_proof(request),
            Err(error) => Self::has_proof(request) || error.reason == Reason::ProofMissing,
        };
        let nonce = is_due.then(|| self.proofs.nonce());
        match &mut answer {
            Ok(response) => *place(response) = nonce,
            Err(error) => error.nonce = nonce,
        }
        answer
    }

    /// Whether a proof is there, good or not.
    pub(crate) fn has_proof(request: &TokenRequest<'_>) -> bool {
        request.headers.contains_key(HEADER)
    }
}
