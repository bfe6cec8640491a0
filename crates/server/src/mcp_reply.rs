//! The reply of an MCP application: its session sealed to the caller, its lists filtered to what the caller could be
//! permitted, everything else as it came.

use std::{collections::HashSet, net::IpAddr, sync::Arc};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
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
    let is_success = response.status().is_success();
    let body = read(&filter, response.into_body(), &mut reply).await?;
    let visible = filter.visible();
    let keep = |name: &str| filter.keeps(&visible, kind, name);
    let filtered =
        if is_sse { listing::filter_sse(&body, kind, keep) } else { listing::filter(&body, kind, keep) };
    let body = match filtered {
        Ok(filtered) => filtered,
        // An error of the application in words of its own.
        Err(_) if !is_success => body,
        Err(fault) => return Err(fault.into()),
    };
    headers.remove(header::CONTENT_LENGTH);
    Ok(Reply { headers, body: ReplyBody::Whole(body), ..reply })
}

/// Reads a list whole: bounded, counted against the total before it is kept, within the time of the call.
async fn read(filter: &Filter, mut body: Incoming, reply: &mut Reply) -> Result<Bytes, Stop> {
    let max = filter.gw.settings.limits.list_max_bytes;
    let all = async {
        let mut all = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Fault::new(FaultKind::UpstreamInvalid, error))?;
            let Ok(data) = frame.into_data() else { continue };
            if all.len() + data.len() > max {
                let cause = format!("the list is longer than `limits.list_max_bytes`, {max}");
                return Err(Fault::new(FaultKind::UpstreamInvalid, cause).into());
            }
            reply.held.grow(data.len())?;
            all.extend_from_slice(&data);
        }
        Ok(all.freeze())
    };
    let slow = |_| {
        Fault::new(FaultKind::UpstreamTimeout, "the list did not arrive within `limits.call_max_seconds`")
    };
    tokio::time::timeout(reply.deadline, all).await.map_err(slow)?
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
