//! How the gateway proves to an authorization server which client it is.

use std::{fmt, sync::Arc, time::Duration};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::HeaderValue;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use url::form_urlencoded;
use vestibule_egress::{Addresses, Client, ClientCertificate, EgressError, EgressLimits, Trust};
use vestibule_model::{Clock, Digest, Entropy, Fault, FaultKind, Jti};

use super::{ClientAuthConfig, SigningAlgorithm, form::Form};
use crate::{
    Secrets,
    rotating::{Rotating, RotatingError},
};

/// RFC 7523 §2.2.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Long enough for clocks that differ, short enough to be of no use to whoever finds it.
const ASSERTION_LIFE: Duration = Duration::from_secs(60);

/// The clients for a server: of what the operator names, and of what the server's metadata name elsewhere.
#[derive(Debug, Clone)]
pub(super) struct Clients {
    pub(super) operator: Client,
    pub(super) stranger: Client,
}

impl Clients {
    pub(super) fn new(
        limits: EgressLimits,
        trust: &Trust,
        certificate: Option<&ClientCertificate>,
    ) -> Result<Self, EgressError> {
        let client = |addresses| match certificate {
            None => Client::new(addresses, limits, trust.clone()),
            Some(certificate) => {
                Client::with_certificate(addresses, limits, trust.clone(), certificate.clone())
            }
        };
        Ok(Self { operator: client(Addresses::Operator)?, stranger: client(Addresses::Stranger)? })
    }
}

/// A proof, ready for use.
pub(super) enum Authentication {
    Basic(HeaderValue),
    Post(SecretString),
    Key { key: Box<EncodingKey>, header: Box<Header> },
    Federated(SecretString),
    Mtls(Box<Clients>),
}

/// Not the proof.
impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic(_) => "Basic",
            Self::Post(_) => "Post",
            Self::Key { .. } => "Key",
            Self::Federated(_) => "Federated",
            Self::Mtls(_) => "Mtls",
        })
    }
}

/// Reads the proof, and reads it again when it is replaced.
pub(super) fn rotating(
    config: &ClientAuthConfig,
    client_id: &str,
    (limits, trust): (EgressLimits, Trust),
    secrets: Secrets,
    clock: Arc<dyn Clock>,
) -> Result<Rotating<Authentication>, RotatingError> {
    let client_id = client_id.to_owned();
    match config.clone() {
        ClientAuthConfig::SecretBasic { secret } => {
            let make = move |read: &[SecretString]| basic(&client_id, the(read)?);
            Rotating::new(vec![secret], secrets, clock, Box::new(make))
        }
        ClientAuthConfig::SecretPost { secret } => {
            let make = move |read: &[SecretString]| Ok(Authentication::Post(the(read)?.clone()));
            Rotating::new(vec![secret], secrets, clock, Box::new(make))
        }
        ClientAuthConfig::PrivateKeyJwt { key, algorithm, kid, certificate } => {
            let make = move |read: &[SecretString]| signing(read, algorithm, kid.clone());
            Rotating::new(std::iter::once(key).chain(certificate).collect(), secrets, clock, Box::new(make))
        }
        ClientAuthConfig::Federated { token } => {
            let make = move |read: &[SecretString]| Ok(Authentication::Federated(the(read)?.clone()));
            Rotating::new(vec![token], secrets, clock, Box::new(make))
        }
        ClientAuthConfig::Mtls { cert, key } => {
            let make = move |read: &[SecretString]| {
                let (Some(cert), Some(key)) = (read.first(), read.get(1)) else {
                    return Err("there is no certificate".to_owned());
                };
                let certificate = ClientCertificate::from_pem(bytes(cert), bytes(key))
                    .map_err(|error| error.to_string())?;
                let clients = Clients::new(limits, &trust, Some(&certificate));
                clients
                    .map(|clients| Authentication::Mtls(Box::new(clients)))
                    .map_err(|error| error.to_string())
            };
            Rotating::new(vec![cert, key], secrets, clock, Box::new(make))
        }
    }
}

fn the(read: &[SecretString]) -> Result<&SecretString, String> {
    read.first().ok_or_else(|| "there is no secret".to_owned())
}

fn bytes(secret: &SecretString) -> &[u8] {
    secret.expose_secret().as_bytes()
}

/// RFC 6749 §2.3.1: both are encoded as in a form before they are put together. A secret with a `:`, a `%` or a `+` is
/// another one without.
fn basic(client_id: &str, secret: &SecretString) -> Result<Authentication, String> {
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encoded(client_id), encoded(secret.expose_secret()));
    let mut value = HeaderValue::from_str(&format!("Basic {}", STANDARD.encode(pair)))
        .map_err(|_| "the secret cannot stand in a header".to_owned())?;
    value.set_sensitive(true);
    Ok(Authentication::Basic(value))
}

/// `read` has the key, and then its certificate if there is one.
fn signing(
    read: &[SecretString],
    algorithm: SigningAlgorithm,
    kid: Option<String>,
) -> Result<Authentication, String> {
    let pem = the(read)?;
    let x5t_s256 = read.get(1).map(thumbprint).transpose()?;
    let (algorithm, key) = match algorithm {
        SigningAlgorithm::ES256 => (Algorithm::ES256, EncodingKey::from_ec_pem(bytes(pem))),
        SigningAlgorithm::ES384 => (Algorithm::ES384, EncodingKey::from_ec_pem(bytes(pem))),
        SigningAlgorithm::RS256 => (Algorithm::RS256, EncodingKey::from_rsa_pem(bytes(pem))),
        SigningAlgorithm::PS256 => (Algorithm::PS256, EncodingKey::from_rsa_pem(bytes(pem))),
        SigningAlgorithm::EdDSA => (Algorithm::EdDSA, EncodingKey::from_ed_pem(bytes(pem))),
    };
    // What the library says of a key that it cannot read is not shown: it may quote it.
    let unusable = || format!("the key is not one for {algorithm:?} in PKCS #8 and PEM");
    let key = Box::new(key.map_err(|_| unusable())?);
    let header = Box::new(Header { kid, x5t_s256, ..Header::new(algorithm) });
    // A P-384 key is read for ES256 as well, and fails with the first signature.
    jsonwebtoken::encode(&header, &json!({}), &key).map_err(|_| unusable())?;
    Ok(Authentication::Key { key, header })
}

/// What a client assertion says, besides who it is.
pub(super) struct Asserted<'a> {
    pub(super) client_id: &'a str,
    pub(super) audience: &'a str,
    pub(super) clock: &'a dyn Clock,
    pub(super) entropy: &'a dyn Entropy,
}

/// RFC 7515 §4.1.8: of the DER encoding of the certificate, the first one where others follow.
fn thumbprint(pem: &SecretString) -> Result<String, String> {
    let unusable = "the certificate is not one in PEM";
    let certificate = CertificateDer::from_pem_slice(bytes(pem)).map_err(|_| unusable.to_owned())?;
    Ok(URL_SAFE_NO_PAD.encode(Digest::of(&certificate).bytes()))
}

impl Authentication {
    /// Adds the proof to a request.
    pub(super) fn prove(
        &self,
        form: Form,
        asserted: &Asserted<'_>,
    ) -> Result<(Form, Option<HeaderValue>), Fault> {
        let client_id = asserted.client_id;
        Ok(match self {
            Self::Basic(value) => (form, Some(value.clone())),
            Self::Post(secret) => {
                (form.with("client_id", client_id).with_secret("client_secret", secret), None)
            }
            Self::Key { key, header } => {
                (with_assertion(form, client_id, &assertion(key, header, asserted)?), None)
            }
            Self::Federated(token) => (with_assertion(form, client_id, token), None),
            // RFC 8705 §2: "the client includes the client_id".
            Self::Mtls(_) => (form.with("client_id", client_id), None),
        })
    }

    /// The clients that show the certificate, if it is one.
    pub(super) fn clients(&self) -> Option<&Clients> {
        match self {
            Self::Mtls(clients) => Some(clients),
            Self::Basic(_) | Self::Post(_) | Self::Key { .. } | Self::Federated(_) => None,
        }
    }
}

/// A client assertion in the form (RFC 7521 §4.2).
pub(super) fn with_assertion(form: Form, client_id: &str, assertion: &SecretString) -> Form {
    form.with("client_id", client_id)
        .with("client_assertion_type", ASSERTION_TYPE)
        .with_secret("client_assertion", assertion)
}

/// RFC 7523 §3. A fresh `jti` each: servers refuse one that they have seen, whatever they call that error.
fn assertion(key: &EncodingKey, header: &Header, asserted: &Asserted<'_>) -> Result<SecretString, Fault> {
    let now = asserted.clock.now();
    let claims = json!({
        "iss": asserted.client_id, "sub": asserted.client_id, "aud": asserted.audience,
        "jti": guid(&Jti::random(asserted.entropy)), "iat": now.seconds(), "nbf": now.seconds(),
        "exp": now.plus(ASSERTION_LIFE).seconds(),
    });
    let signed = jsonwebtoken::encode(header, &claims, key);
    // The library's error is not shown: nothing of a private key is.
    let fault = |_| Fault::new(FaultKind::AccessUnavailable, "the client assertion cannot be signed");
    signed.map(SecretString::from).map_err(fault)
}

/// The same 32 digits with the dashes of a GUID: Entra wants them, and nobody else minds.
fn guid(jti: &Jti) -> String {
    let mut guid = jti.as_str().to_owned();
    for at in [20, 16, 12, 8] {
        if guid.is_char_boundary(at) && at < guid.len() {
            guid.insert(at, '-');
        }
    }
    guid
}
