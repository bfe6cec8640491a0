//! The gateway as a client of authorization servers: their metadata, its proof of being a client, and the requests.
//!
//! Guarantees, against a server that is down, slow or wrong, and against whoever reads what is recorded of it:
//!
//! - a server is what the operator says: its metadata must name the issuer byte for byte, and may send us to no address of
//!   ours beside that;
//! - requests are bounded in time, size and number at once, and no redirect is followed: a slow server holds up nobody who
//!   does not need it;
//! - what it says of an error is cleaned and bounded, goes to the record only, and never holds what was sent.

mod answer;
mod authentication;
mod config;
mod form;
mod known;
mod metadata;
pub(crate) mod probe;

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, Uri, header};
use secrecy::SecretString;
use tokio::sync::Semaphore;
use vestibule_egress::{Client, EgressError, EgressLimits, Trust, empty, full};
use vestibule_model::{
    Clock, Entropy, Fault, FaultKind,
    json::{self, Json},
};

pub(crate) use answer::{DEPTH_MAX, TokenAnswer};
use authentication::{Asserted, Authentication, Clients};
pub use config::{AuthorizationServerConfig, ClientAuthConfig, EndpointsConfig, SigningAlgorithm};
pub(crate) use form::Form;
use known::Known;
use metadata::{Endpoint, Endpoints, Wrong};

use crate::{OutboundError, Secrets, outbound::causes, rotating::Rotating};

/// Longest answer that is read, in bytes.
const ANSWER_MAX_BYTES: usize = 256 << 10;
/// Most requests to one server at once. Others wait, and give up with it.
const AT_ONCE: usize = 16;

/// One authorization server.
pub(crate) struct AuthorizationServer {
    config: AuthorizationServerConfig,
    known: Known,
    authentication: Rotating<Authentication>,
    clients: Clients,
    turns: Semaphore,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// What servers are made with.
#[derive(Debug, Clone)]
pub(crate) struct ServerMaker {
    pub(crate) trust: Trust,
    pub(crate) secrets: Secrets,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

impl ServerMaker {
    /// Reads its secret once, and asks nobody yet: a server that is down does not keep the gateway from starting.
    pub(crate) fn make(
        &self,
        config: AuthorizationServerConfig,
    ) -> Result<AuthorizationServer, OutboundError> {
        let unusable =
            |cause: String| OutboundError::AuthorizationServer { name: config.name.clone(), cause };
        let limits = EgressLimits {
            connect_timeout: Duration::from_secs(5).min(config.timeout),
            head_timeout: config.timeout,
            idle_timeout: Duration::from_secs(30),
            idle_per_host: AT_ONCE,
        };
        let clients = Clients::new(limits, &self.trust, None).map_err(|error| unusable(error.to_string()))?;
        let authentication = authentication::rotating(
            &config.auth,
            &config.client_id,
            (limits, self.trust.clone()),
            self.secrets.clone(),
            Arc::clone(&self.clock),
        )
        .map_err(|error| unusable(causes(&error)))?;
        Ok(AuthorizationServer {
            known: Known::new(&config.endpoints, Arc::clone(&self.clock)).map_err(unusable)?,
            authentication,
            clients,
            turns: Semaphore::new(AT_ONCE),
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            config,
        })
    }
}

/// Who asks.
enum As<'a> {
    Ourselves,
    /// A client whose assertion somebody else has made.
    Asserted(&'a str, &'a SecretString),
}

impl AuthorizationServer {
    /// As whom the operator knows it, where they said so.
    pub(crate) fn issuer(&self) -> Option<&str> {
        match &self.config.endpoints {
            EndpointsConfig::Discovered { issuer } => Some(issuer),
            EndpointsConfig::Given { issuer, .. } => issuer.as_deref(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.config.name
    }

    pub(crate) fn config(&self) -> &AuthorizationServerConfig {
        &self.config
    }

    /// What a JWT of ours for this server is for: its issuer, or its token endpoint where nobody says an issuer.
    pub(crate) async fn audience(&self) -> Result<String, Fault> {
        self.within("its metadata", async { Ok(self.endpoints().await?.audience.clone()) }).await
    }

    /// Asks for a token, as the client that the configuration says.
    pub(crate) async fn token(&self, form: Form) -> Result<TokenAnswer, Fault> {
        self.token_by(form, As::Ourselves).await
    }

    /// Asks for a token, as another client, for which `assertion` stands.
    pub(crate) async fn token_as(
        &self,
        form: Form,
        client_id: &str,
        assertion: &SecretString,
    ) -> Result<TokenAnswer, Fault> {
        self.token_by(form, As::Asserted(client_id, assertion)).await
    }

    async fn token_by(&self, form: Form, by: As<'_>) -> Result<TokenAnswer, Fault> {
        const WHAT: &str = "the token request";
        let body = self.within(WHAT, async {
            let endpoints = self.endpoints().await?;
            self.post(WHAT, (&endpoints, &endpoints.token), form, by).await
        });
        TokenAnswer::read(&body.await?).map_err(|rule| self.wrong(WHAT, rule))
    }

    /// What the server says about a token (RFC 7662): the claims of one that is active.
    pub(crate) async fn introspect(&self, token: &SecretString) -> Result<Json, Fault> {
        const WHAT: &str = "the introspection";
        let body = self.within(WHAT, async {
            let endpoints = self.endpoints().await?;
            let endpoint = endpoints.introspection.as_ref().ok_or_else(|| self.without("introspection"))?;
            self.post(WHAT, (&endpoints, endpoint), Form::about(token), As::Ourselves).await
        });
        json::parse(&body.await?, DEPTH_MAX).map_err(|_| self.wrong(WHAT, "is not JSON in one reading"))
    }

    /// Gives a token back (RFC 7009). A token that the server does not know is none, which is as good.
    pub(crate) async fn revoke(&self, token: &SecretString) -> Result<(), Fault> {
        const WHAT: &str = "the revocation";
        let body = self.within(WHAT, async {
            let endpoints = self.endpoints().await?;
            let endpoint = endpoints.revocation.as_ref().ok_or_else(|| self.without("revocation"))?;
            self.post(WHAT, (&endpoints, endpoint), Form::about(token), As::Ourselves).await
        });
        body.await.map(drop)
    }

    /// Whether tokens can be given back to it, as far as is known.
    pub(crate) fn is_revocable(&self) -> bool {
        self.known.last().is_some_and(|endpoints| endpoints.revocation.is_some())
    }

    async fn endpoints(&self) -> Result<Arc<Endpoints>, Fault> {
        let is_mtls = matches!(self.config.auth, ClientAuthConfig::Mtls { .. });
        self.known.endpoints(|name, issuer, uri| self.document(name, issuer, uri, is_mtls)).await
    }

    async fn document(
        &self,
        name: &'static str,
        issuer: String,
        uri: Uri,
        is_mtls: bool,
    ) -> Result<Result<Endpoints, Wrong>, Fault> {
        let mut request = Request::new(empty());
        *request.uri_mut() = uri;
        request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let (status, body) = self.exchange(&self.clients.operator, request).await?;
        if status == StatusCode::OK {
            Ok(Endpoints::read(&body, &issuer, name, is_mtls))
        } else if status.is_server_error() {
            Err(answer::refused(self.name(), "the request for its metadata", status, &[], &Form::grant("")))
        } else {
            Ok(Err(Wrong::Absent(Some(status))))
        }
    }

    async fn post(
        &self,
        what: &'static str,
        (endpoints, endpoint): (&Endpoints, &Endpoint),
        form: Form,
        by: As<'_>,
    ) -> Result<Bytes, Fault> {
        let authentication = self.authentication.current().await.map_err(|fault| self.named(fault))?;
        let (form, header) = match by {
            As::Asserted(client_id, assertion) => {
                (authentication::with_assertion(form, client_id, assertion), None)
            }
            As::Ourselves => {
                let asserted = Asserted {
                    client_id: &self.config.client_id,
                    audience: &endpoints.audience,
                    clock: &*self.clock,
                    entropy: &*self.entropy,
                };
                authentication.prove(form, &asserted).map_err(|fault| self.named(fault))?
            }
        };
        let mut request = Request::new(full(form.body()));
        *request.method_mut() = http::Method::POST;
        request.uri_mut().clone_from(&endpoint.uri);
        let headers = request.headers_mut();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.extend(header.map(|value| (header::AUTHORIZATION, value)));
        let clients = authentication.clients().unwrap_or(&self.clients);
        let client = if endpoint.is_elsewhere { &clients.stranger } else { &clients.operator };
        let exchanged = self.exchange(client, request).await;
        let (status, body) = exchanged.map_err(|fault| self.elsewhere(endpoint, fault))?;
        if status.is_success() {
            Ok(body)
        } else {
            Err(answer::refused(self.name(), what, status, &body, &form))
        }
    }

    async fn exchange(
        &self,
        client: &Client,
        request: Request<vestibule_egress::EgressBody>,
    ) -> Result<(StatusCode, Bytes), Fault> {
        let response = client.send(request).await.map_err(|error| self.broken(&error))?;
        let status = response.status();
        let body = Client::read_body(response.into_body(), ANSWER_MAX_BYTES).await;
        Ok((status, body.map_err(|error| self.broken(&error))?))
    }

    /// What the server's metadata name at another origin may be where only the operator may send us.
    fn elsewhere(&self, endpoint: &Endpoint, fault: Fault) -> Fault {
        if !endpoint.is_elsewhere {
            return fault;
        }
        let way_out =
            "its metadata name that host, not the configuration: where it is right, set `token_url`";
        Fault::new(fault.kind, format!("{} ({way_out})", fault.cause))
    }

    /// In a turn, and in time: waiting for the turn counts.
    async fn within<T>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let timeout = self.config.timeout;
        let late = |_| {
            let cause = format!("authorization server `{}`: {what} took more than {timeout:?}", self.name());
            Fault::new(FaultKind::AuthorizationServerTimeout, cause)
        };
        let turn = async {
            let _turn = self.turns.acquire().await;
            work.await
        };
        tokio::time::timeout(timeout, turn).await.map_err(late)?
    }

    fn broken(&self, error: &EgressError) -> Fault {
        let kind = match error {
            EgressError::AddressRefused { .. }
            | EgressError::Resolve { .. }
            | EgressError::Connect { .. }
            | EgressError::Tls { .. }
            | EgressError::Closed { .. } => FaultKind::AuthorizationServerUnavailable,
            EgressError::HeadTimeout { .. } => FaultKind::AuthorizationServerTimeout,
            EgressError::Protocol { .. } | EgressError::BodyBroken { .. } | EgressError::TooLarge { .. } => {
                FaultKind::AuthorizationServerInvalid
            }
            EgressError::Trust { .. } | EgressError::Certificate { .. } => FaultKind::Internal,
        };
        Fault::new(kind, format!("authorization server `{}`: {}", self.name(), causes(error)))
    }

    /// An answer that cannot be used.
    pub(crate) fn wrong(&self, what: &str, rule: impl fmt::Display) -> Fault {
        let cause = format!("authorization server `{}`: the answer to {what} {rule}", self.name());
        Fault::new(FaultKind::AuthorizationServerInvalid, cause)
    }

    fn without(&self, endpoint: &str) -> Fault {
        let cause = format!("authorization server `{}` has no {endpoint} endpoint", self.name());
        Fault::new(FaultKind::AccessUnavailable, cause)
    }

    fn named(&self, fault: Fault) -> Fault {
        Fault::new(fault.kind, format!("authorization server `{}`: {}", self.name(), fault.cause))
    }
}

impl fmt::Debug for AuthorizationServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizationServer").field("config", &self.config).finish_non_exhaustive()
    }
}
