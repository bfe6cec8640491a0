//! A request as it came, and the attempt that it is: read once, bounded, and never read again.

use std::{net::SocketAddr, sync::Arc};

use http::{HeaderMap, Request, header, request::Parts};
use hyper::body::Incoming;
use vestibule_evidence::{Record, RecordKind};
use vestibule_inbound::Caller;
use vestibule_mcp::ListKind;
use vestibule_model::{
    AppId, AppKind, AttemptId, Denial, Fault, FaultKind, Method, Monotonic, OperationId, Refusal, Stop,
    Timestamp, TraceId, json::Json,
};

use crate::{
    apps::App,
    body::{self, StreamedDigest},
    config::RecordConfig,
    edge::Surface,
    forward::Outgoing,
    gateway::Gateway,
    http_arrival, mcp_arrival,
};

/// A request to an application, before anything is known about who sent it.
pub(crate) struct Arrival {
    id: AttemptId,
    at: Timestamp,
    started: Monotonic,
    peer: SocketAddr,
    parts: Parts,
    /// None once it is being read.
    body: Option<Incoming>,
    /// Some of it may still be on the connection.
    is_partly_read: bool,
}

/// What a caller asks for, out of the one parse of its request.
pub(crate) enum Demand {
    /// An operation with its arguments: policy decides.
    Operation { operation: OperationId, arguments: Json },
    /// Something that every registered caller of the application may do.
    Always { method: &'static str },
    /// A list, which is filtered to what the caller could be permitted.
    List { method: &'static str, kind: ListKind },
}

/// A demand, and the request that goes to the application if it is permitted.
pub(crate) struct Attempt {
    pub(crate) app: AppId,
    pub(crate) peer: SocketAddr,
    pub(crate) demand: Demand,
    pub(crate) outgoing: Outgoing,
    pub(crate) bytes_in: u64,
    /// How the record keeps the arguments, where the application says so.
    pub(crate) kept: Option<RecordConfig>,
    /// The digest of a body that no policy reads.
    pub(crate) streamed: Option<StreamedDigest>,
}

impl Arrival {
    pub(crate) fn new(gw: &Gateway, request: Request<Incoming>, peer: SocketAddr) -> Self {
        let (parts, body) = request.into_parts();
        let at = gw.clock.now();
        let started = gw.clock.monotonic();
        Self {
            id: AttemptId::new(at, &*gw.entropy),
            at,
            started,
            peer,
            parts,
            body: Some(body),
            is_partly_read: false,
        }
    }

    pub(crate) fn id(&self) -> AttemptId {
        self.id
    }

    /// When it arrived, for measuring.
    pub(crate) fn started(&self) -> Monotonic {
        self.started
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.parts.headers
    }

    pub(crate) fn query(&self) -> Option<&str> {
        self.parts.uri.query()
    }

    /// The record of an attempt of which nothing is known but that it arrived.
    pub(crate) fn record(&self) -> Record {
        let trace = self
            .headers()
            .get("traceparent")
            .and_then(|value| value.to_str().ok())
            .and_then(TraceId::from_traceparent)
            .unwrap_or_else(|| TraceId::of(self.id));
        let mut record = Record::new(RecordKind::Call, self.id, self.at, trace);
        record.remote = Some(self.peer.ip());
        record.method = Some(self.parts.method.to_string());
        record
    }

    /// The application that the path names. Refuses what no application is ever shown: another host, a foreign origin,
    /// an upgrade, CONNECT and TRACE.
    pub(crate) fn app(&self, gw: &Gateway, surface: &mut Surface) -> Result<Arc<App>, Stop> {
        let (id, rest) = split(self.parts.uri.path()).ok_or(Denial::AppUnknown)?;
        let app = gw.apps.get(id).ok_or(Denial::AppUnknown)?;
        surface.app = Some(Arc::clone(&app));
        gw.names.check(&self.parts.uri, self.headers())?;
        if Method::parse(self.parts.method.as_str()).is_none() || self.headers().contains_key(header::UPGRADE)
        {
            return Err(Denial::MethodNotAllowed.into());
        }
        match app.kind() {
            AppKind::Mcp if rest != "/mcp" => Err(Denial::AppUnknown.into()),
            AppKind::Mcp | AppKind::Http => Ok(app),
        }
    }

    /// Whether the connection can carry another request after a refusal: what is left of the body has been read away.
    pub(crate) async fn is_drained(&mut self) -> bool {
        match self.body.take() {
            Some(body) => body::discard(body).await,
            None => !self.is_partly_read,
        }
    }

    /// Reads the request: the decision, the forwarded bytes and the record come from this parse.
    pub(crate) async fn attempt(
        &mut self,
        gw: &Gateway,
        app: &App,
        caller: &Caller,
        surface: &mut Surface,
    ) -> Result<Attempt, Stop> {
        let fault = || Fault::new(FaultKind::Internal, "the body of a request is read once");
        let body = self.body.take().ok_or_else(fault)?;
        let arrived = Arrived { peer: self.peer, parts: &self.parts, body };
        self.is_partly_read = true;
        let attempt = match app.kind() {
            AppKind::Mcp => mcp_arrival::read(gw, app, caller, surface, arrived).await,
            AppKind::Http => http_arrival::read(gw, app, arrived).await,
        };
        self.is_partly_read = match &attempt {
            Ok(attempt) => attempt.streamed.is_some(),
            Err(Stop::Denied(refusal)) => body::is_broken_off(refusal.denial),
            Err(Stop::Failed(_)) => true,
        };
        attempt
    }
}

/// The parts of a request whose caller is known.
pub(crate) struct Arrived<'a> {
    pub(crate) peer: SocketAddr,
    pub(crate) parts: &'a Parts,
    pub(crate) body: Incoming,
}

/// `/apps/{app}{rest}`: the application's id and what follows it.
pub(crate) fn split(path: &str) -> Option<(&str, &str)> {
    let below = path.strip_prefix("/apps/")?;
    Some(match below.find('/') {
        Some(at) => below.split_at(at),
        None => (below, ""),
    })
}

/// The content type without its parameters, lower case.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

/// A body that is not what it must be.
pub(crate) fn unsupported(found: Option<&str>, wanted: &str) -> Stop {
    let found = found.unwrap_or("none");
    Refusal::new(Denial::MediaTypeUnsupported, format!("content type `{found}`, must be `{wanted}`")).into()
}
