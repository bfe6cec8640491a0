use std::{fmt, sync::OnceLock};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{
        self, KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RSA_PSS_2048_8192_SHA256,
        UnparsedPublicKey,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, PKCS_RSA_SHA256};
use serde_json::{Value, json};
use vestibule_model::Digest;

const KID: &str = "entra-key";

/// The tenant's signing key, the key of the workload's issuer, and the certificate of the blueprint.
pub(super) struct Keys {
    tenant: KeyPair,
    workload: KeyPair,
    certified: rcgen::KeyPair,
    certificate: rcgen::Certificate,
}

impl Keys {
    /// The same in one process: RSA keys take their time.
    pub(super) fn shared() -> &'static Self {
        static KEYS: OnceLock<Keys> = OnceLock::new();
        KEYS.get_or_init(Self::generate)
    }

    fn generate() -> Self {
        let generate = || KeyPair::generate(KeySize::Rsa2048).expect("an RSA key");
        let certified = rcgen::KeyPair::generate_for(&PKCS_RSA_SHA256).expect("an RSA key");
        let params = CertificateParams::new(["gateway.test".to_owned()]).expect("valid parameters");
        let certificate = params.self_signed(&certified).expect("a certificate");
        Self { tenant: generate(), workload: generate(), certified, certificate }
    }

    /// RS256, as all tokens of Entra.
    pub(super) fn sign(&self, claims: &Value) -> String {
        signed(&self.tenant, &json!({ "typ": "JWT", "alg": "RS256", "kid": KID }), claims)
    }

    pub(super) fn sign_workload(&self, claims: &Value) -> String {
        signed(&self.workload, &json!({ "typ": "JWT", "alg": "RS256", "kid": "workload-key" }), claims)
    }

    /// The claims of a token of the tenant.
    pub(super) fn verified(&self, token: &str) -> Option<Value> {
        verified(&RSA_PKCS1_2048_8192_SHA256, self.tenant.public_key().as_ref(), token)
    }

    /// The claims of a token of the workload's issuer.
    pub(super) fn verified_workload(&self, token: &str) -> Option<Value> {
        verified(&RSA_PKCS1_2048_8192_SHA256, self.workload.public_key().as_ref(), token)
    }

    /// The claims of what the blueprint has signed with the key of its certificate, by PS256.
    pub(super) fn verified_by_certificate(&self, token: &str) -> Option<Value> {
        verified(&RSA_PSS_2048_8192_SHA256, self.certified.public_key_raw(), token)
    }

    /// `certificate-credentials`: `x5t#S256` is the base64url-encoded SHA-256 thumbprint of the certificate's DER encoding.
    pub(super) fn thumbprint(&self) -> String {
        URL_SAFE_NO_PAD.encode(Digest::of(self.certificate.der()).bytes())
    }

    pub(super) fn certificate(&self) -> (String, String) {
        (self.certified.serialize_pem(), self.certificate.pem())
    }

    pub(super) fn jwks(&self) -> Value {
        let public = self.tenant.public_key();
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({ "keys": [{
            "kty": "RSA", "use": "sig", "kid": KID,
            "n": number(public.modulus().big_endian_without_leading_zero()),
            "e": number(public.exponent().big_endian_without_leading_zero()),
        }] })
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

fn signed(key: &KeyPair, header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let input = format!("{}.{}", part(header), part(claims));
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), input.as_bytes(), &mut signature).expect("a signature");
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn verified(
    algorithm: &'static dyn signature::VerificationAlgorithm,
    key: &[u8],
    token: &str,
) -> Option<Value> {
    let (input, signature) = token.rsplit_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    UnparsedPublicKey::new(algorithm, key).verify(input.as_bytes(), &signature).ok()?;
    part(input.split('.').nth(1)?)
}

/// The header of a token, whoever signed it.
pub(super) fn header(token: &str) -> Option<Value> {
    part(token.split('.').next()?)
}

fn part(encoded: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}
