//! A request as it came, and the attempt that it is: read once, bounded, and never read again.

use std::{net::SocketAddr, sync::Arc};

use http::{HeaderMap, HeaderValue, Request, header, request::Parts};
use hyper::body::Incoming;
use vestibule_evidence::{Record, RecordKind};
use vestibule_inbound::Caller;
use vestibule_mcp::{Id, ListKind};
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
    /// The earlier request that this one calls off.
    pub(crate) calls_off: Option<Id>,
}

impl Demand {
    /// Whether it answers, reports on or calls off what is under way. That begins nothing, and is counted by no limit: an
    /// agent that has reached one must still be able to end what it has begun.
    pub(crate) fn is_sequel(&self) -> bool {
        match self {
            Self::Always { method } => *method == "response" || method.starts_with("notifications/"),
            Self::Operation { .. } | Self::List { .. } => false,
        }
    }
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

    pub(crate) fn method(&self) -> &str {
        self.parts.method.as_str()
    }

    pub(crate) fn path(&self) -> &str {
        self.parts.uri.path()
    }

    /// Whether the credential comes with a proof of possession (RFC 9449 §7.1).
    pub(crate) fn is_dpop(&self) -> bool {
        self.headers().contains_key("dpop")
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

/// What a request says its body is, if it says so. Refuses two answers: of two, every server believes the one it likes.
pub(crate) fn content_type(headers: &HeaderMap) -> Result<Option<&HeaderValue>, Stop> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(Refusal::new(Denial::MediaTypeUnsupported, "`Content-Type` is there twice").into());
    }
    Ok(value)
}

/// The media type of a body that is parsed here: lower case, without parameters. It is what the application is told.
///
/// The attack: in another charset (`charset=utf-7`), or under a content coding, an application reads another text in
/// the same bytes. So there is none when a coding is named, or any parameter but UTF-8 in its one spelling:
/// `charset =utf-7`, too, is a charset to lax readers.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = content_type(headers).ok()??.to_str().ok()?.to_ascii_lowercase();
    let mut parts = value.split(';').map(|part| part.trim_matches([' ', '\t']));
    let essence = parts.next()?.to_owned();
    let is_plain = !headers.contains_key(header::CONTENT_ENCODING)
        && parts.next().is_none_or(|text| matches!(text, "charset=utf-8" | "charset=\"utf-8\""))
        && parts.next().is_none();
    is_plain.then_some(essence)
}

/// A body that is not what it must be. `found` is its [`media_type`].
pub(crate) fn unsupported(found: Option<&str>, wanted: &str) -> Stop {
    let found = found.unwrap_or("none, or not in plain UTF-8");
    Refusal::new(Denial::MediaTypeUnsupported, format!("content type `{found}`, must be `{wanted}`")).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(lines: &[(http::HeaderName, &'static str)]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, HeaderValue::from_static(value));
        }
        media_type(&headers)
    }

    #[test]
    fn a_media_type_has_no_parameters_but_utf_8() {
        for good in [
            "application/json",
            "Application/JSON",
            " application/json\t",
            "application/json;charset=utf-8",
            "application/json ; Charset=\"UTF-8\"",
        ] {
            assert_eq!(found(&[(header::CONTENT_TYPE, good)]).as_deref(), Some("application/json"), "{good}");
        }
        for bad in [
            "application/json; charset=utf-7",
            "application/json; charset =utf-7",
            "application/json; charset= utf-8",
            "application/json; charset=utf8",
            "application/json; charset='utf-8'",
            "application/json; charset=utf-8; charset=utf-7",
            "application/json; charset=\"utf-8; charset=utf-7\"",
            "application/json; x=1",
            "application/json;",
            "application/json;;charset=utf-8",
        ] {
            assert_eq!(found(&[(header::CONTENT_TYPE, bad)]), None, "{bad}");
        }
    }

    #[test]
    fn a_body_that_is_said_to_be_two_things_or_coded_has_no_media_type() {
        let json = (header::CONTENT_TYPE, "application/json");
        assert_eq!(found(&[]), None);
        assert_eq!(found(&[json.clone(), json.clone()]), None);
        assert_eq!(found(&[json.clone(), (header::CONTENT_ENCODING, "gzip")]), None);
        assert_eq!(found(&[json, (header::CONTENT_ENCODING, "identity")]), None);
    }
}
