//! A request to an HTTP application, read once: which operation it is, and with which arguments.

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use vestibule_egress::{EgressBody, full};
use vestibule_model::{
    Denial, Method, OperationId, Refusal, Stop,
    json::{Json, JsonError, parse},
};

use crate::{
    apps::App,
    arrival::{Arrived, Attempt, Demand, media_type, split, unsupported},
    body::{self, Opaque, StreamedDigest},
    forward::Outgoing,
    gateway::Gateway,
    http_app::{BodyRule, Match, forwardable_request, is_json},
};

pub(crate) async fn read(gw: &Gateway, app: &App, arrived: Arrived<'_>) -> Result<Attempt, Stop> {
    let Arrived { peer, parts, body } = arrived;
    let method = Method::parse(parts.method.as_str()).ok_or(Denial::MethodNotAllowed)?;
    let path = split(parts.uri.path()).map(|(_, rest)| rest).unwrap_or_default();
    let routes = app.settings().routes.as_ref().ok_or(Denial::OperationUnknown)?;
    let matched = routes.matching(method, path)?;
    let mut held = gw.bytes.hold();
    let read = match matched.body() {
        BodyRule::Opaque => streamed(gw, body)?,
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
        headers: forwarded(&parts.headers),
        body: read.body,
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
    })
}

/// A body as it will be forwarded, and what policy sees of it.
struct Read {
    body: EgressBody,
    json: Option<Json>,
    bytes: u64,
    streamed: Option<StreamedDigest>,
}

fn streamed(gw: &Gateway, body: hyper::body::Incoming) -> Result<Read, Stop> {
    let (body, digest) = Opaque::new(body, gw.settings.limits.opaque_body_max_bytes)?;
    Ok(Read { body: body.boxed_unsync(), json: None, bytes: 0, streamed: Some(digest) })
}

fn buffered(gw: &Gateway, matched: &Match<'_>, headers: &HeaderMap, bytes: Bytes) -> Result<Read, Stop> {
    if matched.accept_body(headers, bytes.is_empty()).is_err() {
        let wanted = if matched.body() == BodyRule::None { "no body" } else { "application/json" };
        return Err(unsupported(media_type(headers).as_deref(), wanted));
    }
    let json = if !bytes.is_empty() && is_json(headers) {
        Some(parse(&bytes, gw.settings.limits.json_max_depth).map_err(refused)?)
    } else {
        None
    };
    Ok(Read { bytes: bytes.len() as u64, body: full(bytes), json, streamed: None })
}

fn refused(error: JsonError) -> Refusal {
    let denial = match error {
        JsonError::Invalid { .. } | JsonError::LoneSurrogate { .. } => Denial::JsonInvalid,
        JsonError::DuplicateKey { .. } => Denial::JsonDuplicateKey,
        JsonError::TooDeep { .. } => Denial::JsonTooDeep,
    };
    Refusal::new(denial, error)
}

fn forwarded(headers: &HeaderMap) -> HeaderMap {
    headers
        .iter()
        .filter(|(name, _)| forwardable_request(name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}
