use http::{
    HeaderValue, Uri,
    uri::{PathAndQuery, Scheme},
};
use secrecy::ExposeSecret;
use url::{Position, Url, form_urlencoded};
use vestibule_model::AppId;

use crate::{OutboundError, access::QueryParameter, strategy::Strategy};

/// An application's base URL and the strategy that opens it.
#[derive(Debug)]
pub(crate) struct Upstream {
    app: AppId,
    base: Uri,
    /// The path of the base without a slash at its end.
    base_path: String,
    host: HeaderValue,
    pub(crate) strategy: Strategy,
}

/// Why no URL can be made for a request.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the path or query below the application's base is not valid")]
pub(crate) struct NotBelow;

impl Upstream {
    pub(crate) fn new(app: AppId, url: &Url, strategy: Strategy) -> Result<Self, OutboundError> {
        let invalid = |rule| OutboundError::Url { app: app.clone(), rule };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("must not hold a user name or a password: use `access`"));
        }
        // A fragment never leaves the client (RFC 9110 §4.2.3).
        let base: Uri = url[..Position::AfterQuery].parse().map_err(|_| invalid("is not a valid URI"))?;
        if base.scheme() != Some(&Scheme::HTTP) && base.scheme() != Some(&Scheme::HTTPS) {
            return Err(invalid("must start with http:// or https://"));
        }
        let authority = base.authority().ok_or_else(|| invalid("has no host"))?;
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| invalid("has an invalid host"))?;
        let base_path = base.path().trim_end_matches('/').to_owned();
        Ok(Self { app, base, base_path, host, strategy })
    }

    pub(crate) fn app(&self) -> &AppId {
        &self.app
    }

    pub(crate) fn base(&self) -> &Uri {
        &self.base
    }

    /// The value of `Host`: the authority of the base, whatever the agent called the gateway.
    pub(crate) fn host(&self) -> &HeaderValue {
        &self.host
    }

    /// The URL of a request: `path`, empty or with a slash at its start, below the base, with the queries of the base,
    /// of the request and of the strategy.
    pub(crate) fn uri(
        &self,
        path: &str,
        query: Option<&str>,
        secret: Option<&QueryParameter>,
    ) -> Result<Uri, NotBelow> {
        if path.is_empty() && query.is_none() && secret.is_none() {
            return Ok(self.base.clone());
        }
        // `PathAndQuery` would cut it off, and our parameter with it.
        if query.is_some_and(|query| query.contains('#')) {
            return Err(NotBelow);
        }
        let mut text = match path {
            "" => self.base.path().to_owned(),
            _ if is_below(path) => format!("{}{path}", self.base_path),
            _ => return Err(NotBelow),
        };
        let mut separator = '?';
        let mut append = |piece: &str| {
            if !piece.is_empty() {
                text.push(separator);
                text.push_str(piece);
                separator = '&';
            }
        };
        append(self.base.query().unwrap_or_default());
        for pair in query.unwrap_or_default().split('&') {
            if !secret.is_some_and(|secret| is_named(pair, &secret.name)) {
                append(pair);
            }
        }
        if let Some(secret) = secret {
            append(secret.pair.expose_secret());
        }
        let mut parts = self.base.clone().into_parts();
        parts.path_and_query = Some(PathAndQuery::try_from(text).map_err(|_| NotBelow)?);
        Uri::from_parts(parts).map_err(|_| NotBelow)
    }
}

/// Whether `path` stays below what it is appended to, whoever reads it: no dot segments, encoded or not, nor what some
/// servers take for a slash or for the end of the path. The credential must not open another part of the host.
fn is_below(path: &str) -> bool {
    let decoded = path.to_ascii_lowercase().replace("%2e", ".");
    path.starts_with('/')
        && !decoded.contains(['\\', '?', '#'])
        && !decoded.contains("%2f")
        && !decoded.contains("%5c")
        && decoded.split('/').all(|segment| !matches!(segment.split(';').next(), Some("." | "..")))
}

/// Whether a pair of the agent's query is the parameter that the credential is put in. Some frameworks compare names
/// without case; and of two parameters of one name, some take the first.
fn is_named(pair: &str, name: &str) -> bool {
    form_urlencoded::parse(pair.as_bytes()).any(|(given, _)| given.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use secrecy::SecretString;

    use super::*;

    fn upstream(url: &str) -> Result<Upstream, OutboundError> {
        Upstream::new(AppId::new("app").unwrap(), &Url::parse(url).unwrap(), Strategy::None)
    }

    fn uri(base: &str, path: &str, query: Option<&str>) -> Result<String, NotBelow> {
        upstream(base).unwrap().uri(path, query, None).map(|uri| uri.to_string())
    }

    #[test]
    fn a_path_is_appended_to_the_base_and_queries_are_joined() {
        for (base, path, query, expected) in [
            ("http://h/mcp", "", None, "http://h/mcp"),
            ("http://h/mcp/", "", None, "http://h/mcp/"),
            ("http://h:8080", "/a/b", None, "http://h:8080/a/b"),
            ("http://h/base/", "/a/", Some("b=c"), "http://h/base/a/?b=c"),
            ("https://h/mcp?tenant=1", "", Some("b=c&d"), "https://h/mcp?tenant=1&b=c&d"),
            ("https://h/mcp?tenant=1#part", "", None, "https://h/mcp?tenant=1"),
            ("http://h/a", "/..b/c..", None, "http://h/a/..b/c.."),
        ] {
            assert_eq!(uri(base, path, query).as_deref(), Ok(expected), "{base} {path} {query:?}");
        }
    }

    #[test]
    fn a_path_that_would_leave_the_base_is_refused() {
        for path in [
            "a",
            "@evil.example/",
            "/..",
            "/../admin",
            "/a/../../admin",
            "/./a",
            "/%2e%2E/admin",
            "/..%2fadmin",
            "/a%5C..",
            "/.%2e/admin",
            "/a\\..\\b",
            "/..;x/admin",
            "/a?b",
            "/a#b",
        ] {
            assert_eq!(uri("http://h/base", path, None), Err(NotBelow), "{path}");
        }
        assert_eq!(uri("http://h/base", "", Some("a#b")), Err(NotBelow));
    }

    #[test]
    fn the_secret_parameter_replaces_what_the_agent_sent_under_its_name() {
        let pair = Arc::new(SecretString::from("key=s%26cret"));
        let secret = QueryParameter { name: "key".into(), pair };
        for (query, expected) in [
            (None, "http://h/a?key=s%26cret"),
            (Some("b=c"), "http://h/a?b=c&key=s%26cret"),
            (Some("key=mine&b=c&KEY=mine&%6bey=mine&key"), "http://h/a?b=c&key=s%26cret"),
        ] {
            let uri = upstream("http://h/a").unwrap().uri("", query, Some(&secret)).unwrap();
            assert_eq!(uri.to_string(), expected);
        }
    }

    #[test]
    fn a_base_with_user_information_or_another_scheme_is_refused() {
        for url in ["http://user:hunter2@h/", "http://user@h/", "ftp://h/"] {
            let error = upstream(url).unwrap_err();
            assert!(matches!(error, OutboundError::Url { .. }), "{url}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }
}
