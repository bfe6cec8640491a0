//! A request to an HTTP application, read once: which operation it is, and with which arguments.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt;
use vestibule_egress::{EgressBody, full};
use vestibule_model::{
    Denial, Method, OperationId, Refusal, Stop,
    json::{Json, parse},
};

use crate::{
    apps::App,
    arrival::{Arrived, Attempt, Demand, content_type, media_type, split, unsupported},
    body::{self, Opaque, StreamedDigest},
    forward::Outgoing,
    gateway::Gateway,
    http_app::{BodyRule, Match, forwardable_request},
};

pub(crate) async fn read(gw: &Gateway, app: &App, arrived: Arrived<'_>) -> Result<Attempt, Stop> {
    let Arrived { peer, parts, body } = arrived;
    let method = Method::parse(parts.method.as_str()).ok_or(Denial::MethodNotAllowed)?;
    let path = split(parts.uri.path()).map(|(_, rest)| rest).unwrap_or_default();
    let routes = app.settings().routes.as_ref().ok_or(Denial::OperationUnknown)?;
    let matched = routes.matching(method, path)?;
    let mut held = gw.bytes.hold();
    let read = match matched.body() {
        BodyRule::Opaque => streamed(gw, &parts.headers, body)?,
        BodyRule::None | BodyRule::Properties | BodyRule::Value => {
            buffered(gw, &matched, &parts.headers, body::read(body, &gw.settings.limits, &mut held).await?)?
        }
    };
    let query = parts.uri.query();
    let arguments = matched.input(query, read.json)?;
    let operation = OperationId::new(app.id().clone(), &matched.operation().name);
    let outgoing = Outgoing {
        method,
        path: path.to_owned(),
        query: query.map(ToOwned::to_owned),
        headers: forwarded(&parts.headers, read.content_type),
        body: read.body,
        again: read.again,
        held,
    };
    let record = &app.settings().record;
    Ok(Attempt {
        app: app.id().clone(),
        peer,
        demand: Demand::Operation { operation, arguments },
        outgoing,
        bytes_in: read.bytes,
        kept: record.arguments.then(|| record.clone()),
        streamed: read.streamed,
        calls_off: None,
    })
}

/// A body as it will be forwarded, and what policy sees of it.
struct Read {
    body: EgressBody,
    again: Option<Bytes>,
    content_type: Option<HeaderValue>,
    json: Option<Json>,
    bytes: u64,
    streamed: Option<StreamedDigest>,
}

fn streamed(gw: &Gateway, headers: &HeaderMap, body: hyper::body::Incoming) -> Result<Read, Stop> {
    let content_type = content_type(headers)?.cloned();
    let (body, digest) = Opaque::new(body, gw.settings.limits.opaque_body_max_bytes)?;
    Ok(Read {
        body: body.boxed_unsync(),
        again: None,
        content_type,
        json: None,
        bytes: 0,
        streamed: Some(digest),
    })
}

fn buffered(gw: &Gateway, matched: &Match<'_>, headers: &HeaderMap, bytes: Bytes) -> Result<Read, Stop> {
    content_type(headers)?;
    if bytes.is_empty() {
        let again = Some(bytes.clone());
        return Ok(Read {
            body: full(bytes),
            again,
            content_type: None,
            json: None,
            bytes: 0,
            streamed: None,
        });
    }
    let found = media_type(headers);
    // The application is told what was read here, not what the caller called it.
    let accepted = found.as_deref().filter(|media_type| matched.accepts_body(media_type));
    let Some(content_type) = accepted.and_then(|media_type| HeaderValue::from_str(media_type).ok()) else {
        let wanted = if matched.body() == BodyRule::None { "no body" } else { "application/json" };
        return Err(unsupported(found.as_deref(), wanted));
    };
    let json = parse(&bytes, gw.settings.limits.json_max_depth)
        .map_err(|error| Refusal::new(Denial::from(error), error))?;
    Ok(Read {
        bytes: bytes.len() as u64,
        again: Some(bytes.clone()),
        body: full(bytes),
        content_type: Some(content_type),
        json: Some(json),
        streamed: None,
    })
}

fn forwarded(headers: &HeaderMap, content_type: Option<HeaderValue>) -> HeaderMap {
    headers
        .iter()
        .filter(|(name, _)| forwardable_request(name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .chain(content_type.map(|value| (header::CONTENT_TYPE, value)))
        .collect()
}
