use std::{net::IpAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioTimer},
};
use rustls::ClientConfig;

use crate::{
    Addresses, ClientCertificate, EgressBody, EgressError, Trust, body,
    connector::Connector,
    error::find,
    resolver::{CheckedResolver, Lookup, SystemLookup},
};

/// How long and how much.
#[derive(Debug, Clone, Copy)]
pub struct EgressLimits {
    /// Resolving, connecting and the TLS handshake together. Default 5 s.
    pub connect_timeout: Duration,
    /// From the request to the head of the answer, connecting and sending the body included. Default 60 s.
    pub head_timeout: Duration,
    /// How long a connection without a request is kept. Default 60 s.
    pub idle_timeout: Duration,
    /// How many connections without a request are kept per host. Default 256.
    pub idle_per_host: usize,
}

impl Default for EgressLimits {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            head_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            idle_per_host: 256,
        }
    }
}

/// An HTTP/1.1 client with a pool of checked connections. A clone shares the pool.
#[derive(Debug, Clone)]
pub struct Client {
    pool: legacy::Client<Connector, EgressBody>,
    resolver: CheckedResolver,
    head_timeout: Duration,
}

impl Client {
    /// A client whose connections follow the rules of `addresses`.
    ///
    /// # Errors
    /// [`EgressError::Trust`] when the trust anchors cannot be used.
    pub fn new(addresses: Addresses, limits: EgressLimits, trust: Trust) -> Result<Self, EgressError> {
        Self::with_lookup(addresses, limits, trust.client_config(None)?, Arc::new(SystemLookup))
    }

    /// The same, and it shows `certificate` to every server that asks for one. A certificate that is replaced needs a new
    /// client: the connections of this one were made with the old.
    ///
    /// # Errors
    /// [`EgressError::Trust`]; [`EgressError::Certificate`] when the key is not the certificate's.
    pub fn with_certificate(
        addresses: Addresses,
        limits: EgressLimits,
        trust: Trust,
        certificate: ClientCertificate,
    ) -> Result<Self, EgressError> {
        let tls = trust.client_config(Some(certificate))?;
        Self::with_lookup(addresses, limits, tls, Arc::new(SystemLookup))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the only HTTP client")]
    pub(crate) fn with_lookup(
        addresses: Addresses,
        limits: EgressLimits,
        tls: ClientConfig,
        lookup: Arc<dyn Lookup>,
    ) -> Result<Self, EgressError> {
        let resolver = CheckedResolver::new(addresses, lookup);
        let connector = Connector::new(addresses, limits.connect_timeout, resolver.clone(), tls);
        let pool = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(limits.idle_timeout)
            .pool_max_idle_per_host(limits.idle_per_host)
            .build(connector);
        Ok(Self { pool, resolver, head_timeout: limits.head_timeout })
    }

    /// Sends a request with an absolute URL and waits for the head of the answer. Dropping the answer before its body
    /// has ended closes the connection, so the other side learns that nobody listens any more. Redirects are answers.
    ///
    /// # Errors
    /// Every [`EgressError`] but those of a body and of trust anchors.
    pub async fn send(&self, request: Request<EgressBody>) -> Result<Response<Incoming>, EgressError> {
        let authority = request.uri().authority().cloned();
        let host = || authority.as_ref().map_or("", |authority| authority.host()).into();
        match tokio::time::timeout(self.head_timeout, self.pool.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(failure(host(), error)),
            Err(_) => Err(EgressError::HeadTimeout { host: host(), within: self.head_timeout }),
        }
    }

    /// The addresses that a connection for `url` would be made to, for an operator who asks.
    ///
    /// # Errors
    /// [`EgressError::AddressRefused`], [`EgressError::Resolve`].
    pub async fn resolve(&self, url: &Uri) -> Result<Vec<IpAddr>, EgressError> {
        self.resolver.clone().resolve(url).await
    }

    /// The whole body of an answer, at most `max_bytes`. How long it may take is the caller's to say: dropping the
    /// future closes the connection, and so does a body that is too large, since its rest is still on it.
    ///
    /// # Errors
    /// [`EgressError::TooLarge`], [`EgressError::BodyBroken`].
    pub async fn read_body(body: Incoming, max_bytes: usize) -> Result<Bytes, EgressError> {
        body::read(body, max_bytes).await
    }
}

fn failure(host: Box<str>, error: legacy::Error) -> EgressError {
    if let Some(ours) = find::<EgressError>(&error) {
        return ours.clone();
    }
    let closed = find::<hyper::Error>(&error).is_some_and(|error| !error.is_parse() && !error.is_user());
    let source = Arc::new(error);
    if closed { EgressError::Closed { host, source } } else { EgressError::Protocol { host, source } }
}
