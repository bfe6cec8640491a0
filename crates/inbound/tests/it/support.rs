use std::sync::Arc;

use arc_swap::ArcSwap;
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, header::AUTHORIZATION};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use vestibule_inbound::{Authenticator, Caller, HopTokens, Presented, VerificationKeys, jws::Key};
use vestibule_model::{Denial, FixedClock, Refusal, Timestamp};

pub(crate) const ISSUER: &str = "https://gw.test";
pub(crate) const RESOURCE: &str = "https://gw.test/apps/sandbox/mcp";
pub(crate) const NOW: i64 = 1_800_000_000;
pub(crate) const NODE: &str = "11111111111111111111111111111111";

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// An ES256 key pair.
pub(crate) struct Signer {
    private: EncodingKey,
    pub(crate) jwk: Value,
}

impl Signer {
    pub(crate) fn new() -> Self {
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
        let jwk = json!({"kty": "EC", "crv": "P-256", "x": b64(x), "y": b64(y)});
        Self { private: EncodingKey::from_ec_der(pkcs8.as_ref()), jwk }
    }

    pub(crate) fn key(&self) -> Arc<Key> {
        Arc::new(Key::from_jwk(&self.jwk).unwrap())
    }

    /// Signs header and payload as the texts they are.
    pub(crate) fn sign_texts(&self, header: &str, payload: &str) -> String {
        let input = format!("{}.{}", b64(header), b64(payload));
        let signature =
            jsonwebtoken::crypto::sign(input.as_bytes(), &self.private, Algorithm::ES256).unwrap();
        format!("{input}.{signature}")
    }

    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_texts(&header.to_string(), &claims.to_string())
    }
}

pub(crate) fn header() -> Value {
    json!({"typ": "at+jwt", "alg": "ES256", "kid": "k1"})
}

/// The claims of a good token for the agent `worker`.
pub(crate) fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "worker", "aud": RESOURCE, "client_id": "worker",
        "jti": "22222222222222222222222222222222", "acti": "33333333333333333333333333333333",
        "iat": NOW, "exp": NOW + 120, "scope": "repo:read repo:write",
        "vst": {"node": NODE, "path": [NODE], "depth": 1, "max_depth": 4, "rev": 1, "node_exp": 4102444800_i64},
        "department": "platform", "role": ["builder", "reader"],
    })
}

/// Door one with one key, `k1`, at a clock that stands still.
pub(crate) struct Door {
    pub(crate) signer: Signer,
    pub(crate) keys: Arc<ArcSwap<VerificationKeys>>,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) authenticator: Authenticator,
}

impl Door {
    pub(crate) fn new() -> Self {
        let signer = Signer::new();
        let keys = VerificationKeys::new(vec![("k1".to_owned(), signer.key())]);
        let keys = Arc::new(ArcSwap::from_pointee(keys));
        let clock = Arc::new(FixedClock::at(Timestamp::from_seconds(NOW)));
        let scheme = HopTokens::new(ISSUER, Arc::clone(&keys), Arc::<FixedClock>::clone(&clock), 100);
        Self { signer, keys, clock, authenticator: Authenticator::new(vec![Box::new(scheme)]) }
    }

    pub(crate) fn present(&self, headers: &HeaderMap, query: Option<&str>) -> Result<Caller, Refusal> {
        self.authenticator.authenticate(&Presented { headers, query, resource: RESOURCE })
    }

    pub(crate) fn bearer(&self, token: &str) -> Result<Caller, Denial> {
        self.present(&bearer(token), None).map_err(|refusal| {
            assert!(!refusal.cause.contains(token), "the cause quotes the token");
            refusal.denial
        })
    }

    pub(crate) fn claims(&self, claims: &Value) -> Result<Caller, Denial> {
        self.bearer(&self.signer.sign(&header(), claims))
    }
}

pub(crate) fn bearer(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    headers
}
