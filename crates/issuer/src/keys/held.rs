use std::sync::Arc;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::EncodingKey;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use vestibule_inbound::jws::Key;
use vestibule_model::{Digest, Timestamp};
use vestibule_store::{Record, vault::Vault};
use zeroize::{Zeroize, Zeroizing};

use super::KeysError;

/// A signing key as it is sealed. Not `Debug`: it is the private key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredKey {
    /// PKCS #8, base64url.
    pkcs8: String,
    /// The newest key that does not end signs.
    pub(super) created_at: Timestamp,
}

impl StoredKey {
    /// A fresh one, from the randomness of the cryptographic library.
    pub(super) fn generate(now: Timestamp) -> Result<Self, KeysError> {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
            .map_err(|_| KeysError::Unusable)?;
        Ok(Self { pkcs8: URL_SAFE_NO_PAD.encode(pkcs8.as_ref()), created_at: now })
    }

    /// What is sealed in a record.
    pub(super) fn unseal(vault: &Vault, record: &Record) -> Result<Self, KeysError> {
        let plain = vault.open_record(record)?;
        serde_json::from_slice(&plain).map_err(|_| KeysError::Unusable)
    }

    /// A record of the time before keys were sealed.
    pub(super) fn unsealed(record: &Record) -> Option<Self> {
        serde_json::from_str(&record.body).ok()
    }

    /// What is to be sealed.
    pub(super) fn plain(&self) -> Result<Zeroizing<Vec<u8>>, KeysError> {
        // Room from the start: a vector that grows would leave the key behind where it was.
        let mut plain = Zeroizing::new(Vec::with_capacity(self.pkcs8.len() + 64));
        serde_json::to_writer(&mut *plain, self).map_err(|_| KeysError::Unusable)?;
        Ok(plain)
    }

    pub(super) fn open(&self) -> Result<Pair, KeysError> {
        let pkcs8 = URL_SAFE_NO_PAD.decode(&self.pkcs8).map_err(|_| KeysError::Unusable)?;
        let pkcs8 = Zeroizing::new(pkcs8);
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8)
            .map_err(|_| KeysError::Unusable)?;
        // SEC 1 §2.3.3: 4, then the coordinates.
        let point = pair.public_key().as_ref().split_first().map(|(_, point)| point);
        let (x, y) = point.and_then(|point| point.split_at_checked(32)).ok_or(KeysError::Unusable)?;
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        // RFC 7638 §3.2: the required members, in this order, without spaces.
        let thumbprint =
            Digest::of(format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#).as_bytes());
        let kid = URL_SAFE_NO_PAD.encode(thumbprint.bytes());
        let jwk =
            json!({"kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid, "use": "sig", "alg": "ES256"});
        let public = Arc::new(Key::from_jwk(&jwk).map_err(|_| KeysError::Unusable)?);
        Ok(Pair { kid, private: EncodingKey::from_ec_der(&pkcs8), public, jwk })
    }
}

impl Drop for StoredKey {
    fn drop(&mut self) {
        self.pkcs8.zeroize();
    }
}

/// A key pair that is ready for use.
pub(super) struct Pair {
    pub(super) kid: String,
    pub(super) private: EncodingKey,
    pub(super) public: Arc<Key>,
    pub(super) jwk: Value,
}

/// A key pair with what the store says about it.
pub(super) struct Held {
    pub(super) version: u64,
    pub(super) created_at: Timestamp,
    /// It does not verify from this moment on; none while it may sign.
    pub(super) retire_at: Option<Timestamp>,
    pub(super) pair: Arc<Pair>,
}
