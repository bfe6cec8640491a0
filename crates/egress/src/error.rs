use std::{error::Error, io, sync::Arc, time::Duration};

/// Why there is no answer. The text names the host, and never the path, the query, a header or a body.
#[derive(Debug, Clone, thiserror::Error)]
pub enum EgressError {
    /// The URL may not be asked: its address is refused, or its form.
    #[error("`{host}` is refused: {reason}")]
    AddressRefused {
        /// The host of the URL.
        host: Box<str>,
        /// The class of the address, or what is wrong with the URL.
        reason: &'static str,
    },
    /// The name has no address.
    #[error("`{host}` cannot be resolved")]
    Resolve {
        /// The host of the URL.
        host: Box<str>,
        /// What the resolver said.
        source: Arc<io::Error>,
    },
    /// No connection, or not in time.
    #[error("no connection to `{host}`")]
    Connect {
        /// The host of the URL.
        host: Box<str>,
        /// What the connector said.
        source: Arc<dyn Error + Send + Sync>,
    },
    /// No TLS session: the certificate is not trusted, or is another host's, or no version is shared.
    #[error("no TLS session with `{host}`")]
    Tls {
        /// The host of the URL.
        host: Box<str>,
        /// What the TLS library said.
        source: rustls::Error,
    },
    /// The head of the answer did not come in time.
    #[error("`{host}` did not answer within {within:?}")]
    HeadTimeout {
        /// The host of the URL.
        host: Box<str>,
        /// The limit.
        within: Duration,
    },
    /// The connection ended before the head of the answer was there.
    #[error("`{host}` closed the connection instead of answering")]
    Closed {
        /// The host of the URL.
        host: Box<str>,
        /// What the HTTP library said.
        source: Arc<dyn Error + Send + Sync>,
    },
    /// What came is not HTTP, or what should be sent cannot be.
    #[error("the exchange with `{host}` is not valid HTTP")]
    Protocol {
        /// The host of the URL.
        host: Box<str>,
        /// What the HTTP library said.
        source: Arc<dyn Error + Send + Sync>,
    },
    /// The body of the answer broke off.
    #[error("the body of the answer broke off")]
    BodyBroken {
        /// What the HTTP library said.
        source: Arc<dyn Error + Send + Sync>,
    },
    /// The body of the answer is larger than allowed.
    #[error("the body of the answer is larger than {max_bytes} bytes")]
    TooLarge {
        /// The limit.
        max_bytes: usize,
    },
    /// A client certificate or its key cannot be used.
    #[error("the client certificate cannot be used: {reason}")]
    Certificate {
        /// What is wrong with it. Quotes nothing of it.
        reason: String,
    },
    /// A file of trust anchors cannot be used.
    #[error("the trust anchors cannot be used: {reason}")]
    Trust {
        /// What is wrong with it.
        reason: String,
    },
}

/// The first error of type `T` in the chain of `error`, looking into `io::Error`, which hides what it wraps.
pub(crate) fn find<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(current) = next {
        if let Some(found) = current.downcast_ref::<T>() {
            return Some(found);
        }
        let wrapped = current.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match wrapped {
            Some(inner) => Some(inner),
            None => current.source(),
        };
    }
    None
}
