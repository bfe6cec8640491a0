use vestibule_model::{Denial, Refusal};

use crate::jws::{JwsError, KeyError};

/// Why a proof is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// Nothing that is a proof.
    #[error("not a proof of possession: {0}")]
    Malformed(Flaw),
    /// A proof, but not for this request.
    #[error("a proof of possession for something else: {0}")]
    Wrong(Mismatch),
    /// A proof by another key than the one that the token is bound to: somebody has a token that is not theirs.
    #[error("the proof of possession is by another key than the token's")]
    WrongKey,
    /// No nonce, or none of this process, or an old one: the same again with [`super::Proofs::nonce`] will pass.
    #[error("the proof of possession has no nonce that is good here")]
    NonceNeeded,
    /// It was used before.
    #[error("the proof of possession was used before")]
    Replayed,
    /// As many proofs as can be remembered, of this key or of all keys, were used with this nonce.
    #[error("more proofs of possession than can be remembered")]
    Exceeded,
}

/// What is wrong with the form of a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// More than one header: two parties may each choose another one.
    #[error("more than one `DPoP` header")]
    Repeated,
    /// The header is not ASCII text.
    #[error("the `DPoP` header is not text")]
    NotText,
    /// Not a JWS of type `dpop+jwt` with an algorithm on the list.
    #[error("{0}")]
    Jws(JwsError),
    /// Its header holds no `jwk`.
    #[error("no `jwk` in its header")]
    NoKey,
    /// The `jwk` is no public key that can be used, or holds a private part.
    #[error("its `jwk` {0}")]
    Key(KeyError),
    /// The claim is missing, or not of its type, or too long.
    #[error("the claim `{0}` is missing or malformed")]
    Claim(&'static str),
}

/// In what a proof differs from the request that it came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// `htm` is another method.
    #[error("`htm` is another method")]
    Method,
    /// `htu` is another URL.
    #[error("`htu` is another URL")]
    Url,
    /// `iat` is too far from now.
    #[error("`iat` is too far from now")]
    Time,
    /// `ath` is not the hash of the token.
    #[error("`ath` is not of this token")]
    Token,
    /// Not signed by the key that it carries.
    #[error("the signature is not by its `jwk`")]
    Signature,
}

impl ProofError {
    /// How it is answered.
    #[must_use]
    pub fn denial(&self) -> Denial {
        match self {
            Self::Malformed(_) | Self::Wrong(_) => Denial::ProofInvalid,
            Self::WrongKey => Denial::ProofWrongKey,
            Self::NonceNeeded => Denial::ProofNonceNeeded,
            Self::Replayed => Denial::ProofReplayed,
            Self::Exceeded => Denial::ProofsExceeded,
        }
    }
}

impl From<ProofError> for Refusal {
    fn from(error: ProofError) -> Self {
        Self::new(error.denial(), error)
    }
}

impl From<Flaw> for ProofError {
    fn from(flaw: Flaw) -> Self {
        Self::Malformed(flaw)
    }
}

impl From<JwsError> for ProofError {
    fn from(error: JwsError) -> Self {
        Self::Malformed(Flaw::Jws(error))
    }
}

impl From<Mismatch> for ProofError {
    fn from(mismatch: Mismatch) -> Self {
        Self::Wrong(mismatch)
    }
}
