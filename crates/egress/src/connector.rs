use std::{
    error::Error,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioIo};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower::Service;

use crate::{Addresses, BoxError, EgressError, error::find, resolver::CheckedResolver};

/// Makes checked connections. Every check of a URL's host stands here and not before the pool: a connection cannot be
/// made without it, and a request on a pooled connection does not pay for it again.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    addresses: Addresses,
    timeout: Duration,
    inner: HttpsConnector<HttpConnector<CheckedResolver>>,
}

impl Connector {
    pub(crate) fn new(
        addresses: Addresses,
        timeout: Duration,
        resolver: CheckedResolver,
        tls: ClientConfig,
    ) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(resolver);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let inner = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Self { addresses, timeout, inner }
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = EgressError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, EgressError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), EgressError>> {
        self.inner.poll_ready(context).map_err(|error| failure("", error))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let host: Box<str> = uri.host().unwrap_or_default().into();
        if let Err(reason) = self.addresses.check_url(&uri) {
            return Box::pin(async move { Err(EgressError::AddressRefused { host, reason }) });
        }
        let connecting = tokio::time::timeout(self.timeout, self.inner.call(uri));
        Box::pin(async move {
            match connecting.await {
                Ok(Ok(stream)) => Ok(stream),
                Ok(Err(error)) => Err(failure(&host, error)),
                Err(_) => Err(EgressError::Connect {
                    host,
                    source: Arc::new(io::Error::from(io::ErrorKind::TimedOut)),
                }),
            }
        })
    }
}

fn failure(host: &str, error: BoxError) -> EgressError {
    let cause: &(dyn Error + 'static) = &*error;
    if let Some(ours) = find::<EgressError>(cause) {
        return ours.clone();
    }
    match find::<rustls::Error>(cause) {
        Some(source) => EgressError::Tls { host: host.into(), source: source.clone() },
        None => EgressError::Connect { host: host.into(), source: Arc::from(error) },
    }
}
