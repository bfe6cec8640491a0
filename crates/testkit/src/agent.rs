use std::{sync::Arc, time::Duration};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use vestibule_model::{Clock, Jti, OsEntropy};

use crate::http::{Call, Http, Reply};

/// An ES256 key of an agent, made for one test.
#[derive(Debug)]
pub struct AgentKey {
    pair: EcdsaKeyPair,
    kid: String,
}

impl AgentKey {
    /// A fresh key that its JWK names `kid`.
    #[must_use]
    pub fn generate(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a P-256 key");
        Self { pair, kid: kid.to_owned() }
    }

    /// The key in this PKCS #8 document.
    ///
    /// # Panics
    /// When it holds no P-256 key.
    #[must_use]
    pub fn from_pkcs8(kid: &str, pkcs8: &[u8]) -> Self {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).expect("a P-256 key");
        Self { pair, kid: kid.to_owned() }
    }

    /// The public JWK.
    #[must_use]
    pub fn jwk(&self) -> Value {
        // SEC 1 §2.3.3: an uncompressed point is 0x04, then x and y.
        let point = self.pair.public_key().as_ref();
        let (x, y) = point.strip_prefix(&[4]).and_then(|xy| xy.split_at_checked(32)).expect("a P-256 point");
        json!({
            "kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": self.kid,
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        })
    }

    /// The public JWK in a set, as `agent add --jwks` reads it.
    #[must_use]
    pub fn jwks(&self) -> Value {
        json!({ "keys": [self.jwk()] })
    }

    /// A compact JWS over exactly these bytes of header and payload, whatever they say: a test may sign what no
    /// honest client would.
    #[must_use]
    pub fn sign(&self, header: &str, payload: &str) -> String {
        let input = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        let signature = self.pair.sign(&SystemRandom::new(), input.as_bytes()).expect("a signature");
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// How an agent proves itself at the token endpoint.
#[derive(Debug)]
pub enum Credential {
    /// `client_secret_basic` (RFC 6749 §2.3.1).
    Basic(String),
    /// `client_secret_post` (RFC 6749 §2.3.1).
    Post(String),
    /// `private_key_jwt` (RFC 7523 §2.2): the key never leaves the agent.
    PrivateKey(AgentKey),
    /// A token by which a platform vouches for it, again and again the same (RFC 7523 §2.2).
    Workload(String),
}

/// An agent that speaks to the issuer as a client of its own would: it knows nothing but the issuer's URL.
#[derive(Debug)]
pub struct TestAgent {
    issuer: String,
    token_endpoint: String,
    client_id: String,
    credential: Credential,
    clock: Arc<dyn Clock>,
}

impl TestAgent {
    /// An agent that has read the issuer's metadata (RFC 8414).
    ///
    /// # Panics
    /// When the metadata cannot be read or is another issuer's.
    pub async fn connect(
        issuer: &str,
        client_id: &str,
        credential: Credential,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let reply = Http::get(&format!("{issuer}/.well-known/oauth-authorization-server")).send().await;
        let metadata = reply.json();
        // RFC 8414 §3.3: the `issuer` MUST be identical to the one the metadata was asked of.
        assert_eq!(metadata["issuer"], issuer, "the metadata is another issuer's");
        let token_endpoint = metadata["token_endpoint"].as_str().expect("the metadata names it").to_owned();
        Self { issuer: issuer.to_owned(), token_endpoint, client_id: client_id.to_owned(), credential, clock }
    }

    /// A token for `resource`.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn token(&self, resource: &str) -> String {
        let reply = self.request_token(&[("resource", resource)]).await;
        assert_eq!(reply.status, 200, "no token: `{}`", reply.text());
        reply.json()["access_token"].as_str().expect("a token response has one").to_owned()
    }

    /// What the token endpoint answers to `grant_type=client_credentials` with these fields and the agent's proof.
    pub async fn request_token(&self, fields: &[(&str, &str)]) -> Reply {
        self.form(&[&[("grant_type", "client_credentials")], fields].concat()).send().await
    }

    /// A request at the token endpoint with this form and the agent's client authentication.
    pub fn form(&self, fields: &[(&str, &str)]) -> Call {
        self.form_at(&self.token_endpoint, fields)
    }

    /// As [`TestAgent::form`], at another endpoint of the issuer.
    pub fn form_at(&self, url: &str, fields: &[(&str, &str)]) -> Call {
        let mut form = fields.to_vec();
        let call = Http::post(url);
        match &self.credential {
            Credential::Basic(secret) => {
                let pair = STANDARD.encode(format!("{}:{}", encoded(&self.client_id), encoded(secret)));
                call.header("authorization", &format!("Basic {pair}")).form(&form)
            }
            Credential::Post(secret) => {
                form.extend([("client_id", self.client_id.as_str()), ("client_secret", secret)]);
                call.form(&form)
            }
            Credential::PrivateKey(key) => {
                let assertion = self.assertion(key);
                form.extend(asserted(&assertion));
                call.form(&form)
            }
            Credential::Workload(token) => {
                form.extend(asserted(token));
                call.form(&form)
            }
        }
    }

    /// The issuer, its token endpoint, and the agent's clock.
    pub(crate) fn place(&self) -> (String, String, Arc<dyn Clock>) {
        (self.issuer.clone(), self.token_endpoint.clone(), Arc::clone(&self.clock))
    }

    /// A fresh client assertion for the issuer, valid for a minute.
    fn assertion(&self, key: &AgentKey) -> String {
        let now = self.clock.now();
        let header = json!({ "alg": "ES256", "typ": "JWT", "kid": key.kid });
        let claims = json!({
            "iss": self.client_id, "sub": self.client_id, "aud": self.issuer,
            "iat": now.seconds(), "exp": now.plus(Duration::from_secs(60)).seconds(),
            "jti": Jti::random(&OsEntropy),
        });
        key.sign(&header.to_string(), &claims.to_string())
    }
}

/// RFC 7523 §2.2.
fn asserted(assertion: &str) -> [(&'static str, &str); 2] {
    let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    [("client_assertion_type", kind), ("client_assertion", assertion)]
}

/// RFC 6749 §2.3.1: identifier and secret are form-encoded before they go into `Basic`.
fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
