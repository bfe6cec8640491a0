use std::{path::Path, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::SecretRef;

/// An authorization server that gives tokens for applications, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorizationServerConfig {
    /// By which strategies and the record name it.
    pub name: String,
    /// Where it is.
    pub endpoints: EndpointsConfig,
    /// What it calls the gateway.
    pub client_id: String,
    /// How the gateway proves that.
    pub auth: ClientAuthConfig,
    /// For one request, from waiting for a turn to the last byte of the answer.
    pub timeout: Duration,
}

/// Where an authorization server is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "there is one for each server that is configured")]
pub enum EndpointsConfig {
    /// Its metadata say (RFC 8414, else OpenID Connect Discovery).
    Discovered {
        /// Its identifier, byte for byte as its metadata have it.
        issuer: String,
    },
    /// The operator says.
    Given {
        /// Its identifier: what client assertions are for. Without one they are for the token endpoint.
        issuer: Option<String>,
        /// RFC 6749 §3.2.
        token: Url,
        /// RFC 7009.
        revocation: Option<Url>,
        /// RFC 7662.
        introspection: Option<Url>,
    },
}

/// How the gateway proves to an authorization server which client it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum ClientAuthConfig {
    /// The secret in `Authorization: Basic` (RFC 6749 §2.3.1).
    SecretBasic {
        /// The secret.
        secret: SecretRef,
    },
    /// The secret in the body, for servers that know nothing better.
    SecretPost {
        /// The secret.
        secret: SecretRef,
    },
    /// A JWT per request, signed by a key that never leaves the gateway (RFC 7523 §2.2).
    PrivateKeyJwt {
        /// The private key: PKCS #8 in PEM.
        key: SecretRef,
        /// With which algorithm it signs.
        algorithm: SigningAlgorithm,
        /// By which name the server knows the key, if by any.
        #[serde(default)]
        kid: Option<String>,
        /// The certificate of the key, in PEM, for servers that know the key by it (`x5t#S256`, RFC 7515 §4.1.8): Entra.
        #[serde(default)]
        certificate: Option<SecretRef>,
    },
    /// A JWT that somebody else signs for the gateway, whom the server believes: a Kubernetes service account, a managed
    /// identity. Read again when it is replaced.
    Federated {
        /// The JWT.
        token: SecretRef,
    },
    /// A client certificate (RFC 8705 §2).
    Mtls {
        /// The certificate with those that lead to its issuer behind it, in PEM.
        cert: SecretRef,
        /// Its private key, in PEM.
        key: SecretRef,
    },
}

impl ClientAuthConfig {
    /// The same configuration, with relative paths of secrets starting at `folder`.
    #[must_use]
    pub fn resolved(&self, folder: &Path) -> Self {
        let mut resolved = self.clone();
        match &mut resolved {
            Self::SecretBasic { secret } | Self::SecretPost { secret } => *secret = secret.resolved(folder),
            Self::PrivateKeyJwt { key, certificate, .. } => {
                *key = key.resolved(folder);
                *certificate = certificate.as_ref().map(|certificate| certificate.resolved(folder));
            }
            Self::Federated { token } => *token = token.resolved(folder),
            Self::Mtls { cert, key } => {
                *cert = cert.resolved(folder);
                *key = key.resolved(folder);
            }
        }
        resolved
    }

    /// Its name in the metadata of servers (RFC 8414 §2, `token_endpoint_auth_methods_supported`). Of a certificate there
    /// are two, since the server decides what it believes: a certificate authority, or the certificate that is registered.
    pub(crate) fn methods(&self) -> &'static [&'static str] {
        match self {
            Self::SecretBasic { .. } => &["client_secret_basic"],
            Self::SecretPost { .. } => &["client_secret_post"],
            Self::PrivateKeyJwt { .. } | Self::Federated { .. } => &["private_key_jwt"],
            Self::Mtls { .. } => &["tls_client_auth", "self_signed_tls_client_auth"],
        }
    }
}

/// An algorithm of a client assertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SigningAlgorithm {
    /// ECDSA with P-256.
    ES256,
    /// ECDSA with P-384.
    ES384,
    /// RSA PKCS #1 v1.5 with SHA-256.
    RS256,
    /// RSA PSS with SHA-256.
    PS256,
    /// Ed25519.
    EdDSA,
}
