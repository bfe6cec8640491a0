use std::{collections::HashMap, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use url::Url;
use vestibule_egress::{Client, EgressBody, EgressError, Trust};
use vestibule_model::{AgentId, AppId, AttemptId, Digest, Fault, FaultKind, Method, Stop};
use vestibule_policy::Permit;

use crate::{
    Access, AuthorizationServerConfig, Backing, GiveBack, MintedFor, SecretError, SecretRef, StrategyConfig,
    access::{Placement, Purpose},
    authorization_server::ServerMaker,
    cache::{Cache, ENTRIES_MAX},
    headers,
    strategy::{Granted, Means, Strategy, TokenSource},
    upstream::Upstream,
};

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("vestibule/", env!("CARGO_PKG_VERSION")));

/// An application and how it is called.
#[derive(Debug, Clone)]
pub struct UpstreamConfig {
    /// The application.
    pub app: AppId,
    /// Its base: an MCP endpoint, or what all paths of an HTTP API stand below.
    pub url: Url,
    /// With which credential.
    pub strategy: StrategyConfig,
}

/// The applications, and the authorization servers that give tokens for them.
#[derive(Debug, Clone, Default)]
pub struct OutboundConfig {
    /// The applications.
    pub apps: Vec<UpstreamConfig>,
    /// The servers that their strategies name.
    pub servers: Vec<AuthorizationServerConfig>,
}

/// By which ways applications and authorization servers are reached.
#[derive(Debug, Clone)]
pub struct Ways {
    /// The client of the applications.
    pub apps: Client,
    /// Whose certificates the authorization servers' are: each of them has clients of its own.
    pub servers: Trust,
}

/// Why the applications cannot be called as configured.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The base URL cannot be one.
    #[error("the URL of application `{app}` {rule}")]
    Url {
        /// The application.
        app: AppId,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// The secret cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// The strategy cannot put the secret where it should.
    #[error("the credential from {secret} cannot be used: {rule}")]
    Strategy {
        /// Where the secret lies.
        secret: SecretRef,
        /// The rule that is broken.
        rule: &'static str,
    },
    /// The configuration of the strategy breaks a rule.
    #[error("`access.{key}` of application `{app}` {rule}")]
    Access {
        /// The application.
        app: AppId,
        /// The key below `access`.
        key: &'static str,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// The authorization server cannot be asked.
    #[error("authorization server `{name}` cannot be used: {cause}")]
    AuthorizationServer {
        /// Its name.
        name: String,
        /// What is wrong with its configuration or its secret. Quotes no secret.
        cause: String,
    },
    /// No authorization server has this name.
    #[error("there is no authorization server `{name}`: name it below `authorization_servers`")]
    UnknownServer {
        /// The name.
        name: String,
    },
}

/// A request to an application, without its credential.
#[derive(Debug)]
pub struct Forward {
    /// The method.
    pub method: Method,
    /// Below the application's base: empty, or with a slash at its start, and without dot segments.
    pub path: String,
    /// Without the question mark.
    pub query: Option<String>,
    /// What the caller lets through. What must never pass is stripped here once more.
    pub headers: HeaderMap,
    /// The body.
    pub body: EgressBody,
}

/// What a credential of its own needs to know of the call that it is for.
#[derive(Debug, Clone, Copy)]
pub struct Calling {
    /// The attempt.
    pub attempt: AttemptId,
    /// How long the call may still take: its credential need not live longer.
    pub life: Duration,
    /// SHA-256 of the arguments in canonical form (RFC 8785), as the record has it. None for what is no operation.
    pub args_digest: Option<Digest>,
}

/// Door two of all applications. Immutable but for the tokens that it keeps: a new configuration is a new `Outbound`.
#[derive(Debug)]
pub struct Outbound {
    upstreams: HashMap<AppId, Arc<Upstream>>,
    client: Client,
    cache: Arc<Cache>,
}

impl Outbound {
    /// Reads every secret once, so that a gateway that could not use one says so when it starts. Blocks while files are
    /// read, and asks nobody.
    ///
    /// # Errors
    /// [`OutboundError`] for the first application or authorization server that could not be called.
    pub fn new(config: OutboundConfig, ways: Ways, backing: Backing) -> Result<Self, OutboundError> {
        let maker = ServerMaker {
            trust: ways.servers,
            secrets: backing.secrets.clone(),
            clock: Arc::clone(&backing.clock),
            entropy: Arc::clone(&backing.entropy),
        };
        let servers = config.servers.into_iter().map(|server| {
            let name = server.name.clone();
            maker.make(server).map(|server| (name, Arc::new(server)))
        });
        let servers = servers.collect::<Result<_, OutboundError>>()?;
        let cache = Cache::new(Arc::clone(&backing.clock), Arc::clone(&backing.shelf), ENTRIES_MAX);
        let cache = Arc::new(cache);
        let means = Means { backing, servers, maker, cache: Arc::clone(&cache) };
        let upstreams = config.apps.into_iter().map(|app| {
            let strategy = Strategy::new(&app.app, app.strategy, &means)?;
            let upstream = Upstream::new(app.app.clone(), &app.url, strategy)?;
            Ok((app.app, Arc::new(upstream)))
        });
        Ok(Self { upstreams: upstreams.collect::<Result<_, OutboundError>>()?, client: ways.apps, cache })
    }

    /// Puts the tokens in place that were kept over the restart. To be called once, and a sweep right after it: an order
    /// may have come meanwhile.
    ///
    /// # Errors
    /// [`Fault`] when they cannot be read.
    pub async fn recall(&self) -> Result<(), Fault> {
        let tokens = self.upstreams.values().filter_map(|upstream| upstream.strategy.token());
        let sources: HashMap<Digest, Arc<dyn TokenSource>> =
            tokens.map(|token| (token.source().configuration(), Arc::clone(token.source()))).collect();
        self.cache.recall(&sources).await
    }

    /// The credential for the call that `permit` allows.
    ///
    /// # Errors
    /// `UserRequired` where the application is called in a user's name and there is none; [`Fault`] when the credential
    /// cannot be obtained.
    pub async fn obtain(&self, permit: Permit, calling: &Calling) -> Result<Access, Stop> {
        let upstream = self.upstream(&permit.operation().app)?;
        let granted = upstream.strategy.obtain(&permit, calling).await?;
        Ok(access(upstream, granted, Some(Purpose { permit: Arc::new(permit), calling: *calling })))
    }

    /// The credential for a question of the gateway itself, such as which operations there are. Never for what an agent
    /// asked. An application whose tokens are in somebody's name is asked without one, unless the configuration says
    /// otherwise.
    ///
    /// # Errors
    /// [`Fault`] when it cannot be obtained.
    pub async fn obtain_own(&self, app: &AppId) -> Result<Access, Fault> {
        let upstream = self.upstream(app)?;
        let granted = upstream.strategy.obtain_own().await?;
        Ok(access(upstream, granted, None))
    }

    /// Drops every token of which `is_dead` says so, and what has ended. What comes back is still good at its server until
    /// it is given back. A token that is on its way is dead when it arrives, and comes back with a later sweep.
    #[must_use = "the tokens live until they are given back"]
    pub fn sweep(&self, is_dead: impl Fn(&MintedFor) -> bool) -> Vec<GiveBack> {
        self.cache.sweep(is_dead)
    }

    /// Waits until a sweep has something to do although nothing was revoked since the last one.
    pub async fn has_strays(&self) {
        self.cache.strays().await;
    }

    /// Gives a token back to its server (RFC 7009).
    ///
    /// # Errors
    /// [`Fault`] when the server does not take it: it then lives until it expires.
    pub async fn give_back(&self, token: GiveBack) -> Result<(), Fault> {
        self.cache.give_back(token).await
    }

    /// The agent that the application is, if it is one: its calls to other applications, for a call of its own, end with
    /// that call.
    #[must_use]
    pub fn called_agent(&self, app: &AppId) -> Option<&AgentId> {
        self.upstreams.get(app)?.strategy.called_agent()
    }

    /// Calls the application that `access` was obtained for. The answer streams; dropping it closes the connection.
    ///
    /// # Errors
    /// `UpstreamUnreachable`, `UpstreamTimeout` and `UpstreamInvalid` as the exchange failed, `Internal` when `request`
    /// does not stay below the application's base.
    pub async fn call(&self, access: Access, request: Forward) -> Result<Response<Incoming>, Fault> {
        let request = prepare(&access, request)?;
        let sent = self.client.send(request).await;
        let response = sent.map_err(|error| fault(access.upstream.app(), &error))?;
        // Of a question of the gateway's own: the next one goes with another token. A call is renewed, see `renew`.
        if let (StatusCode::UNAUTHORIZED, None, Some(used)) =
            (response.status(), &access.purpose, &access.used)
            && let Some(token) = access.upstream.strategy.token()
        {
            token.refused(used);
        }
        Ok(response)
    }

    pub(crate) fn upstream(&self, app: &AppId) -> Result<Arc<Upstream>, Fault> {
        let upstream = self.upstreams.get(app).map(Arc::clone);
        upstream
            .ok_or_else(|| Fault::new(FaultKind::Internal, format!("application `{app}` has no upstream")))
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }
}

pub(crate) fn access(upstream: Arc<Upstream>, granted: Granted, purpose: Option<Purpose>) -> Access {
    let Granted { placement, facts, used } = granted;
    Access { upstream, placement, purpose, facts, used }
}

/// The request as it leaves: cleaned, and with the credential in its place.
pub(crate) fn prepare(access: &Access, forward: Forward) -> Result<Request<EgressBody>, Fault> {
    let Forward { method, path, query, mut headers, body } = forward;
    headers::strip_request(&mut headers);
    headers.insert(header::HOST, access.upstream.host().clone());
    headers.entry(header::USER_AGENT).or_insert(USER_AGENT);
    let secret = match &access.placement {
        Placement::Nowhere => None,
        Placement::Header(name, value) => {
            headers.insert(name, value.clone());
            None
        }
        Placement::Query(parameter) => Some(parameter),
    };
    let uri = access.upstream.uri(&path, query.as_deref(), secret).map_err(|error| {
        Fault::new(FaultKind::Internal, format!("application `{}`: {error}", access.upstream.app()))
    })?;
    let mut request = Request::new(body);
    *request.method_mut() = wire_method(method);
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}

fn wire_method(method: Method) -> http::Method {
    match method {
        Method::Get => http::Method::GET,
        Method::Head => http::Method::HEAD,
        Method::Post => http::Method::POST,
        Method::Put => http::Method::PUT,
        Method::Patch => http::Method::PATCH,
        Method::Delete => http::Method::DELETE,
        Method::Options => http::Method::OPTIONS,
    }
}

fn fault(app: &AppId, error: &EgressError) -> Fault {
    let kind = match error {
        EgressError::AddressRefused { .. }
        | EgressError::Resolve { .. }
        | EgressError::Connect { .. }
        | EgressError::Tls { .. }
        | EgressError::Closed { .. } => FaultKind::UpstreamUnreachable,
        EgressError::HeadTimeout { .. } => FaultKind::UpstreamTimeout,
        EgressError::Protocol { .. } | EgressError::BodyBroken { .. } | EgressError::TooLarge { .. } => {
            FaultKind::UpstreamInvalid
        }
        EgressError::Trust { .. } | EgressError::Certificate { .. } => FaultKind::Internal,
    };
    Fault::new(kind, format!("application `{app}`: {}", causes(error)))
}

/// An error with all its causes.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", causes(source)),
        None => error.to_string(),
    }
}
