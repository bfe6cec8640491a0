//! The reply of an MCP application: its session sealed to the caller, its lists filtered to what the caller could be
//! permitted, everything else as it came.

use std::{collections::HashSet, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use hyper::body::Incoming;
use vestibule_egress::Client;
use vestibule_inbound::Caller;
use vestibule_mcp::{ListKind, forwardable_response, listing};
use vestibule_model::{
    Fault, FaultKind, OperationId, Stop,
    json::Json,
};
use vestibule_policy::{Attempt, Environment, Verdict};

use crate::{
    apps::App,
    forward::{Reply, ReplyBody},
    gateway::Gateway,
    mcp_arrival::{SESSION, owner},
};

/// A reply that streams through.
pub(crate) fn streamed(
    gw: &Gateway,
    app: &App,
    caller: &Caller,
    response: Response<Incoming>,
    reply: Reply,
) -> Reply {
    let headers = headers(gw, app, caller, response.headers());
    Reply { headers, body: ReplyBody::Streamed(response.into_body()), ..reply }
}

/// A list: read whole, bounded, and filtered.
pub(crate) async fn filtered(
    gw: &Arc<Gateway>,
    app: &App,
    caller: &Caller,
    kind: ListKind,
    response: Response<Incoming>,
    mut reply: Reply,
) -> Result<Reply, Stop> {
    if response.status() != StatusCode::OK {
        return Ok(streamed(gw, app, caller, response, reply));
    }
    let mut headers = headers(gw, app, caller, response.headers());
    let is_sse = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.to_ascii_lowercase().starts_with("text/event-stream"));
    let max = gw.settings.limits.list_max_bytes;
    let body = Client::read_body(response.into_body(), max).await.map_err(|error| invalid(error.to_string()))?;
    reply.held.grow(body.len())?;
    let filter = Filter::new(gw, app, caller);
    let keep = |name: &str| filter.keeps(kind, name);
    let body: Bytes = if is_sse {
        listing::filter_sse(&body, kind, keep)
    } else {
        listing::filter(&body, kind, keep)
    }
    ?;
    headers.remove(header::CONTENT_LENGTH);
    Ok(Reply { headers, body: ReplyBody::Whole(body), ..reply })
}

fn invalid(cause: String) -> Stop {
    Fault::new(FaultKind::UpstreamInvalid, cause).into()
}

/// What one caller could be permitted at one application, now.
struct Filter<'a> {
    gw: &'a Gateway,
    app: &'a App,
    caller: &'a Caller,
    env: Environment,
    visible: Arc<HashSet<Arc<str>>>,
}

impl<'a> Filter<'a> {
    fn new(gw: &'a Gateway, app: &'a App, caller: &'a Caller) -> Self {
        let env = Environment { now: gw.clock.now(), ip: None };
        let visible = gw.lock.visible(caller, app.id(), &env);
        Self { gw, app, caller, env, visible }
    }

    /// Tools are shown if some arguments could be permitted. Resources and prompts are known by their one argument, so
    /// they are decided as the call would be.
    fn keeps(&self, kind: ListKind, name: &str) -> bool {
        match kind {
            ListKind::Tools => self.visible.contains(name),
            ListKind::ResourceTemplates => self.visible.contains("resources/read"),
            ListKind::Resources => self.is_permitted("resources/read", "uri", name),
            ListKind::Prompts => self.is_permitted("prompts/get", "name", name),
        }
    }

    fn is_permitted(&self, operation: &str, argument: &str, value: &str) -> bool {
        let arguments = Json::Object(vec![(argument.to_owned(), Json::String(value.to_owned()))]);
        let operation = OperationId::new(self.app.id().clone(), operation);
        let attempt = Attempt { operation, arguments: &arguments };
        matches!(self.gw.lock.decide(self.caller, &attempt, &self.env), Verdict::Permitted(_))
    }
}

fn headers(gw: &Gateway, app: &App, caller: &Caller, upstream: &HeaderMap) -> HeaderMap {
    let mut headers: HeaderMap = upstream
        .iter()
        .filter(|(name, _)| name.as_str() != SESSION && forwardable_response(name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let sealed = upstream
        .get(SESSION)
        .and_then(|session| session.to_str().ok())
        .and_then(|session| gw.sessions.seal(session, &owner(caller), app.id()).ok())
        .and_then(|sealed| HeaderValue::from_str(&sealed).ok());
    if let Some(sealed) = sealed {
        headers.insert(SESSION, sealed);
    }
    headers
}
