//! Fetching an issuer's keys: by its discovery document, or from where the operator says.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use url::{Position, Url};
use vestibule_egress::{Client, EgressError, empty};
use vestibule_model::json::{self, Json};

use super::{
    IssuerClients, KEYS_MAX, KeySet,
    address::{Address, Flaw},
};

/// The longest discovery document and the longest JWK set that are read, in bytes.
const DOCUMENT_MAX_BYTES: usize = 256 * 1024;
/// For both documents together, from the first connection to the last byte.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// Discovery documents are flat.
const DEPTH_MAX: usize = 16;

/// Why an issuer's keys cannot be had. The text names no path and quotes nothing of what came.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IssuerError {
    /// No answer, or none that ends.
    #[error("its {document} cannot be fetched")]
    Fetch {
        /// Which document.
        document: &'static str,
        /// Why.
        source: EgressError,
    },
    /// Not 200. Redirects are not followed.
    #[error("its {document} is answered with status {status}")]
    Status {
        /// Which document.
        document: &'static str,
        /// The status.
        status: u16,
    },
    /// Not within five seconds.
    #[error("its documents did not come within {FETCH_TIMEOUT:?}")]
    TooSlow,
    /// Not what the document has to be.
    #[error("its {document} {rule}")]
    Invalid {
        /// Which document.
        document: &'static str,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// The discovery document speaks of another issuer (OpenID Connect Discovery §4.3).
    #[error(
        "its discovery document is that of another issuer: `issuer` must be what the configuration says, byte for byte"
    )]
    OtherIssuer,
    /// `jwks_uri` leads to another origin, by plain HTTP or to an address that an issuer may not send us to.
    #[error(
        "its discovery document names keys at another origin that may not be asked; set `jwks_url`, if they are there"
    )]
    KeysElsewhere {
        /// What is wrong with it.
        source: EgressError,
    },
    /// More than [`KEYS_MAX`] keys.
    #[error("its JWK set has more than {KEYS_MAX} keys")]
    TooManyKeys,
}

impl IssuerError {
    fn of_elsewhere(self) -> Self {
        if let Self::Fetch { source: source @ EgressError::AddressRefused { .. }, .. } = self {
            Self::KeysElsewhere { source }
        } else {
            self
        }
    }
}

const DISCOVERY: &str = "discovery document";
const JWK_SET: &str = "JWK set";

/// Where an issuer's keys are.
#[derive(Debug)]
pub(super) enum Location {
    Discovery { issuer: Box<str>, origin: url::Origin, document: Uri },
    Keys(Uri),
}

/// Keys, and where they came from.
pub(super) struct Fetched {
    pub(super) keys: KeySet,
    pub(super) jwks_url: Arc<str>,
}

impl Location {
    pub(super) fn of(address: &Address) -> Result<Self, Flaw> {
        if let Some(url) = &address.jwks_url {
            let uri = uri(url).ok_or(Flaw::new("jwks_url", "must be a URL"))?;
            return Ok(Self::Keys(uri));
        }
        let fault = || Flaw::new("issuer", "must be a URL");
        let origin = Url::parse(&address.issuer).map_err(|_| fault())?.origin();
        // OpenID Connect Discovery §4.1: "any terminating / MUST be removed before appending".
        let base = address.issuer.strip_suffix('/').unwrap_or(&address.issuer);
        let document = format!("{base}/.well-known/openid-configuration").parse().map_err(|_| fault())?;
        Ok(Self::Discovery { issuer: address.issuer.as_str().into(), origin, document })
    }

    pub(super) async fn fetch(&self, clients: &IssuerClients) -> Result<Fetched, IssuerError> {
        tokio::time::timeout(FETCH_TIMEOUT, self.fetch_all(clients))
            .await
            .unwrap_or(Err(IssuerError::TooSlow))
    }

    async fn fetch_all(&self, clients: &IssuerClients) -> Result<Fetched, IssuerError> {
        let (client, uri, is_elsewhere) = match self {
            Self::Keys(uri) => (&clients.operator, uri.clone(), false),
            Self::Discovery { issuer, origin, document } => {
                let bytes = get(&clients.operator, document, DISCOVERY).await?;
                let keys = jwks_uri(&bytes, issuer)?;
                let is_elsewhere = keys.origin() != *origin;
                let client = if is_elsewhere { &clients.stranger } else { &clients.operator };
                (client, uri(&keys).ok_or(NO_KEYS)?, is_elsewhere)
            }
        };
        let fetched = get(client, &uri, JWK_SET).await;
        let bytes = if is_elsewhere { fetched.map_err(IssuerError::of_elsewhere) } else { fetched }?;
        Ok(Fetched { keys: KeySet::read(&bytes)?, jwks_url: uri.to_string().into() })
    }
}

const NO_KEYS: IssuerError =
    IssuerError::Invalid { document: DISCOVERY, rule: "has no `jwks_uri` that is a URL" };

async fn get(client: &Client, uri: &Uri, document: &'static str) -> Result<Bytes, IssuerError> {
    let failed = |source| IssuerError::Fetch { document, source };
    let mut request = Request::new(empty());
    *request.uri_mut() = uri.clone();
    request.headers_mut().insert(header::ACCEPT, header::HeaderValue::from_static("application/json"));
    let response = client.send(request).await.map_err(failed)?;
    if response.status() != StatusCode::OK {
        return Err(IssuerError::Status { document, status: response.status().as_u16() });
    }
    Client::read_body(response.into_body(), DOCUMENT_MAX_BYTES).await.map_err(failed)
}

fn jwks_uri(document: &[u8], issuer: &str) -> Result<Url, IssuerError> {
    let document = json::parse(document, DEPTH_MAX)
        .map_err(|_| IssuerError::Invalid { document: DISCOVERY, rule: "is not JSON in one reading" })?;
    // OpenID Connect Discovery §4.3: "MUST be identical to the Issuer URL that was used as the prefix". Otherwise
    // whoever writes one document at that host can be any issuer.
    if document.get("issuer").and_then(Json::as_str) != Some(issuer) {
        return Err(IssuerError::OtherIssuer);
    }
    let url = document.get("jwks_uri").and_then(Json::as_str).ok_or(NO_KEYS)?;
    Url::parse(url).map_err(|_| NO_KEYS)
}

/// A fragment never leaves the client (RFC 9110 §4.2.3).
fn uri(url: &Url) -> Option<Uri> {
    url[..Position::AfterQuery].parse().ok()
}
