//! A P-256 key in a file, and what it signs: the key of the sandbox's issuer of users, and those of agents that are
//! tried out with `curl`.

use std::path::Path;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use vestibule_model::{AgentId, Digest, Entropy, Jti, Thumbprint, Timestamp};

use crate::secret_file;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum SignerError {
    /// The file cannot be read or written.
    #[error("the key file: {0}")]
    File(#[from] std::io::Error),
    /// The file is not a key of ours.
    #[error("the file holds no P-256 key in PKCS #8")]
    NoKey,
    /// The library refuses to make one, or to sign.
    #[error("the key cannot be made or used")]
    Unusable,
}

/// A request that a proof is for.
#[derive(Debug, Clone, Copy)]
pub struct Proven<'a> {
    /// The HTTP method.
    pub method: &'a str,
    /// Without query and fragment.
    pub url: &'a str,
    /// What the gateway sent in `DPoP-Nonce`.
    pub nonce: Option<&'a str>,
    /// The token that goes along.
    pub token: Option<&'a str>,
}

/// Of a token: SHA-256 in base64url (RFC 9449 §4.2, `ath`).
fn hash(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(Digest::of(token.as_bytes()).bytes())
}

/// How long an actor token is good for, in seconds.
const ACTOR_SECONDS: i64 = 60;

/// A key and its public half.
#[derive(Debug)]
pub struct Signer {
    pair: EcdsaKeyPair,
    x: String,
    y: String,
}

impl Signer {
    /// The key in this file, which only its owner may read. Makes it where there is none.
    ///
    /// # Errors
    /// [`SignerError`].
    pub fn load_or_create(path: &Path) -> Result<Self, SignerError> {
        if !path.exists() {
            let pair = generate()?;
            let document = pair.to_pkcs8v1().map_err(|_| SignerError::Unusable)?;
            secret_file::create(path, || document.as_ref().to_vec())?;
        }
        Self::load(path)
    }

    /// A new key, which is in no file.
    ///
    /// # Errors
    /// [`SignerError::Unusable`].
    pub fn fresh() -> Result<Self, SignerError> {
        Self::of(generate()?)
    }

    /// The key in this file.
    ///
    /// # Errors
    /// [`SignerError`].
    pub fn load(path: &Path) -> Result<Self, SignerError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &std::fs::read(path)?)
            .map_err(|_| SignerError::NoKey)?;
        Self::of(pair)
    }

    fn of(pair: EcdsaKeyPair) -> Result<Self, SignerError> {
        // SEC 1 §2.3.3: an uncompressed point is 0x04, then x and y.
        let point = pair.public_key().as_ref().strip_prefix(&[4]).and_then(|xy| xy.split_at_checked(32));
        let (x, y) = point.ok_or(SignerError::NoKey)?;
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        Ok(Self { pair, x, y })
    }

    /// The public JWK: the members that its thumbprint is taken over.
    #[must_use]
    pub fn jwk(&self) -> Value {
        json!({ "crv": "P-256", "kty": "EC", "x": self.x, "y": self.y })
    }

    /// RFC 7638 §3: over the required members in the order of their names, without spaces.
    #[must_use]
    pub fn thumbprint(&self) -> Thumbprint {
        let text = format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, self.x, self.y);
        Thumbprint::from_bytes(*Digest::of(text.as_bytes()).bytes())
    }

    /// Who an agent is that is known by this key alone.
    #[must_use]
    pub fn agent(&self) -> AgentId {
        AgentId::of_key(&self.thumbprint())
    }

    /// The value of a `DPoP` header for one request (RFC 9449 §4.2), with the token that goes along, if one does.
    ///
    /// # Errors
    /// [`SignerError::Unusable`].
    pub fn proof(
        &self,
        request: &Proven<'_>,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<String, SignerError> {
        let mut claims = json!({
            "jti": Jti::random(entropy), "htm": request.method, "htu": request.url, "iat": now.seconds(),
        });
        let optional = [("nonce", request.nonce.map(ToOwned::to_owned)), ("ath", request.token.map(hash))];
        if let Some(members) = claims.as_object_mut() {
            members.extend(
                optional.into_iter().filter_map(|(name, value)| Some((name.to_owned(), json!(value?)))),
            );
        }
        self.sign(json!({ "typ": "dpop+jwt", "jwk": self.jwk() }), &claims)
    }

    /// What the agent `id`, which has this key, signs so that the holder of `subject_token` may spawn it.
    ///
    /// # Errors
    /// [`SignerError::Unusable`].
    pub fn actor_token(
        &self,
        id: &str,
        issuer: &str,
        subject_token: &str,
        now: Timestamp,
        entropy: &dyn Entropy,
    ) -> Result<String, SignerError> {
        let claims = json!({
            "iss": id, "sub": id, "aud": issuer, "iat": now.seconds(), "exp": now.seconds() + ACTOR_SECONDS,
            "jti": Jti::random(entropy), "cnf": { "jwk": self.jwk() }, "sth": hash(subject_token),
        });
        self.sign(json!({ "typ": "vst-actor+jwt" }), &claims)
    }

    /// A compact JWS (RFC 7515 §7.1) with these further members of its header.
    ///
    /// # Errors
    /// [`SignerError::Unusable`].
    pub fn sign(&self, mut header: Value, claims: &Value) -> Result<String, SignerError> {
        if let Some(members) = header.as_object_mut() {
            members.insert("alg".to_owned(), json!("ES256"));
        }
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let input = format!("{}.{}", encode(&header), encode(claims));
        let signature =
            self.pair.sign(&SystemRandom::new(), input.as_bytes()).map_err(|_| SignerError::Unusable)?;
        Ok(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn generate() -> Result<EcdsaKeyPair, SignerError> {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(|_| SignerError::Unusable)
}
