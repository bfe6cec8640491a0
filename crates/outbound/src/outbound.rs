use std::{collections::HashMap, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Request, Response, header};
use hyper::body::Incoming;
use url::Url;
use vestibule_egress::{Client, EgressBody, EgressError};
use vestibule_model::{AgentId, AppId, AttemptId, Clock, Fault, FaultKind, Method};
use vestibule_policy::Permit;

use crate::{
    Access, CallTokenSource, SecretError, SecretRef, Secrets, StrategyConfig,
    access::Placement,
    headers,
    strategy::{Means, Strategy},
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
}

/// Door two of all applications. Immutable: a new configuration is a new `Outbound`.
#[derive(Debug)]
pub struct Outbound {
    upstreams: HashMap<AppId, Arc<Upstream>>,
    client: Client,
}

impl Outbound {
    /// Reads every secret once, so that a gateway that could not use one says so when it starts. Blocks while files are
    /// read. `call_tokens` makes what called agents get.
    ///
    /// # Errors
    /// [`OutboundError`] for the first application that could not be called.
    pub fn new(
        apps: Vec<UpstreamConfig>,
        client: Client,
        secrets: Secrets,
        clock: Arc<dyn Clock>,
        call_tokens: Arc<dyn CallTokenSource>,
    ) -> Result<Self, OutboundError> {
        let means = Means { secrets, clock, call_tokens };
        let upstreams = apps
            .into_iter()
            .map(|config| {
                let strategy = Strategy::new(config.strategy, &means)?;
                let upstream = Upstream::new(config.app.clone(), &config.url, strategy)?;
                Ok((config.app, Arc::new(upstream)))
            })
            .collect::<Result<_, OutboundError>>()?;
        Ok(Self { upstreams, client })
    }

    /// The credential for the call that `permit` allows.
    ///
    /// # Errors
    /// `AccessUnavailable` when it cannot be obtained.
    pub async fn obtain(&self, permit: Permit, calling: &Calling) -> Result<Access, Fault> {
        let upstream = self.upstream(&permit.operation().app)?;
        let placement = upstream.strategy.obtain(permit.caller(), calling).await?;
        Ok(Access { upstream, placement, permit: Some(permit) })
    }

    /// The credential for a question of the gateway itself, such as which operations there are. Never for what an agent
    /// asked. An application that is an agent is asked without one: its tokens are for calls of somebody.
    ///
    /// # Errors
    /// As [`Outbound::obtain`].
    pub async fn obtain_own(&self, app: &AppId) -> Result<Access, Fault> {
        let upstream = self.upstream(app)?;
        let placement = upstream.strategy.obtain_own().await?;
        Ok(Access { upstream, placement, permit: None })
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
        self.client.send(request).await.map_err(|error| fault(access.upstream.app(), &error))
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
        EgressError::Trust { .. } => FaultKind::Internal,
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
