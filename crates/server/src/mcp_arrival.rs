//! A request to an MCP application, read once. Streamable HTTP: POST carries one message, GET opens the stream of a
//! legacy session, DELETE ends it.

use http::{HeaderMap, HeaderValue, Method as HttpMethod, header};
use vestibule_egress::full;
use vestibule_inbound::Caller;
use vestibule_mcp::{
    Asked, Demand as Wanted, Era, Frame, cancellation, era::check_version, forwardable_request,
    headers as mcp_headers, session::Owner,
};
use vestibule_model::{Denial, Method, OperationId, Refusal, Stop};

use crate::{
    apps::App,
    arrival::{Arrived, Attempt, Demand, media_type, unsupported},
    body,
    edge::Surface,
    forward::Outgoing,
    gateway::Gateway,
};

/// What every message is, and what the application is told that it is.
const JSON: &str = "application/json";
/// The header that carries a legacy session.
pub(crate) const SESSION: &str = "mcp-session-id";

pub(crate) async fn read(
    gw: &Gateway,
    app: &App,
    caller: &Caller,
    surface: &mut Surface,
    arrived: Arrived<'_>,
) -> Result<Attempt, Stop> {
    let mut headers = forwarded(&arrived.parts.headers);
    // MCP 2026-07-28: sessions are gone; a server ignores `Mcp-Session-Id`, and so it goes no further.
    if Era::of_headers(&arrived.parts.headers) == Era::Legacy {
        session(gw, app, caller, &arrived.parts.headers, &mut headers)?;
    }
    match arrived.parts.method {
        HttpMethod::POST => post(gw, app, surface, arrived, headers).await,
        HttpMethod::GET => bodiless(gw, app, arrived, headers, Method::Get),
        HttpMethod::DELETE => bodiless(gw, app, arrived, headers, Method::Delete),
        _ => Err(Denial::MethodNotAllowed.into()),
    }
}

async fn post(
    gw: &Gateway,
    app: &App,
    surface: &mut Surface,
    arrived: Arrived<'_>,
    mut headers: HeaderMap,
) -> Result<Attempt, Stop> {
    let limits = &gw.settings.limits;
    let found = media_type(&arrived.parts.headers);
    if found.as_deref() != Some(JSON) {
        return Err(unsupported(found.as_deref(), JSON));
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    let mut held = gw.bytes.hold();
    let bytes = body::read(arrived.body, limits, &mut held).await?;
    let frame = Frame::parse(&bytes, limits.json_max_depth).map_err(Refusal::from)?;
    let era = Era::of(&frame, &arrived.parts.headers);
    surface.asked = Asked::of(era, &frame);
    let operations = app.operations();
    let known = |name: &str| operations.as_ref()?.get(name);
    let schema = frame.tool().and_then(known).map(|tool| &tool.input_schema);
    mcp_headers::check(&frame, era, &arrived.parts.headers, schema)?;
    let calls_off = cancellation::cancelled_request(era, &frame);
    let demand = match vestibule_mcp::demand(frame)? {
        Wanted::Operation { name, arguments, .. } => {
            if known(&name).is_none() {
                app.suspect();
            }
            Demand::Operation { operation: OperationId::new(app.id().clone(), &name), arguments }
        }
        Wanted::Always { method } => Demand::Always { method },
        Wanted::List { method, kind } => Demand::List { method, kind },
    };
    let bytes_in = bytes.len() as u64;
    let outgoing = Outgoing {
        method: Method::Post,
        path: String::new(),
        query: None,
        headers,
        again: Some(bytes.clone()),
        body: full(bytes),
        held,
    };
    let record = &app.settings().record;
    let kept = record.arguments.then(|| record.clone());
    Ok(Attempt {
        app: app.id().clone(),
        peer: arrived.peer,
        demand,
        outgoing,
        bytes_in,
        kept,
        streamed: None,
        calls_off,
    })
}

fn bodiless(
    gw: &Gateway,
    app: &App,
    arrived: Arrived<'_>,
    headers: HeaderMap,
    method: Method,
) -> Result<Attempt, Stop> {
    check_version(None, &arrived.parts.headers)?;
    let outgoing = Outgoing {
        method,
        path: String::new(),
        query: None,
        headers,
        body: full(bytes::Bytes::new()),
        again: Some(bytes::Bytes::new()),
        held: gw.bytes.hold(),
    };
    Ok(Attempt {
        app: app.id().clone(),
        peer: arrived.peer,
        demand: Demand::Always { method: method.as_str() },
        outgoing,
        bytes_in: 0,
        kept: None,
        streamed: None,
        calls_off: None,
    })
}

/// The headers that MCP gives a meaning; everything else stays here.
fn forwarded(headers: &HeaderMap) -> HeaderMap {
    headers
        .iter()
        .filter(|(name, _)| name.as_str() != SESSION && forwardable_request(name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// MCP 2025-11-25 transports, "Session Management": a session is not authentication. It is opened only for the
/// principal that it was given to, whatever token that principal presents now.
fn session(
    gw: &Gateway,
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    outgoing: &mut HeaderMap,
) -> Result<(), Stop> {
    let mut sessions = headers.get_all(SESSION).iter();
    let Some(sealed) = sessions.next() else { return Ok(()) };
    let opened = sealed
        .to_str()
        .ok()
        .filter(|_| sessions.next().is_none())
        .and_then(|sealed| gw.sessions.open(sealed, &owner(caller), app.id()).ok())
        .and_then(|session| HeaderValue::from_str(&session).ok())
        .ok_or(Denial::SessionUnknown)?;
    outgoing.insert(SESSION, opened);
    Ok(())
}

/// Who a session belongs to: the agent and the human it acts for, never a token.
pub(crate) fn owner(caller: &Caller) -> Owner<'_> {
    Owner { agent: caller.agent(), user: caller.user() }
}
