//! Where the endpoints of an authorization server are, and what it says that it can do.

use std::collections::BTreeSet;

use http::{StatusCode, Uri};
use url::{Origin, Position, Url};
use vestibule_model::json::{self, Json};

/// Metadata are flat.
const DEPTH_MAX: usize = 16;

/// An endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Endpoint {
    pub(super) uri: Uri,
    /// At another origin than the issuer: nobody but the server's document says so, and it may not lead to where the
    /// operator alone may send us.
    pub(super) is_elsewhere: bool,
}

/// The endpoints of a server, and what it says of itself.
#[derive(Debug, Clone)]
pub(super) struct Endpoints {
    /// What client assertions are for.
    pub(super) audience: String,
    pub(super) token: Endpoint,
    pub(super) revocation: Option<Endpoint>,
    pub(super) introspection: Option<Endpoint>,
    /// Which document said so; none: the operator did.
    pub(super) document: Option<&'static str>,
    pub(super) said: Said,
}

/// What a server says that it can do. Not everything that it can: Hydra lists not all of its grants. So nothing is refused
/// for it, and an operator is told.
#[derive(Debug, Clone, Default)]
pub(super) struct Said {
    pub(super) grants: Option<BTreeSet<String>>,
    pub(super) auth_methods: Option<BTreeSet<String>>,
    pub(super) scopes: Option<BTreeSet<String>>,
}

pub(super) const OAUTH: &str = "authorization server metadata (RFC 8414)";
pub(super) const OPENID: &str = "OpenID Connect discovery document";

/// What is wrong with a document. Quotes nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// There is none here: another place may have one.
    Absent(Option<StatusCode>),
    /// RFC 8414 §3.3: "the issuer value returned MUST be identical to the authorization server's issuer identifier".
    OtherIssuer,
    NoTokenEndpoint,
}

/// Where the metadata of `issuer` can be, in the order in which they are asked for.
pub(super) fn places(issuer: &str) -> Option<[(&'static str, Uri); 2]> {
    let url = Url::parse(issuer).ok()?;
    // RFC 8414 §3.1: the well-known part goes between host and path, and "any terminating / MUST be removed".
    let path = url.path().trim_end_matches('/');
    let oauth =
        format!("{}/.well-known/oauth-authorization-server{path}", &url[..Position::BeforePath]).parse();
    // OpenID Connect Discovery §4.1: behind the issuer.
    let openid = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')).parse();
    Some([(OAUTH, oauth.ok()?), (OPENID, openid.ok()?)])
}

impl Endpoints {
    /// From a document. `is_mtls`: the client shows a certificate, and the server may want it at an address of its own
    /// (RFC 8705 §5).
    pub(super) fn read(
        document: &[u8],
        issuer: &str,
        name: &'static str,
        is_mtls: bool,
    ) -> Result<Self, Wrong> {
        let document = json::parse(document, DEPTH_MAX).map_err(|_| Wrong::Absent(None))?;
        if document.as_object().is_none() {
            return Err(Wrong::Absent(None));
        }
        if document.get("issuer").and_then(Json::as_str) != Some(issuer) {
            return Err(Wrong::OtherIssuer);
        }
        let origin = Url::parse(issuer).map_err(|_| Wrong::OtherIssuer)?.origin();
        let aliases = document.get("mtls_endpoint_aliases").filter(|_| is_mtls);
        let endpoint = |name: &str| {
            let alias = aliases.and_then(|aliases| aliases.get(name));
            let text = alias.or_else(|| document.get(name))?.as_str()?;
            Endpoint::below(&origin, text)
        };
        let list = |name: &str| {
            let items = document.get(name)?.as_array()?;
            Some(items.iter().filter_map(Json::as_str).map(str::to_owned).collect())
        };
        Ok(Self {
            audience: issuer.to_owned(),
            token: endpoint("token_endpoint").ok_or(Wrong::NoTokenEndpoint)?,
            revocation: endpoint("revocation_endpoint"),
            introspection: endpoint("introspection_endpoint"),
            document: Some(name),
            said: Said {
                grants: list("grant_types_supported"),
                auth_methods: list("token_endpoint_auth_methods_supported"),
                scopes: list("scopes_supported"),
            },
        })
    }
}

impl Endpoint {
    /// One that the operator names.
    pub(super) fn given(url: &Url) -> Option<Self> {
        Some(Self { uri: uri(url)?, is_elsewhere: false })
    }

    fn below(issuer: &Origin, text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        Some(Self { uri: uri(&url)?, is_elsewhere: url.origin() != *issuer })
    }
}

/// A fragment never leaves the client (RFC 9110 §4.2.3).
fn uri(url: &Url) -> Option<Uri> {
    url[..Position::AfterQuery].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_are_looked_for_between_host_and_path_and_then_behind_the_issuer() {
        for (issuer, oauth, openid) in [
            (
                "https://as.test",
                "https://as.test/.well-known/oauth-authorization-server",
                "https://as.test/.well-known/openid-configuration",
            ),
            (
                "https://as.test:8443/realms/corp/",
                "https://as.test:8443/.well-known/oauth-authorization-server/realms/corp",
                "https://as.test:8443/realms/corp/.well-known/openid-configuration",
            ),
        ] {
            let [first, second] = places(issuer).unwrap();
            assert_eq!(first, (OAUTH, oauth.parse().unwrap()));
            assert_eq!(second, (OPENID, openid.parse().unwrap()));
        }
    }

    #[test]
    fn a_document_of_another_issuer_is_refused_however_alike_it_is() {
        let document =
            |issuer: &str| format!(r#"{{"issuer":"{issuer}","token_endpoint":"https://as.test/t"}}"#);
        let read =
            |issuer: &str| Endpoints::read(document(issuer).as_bytes(), "https://as.test", OAUTH, false);
        assert!(read("https://as.test").is_ok());
        for other in ["https://as.test/", "https://AS.test", "https://as.test.evil", ""] {
            assert_eq!(read(other).err(), Some(Wrong::OtherIssuer), "{other}");
        }
    }

    #[test]
    fn a_certificate_is_shown_where_the_server_wants_it() {
        let document = br#"{"issuer":"https://as.test","token_endpoint":"https://as.test/t",
            "revocation_endpoint":"https://as.test/r",
            "mtls_endpoint_aliases":{"token_endpoint":"https://mtls.as.test/t"}}"#;
        let read = |is_mtls| Endpoints::read(document, "https://as.test", OAUTH, is_mtls).unwrap();
        assert_eq!(read(false).token.uri, "https://as.test/t");
        let mtls = read(true);
        assert_eq!(mtls.token.uri, "https://mtls.as.test/t");
        assert!(mtls.token.is_elsewhere, "nobody but the document names that host");
        assert_eq!(mtls.revocation.unwrap().uri, "https://as.test/r");
    }
}
