//! The reply of an MCP application: its session sealed to the caller, its lists filtered to what the caller could be
//! permitted, everything else as it came.

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header};
use hyper::body::Incoming;
use vestibule_egress::Client;
use vestibule_inbound::Caller;
use vestibule_mcp::{ListKind, forwardable_response, listing, listing::StreamFilter};
use vestibule_model::{Fault, FaultKind, OperationId, Stop, json::Json};
use vestibule_policy::{Attempt, Environment, Verdict};

use crate::{
    apps::App,
    forward::{Reply, ReplyBody},
    gateway::Gateway,
    mcp_arrival::{SESSION, owner},
};

/// A reply that streams through.
pub(crate) fn streamed(filter: &Filter, response: Response<Incoming>, reply: Reply) -> Reply {
    let headers = filter.headers(response.headers());
    Reply { headers, body: ReplyBody::Streamed(response.into_body()), ..reply }
}

/// A stream that may replay lists of an earlier request (2025-11-25 transports, "Resumability and Redelivery").
pub(crate) fn replayed(filter: Filter, response: Response<Incoming>, reply: Reply) -> Reply {
    let mut headers = filter.headers(response.headers());
    headers.remove(header::CONTENT_LENGTH);
    let max = filter.gw.settings.limits.list_max_bytes;
    let events = Box::new(EventFilter { stream: StreamFilter::new(max), filter });
    Reply { headers, body: ReplyBody::Filtered(response.into_body(), events), ..reply }
}

/// A list: read whole, bounded, and filtered.
pub(crate) async fn filtered(
    filter: Filter,
    kind: ListKind,
    response: Response<Incoming>,
    mut reply: Reply,
) -> Result<Reply, Stop> {
    let mut headers = filter.headers(response.headers());
    let is_sse = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.to_ascii_lowercase().starts_with("text/event-stream"));
    let is_list = response.status().is_success();
    let max = filter.gw.settings.limits.list_max_bytes;
    let body = Client::read_body(response.into_body(), max).await;
    let body = body.map_err(|error| Fault::new(FaultKind::UpstreamInvalid, error))?;
    reply.held.grow(body.len())?;
    let visible = filter.visible();
    let keep = |name: &str| filter.keeps(&visible, kind, name);
    let body: Bytes = match (is_list, is_sse) {
        (false, _) => body,
        (true, true) => listing::filter_sse(&body, kind, keep)?,
        (true, false) => listing::filter(&body, kind, keep)?,
    };
    headers.remove(header::CONTENT_LENGTH);
    Ok(Reply { headers, body: ReplyBody::Whole(body), ..reply })
}

/// Filters the lists in a stream of events.
pub(crate) struct EventFilter {
    stream: StreamFilter,
    filter: Filter,
}

impl EventFilter {
    /// What may pass of `chunk` and of what was held back before it.
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Result<Bytes, Fault> {
        let visible = self.filter.visible();
        let filter = &self.filter;
        self.stream.push(chunk, &|kind, name| filter.keeps(&visible, kind, name))
    }
}

/// What one caller could be permitted at one application, at the moment it is asked.
pub(crate) struct Filter {
    gw: Arc<Gateway>,
    app: Arc<App>,
    caller: Caller,
    ip: IpAddr,
}

impl Filter {
    pub(crate) fn new(gw: &Arc<Gateway>, app: &Arc<App>, caller: &Caller, ip: IpAddr) -> Self {
        Self { gw: Arc::clone(gw), app: Arc::clone(app), caller: caller.clone(), ip }
    }

    fn environment(&self) -> Environment {
        Environment { now: self.gw.clock.now(), ip: Some(self.ip) }
    }

    fn visible(&self) -> Arc<HashSet<Arc<str>>> {
        self.gw.lock.visible(&self.caller, self.app.id(), &self.environment())
    }

    /// Tools are shown if some arguments could be permitted. Resources and prompts are known by their one argument, so
    /// they are decided as the call would be.
    fn keeps(&self, visible: &HashSet<Arc<str>>, kind: ListKind, name: &str) -> bool {
        match kind {
            ListKind::Tools => visible.contains(name),
            ListKind::ResourceTemplates => visible.contains("resources/read"),
            ListKind::Resources => self.is_permitted("resources/read", "uri", name),
            ListKind::Prompts => self.is_permitted("prompts/get", "name", name),
        }
    }

    fn is_permitted(&self, operation: &str, argument: &str, value: &str) -> bool {
        let arguments = Json::Object(vec![(argument.to_owned(), Json::String(value.to_owned()))]);
        let operation = OperationId::new(self.app.id().clone(), operation);
        let attempt = Attempt { operation, arguments: &arguments };
        matches!(self.gw.lock.decide(&self.caller, &attempt, &self.environment()), Verdict::Permitted(_))
    }

    /// The application's headers that have a meaning for the caller, its session sealed to the caller.
    fn headers(&self, upstream: &HeaderMap) -> HeaderMap {
        let mut headers: HeaderMap = upstream
            .iter()
            .filter(|(name, _)| name.as_str() != SESSION && forwardable_response(name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let sealed = upstream
            .get(SESSION)
            .and_then(|session| session.to_str().ok())
            .and_then(|session| self.gw.sessions.seal(session, &owner(&self.caller), self.app.id()).ok())
            .and_then(|sealed| HeaderValue::from_str(&sealed).ok());
        if let Some(sealed) = sealed {
            headers.insert(SESSION, sealed);
        }
        headers
    }
}
