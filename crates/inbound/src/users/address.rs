//! Where an issuer is, whosever tokens it signs.

use url::{Host, Url};

const NAME_MAX_BYTES: usize = 32;
/// The issuer is the first part of every identifier that comes from it.
const ISSUER_MAX_BYTES: usize = 255;

/// An issuer and where its keys are.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    /// 1 to 32 of `a-z`, `0-9` and `-`.
    pub(crate) name: String,
    /// Byte for byte as its tokens have it in `iss`.
    pub(crate) issuer: String,
    /// None: what its discovery document says.
    pub(crate) jwks_url: Option<Url>,
    pub(crate) dangerous_plain_http: bool,
}

/// A key of the configuration and the rule that it breaks.
pub(crate) struct Flaw {
    pub(crate) key: &'static str,
    pub(crate) rule: &'static str,
}

impl Flaw {
    pub(crate) fn new(key: &'static str, rule: &'static str) -> Self {
        Self { key, rule }
    }
}

impl Address {
    /// Checks it beside our own issuer.
    pub(crate) fn check(&self, own_issuer: &str) -> Result<(), Flaw> {
        let is_name = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-');
        if !(1..=NAME_MAX_BYTES).contains(&self.name.len()) || !self.name.bytes().all(is_name) {
            return Err(Flaw::new("name", "must be 1 to 32 of a-z, 0-9 and -"));
        }
        self.check_issuer(own_issuer)?;
        self.jwks_url.as_ref().map_or(Ok(()), |url| self.check_url("jwks_url", url))
    }

    fn check_issuer(&self, own_issuer: &str) -> Result<(), Flaw> {
        let fault = |rule| Flaw::new("issuer", rule);
        let is_plain = |b: u8| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\' | b'<' | b'>');
        if self.issuer.len() > ISSUER_MAX_BYTES || !self.issuer.bytes().all(is_plain) {
            return Err(fault("must be at most 255 visible ASCII characters"));
        }
        // A token of ours comes with a path and a node, and is read by those who look at them.
        if self.issuer == own_issuer {
            return Err(fault("is this gateway itself"));
        }
        let url = Url::parse(&self.issuer).map_err(|_| fault("must be a URL"))?;
        // OpenID Connect Discovery §3: "no query or fragment components".
        if url.query().is_some() || url.fragment().is_some() {
            return Err(fault("must have no query and no fragment"));
        }
        self.check_url("issuer", &url)
    }

    fn check_url(&self, key: &'static str, url: &Url) -> Result<(), Flaw> {
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Flaw::new(key, "must not hold a user name or a password"));
        }
        let is_loopback = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => return Err(Flaw::new(key, "must have a host")),
        };
        match url.scheme() {
            "https" => Ok(()),
            "http" if is_loopback || self.dangerous_plain_http => Ok(()),
            "http" => Err(Flaw::new(
                key,
                "must start with https://: over plain HTTP, whoever stands in between makes its tokens",
            )),
            _ => Err(Flaw::new(key, "must start with https://")),
        }
    }
}
