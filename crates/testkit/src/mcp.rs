use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    answer::{Answer, Beats},
    upstream::Seen,
};

const LEGACY: &str = "2025-11-25";
const MODERN: &str = "2026-07-28";
const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";

/// Which revision of MCP the server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    /// 2025-11-25: `initialize`, sessions, `notifications/cancelled`.
    Legacy,
    /// 2026-07-28: stateless, `_meta`, headers that repeat the body; a closed stream is a cancellation.
    Modern,
}

/// How `tools/call` is answered. The result's text is always the arguments as they arrived, as JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallReply {
    /// One JSON body.
    Json,
    /// A stream: this many progress notifications, then the result.
    Stream(u32),
    /// A stream of progress notifications without end, until the upstream is told to finish; then the result. Their
    /// `progress` counts all the beats of the upstream, see [`crate::TestUpstream::beats`].
    Beats,
    /// Nothing until it is cancelled: by `notifications/cancelled` (legacy) or by closing the connection.
    Hang,
}

/// A minimal MCP server over Streamable HTTP, strict about what a gateway must get right: sessions in the legacy era,
/// headers that agree with the body in the modern one.
#[derive(Debug)]
pub struct Mcp {
    era: Era,
    state: Mutex<State>,
    cancelled: watch::Sender<Vec<Value>>,
}

#[derive(Debug)]
struct State {
    tools: Vec<Value>,
    reply: CallReply,
    replies: HashMap<String, CallReply>,
    sessions: HashSet<String>,
    sessions_made: u32,
}

impl Mcp {
    /// A server of `era` with these tool definitions, answering calls with [`CallReply::Json`].
    #[must_use]
    pub fn new(era: Era, tools: Vec<Value>) -> Self {
        let (reply, replies) = (CallReply::Json, HashMap::new());
        let state = State { tools, reply, replies, sessions: HashSet::new(), sessions_made: 0 };
        Self { era, state: Mutex::new(state), cancelled: watch::Sender::default() }
    }

    /// How calls are answered from now on, but those of tools that are answered in a way of their own.
    pub fn reply_with(&self, reply: CallReply) {
        self.state().reply = reply;
    }

    /// How calls of this tool are answered from now on.
    pub fn reply_to(&self, tool: &str, reply: CallReply) {
        self.state().replies.insert(tool.to_owned(), reply);
    }

    /// The tool definitions from now on, as after an upgrade of the server.
    pub fn replace_tools(&self, tools: Vec<Value>) {
        self.state().tools = tools;
    }

    /// Ends every session, as a restart of the server does: the next request in one of them is answered 404.
    pub fn forget_sessions(&self) {
        self.state().sessions.clear();
    }

    /// The JSON-RPC ids that `notifications/cancelled` has named so far.
    #[must_use]
    pub fn cancelled(&self) -> Vec<Value> {
        self.cancelled.borrow().clone()
    }

    /// Waits until `notifications/cancelled` has named at least `count` requests.
    pub async fn wait_for_cancelled(&self, count: usize) {
        self.cancelled.subscribe().wait_for(|ids| ids.len() >= count).await.expect("the sender is in `self`");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn react(&self, seen: &Seen) -> Reaction {
        let message = seen.json();
        if seen.path != "/mcp" {
            return Reaction::AtOnce(Answer::new(404, ""));
        }
        match self.era {
            Era::Legacy => self.react_legacy(seen, &message),
            Era::Modern => self.react_modern(seen, &message),
        }
    }

    /// Waits for `notifications/cancelled` to name the request. Such a request is not answered any more: its stream
    /// ends without a response.
    pub(crate) async fn until_cancelled(&self, id: &Value) -> Answer {
        self.cancelled.subscribe().wait_for(|ids| ids.contains(id)).await.expect("the sender is in `self`");
        Answer::stream("text/event-stream", Vec::<Bytes>::new())
    }

    fn react_legacy(&self, seen: &Seen, message: &Value) -> Reaction {
        let method = message["method"].as_str().unwrap_or_default();
        let session = seen.header("mcp-session-id");
        let answer = match (&seen.method, method) {
            (&Method::POST, "initialize") => self.initialize(message),
            _ if session.is_empty() => Answer::new(400, "a session is needed"),
            _ if !self.state().sessions.contains(session) => Answer::new(404, ""),
            (&Method::DELETE, _) => {
                self.state().sessions.remove(session);
                Answer::new(200, "")
            }
            (&Method::POST, _) if message.get("id").is_none() => self.notice(method, message),
            (&Method::POST, "ping") => result(message, json!({})),
            (&Method::POST, "tools/list") => result(message, json!({ "tools": self.state().tools })),
            (&Method::POST, "tools/call") => return self.call(message),
            (&Method::POST, _) => error(200, message, -32601, "Method not found"),
            _ => Answer::new(405, ""),
        };
        Reaction::AtOnce(answer)
    }

    fn initialize(&self, message: &Value) -> Answer {
        let mut state = self.state();
        state.sessions_made += 1;
        let session = format!("upstream-session-{}", state.sessions_made);
        state.sessions.insert(session.clone());
        let body = json!({
            "protocolVersion": LEGACY,
            "capabilities": { "tools": {} },
            "serverInfo": { "name": "test-upstream", "version": "1" },
        });
        result(message, body).header("mcp-session-id", &session)
    }

    fn notice(&self, method: &str, message: &Value) -> Answer {
        if method == "notifications/cancelled" {
            let id = message["params"]["requestId"].clone();
            self.cancelled.send_modify(|ids| ids.push(id));
        }
        Answer::new(202, "")
    }

    fn react_modern(&self, seen: &Seen, message: &Value) -> Reaction {
        if seen.method != Method::POST {
            return Reaction::AtOnce(Answer::new(405, ""));
        }
        if let Some(refusal) = contradiction(seen, message) {
            return Reaction::AtOnce(refusal);
        }
        let list = |own| {
            let fresh = json!({ "resultType": "complete", "ttlMs": 0, "cacheScope": "private" });
            result(message, joined(fresh, own))
        };
        Reaction::AtOnce(match message["method"].as_str().unwrap_or_default() {
            "server/discover" => {
                list(json!({ "supportedVersions": [MODERN], "capabilities": { "tools": {} } }))
            }
            "tools/list" => list(json!({ "tools": self.state().tools })),
            "tools/call" => return self.call(message),
            _ => error(404, message, -32601, "Method not found"),
        })
    }

    fn call(&self, message: &Value) -> Reaction {
        let state = self.state();
        let name = &message["params"]["name"];
        if !state.tools.iter().any(|tool| &tool["name"] == name) {
            return Reaction::AtOnce(error(200, message, -32602, "Unknown tool"));
        }
        match name.as_str().and_then(|name| state.replies.get(name)).copied().unwrap_or(state.reply) {
            CallReply::Beats => Reaction::Call(self.beats(message)),
            CallReply::Json => Reaction::Call(result(message, self.echo(message))),
            CallReply::Stream(events) => Reaction::Call(self.stream(message, events)),
            CallReply::Hang => Reaction::Hang(message["id"].clone()),
        }
    }

    fn echo(&self, message: &Value) -> Value {
        let arguments = message["params"]["arguments"].to_string();
        let own = json!({ "content": [{ "type": "text", "text": arguments }], "isError": false });
        match self.era {
            Era::Legacy => own,
            Era::Modern => joined(json!({ "resultType": "complete" }), own),
        }
    }

    fn beats(&self, message: &Value) -> Answer {
        let params = json!({ "progressToken": progress_token(message) });
        let progress = json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params });
        let opened = progress.to_string();
        // The number is the last member of `params`, which is the last of the message.
        let opened = opened.strip_suffix("}}").expect("`params` comes last");
        let result = json!({ "jsonrpc": "2.0", "id": message["id"], "result": self.echo(message) });
        Answer::beating(
            "text/event-stream",
            Beats {
                before: format!("event: message\ndata: {opened},\"progress\":"),
                after: "}}\n\n".to_owned(),
                last: format!("event: message\ndata: {result}\n\n"),
            },
        )
    }

    fn stream(&self, message: &Value, steps: u32) -> Answer {
        let token = progress_token(message);
        let progress = (1..=steps).map(|step| {
            let params = json!({ "progressToken": token, "progress": step, "total": steps });
            json!({ "jsonrpc": "2.0", "method": "notifications/progress", "params": params })
        });
        let last = json!({ "jsonrpc": "2.0", "id": message["id"], "result": self.echo(message) });
        let events = progress.chain([last]).map(|event| format!("event: message\ndata: {event}\n\n"));
        Answer::stream("text/event-stream", events)
    }
}

/// What a message leads to.
#[derive(Debug)]
pub(crate) enum Reaction {
    /// An answer that no gate holds.
    AtOnce(Answer),
    /// The answer to a call, which waits at the gate.
    Call(Answer),
    /// None, until the request of this id is cancelled.
    Hang(Value),
}

/// What a modern server refuses before it looks at the method: it MUST compare the headers with the body it parses
/// (2026-07-28, transports), and it speaks one version.
fn contradiction(seen: &Seen, message: &Value) -> Option<Answer> {
    let method = message["method"].as_str().unwrap_or_default();
    let name = message["params"]["name"].as_str().unwrap_or_default();
    let Some(version) = message["params"]["_meta"][VERSION_KEY].as_str() else {
        return Some(error(400, message, -32602, "`_meta` lacks the protocol version"));
    };
    let agree = seen.header("mcp-protocol-version") == version
        && seen.header("mcp-method") == method
        && (method != "tools/call" || seen.header("mcp-name") == name);
    if !agree {
        return Some(error(400, message, -32020, "a header contradicts the body"));
    }
    (version != MODERN).then(|| error(400, message, -32022, "unsupported protocol version"))
}

fn progress_token(message: &Value) -> &Value {
    message["params"]["_meta"].get("progressToken").unwrap_or(&message["id"])
}

fn result(message: &Value, result: Value) -> Answer {
    Answer::json(&json!({ "jsonrpc": "2.0", "id": message["id"], "result": result }))
}

fn error(status: u16, message: &Value, code: i32, text: &str) -> Answer {
    let error = json!({ "code": code, "message": text });
    let body = json!({ "jsonrpc": "2.0", "id": message["id"], "error": error });
    Answer::new(status, body.to_string()).header("content-type", "application/json")
}

/// Both objects in one.
fn joined(mut left: Value, right: Value) -> Value {
    if let (Value::Object(left), Value::Object(right)) = (&mut left, right) {
        left.extend(right);
    }
    left
}
