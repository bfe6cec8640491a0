use std::{path::Path, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};
use vestibule_outbound::{
    AuthorizationServerConfig as Checked, Check, ClientAuthConfig, EndpointsConfig, StrategyConfig,
};

use super::{AppSettings, ConfigError, limits::within, settings::http_url};

/// Longest name.
const NAME_MAX_CHARS: usize = 64;

/// An authorization server that gives the gateway tokens for applications. Its endpoints are read from its metadata, or
/// named here.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthorizationServerConfig {
    /// Its identifier, byte for byte as its metadata have it in `issuer`. They are found by RFC 8414, else by OpenID
    /// Connect Discovery. Beside `token_url` no metadata are asked for, and it is what client assertions are for.
    #[serde(default)]
    pub issuer: Option<String>,
    /// Its token endpoint, where there are no metadata.
    #[serde(default)]
    pub token_url: Option<String>,
    /// Beside `token_url`: where tokens are given back (RFC 7009).
    #[serde(default)]
    pub revocation_url: Option<String>,
    /// Beside `token_url`: where is asked about tokens (RFC 7662).
    #[serde(default)]
    pub introspection_url: Option<String>,
    /// What it calls the gateway.
    pub client_id: String,
    /// How the gateway proves that.
    pub auth: ClientAuthConfig,
    /// It may be asked over plain HTTP on another machine. Whoever stands in between then has the secret and the tokens.
    #[serde(default)]
    pub dangerous_plain_http: bool,
    /// For one request, in seconds. 1 to 60.
    #[serde(default = "timeout_default")]
    pub timeout_seconds: u64,
}

fn timeout_default() -> u64 {
    10
}

impl AuthorizationServerConfig {
    pub(super) fn check(self, name: &str, folder: &Path) -> Result<Checked, ConfigError> {
        let key = format!("authorization_servers.{name}");
        let key = |of: &str| format!("{key}.{of}");
        let is_named = |b: u8| matches!(b, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.');
        if name.is_empty() || name.len() > NAME_MAX_CHARS || !name.bytes().all(is_named) {
            let rule = "the name must have 1 to 64 letters, digits, `-`, `_` and `.`";
            return Err(ConfigError::value("authorization_servers", rule));
        }
        within(&key("timeout_seconds"), self.timeout_seconds, 1, 60)?;
        if self.client_id.is_empty() {
            return Err(ConfigError::value(key("client_id"), "is empty"));
        }
        let is_mtls = matches!(self.auth, ClientAuthConfig::Mtls { .. });
        let url = |of: &str, text: &str| {
            let url = http_url(&key(of), text)?;
            self.check_scheme(&url, is_mtls).map_err(|rule| ConfigError::value(key(of), rule))?;
            Ok(url)
        };
        let issuer = self.issuer.as_deref();
        let identifier = issuer.map(|issuer| url("issuer", issuer)).transpose()?;
        if identifier.is_some_and(|url| url.query().is_some()) {
            return Err(ConfigError::value(key("issuer"), "must have no query (RFC 8414 §2)"));
        }
        let others =
            [("revocation_url", &self.revocation_url), ("introspection_url", &self.introspection_url)];
        let endpoints = match (&self.token_url, issuer) {
            (Some(token), _) => {
                let [revocation, introspection] =
                    others.map(|(of, text)| text.as_deref().map(|text| url(of, text)).transpose());
                EndpointsConfig::Given {
                    issuer: issuer.map(str::to_owned),
                    token: url("token_url", token)?,
                    revocation: revocation?,
                    introspection: introspection?,
                }
            }
            (None, Some(issuer)) => {
                if let Some((of, _)) = others.iter().find(|(_, text)| text.is_some()) {
                    let rule = "is for a server without metadata: name `token_url` too, or leave it out";
                    return Err(ConfigError::value(key(of), rule));
                }
                EndpointsConfig::Discovered { issuer: issuer.to_owned() }
            }
            (None, None) => {
                let rule = "must have `issuer`, or `token_url` where the server has no metadata";
                return Err(ConfigError::value(format!("authorization_servers.{name}"), rule));
            }
        };
        Ok(Checked {
            name: name.to_owned(),
            endpoints,
            client_id: self.client_id,
            auth: self.auth.resolved(folder),
            timeout: Duration::from_secs(self.timeout_seconds),
        })
    }

    /// RFC 6749 §3.2: "the authorization server MUST require the use of TLS".
    fn check_scheme(&self, url: &Url, is_mtls: bool) -> Result<(), &'static str> {
        let is_loopback = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        match url.scheme() {
            "https" => Ok(()),
            _ if is_mtls => Err("must start with https://: without TLS no client certificate is shown"),
            _ if is_loopback || self.dangerous_plain_http => Ok(()),
            _ => Err(
                "must start with https://: over plain HTTP, whoever stands in between has the secret and the tokens; \
                 or say `dangerous_plain_http: true`",
            ),
        }
    }
}

/// Whether the servers that the applications' strategies name are there, and can do what those need.
pub(super) fn check_references(apps: &[AppSettings], servers: &[Checked]) -> Result<(), ConfigError> {
    for app in apps {
        let Some(name) = app.access.server() else { continue };
        let key = format!("apps.{}.{}.access", app.id, app.kind);
        let Some(server) = servers.iter().find(|server| server.name == name) else {
            let rule = format!("names `{name}`, which is not below `authorization_servers`");
            return Err(ConfigError::value(format!("{key}.server"), rule));
        };
        let check = match &app.access {
            StrategyConfig::TokenExchange(config) => config.check,
            StrategyConfig::JwtBearer(config) => config.check,
            StrategyConfig::None
            | StrategyConfig::Static(_)
            | StrategyConfig::Agent(_)
            | StrategyConfig::ClientCredentials(_)
            | StrategyConfig::Assertion(_)
            | StrategyConfig::TxnToken(_)
            | StrategyConfig::EntraObo(_) => Check::None,
        };
        let is_silent = matches!(&server.endpoints, EndpointsConfig::Given { introspection: None, .. });
        if check == Check::Introspection && is_silent {
            let rule = format!("`introspection` needs `authorization_servers.{name}.introspection_url`");
            return Err(ConfigError::value(format!("{key}.check"), rule));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{GatewayConfig, Settings};
    use super::*;

    fn checked(yaml: &str) -> Result<Settings, String> {
        let config = GatewayConfig::parse(yaml)?;
        Settings::check(config, Path::new("/folder")).map_err(|error| error.to_string())
    }

    fn server(keys: &str) -> String {
        format!(
            "authorization_servers: {{ corp: {{ client_id: gw, auth: {{ secret-basic: {{ secret: {{ file: s }} }} }}, {keys} }} }}"
        )
    }

    #[test]
    fn a_server_has_an_issuer_or_a_token_endpoint() {
        let settings = checked(&server("issuer: 'https://as.test/realms/a'")).unwrap();
        let [server_] = settings.authorization_servers.as_slice() else { panic!("one server") };
        let issuer = "https://as.test/realms/a".to_owned();
        assert_eq!(server_.endpoints, EndpointsConfig::Discovered { issuer });
        assert_eq!(server_.timeout, Duration::from_secs(10));
        let ClientAuthConfig::SecretBasic { secret } = &server_.auth else { panic!("a secret") };
        assert_eq!(secret.to_string(), "file `/folder/s`");
        for (keys, rule) in [
            ("timeout_seconds: 10", "must have `issuer`, or `token_url`"),
            ("issuer: 'https://as.test', revocation_url: 'https://as.test/r'", "name `token_url` too"),
            ("issuer: 'http://as.test'", "must start with https://"),
            ("token_url: 'http://10.0.0.1/t'", "must start with https://"),
            ("issuer: 'https://as.test?a=b'", "must have no query"),
            ("issuer: 'https://as.test', timeout_seconds: 61", "must be from 1 to 60"),
            ("issuer: 'https://as.test', scope: a", "scope"),
        ] {
            let error = checked(&server(keys)).unwrap_err();
            assert!(error.contains(rule), "{keys}: {error}");
        }
        assert!(checked(&server("issuer: 'http://127.0.0.1:9000'")).is_ok());
        assert!(checked(&server("issuer: 'http://as.test', dangerous_plain_http: true")).is_ok());
    }

    #[test]
    fn a_certificate_needs_tls_and_a_literal_secret_is_never_taken() {
        let auth = |auth: &str| {
            checked(&format!(
                "authorization_servers: {{ corp: {{ issuer: 'http://127.0.0.1', client_id: gw, auth: {auth} }} }}"
            ))
        };
        let error = auth("{ mtls: { cert: { file: c }, key: { file: k } } }").unwrap_err();
        assert!(error.contains("without TLS no client certificate"), "{error}");
        let error = auth("{ secret-post: { secret: hunter2 } }").unwrap_err();
        assert!(error.contains("by reference") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_strategy_names_a_server_that_is_there_and_can_do_what_it_needs() {
        let app = |access: &str| {
            let servers = server("token_url: 'https://as.test/t'");
            checked(&format!(
                "{servers}\napps: {{ a: {{ mcp: {{ url: 'http://127.0.0.1/mcp', access: {access} }} }} }}"
            ))
        };
        assert!(app("{ client-credentials: { server: corp, scopes: { default: [read] } } }").is_ok());
        for (access, rule) in [
            ("{ client-credentials: { server: other } }", "`apps.a.mcp.access.server`: names `other`"),
            (
                "{ jwt-bearer: { server: corp, check: introspection } }",
                "needs `authorization_servers.corp.introspection_url`",
            ),
            ("{ token-exchange: { server: corp, subject: user-token } }", "actor"),
        ] {
            let error = app(access).unwrap_err();
            assert!(error.contains(rule), "{access}: {error}");
        }
    }
}
