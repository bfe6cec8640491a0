use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, header};
use serde_json::{Value, json};
use tokio::sync::watch;
use vestibule_model::{AppKind, Clock, Monotonic};

use super::{
    super::{
        agent::{VERSION, next},
        story::Places,
    },
    cast::Member,
};
use crate::cli::Failure;

const LEGACY_VERSION: &str = "2025-11-25";
/// Of a reply, for showing.
const TEXT_MAX_BYTES: usize = 64 << 10;

/// In which protocol an agent calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// MCP without sessions.
    Modern,
    /// MCP with a session.
    Legacy,
    /// A plain HTTP API.
    Http,
}

/// What the agent waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// A reply that streams.
    Stream,
    /// One answer, at the end.
    Plain,
    /// Its turn. Then for one answer.
    Turn,
}

impl Door {
    pub(super) const ALL: [Self; 3] = [Self::Modern, Self::Legacy, Self::Http];

    pub(super) fn app(self) -> AppKind {
        match self {
            Self::Modern | Self::Legacy => AppKind::Mcp,
            Self::Http => AppKind::Http,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Modern => "MCP 2026-07-28",
            Self::Legacy => "MCP 2025-11-25",
            Self::Http => "HTTP",
        }
    }

    /// A call of `stream_progress` that takes so long.
    pub(super) fn request(
        self,
        places: &Places,
        manner: Manner,
        seconds: u32,
        session: Option<&str>,
    ) -> Result<Request<Bytes>, Failure> {
        let mut params =
            json!({ "name": "stream_progress", "arguments": { "seconds": seconds }, "_meta": {} });
        // Who wants to hear of the progress gets a stream.
        if manner == Manner::Stream
            && let Some(meta) = params.get_mut("_meta").and_then(Value::as_object_mut)
        {
            meta.insert("progressToken".to_owned(), json!(seconds));
        }
        match self {
            Self::Modern | Self::Legacy => self.message(places, seconds, "tools/call", params, session),
            Self::Http => {
                let accepted = match manner {
                    Manner::Stream => "application/x-ndjson",
                    Manner::Plain | Manner::Turn => "application/json",
                };
                let url = format!("{}/progress?seconds={seconds}", places.http);
                let request = Request::get(url).header(header::ACCEPT, accepted);
                request.body(Bytes::new()).map_err(Failure::broken)
            }
        }
    }

    /// One message of MCP in this era.
    pub(super) fn message(
        self,
        places: &Places,
        id: u32,
        method: &str,
        mut params: Value,
        session: Option<&str>,
    ) -> Result<Request<Bytes>, Failure> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(&places.mcp)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream");
        if self == Self::Modern {
            request = request.header("mcp-protocol-version", VERSION).header("mcp-method", method);
            if let Some(name) = params.get("name").and_then(Value::as_str) {
                request = request.header("mcp-name", name);
            }
            if let Some(meta) = params.get_mut("_meta").and_then(Value::as_object_mut) {
                meta.insert("io.modelcontextprotocol/protocolVersion".to_owned(), json!(VERSION));
                meta.insert("io.modelcontextprotocol/clientCapabilities".to_owned(), json!({}));
            }
        } else if let Some(session) = session {
            request =
                request.header("mcp-protocol-version", LEGACY_VERSION).header("mcp-session-id", session);
        }
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        request.body(Bytes::from(message.to_string())).map_err(Failure::broken)
    }
}

/// Opens a session of the legacy era.
pub(super) async fn session(member: &Member, places: &Places) -> Result<String, Failure> {
    let client = json!({ "name": "vestibule-tour", "version": "1" });
    let hello = json!({ "protocolVersion": LEGACY_VERSION, "capabilities": {}, "clientInfo": client });
    let request = Door::Legacy.message(places, 0, "initialize", hello, None)?;
    let answer = member.holder.call(&request, &member.mcp).await?;
    match answer.header("mcp-session-id") {
        "" => Err(Failure::Broken(format!("no session for the {}: {}", member.holder.name, answer.status))),
        session => Ok(session.to_owned()),
    }
}

/// A call that is under way, or was.
pub(super) struct Call {
    /// Whose.
    pub(super) who: &'static str,
    pub(super) door: Door,
    pub(super) manner: Manner,
    /// No two calls of the story take as long, so the application's journal tells them apart.
    pub(super) seconds: u32,
    heard: watch::Receiver<Heard>,
}

/// What the agent has heard of its call.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    pub(super) status: Option<u16>,
    /// The attempt, as the gateway calls it.
    pub(super) attempt: Option<String>,
    /// Pieces of the reply's body.
    pub(super) pieces: u32,
    /// When the latest piece came.
    pub(super) latest: Option<Monotonic>,
    pub(super) text: String,
    /// How the reply ended.
    pub(super) end: Option<&'static str>,
}

impl Heard {
    /// The latest line of the body, what frames it left out.
    pub(super) fn last_line(&self) -> &str {
        let line = self.text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
        line.strip_prefix("data:").unwrap_or(line).trim()
    }

    pub(super) fn is_cut_off(&self) -> bool {
        self.end == Some("cut off")
    }
}

impl Call {
    /// Sends it. Its reply is read as it comes, until it ends or the call is dropped.
    pub(super) fn start(
        member: &Arc<Member>,
        door: Door,
        manner: Manner,
        seconds: u32,
        request: Request<Bytes>,
    ) -> Self {
        let (told, heard) = watch::channel(Heard::default());
        tokio::spawn(listen(Arc::clone(member), door, request, told));
        Self { who: member.holder.name, door, manner, seconds, heard }
    }

    pub(super) fn heard(&self) -> Heard {
        self.heard.borrow().clone()
    }

    /// Waits until it is so. False when it never will be, because the reply has ended.
    pub(super) async fn until(&mut self, is_so: impl FnMut(&Heard) -> bool) -> bool {
        self.heard.wait_for(is_so).await.is_ok()
    }
}

/// Waits for all of them until it is so, at most this long together.
pub(super) async fn all_until<'a>(
    calls: impl IntoIterator<Item = &'a mut Call>,
    at_most: Duration,
    is_so: impl Fn(&Heard) -> bool,
) -> bool {
    let all = async {
        let mut all = true;
        for call in calls {
            all &= call.until(&is_so).await;
        }
        all
    };
    tokio::time::timeout(at_most, all).await.unwrap_or(false)
}

async fn listen(member: Arc<Member>, door: Door, request: Request<Bytes>, told: watch::Sender<Heard>) {
    let Ok(response) = member.holder.send(&request, member.token(door.app())).await else {
        told.send_modify(|heard| heard.end = Some("cut off"));
        return;
    };
    let (parts, mut body) = response.into_parts();
    let attempt = parts.headers.get("x-request-id").and_then(|id| id.to_str().ok()).map(ToOwned::to_owned);
    told.send_modify(|heard| {
        heard.status = Some(parts.status.as_u16());
        heard.attempt = attempt;
    });
    loop {
        let piece = tokio::select! {
            piece = next(&mut body) => piece,
            // Nobody wants to know any more: the agent hangs up.
            () = told.closed() => return,
        };
        let now = member.holder.entrance.clock.monotonic();
        match piece {
            Ok(text) => told.send_modify(|heard| {
                heard.pieces += 1;
                heard.latest = Some(now);
                if heard.text.len() < TEXT_MAX_BYTES {
                    heard.text.push_str(&text);
                }
            }),
            Err(end) => {
                told.send_modify(|heard| heard.end = Some(end));
                return;
            }
        }
    }
}
