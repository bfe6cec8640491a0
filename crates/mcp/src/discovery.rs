//! The gateway's own client: reads an upstream's tools, in whichever era the upstream speaks. Without sockets: the
//! caller sends what [`Step::Send`] says and brings back the reply.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use vestibule_model::{
    Method, Operation,
    json::{Json, parse},
};

use crate::{
    era::{Era, META_CAPABILITIES, META_VERSION, Version},
    errors::METHOD_NOT_FOUND,
    frame::{Frame, Id, Kind},
    headers,
    listing::REPLY_MAX_DEPTH,
    operations::from_tools,
    sse,
};

/// How many pages of tools are read.
pub const PAGES_MAX: u32 = 100;
/// How many tools are read.
pub const TOOLS_MAX: usize = 10_000;

/// A request to the upstream's MCP endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutRequest {
    /// POST, or DELETE at the end of a session.
    pub method: Method,
    /// Its headers, without a credential.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// The upstream's reply, read whole by the caller, who bounds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    status: StatusCode,
    is_stream: bool,
    session: Option<HeaderValue>,
    body: Bytes,
}

impl Reply {
    /// What came back.
    #[must_use]
    pub fn new(status: StatusCode, headers: &HeaderMap, body: Bytes) -> Self {
        let media_type =
            headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        Self {
            status,
            is_stream: essence.eq_ignore_ascii_case("text/event-stream"),
            session: headers.get(headers::SESSION_ID).cloned(),
            body,
        }
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Send this and call [`Discovery::next`] with the reply.
    Send(OutRequest),
    /// All operations are known. [`Discovery::warnings`] tells what was left out.
    Done(Vec<Operation>),
    /// The upstream cannot be read, for this reason.
    Failed(String),
}

/// One reading of an upstream's tools.
#[derive(Debug)]
pub struct Discovery {
    state: State,
    version: Version,
    session: Option<HeaderValue>,
    /// The number of requests sent: their identifiers.
    sent: u32,
    tools: Vec<Json>,
    warnings: Vec<String>,
}

#[derive(Debug)]
enum State {
    Start,
    Initializing,
    Confirming,
    /// Reading this page, from 1.
    Listing(u32),
    /// The session is being ended; this comes then.
    Closing(Box<Step>),
}

impl Default for Discovery {
    fn default() -> Self {
        Self {
            state: State::Start,
            version: Version::V2025_11_25,
            session: None,
            sent: 0,
            tools: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

impl Discovery {
    /// The version that the upstream speaks, once [`Step::Done`].
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// What was left out and why, one sentence each, for the operator. Once [`Step::Done`].
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The next step: the first without a reply, each further one with the reply to what was sent. After
    /// [`Step::Done`] or [`Step::Failed`] there is none.
    pub fn next(&mut self, reply: Option<Reply>) -> Step {
        match (std::mem::replace(&mut self.state, State::Start), reply.as_ref()) {
            (State::Start, None) => self.initialize(),
            (State::Initializing, Some(reply)) => self.initialized(reply),
            (State::Confirming, Some(reply)) if reply.status.is_success() => self.list(1, None),
            (State::Confirming, Some(reply)) => self.end_with(failed("`notifications/initialized`", reply)),
            (State::Listing(page), Some(reply)) => self.listed(page, reply),
            // Ending the session is best effort: some servers answer 405.
            (State::Closing(last), Some(_)) => *last,
            (State::Start, Some(_)) => Step::Failed("a reply to nothing".into()),
            (State::Initializing | State::Confirming | State::Listing(_) | State::Closing(_), None) => {
                Step::Failed("no reply".into())
            }
        }
    }

    fn initialize(&mut self) -> Step {
        self.state = State::Initializing;
        let params = json!({
            "protocolVersion": self.version.as_str(),
            "capabilities": {},
            "clientInfo": client_info(),
        });
        self.post("initialize", params, true)
    }

    fn initialized(&mut self, reply: &Reply) -> Step {
        let result = match self.read(reply) {
            Answer::Result(result) => result,
            answer if is_modern(reply.status, &answer) => {
                self.version = Version::V2026_07_28;
                return self.list(1, None);
            }
            Answer::Error(_) | Answer::Unreadable => return failed("`initialize`", reply),
        };
        // MCP 2025-11-25 lifecycle, "Version Negotiation": the server may answer with another version.
        let version = result.get("protocolVersion").and_then(Json::as_str).and_then(Version::parse);
        self.session = reply.session.clone();
        match version.filter(|version| version.era() == Era::Legacy) {
            Some(version) => self.version = version,
            None => {
                return self
                    .end_with(Step::Failed("`initialize` answered with an unsupported version".into()));
            }
        }
        self.state = State::Confirming;
        self.post("notifications/initialized", json!({}), false)
    }

    fn list(&mut self, page: u32, cursor: Option<&str>) -> Step {
        self.state = State::Listing(page);
        let mut params = json!({});
        if let (Some(cursor), Some(params)) = (cursor, params.as_object_mut()) {
            params.insert("cursor".into(), cursor.into());
        }
        self.post("tools/list", params, true)
    }

    fn listed(&mut self, page: u32, reply: &Reply) -> Step {
        let result = match self.read(reply) {
            Answer::Result(result) => result,
            // A server without tools may not know the method.
            Answer::Error(Some(code)) if code == METHOD_NOT_FOUND => {
                Json::Object(vec![("tools".into(), Json::Array(Vec::new()))])
            }
            Answer::Error(_) | Answer::Unreadable => return self.end_with(failed("`tools/list`", reply)),
        };
        let Some(tools) = result.get("tools").and_then(Json::as_array) else {
            return self.end_with(Step::Failed("`tools/list` answered without `tools`".into()));
        };
        self.tools.extend_from_slice(tools);
        if self.tools.len() > TOOLS_MAX {
            return self.end_with(Step::Failed(format!("more than {TOOLS_MAX} tools")));
        }
        match result.get("nextCursor").and_then(Json::as_str) {
            Some(_) if page >= PAGES_MAX => {
                self.end_with(Step::Failed(format!("more than {PAGES_MAX} pages of tools")))
            }
            Some(cursor) => self.list(page + 1, Some(cursor)),
            None => {
                let found = from_tools(&self.tools);
                self.warnings = found.warnings;
                self.end_with(Step::Done(found.operations))
            }
        }
    }

    /// Ends the session, if there is one, before the last step: a gateway that reads its upstreams every minute must
    /// not leave a session behind each time.
    fn end_with(&mut self, last: Step) -> Step {
        if self.session.is_none() {
            return last;
        }
        let headers = self.headers();
        self.session = None;
        self.state = State::Closing(Box::new(last));
        Step::Send(OutRequest { method: Method::Delete, headers, body: Bytes::new() })
    }

    fn post(&mut self, method: &'static str, mut params: Value, wants_answer: bool) -> Step {
        let mut headers = self.headers();
        if let (Era::Modern, Some(params)) = (self.version.era(), params.as_object_mut()) {
            // MCP 2026-07-28: what every request carries.
            let meta = json!({
                META_VERSION: self.version.as_str(),
                META_CAPABILITIES: {},
                "io.modelcontextprotocol/clientInfo": client_info(),
            });
            params.insert("_meta".into(), meta);
            headers.insert(headers::METHOD, HeaderValue::from_static(method));
        }
        let mut message = json!({ "jsonrpc": "2.0", "method": method, "params": params });
        if let (true, Some(message)) = (wants_answer, message.as_object_mut()) {
            self.sent += 1;
            message.insert("id".into(), self.sent.into());
        }
        Step::Send(OutRequest { method: Method::Post, headers, body: message.to_string().into() })
    }

    fn headers(&self) -> HeaderMap {
        let text = HeaderValue::from_static;
        let mut out = HeaderMap::from_iter([
            (header::ACCEPT, text("application/json, text/event-stream")),
            (header::CONTENT_TYPE, text("application/json")),
        ]);
        // Legacy: after `initialize`, which itself negotiates. Modern: always.
        if !matches!(self.state, State::Initializing) {
            out.insert(headers::PROTOCOL_VERSION, text(self.version.as_str()));
        }
        if let Some(session) = &self.session {
            out.insert(headers::SESSION_ID, session.clone());
        }
        out
    }

    /// The answer to the request sent last, be it a JSON body or one of a stream of events.
    fn read(&self, reply: &Reply) -> Answer {
        let id = Id::from_number(self.sent);
        if !reply.is_stream {
            return read_message(&reply.body, &id).unwrap_or(Answer::Unreadable);
        }
        let events = sse::Parser::new(reply.body.len()).push(&reply.body).unwrap_or_default();
        let mut messages = events.into_iter().filter_map(|event| event.data().map(Bytes::copy_from_slice));
        messages.find_map(|data| read_message(&data, &id)).unwrap_or(Answer::Unreadable)
    }
}

enum Answer {
    Result(Json),
    /// With its code.
    Error(Option<i64>),
    Unreadable,
}

/// None for another message than the answer to that request.
fn read_message(body: &Bytes, id: &Id) -> Option<Answer> {
    let frame = Frame::parse(body, REPLY_MAX_DEPTH).ok()?;
    match frame.kind() {
        Kind::Response { id: Some(answered), is_error: false } if answered == id => {
            member(body, "result").map(Answer::Result)
        }
        // A modern server that could not place the request answers without its identifier.
        Kind::Response { id: answered, is_error: true }
            if answered.as_ref().is_none_or(|answered| answered == id) =>
        {
            Some(Answer::Error(member(body, "error")?.get("code").and_then(Json::as_i64)))
        }
        Kind::Response { .. } | Kind::Request { .. } | Kind::Notification { .. } => None,
    }
}

fn member(body: &[u8], name: &str) -> Option<Json> {
    match parse(body, REPLY_MAX_DEPTH).ok()? {
        Json::Object(members) => members.into_iter().find(|(key, _)| key == name).map(|(_, value)| value),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) | Json::Array(_) => None,
    }
}

/// Whether an upstream refused `initialize` as one that no longer knows it: an unknown method, a missing header,
/// missing `_meta`, an unsupported version, or a bare 400, 404 or 405.
fn is_modern(status: StatusCode, answer: &Answer) -> bool {
    let code = match answer {
        Answer::Result(_) => return false,
        Answer::Error(code) => *code,
        Answer::Unreadable => None,
    };
    matches!(status.as_u16(), 400 | 404 | 405) || matches!(code, Some(-32601 | -32022..=-32020))
}

fn failed(what: &str, reply: &Reply) -> Step {
    Step::Failed(match reply.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            format!("{what}: the credential is refused ({})", reply.status)
        }
        status if status.is_success() => format!("{what}: the answer is an error or cannot be read"),
        status => format!("{what}: {status}"),
    })
}

fn client_info() -> Value {
    json!({ "name": "vestibule", "version": env!("CARGO_PKG_VERSION") })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(status: u16, body: &Value) -> Reply {
        Reply::new(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.to_string().into())
    }

    fn result(id: u32, result: &Value) -> Reply {
        reply(200, &json!({ "jsonrpc": "2.0", "id": id, "result": result }))
    }

    fn error(status: u16, id: u32, code: i32) -> Reply {
        reply(status, &json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": "" } }))
    }

    fn sent(step: Step) -> (OutRequest, Value) {
        match &step {
            Step::Send(request) => {
                let body = serde_json::from_slice(&request.body).unwrap_or_default();
                (request.clone(), body)
            }
            Step::Done(_) | Step::Failed(_) => panic!("expected a request, got {step:?}"),
        }
    }

    fn names(step: Step) -> Vec<String> {
        match &step {
            Step::Done(found) => found.iter().map(|operation| operation.name.to_string()).collect(),
            Step::Send(_) | Step::Failed(_) => panic!("expected the operations, got {step:?}"),
        }
    }

    fn header<'a>(request: &'a OutRequest, name: &str) -> Option<&'a str> {
        request.headers.get(name).map(|value| value.to_str().unwrap())
    }

    #[test]
    fn a_legacy_upstream_is_read_page_by_page_and_its_session_ended() {
        let mut discovery = Discovery::default();
        let (request, body) = sent(discovery.next(None));
        assert_eq!(
            (body["method"].as_str(), header(&request, "mcp-protocol-version")),
            (Some("initialize"), None)
        );

        let mut welcome = result(1, &json!({ "protocolVersion": "2025-06-18", "capabilities": {} }));
        welcome.session = Some(HeaderValue::from_static("s1"));
        let (request, body) = sent(discovery.next(Some(welcome)));
        assert_eq!(body, json!({ "jsonrpc": "2.0", "method": "notifications/initialized", "params": {} }));
        assert_eq!(header(&request, "mcp-session-id"), Some("s1"));
        assert_eq!(header(&request, "mcp-protocol-version"), Some("2025-06-18"));

        let (_, body) = sent(discovery.next(Some(reply(202, &json!(null)))));
        assert_eq!((&body["method"], &body["params"]), (&json!("tools/list"), &json!({})));
        let page = result(2, &json!({ "tools": [{ "name": "a" }], "nextCursor": "c" }));
        let (_, body) = sent(discovery.next(Some(page)));
        assert_eq!(body["params"]["cursor"], "c");
        let (request, _) = sent(discovery.next(Some(result(3, &json!({ "tools": [{ "name": "b" }] })))));
        assert_eq!((request.method.as_str(), header(&request, "mcp-session-id")), ("DELETE", Some("s1")));
        let found = names(discovery.next(Some(reply(405, &json!(null)))));
        assert_eq!(found, ["a", "b", "resources/read", "prompts/get"]);
        assert_eq!(discovery.version(), Version::V2025_06_18);
    }

    #[test]
    fn an_upstream_that_refuses_initialize_is_spoken_to_in_the_modern_way() {
        for refusal in [
            error(404, 1, -32601),
            error(400, 1, -32602),
            error(400, 1, -32020),
            error(200, 1, -32022),
            reply(400, &json!({ "jsonrpc": "2.0", "error": { "code": -32020, "message": "" } })),
            reply(405, &json!(null)),
        ] {
            let mut discovery = Discovery::default();
            discovery.next(None);
            let (request, body) = sent(discovery.next(Some(refusal)));
            assert_eq!(body["method"], "tools/list");
            let frame = Frame::parse(&request.body, 8).unwrap();
            assert_eq!(headers::check(&frame, Era::Modern, &request.headers, None), Ok(()), "{request:?}");
            assert_eq!(
                names(discovery.next(Some(result(2, &json!({ "tools": [] }))))),
                ["resources/read", "prompts/get"]
            );
            assert_eq!(discovery.version(), Version::V2026_07_28);
        }
    }

    #[test]
    fn an_answer_in_a_stream_is_found_among_other_messages() {
        let mut discovery = Discovery::default();
        discovery.next(None);
        discovery.next(Some(error(404, 1, -32601)));
        let stream = "id: 1\ndata:\n\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\n\
            data: {\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"tools\":[{\"name\":\"a\"}]}}\n\n";
        let media_type = HeaderValue::from_static("Text/Event-Stream; charset=utf-8");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, media_type)]);
        let answer = Reply::new(StatusCode::OK, &headers, Bytes::from_static(stream.as_bytes()));
        assert_eq!(names(discovery.next(Some(answer))).first().map(String::as_str), Some("a"));
    }

    #[test]
    fn a_server_without_tools_still_has_resources_and_prompts() {
        let mut discovery = Discovery::default();
        discovery.next(None);
        discovery.next(Some(error(404, 1, -32601)));
        assert_eq!(names(discovery.next(Some(error(404, 2, -32601)))), ["resources/read", "prompts/get"]);
    }

    #[test]
    fn what_is_neither_era_fails_and_says_why() {
        for (bad, why) in [
            (reply(401, &json!(null)), "credential"),
            (reply(503, &json!(null)), "503"),
            (reply(200, &json!("hello")), "cannot be read"),
            (result(1, &json!({ "protocolVersion": "1999-01-01" })), "unsupported version"),
            (result(7, &json!({ "protocolVersion": "2025-11-25" })), "cannot be read"),
        ] {
            let mut discovery = Discovery::default();
            discovery.next(None);
            let step = discovery.next(Some(bad));
            assert!(matches!(&step, Step::Failed(reason) if reason.contains(why)), "{step:?}");
        }
    }

    #[test]
    fn a_list_without_end_is_given_up() {
        let mut discovery = Discovery::default();
        discovery.next(None);
        discovery.next(Some(error(404, 1, -32601)));
        let failed =
            (2..).map(|id| discovery.next(Some(result(id, &json!({ "tools": [], "nextCursor": "c" })))));
        let steps: Vec<Step> = failed.take(PAGES_MAX as usize).collect();
        assert!(steps.iter().rev().skip(1).all(|step| matches!(step, Step::Send(_))));
        assert!(matches!(steps.last(), Some(Step::Failed(reason)) if reason.contains("100 pages")));
    }

    #[test]
    fn too_many_tools_end_the_session_and_fail() {
        let mut discovery = Discovery::default();
        discovery.next(None);
        let mut welcome = result(1, &json!({ "protocolVersion": "2025-11-25" }));
        welcome.session = Some(HeaderValue::from_static("s1"));
        discovery.next(Some(welcome));
        discovery.next(Some(reply(202, &json!(null))));
        let tools = vec![json!({ "name": "t" }); TOOLS_MAX + 1];
        let (request, _) = sent(discovery.next(Some(result(2, &json!({ "tools": tools })))));
        assert_eq!(request.method, Method::Delete);
        assert!(matches!(discovery.next(Some(reply(200, &json!(null)))), Step::Failed(_)));
    }
}
