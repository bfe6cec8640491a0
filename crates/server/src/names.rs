//! What a listener is called. Allowed authorities come from the configuration, never from the request: a forged `Host`
//! must not decide which issuer, audience or metadata a client is shown (DNS rebinding; RFC 9110 §7.4 asks to reject
//! misdirected requests).

use std::{collections::BTreeSet, net::SocketAddr};

use http::{HeaderMap, Uri, header};
use url::Url;
use vestibule_model::Denial;

use crate::config::ListenerSettings;

/// The names of one listener.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    public_url: String,
    authorities: BTreeSet<String>,
    origins: BTreeSet<String>,
}

impl Names {
    /// The names of a listener that is bound to `bound`, whose own origin is `bound_origin`.
    pub(crate) fn new(
        settings: &ListenerSettings,
        bound: SocketAddr,
        bound_origin: &str,
        allowed_origins: &BTreeSet<String>,
    ) -> Self {
        let public_url = settings.public_url.as_ref().map_or_else(|| bound_origin.to_owned(), origin_of);
        let mut authorities = settings.also_known_as.clone();
        let mut origins: BTreeSet<String> =
            allowed_origins.iter().map(|origin| origin.to_ascii_lowercase()).collect();
        for url in [public_url.as_str(), bound_origin] {
            origins.insert(url.to_ascii_lowercase());
            if let Some((_, authority)) = url.split_once("://") {
                authorities.insert(authority.to_ascii_lowercase());
            }
        }
        if bound.ip().is_loopback() {
            let scheme = if bound_origin.starts_with("https") { "https" } else { "http" };
            for host in ["localhost", "127.0.0.1", "[::1]"] {
                authorities.insert(format!("{host}:{}", bound.port()));
                origins.insert(format!("{scheme}://{host}:{}", bound.port()));
            }
        }
        Self { public_url, authorities, origins }
    }

    /// The origin that clients use, without a trailing slash.
    pub(crate) fn public_url(&self) -> &str {
        &self.public_url
    }

    /// Refuses a request for another authority, or from a browser page of another origin (MCP 2025-11-25 transports,
    /// "Security Warning": servers MUST validate `Origin`; present and invalid is 403).
    pub(crate) fn check(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Denial> {
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = match (uri.authority(), hosts.next()) {
            (Some(authority), _) => authority.as_str(),
            (None, Some(host)) => host.to_str().map_err(|_| Denial::HostNotAllowed)?,
            (None, None) => return Err(Denial::HostNotAllowed),
        };
        if hosts.next().is_some() || !self.authorities.contains(&*lower(host)) {
            return Err(Denial::HostNotAllowed);
        }
        match headers.get(header::ORIGIN) {
            None => Ok(()),
            Some(origin) => match origin.to_str() {
                Ok(origin) if self.origins.contains(&*lower(origin)) => Ok(()),
                Ok(_) | Err(_) => Err(Denial::OriginNotAllowed),
            },
        }
    }
}

/// Lower case, without an allocation for what is lower case already.
fn lower(text: &str) -> std::borrow::Cow<'_, str> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) { text.to_ascii_lowercase().into() } else { text.into() }
}

fn origin_of(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_configured_authorities_and_origins_are_served() {
        let settings = ListenerSettings {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            public_url: Some(Url::parse("https://gw.example").unwrap()),
            also_known_as: BTreeSet::from(["gateway.internal:8700".to_owned()]),
            tls: None,
        };
        let bound = SocketAddr::from(([127, 0, 0, 1], 8700));
        let names = Names::new(&settings, bound, "http://127.0.0.1:8700", &BTreeSet::new());
        let check = |host: &str, origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, origin.parse().unwrap());
            }
            names.check(&Uri::from_static("/apps/x/mcp"), &headers)
        };
        for host in ["gw.example", "GW.example", "gateway.internal:8700", "localhost:8700", "127.0.0.1:8700"]
        {
            assert_eq!(check(host, None), Ok(()), "{host}");
        }
        for host in ["evil.example", "gw.example.evil.example", "localhost", "127.0.0.1:8701"] {
            assert_eq!(check(host, None), Err(Denial::HostNotAllowed), "{host}");
        }
        assert_eq!(check("gw.example", Some("https://gw.example")), Ok(()));
        assert_eq!(check("gw.example", Some("https://evil.example")), Err(Denial::OriginNotAllowed));
        assert_eq!(check("gw.example", Some("null")), Err(Denial::OriginNotAllowed));
    }
}
