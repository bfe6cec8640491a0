use std::{fmt, path::Path};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use ed25519_dalek::{Signer as _, SigningKey};
use signed_note::{
    Signer, StandardVerifier, VerificationError, Verifier, Verifiers, is_key_name_valid,
    new_ed25519_verifier_key,
};
use vestibule_model::Entropy;
use zeroize::Zeroizing;

use crate::{EvidenceError, error::at, files};

/// The Ed25519 key that signs the log's checkpoints. Whoever has it can rewrite the log unseen, except for what was
/// checkpointed elsewhere.
#[derive(Clone)]
pub struct LogKey(SigningKey);

impl LogKey {
    /// The key of a seed (RFC 8032 §5.1.5).
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The key in the file `path`, one line of base64; made there, 0600, when there is none.
    ///
    /// # Errors
    /// When the file cannot be read or written, or holds no key.
    pub fn load_or_create(path: &Path, entropy: &dyn Entropy) -> Result<Self, EvidenceError> {
        let found = files::if_found(std::fs::read_to_string(path)).map_err(at(path))?;
        let mut seed = Zeroizing::new([0u8; 32]);
        if let Some(text) = found.map(Zeroizing::new) {
            let bytes = BASE64_STANDARD.decode(text.trim()).map(Zeroizing::new);
            let bytes = bytes.map_err(|_| EvidenceError::Key("the file holds no base64"))?;
            *seed = <[u8; 32]>::try_from(bytes.as_slice())
                .map_err(|_| EvidenceError::Key("the file does not hold 32 bytes"))?;
        } else {
            entropy.fill(&mut *seed);
            let text = Zeroizing::new(format!("{}\n", &*Zeroizing::new(BASE64_STANDARD.encode(*seed))));
            files::replace(path, text.as_bytes()).map_err(at(path))?;
        }
        Ok(Self::from_seed(&seed))
    }

    /// The public half, for a log of that origin.
    ///
    /// # Errors
    /// When the origin is empty or holds spaces or `+`.
    pub fn public(&self, origin: &str) -> Result<PublicKey, EvidenceError> {
        if !is_key_name_valid(origin) || origin.chars().any(char::is_control) {
            return Err(EvidenceError::Origin(origin.to_owned()));
        }
        PublicKey::parse(&new_ed25519_verifier_key(origin, &self.0.verifying_key()))
    }

    /// The signer of a log's notes.
    pub(crate) fn signer(&self, public: &PublicKey) -> NoteSigner {
        NoteSigner { key: self.0.clone(), name: public.origin().to_owned(), id: public.verifier.key_id() }
    }
}

impl fmt::Debug for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogKey([redacted])")
    }
}

/// Signs notes under the log's name (<https://c2sp.org/signed-note>).
pub(crate) struct NoteSigner {
    key: SigningKey,
    name: String,
    id: u32,
}

impl Signer for NoteSigner {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> u32 {
        self.id
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ed25519_dalek::SignatureError> {
        Ok(self.key.try_sign(message)?.to_vec())
    }
}

impl fmt::Debug for NoteSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NoteSigner").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What verifies a log: its origin and public key, in the text form `origin+hash+key` of C2SP signed notes.
#[derive(Clone)]
pub struct PublicKey {
    text: String,
    verifier: StandardVerifier,
}

impl PublicKey {
    /// From its text form, as it stands in the file `log.vkey`.
    ///
    /// # Errors
    /// When the text is not of that form, or its hash does not fit.
    pub fn parse(text: &str) -> Result<Self, EvidenceError> {
        let text = text.trim();
        let verifier = StandardVerifier::new(text).map_err(|_| {
            EvidenceError::Key("must have the form `origin+hash+key` of a signed note's verifier")
        })?;
        Ok(Self { text: text.to_owned(), verifier })
    }

    /// The name of the log.
    #[must_use]
    pub fn origin(&self) -> &str {
        self.verifier.name()
    }
}

impl Verifiers for PublicKey {
    fn verifier(&self, name: &str, id: u32) -> Result<&dyn Verifier, VerificationError> {
        if name == self.verifier.name() && id == self.verifier.key_id() {
            Ok(&self.verifier)
        } else {
            Err(VerificationError::UnknownKey { name: name.to_owned(), id })
        }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use vestibule_model::SeededEntropy;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_is_the_owners_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.key");
        let made = LogKey::load_or_create(&path, &SeededEntropy::new(1)).unwrap();
        let loaded = LogKey::load_or_create(&path, &SeededEntropy::new(2)).unwrap();
        let public = |key: &LogKey| key.public("log.example/1").unwrap().to_string();
        assert_eq!(public(&made), public(&loaded));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(format!("{made:?}"), "LogKey([redacted])");
        std::fs::write(&path, "short\n").unwrap();
        assert!(LogKey::load_or_create(&path, &SeededEntropy::new(1)).is_err());
    }

    #[test]
    fn an_origin_that_cannot_name_a_note_is_refused() {
        let key = LogKey::from_seed(&[7; 32]);
        for origin in ["", "a b", "a+b", "a\nb", "a\u{1}b"] {
            assert!(matches!(key.public(origin), Err(EvidenceError::Origin(_))), "{origin:?}");
        }
        assert!(PublicKey::parse("log.example+00000000+AQ==").is_err());
    }
}
