//! What is known of where a server's endpoints are: when it is asked, how long that is believed, and who waits.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use http::Uri;
use tokio::sync::Mutex;
use vestibule_model::{Clock, Fault, FaultKind, Monotonic};

use super::{
    EndpointsConfig,
    metadata::{self, Endpoint, Endpoints, Said, Wrong},
};

/// Metadata older than this are fetched again before they are used.
const REFRESH: Duration = Duration::from_secs(3600);
/// How long they are used while the server gives none.
const KEPT_AT_MOST: Duration = Duration::from_secs(24 * 3600);
/// After a fetch that failed, none is tried for this long, where there is something to go on with.
const RETRY: Duration = Duration::from_secs(60);

/// What is known of a server's endpoints.
pub(super) struct Known {
    place: Place,
    clock: Arc<dyn Clock>,
    last: ArcSwapOption<Fetched>,
    /// Whose turn it is to fetch, and when it was tried last.
    turn: Mutex<Option<Monotonic>>,
}

enum Place {
    Given(Arc<Endpoints>),
    Discovered { issuer: String, documents: Box<[(&'static str, Uri); 2]> },
}

struct Fetched {
    at: Monotonic,
    endpoints: Arc<Endpoints>,
}

impl Known {
    pub(super) fn new(config: &EndpointsConfig, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let place = match config {
            EndpointsConfig::Discovered { issuer } => Place::Discovered {
                documents: Box::new(metadata::places(issuer).ok_or("`issuer` must be a URL")?),
                issuer: issuer.clone(),
            },
            EndpointsConfig::Given { issuer, token, revocation, introspection } => {
                let given = |url| Endpoint::given(url).ok_or("an endpoint is not a URL");
                Place::Given(Arc::new(Endpoints {
                    audience: issuer.clone().unwrap_or_else(|| token.to_string()),
                    token: given(token)?,
                    revocation: revocation.as_ref().map(given).transpose()?,
                    introspection: introspection.as_ref().map(given).transpose()?,
                    document: None,
                    said: Said::default(),
                }))
            }
        };
        Ok(Self { place, clock, last: ArcSwapOption::empty(), turn: Mutex::new(None) })
    }

    /// What was known last, without asking.
    pub(super) fn last(&self) -> Option<Arc<Endpoints>> {
        match &self.place {
            Place::Given(endpoints) => Some(Arc::clone(endpoints)),
            Place::Discovered { .. } => self.last.load().as_ref().map(|last| Arc::clone(&last.endpoints)),
        }
    }

    /// The endpoints; asks where it must, with `fetch`, which gets the name of the document, the issuer and the address.
    pub(super) async fn endpoints<F>(
        &self,
        fetch: impl Fn(&'static str, String, Uri) -> F,
    ) -> Result<Arc<Endpoints>, Fault>
    where
        F: Future<Output = Result<Result<Endpoints, Wrong>, Fault>>,
    {
        let (issuer, documents) = match &self.place {
            Place::Given(endpoints) => return Ok(Arc::clone(endpoints)),
            Place::Discovered { issuer, documents } => (issuer, documents),
        };
        if let Some(endpoints) = self.younger_than(REFRESH) {
            return Ok(endpoints);
        }
        let old = self.younger_than(KEPT_AT_MOST);
        let mut tried = match (&old, self.turn.try_lock()) {
            (_, Ok(turn)) => turn,
            // Somebody asks; the others go on with what they have.
            (Some(old), Err(_)) => return Ok(Arc::clone(old)),
            (None, Err(_)) => self.turn.lock().await,
        };
        if let Some(endpoints) = self.younger_than(REFRESH) {
            return Ok(endpoints);
        }
        let now = self.clock.monotonic();
        if let (Some(old), Some(last)) = (&old, *tried)
            && now.since(last) < RETRY
        {
            return Ok(Arc::clone(old));
        }
        *tried = Some(now);
        let mut failure = None;
        for (name, uri) in documents.iter() {
            match fetch(name, issuer.clone(), uri.clone()).await {
                Ok(Ok(endpoints)) => {
                    let endpoints = Arc::new(endpoints);
                    self.last.store(Some(Arc::new(Fetched { at: now, endpoints: Arc::clone(&endpoints) })));
                    return Ok(endpoints);
                }
                // The other document may be there.
                Ok(Err(wrong @ Wrong::Absent(_))) => failure = Some(fault(issuer, name, wrong)),
                Ok(Err(wrong @ (Wrong::OtherIssuer | Wrong::NoTokenEndpoint))) => {
                    failure = Some(fault(issuer, name, wrong));
                    break;
                }
                Err(error) => {
                    failure = Some(error);
                    break;
                }
            }
        }
        let none = || Fault::new(FaultKind::Internal, "there is no place for metadata");
        old.ok_or_else(|| failure.unwrap_or_else(none))
    }

    fn younger_than(&self, age: Duration) -> Option<Arc<Endpoints>> {
        let last = self.last.load();
        let last = last.as_ref().filter(|last| self.clock.monotonic().since(last.at) < age)?;
        Some(Arc::clone(&last.endpoints))
    }
}

fn fault(issuer: &str, document: &str, wrong: Wrong) -> Fault {
    let rule = match wrong {
        Wrong::Absent(Some(status)) => format!("is answered with status {}", status.as_u16()),
        Wrong::Absent(None) => "is not JSON in one reading".to_owned(),
        Wrong::OtherIssuer => {
            "is that of another issuer: `issuer` must be what it says, byte for byte".to_owned()
        }
        Wrong::NoTokenEndpoint => "has no `token_endpoint` that is a URL".to_owned(),
    };
    Fault::new(FaultKind::AuthorizationServerInvalid, format!("issuer `{issuer}`: its {document} {rule}"))
}
