use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde_json::{Value, json};
use vestibule_model::{AgentId, Digest, Jti, OsEntropy, Thumbprint};

use crate::support::{ISSUER, b64};

/// An ES256 key pair of an agent.
pub(crate) struct Signer {
    pair: EcdsaKeyPair,
    pub(crate) jwk: Value,
}

impl Signer {
    pub(crate) fn new(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": b64(x), "y": b64(y), "kid": kid});
        Self { pair, jwk }
    }

    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let input = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
        let signature = self.pair.sign(&SystemRandom::new(), input.as_bytes()).unwrap();
        format!("{input}.{}", b64(signature))
    }

    /// RFC 7638 §3.
    pub(crate) fn thumbprint(&self) -> Thumbprint {
        let text = format!(r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#, self.jwk["x"], self.jwk["y"]);
        Thumbprint::from_bytes(*Digest::of(text.as_bytes()).bytes())
    }

    /// Who it is that is known by this key alone.
    pub(crate) fn id(&self) -> AgentId {
        AgentId::of_key(&self.thumbprint())
    }

    pub(crate) fn public(&self) -> Value {
        json!({"kty": "EC", "crv": "P-256", "x": self.jwk["x"], "y": self.jwk["y"]})
    }

    /// A proof of possession with these claims.
    pub(crate) fn proof(&self, claims: &Value) -> String {
        self.sign(&json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": self.public()}), claims)
    }

    /// What it signs to be spawned under `subject` by its key alone.
    pub(crate) fn actor_claims(&self, subject: &str, now: i64) -> Value {
        json!({
            "iss": self.id(), "sub": self.id(), "aud": ISSUER, "iat": now, "exp": now + 60,
            "jti": Jti::random(&OsEntropy), "cnf": {"jwk": self.public()}, "sth": hash(subject),
        })
    }

    pub(crate) fn actor_token(&self, claims: &Value) -> String {
        self.sign(&json!({"typ": "vst-actor+jwt", "alg": "ES256"}), claims)
    }
}

/// Of a token: SHA-256 in base64url.
pub(crate) fn hash(token: &str) -> String {
    b64(Digest::of(token.as_bytes()).bytes())
}
