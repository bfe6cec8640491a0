use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use url::Url;
use vestibule_inbound::{
    users::{UserIssuerConfig, UserIssuers},
    workloads::WorkloadIssuerConfig,
};
use vestibule_model::{AppId, AppKind};
use vestibule_outbound::{AuthorizationServerConfig, SecretRef, StrategyConfig};

use super::{
    AppConfig, BreakerSettings, ConfigError, EvidenceMode, GatewayConfig, HttpAppConfig, LimitsConfig,
    McpAppConfig, Quota, Rate, RecordConfig, TlsConfig, app::ReviewConfig, authorization_server, limit_rules,
    limits::within,
};
use crate::http_app::Routes;

/// A checked configuration with every path resolved against the folder of its file.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The listener that agents use.
    pub data: ListenerSettings,
    /// The listener of operators.
    pub admin: ListenerSettings,
    /// Origins of browsers that may call the data listener.
    pub allowed_origins: BTreeSet<String>,
    /// Where the operators' token comes from.
    pub admin_token: SecretRef,
    /// Whether the operators' token is ours to make when its file is missing.
    pub admin_token_is_ours: bool,
    /// Folder of the embedded database.
    pub state_folder: PathBuf,
    /// Where the keys of the vault come from: a file or a variable.
    pub vault_key: SecretRef,
    /// Whether the vault's key is ours to make when its file is missing and nothing was sealed.
    pub vault_key_is_ours: bool,
    /// The age of the view of revocations beyond which the gateway refuses.
    pub lease: Duration,
    /// Folder of the log.
    pub evidence_folder: PathBuf,
    /// When an entry must be on disk.
    pub evidence_mode: EvidenceMode,
    /// The name of the log.
    pub evidence_origin: String,
    /// Size at which a segment is closed.
    pub segment_max_bytes: u64,
    /// Life of a hop token.
    pub token_ttl: Duration,
    /// Life of a root delegation.
    pub delegation_ttl: Duration,
    /// The deepest chain of agents.
    pub max_depth: u8,
    /// Most living agents spawned under one delegation.
    pub max_children: u32,
    /// Most living delegations of one tree.
    pub max_tree_nodes: u32,
    /// Most living roots of one agent.
    pub max_roots: u32,
    /// Whose users agents may act for.
    pub user_issuers: Vec<UserIssuerConfig>,
    /// Who gives tokens for applications.
    pub authorization_servers: Vec<AuthorizationServerConfig>,
    /// Whose workloads are agents by rule.
    pub workload_issuers: Vec<WorkloadIssuerConfig>,
    /// The claims that each scope releases.
    pub scope_claims: BTreeMap<String, BTreeSet<String>>,
    /// Folder of policies.
    pub policies_folder: PathBuf,
    /// Time zone of policies.
    pub timezone: String,
    /// Bounds.
    pub limits: LimitsConfig,
    /// How fast calls may follow each other.
    pub rates: Vec<Rate>,
    /// How many permitted calls there may be in an hour or a day.
    pub quotas: Vec<Quota>,
    /// When agents and applications are suspended by themselves.
    pub breakers: BreakerSettings,
    /// The applications, in order of their ids.
    pub apps: Vec<AppSettings>,
}

/// One listener.
#[derive(Debug, Clone)]
pub struct ListenerSettings {
    /// Address to bind.
    pub listen: SocketAddr,
    /// What clients call it; none for the bound address.
    pub public_url: Option<Url>,
    /// Further authorities that are served, lower case.
    pub also_known_as: BTreeSet<String>,
    /// Certificate and key.
    pub tls: Option<TlsConfig>,
}

/// One application.
#[derive(Debug, Clone)]
pub struct AppSettings {
    /// Its id.
    pub id: AppId,
    /// How it is spoken to.
    pub kind: AppKind,
    /// The MCP endpoint, or the base of an API.
    pub url: Url,
    /// With which credential.
    pub access: StrategyConfig,
    /// What the record keeps of arguments.
    pub record: RecordConfig,
    /// The operator's reviews, by tool.
    pub review: BTreeMap<String, ReviewConfig>,
    /// How often its tools are read again.
    pub refresh: Duration,
    /// Its routes, for an HTTP API.
    pub routes: Option<Routes>,
}

/// Each value by itself.
fn bounded(config: &GatewayConfig) -> Result<(), ConfigError> {
    config.limits.check()?;
    within("state.lease_ms", config.state.lease_ms, 500, 60_000)?;
    within("tokens.ttl_seconds", config.tokens.ttl_seconds, 60, 300)?;
    within("tokens.delegation_ttl_seconds", config.tokens.delegation_ttl_seconds, 300, 86_400)?;
    within("tokens.max_depth", config.tokens.max_depth.into(), 1, 8)?;
    within("tokens.max_children", config.tokens.max_children.into(), 1, 10_000)?;
    within("tokens.max_tree_nodes", config.tokens.max_tree_nodes.into(), 1, 1_000_000)?;
    within("tokens.max_roots", config.tokens.max_roots.into(), 1, 1_000_000)?;
    within("evidence.segment_max_bytes", config.evidence.segment_max_bytes, 64 << 10, 1 << 30)?;
    refuse_in_vault("admin.token", config.admin.token.as_ref())?;
    refuse_in_vault("vault.key", config.vault.key.as_ref())
}

impl Settings {
    /// Whether an application is called with what comes of a user's own token.
    pub(crate) fn needs_user_tokens(&self) -> bool {
        self.apps.iter().any(|app| app.access.needs_user_tokens())
    }

    /// Reads and checks the file at `path`. This is what start-up runs, and what `vestibule config check` runs.
    ///
    /// # Errors
    /// [`ConfigError`] names the file, the line or the key, and the rule.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let folder = path.parent().map_or_else(PathBuf::new, Path::to_owned);
        Self::check(GatewayConfig::read(path)?, &folder)
    }

    /// Checks a configuration whose relative paths start at `folder`.
    ///
    /// # Errors
    /// [`ConfigError::Value`] names the key and the rule.
    pub fn check(config: GatewayConfig, folder: &Path) -> Result<Self, ConfigError> {
        bounded(&config)?;
        let apps = config
            .apps
            .into_iter()
            .map(|(id, app)| AppSettings::check(&id, app, folder))
            .collect::<Result<Vec<_>, _>>()?;
        let (rates, quotas) = limit_rules::check(&config.limits, &apps, &config.policies.timezone)?;
        let breakers = config.breakers.check(apps.iter().map(|app| &app.id))?;
        let servers =
            config.authorization_servers.into_iter().map(|(name, server)| server.check(&name, folder));
        let authorization_servers = servers.collect::<Result<Vec<_>, _>>()?;
        authorization_server::check_references(&apps, &authorization_servers)?;
        let user_issuers = config.user_issuers.into_iter().map(|(name, issuer)| issuer.check(&name));
        let user_issuers: Vec<UserIssuerConfig> = user_issuers.collect::<Result<_, _>>()?;
        let workload_issuers = config.workload_issuers.into_iter().map(|(name, issuer)| issuer.check(&name));
        let workload_issuers: Vec<WorkloadIssuerConfig> = workload_issuers.collect::<Result<_, _>>()?;
        let data = listener("data", config.data.listen, config.data.public_url, config.data.tls, folder)?
            .with_names("data", config.data.also_known_as)?
            .refusing_plain_http("data", config.data.dangerous_plain_http)?;
        let admin =
            listener("admin", config.admin.listen, config.admin.public_url, config.admin.tls, folder)?
                .with_names("admin", config.admin.also_known_as)?
                .refusing_plain_http("admin", config.admin.dangerous_plain_http)?;
        // The same as at a start, but for the port where a free one is taken then.
        let own = data.public_url.as_ref().map_or_else(|| format!("http://{}", data.listen), Url::to_string);
        UserIssuers::check(&user_issuers, own.trim_end_matches('/')).map_err(|error| {
            ConfigError::value(format!("user_issuers.{}.{}", error.name, error.key), error.rule)
        })?;
        for app in &apps {
            app.access.check(own.trim_end_matches('/')).map_err(|(key, rule)| {
                ConfigError::value(format!("apps.{}.{}.access.{key}", app.id, app.kind), rule)
            })?;
        }
        WorkloadIssuerConfig::check_all(&workload_issuers, &user_issuers, own.trim_end_matches('/'))
            .map_err(|error| {
                ConfigError::value(format!("workload_issuers.{}.{}", error.name, error.key), error.rule)
            })?;
        Ok(Self {
            data,
            admin,
            allowed_origins: config.data.allowed_origins.into_iter().collect(),
            admin_token_is_ours: config.admin.token.is_none(),
            admin_token: config
                .admin
                .token
                .map_or_else(|| SecretRef::File(folder.join("admin.token")), |token| token.resolved(folder)),
            vault_key_is_ours: config.vault.key.is_none(),
            vault_key: config.vault.key.map_or_else(
                || SecretRef::File(folder.join(&config.state.folder).join("vault.key")),
                |key| key.resolved(folder),
            ),
            state_folder: folder.join(config.state.folder),
            lease: Duration::from_millis(config.state.lease_ms),
            evidence_folder: folder.join(config.evidence.folder),
            evidence_mode: config.evidence.mode,
            evidence_origin: config.evidence.origin,
            segment_max_bytes: config.evidence.segment_max_bytes,
            token_ttl: Duration::from_secs(config.tokens.ttl_seconds),
            delegation_ttl: Duration::from_secs(config.tokens.delegation_ttl_seconds),
            max_depth: config.tokens.max_depth,
            max_children: config.tokens.max_children,
            max_tree_nodes: config.tokens.max_tree_nodes,
            max_roots: config.tokens.max_roots,
            user_issuers,
            authorization_servers,
            workload_issuers,
            scope_claims: config.scopes.into_iter().map(|(scope, what)| (scope, what.claims)).collect(),
            policies_folder: folder.join(config.policies.folder),
            timezone: config.policies.timezone,
            limits: config.limits,
            rates,
            quotas,
            breakers,
            apps,
        })
    }
}

fn listener(
    name: &str,
    listen: SocketAddr,
    public_url: Option<String>,
    tls: Option<TlsConfig>,
    folder: &Path,
) -> Result<ListenerSettings, ConfigError> {
    let public_url = public_url.map(|text| origin_url(&format!("{name}.public_url"), &text)).transpose()?;
    let tls = tls.map(|tls| TlsConfig { cert: folder.join(tls.cert), key: folder.join(tls.key) });
    Ok(ListenerSettings { listen, public_url, also_known_as: BTreeSet::new(), tls })
}

/// For what is needed before there is a vault, or to get at it.
fn refuse_in_vault(key: &str, place: Option<&SecretRef>) -> Result<(), ConfigError> {
    match place {
        Some(SecretRef::Vault(_)) => {
            let rule =
                "cannot lie in the vault, which is opened later: give `{ file: PATH }` or `{ env: NAME }`";
            Err(ConfigError::value(key, rule))
        }
        Some(SecretRef::File(_) | SecretRef::Env(_)) | None => Ok(()),
    }
}

/// An http(s) URL that is nothing but an origin.
fn origin_url(key: &str, text: &str) -> Result<Url, ConfigError> {
    let url = http_url(key, text)?;
    if url.path() != "/" || url.query().is_some() {
        return Err(ConfigError::value(key, "must be an origin: scheme, host and port, without a path"));
    }
    Ok(url)
}

pub(super) fn http_url(key: &str, text: &str) -> Result<Url, ConfigError> {
    let url = Url::parse(text).map_err(|error| ConfigError::value(key, format!("is not a URL: {error}")))?;
    let plain = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() || !plain {
        return Err(ConfigError::value(
            key,
            "must be an http or https URL without user, password and fragment",
        ));
    }
    Ok(url)
}

impl ListenerSettings {
    fn with_names(mut self, listener: &str, names: Vec<String>) -> Result<Self, ConfigError> {
        for name in names {
            let name = name.to_ascii_lowercase();
            if name.is_empty()
                || !name.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b'@' | b'*'))
            {
                return Err(ConfigError::value(
                    format!("{listener}.also_known_as"),
                    "must be `host` or `host:port`, without wildcards",
                ));
            }
            self.also_known_as.insert(name);
        }
        Ok(self)
    }

    /// A bearer token on an open network in the clear is anybody's: design decides for TLS or a loud key.
    fn refusing_plain_http(self, listener: &str, dangerous: bool) -> Result<Self, ConfigError> {
        if self.tls.is_none() && !self.listen.ip().is_loopback() && !dangerous {
            return Err(ConfigError::value(
                format!("{listener}.listen"),
                format!(
                    "{} is not loopback and there is no `tls`: set `{listener}.tls`, bind 127.0.0.1, or say \
                     `dangerous_plain_http: true`",
                    self.listen
                ),
            ));
        }
        Ok(self)
    }
}

impl AppSettings {
    fn check(id: &str, app: AppConfig, folder: &Path) -> Result<Self, ConfigError> {
        let key = format!("apps.{id}");
        let id = AppId::new(id).map_err(|error| ConfigError::value(&key, error.to_string()))?;
        match app {
            AppConfig::Mcp(app) => Self::mcp(id, &key, app, folder),
            AppConfig::Http(app) => Self::http(id, &key, app, folder),
        }
    }

    fn mcp(id: AppId, key: &str, app: McpAppConfig, folder: &Path) -> Result<Self, ConfigError> {
        within(&format!("{key}.mcp.refresh_seconds"), app.refresh_seconds, 5, 86_400)?;
        Ok(Self {
            id,
            kind: AppKind::Mcp,
            url: http_url(&format!("{key}.mcp.url"), &app.url)?,
            access: app.access.resolved(folder),
            record: app.record,
            review: app.review,
            refresh: Duration::from_secs(app.refresh_seconds),
            routes: None,
        })
    }

    fn http(id: AppId, key: &str, app: HttpAppConfig, folder: &Path) -> Result<Self, ConfigError> {
        let routes = Routes::load(&app.operations, folder)
            .map_err(|error| ConfigError::value(format!("{key}.http.operations"), error.to_string()))?;
        Ok(Self {
            id,
            kind: AppKind::Http,
            url: http_url(&format!("{key}.http.url"), &app.url)?,
            access: app.access.resolved(folder),
            record: app.record,
            review: BTreeMap::new(),
            refresh: Duration::from_secs(86_400),
            routes: Some(routes),
        })
    }

    /// The resource identifier (RFC 8707, RFC 9728) of this application below `public_url`.
    #[must_use]
    pub fn resource(&self, public_url: &str) -> String {
        let base = public_url.trim_end_matches('/');
        match self.kind {
            AppKind::Mcp => format!("{base}/apps/{}/mcp", self.id),
            AppKind::Http => format!("{base}/apps/{}", self.id),
        }
    }
}
