use std::collections::BTreeMap;

use serde_json::json;
use vestibule_testkit::{Call, Holder, Http, Reply, Watched};

use super::family::{House, PLAIN, is_legacy};

/// A tree of agents, its root first.
pub(super) struct Family {
    pub(super) members: Vec<Member>,
}

impl Family {
    pub(super) fn get(&self, name: &str) -> &Member {
        self.members.iter().find(|member| member.name == name).unwrap()
    }
}

/// One agent, with a token for each application.
pub(super) struct Member {
    pub(super) name: String,
    /// Its id as an agent.
    pub(super) id: String,
    pub(super) holders: BTreeMap<&'static str, Holder>,
    /// At the servers of the legacy era.
    sessions: BTreeMap<&'static str, String>,
}

impl Member {
    pub(super) async fn new(
        house: &House,
        name: &str,
        id: String,
        holders: BTreeMap<&'static str, Holder>,
    ) -> Self {
        let mut member = Self { name: name.to_owned(), id, holders, sessions: BTreeMap::new() };
        for (app, holder) in member.holders.iter().filter(|(app, _)| is_legacy(app)) {
            let params = json!({
                "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": name, "version": "1" } });
            let message = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params });
            let url = house.gateway.resource(app);
            let reply = holder.send("POST", &url, || legacy(&url).json(&message)).await;
            assert_eq!(reply.status, 200, "{}", reply.text());
            member.sessions.insert(*app, reply.header("mcp-session-id").to_owned());
        }
        member
    }

    pub(super) fn at(&self, app: &str) -> &Holder {
        self.holders.get(app).unwrap()
    }

    /// The thumbprint of its key.
    pub(super) fn key(&self) -> String {
        self.holders.values().next().unwrap().key().thumbprint().to_string()
    }

    /// A request without its credential: method, URL, and the rest. The name tells it from all others.
    pub(super) fn request(&self, house: &House, app: &str, manner: &str, name: &str) -> (&str, String, Call) {
        let url = house.gateway.resource(app);
        let mut params = json!({ "name": manner, "arguments": { "n": name } });
        if app == "web" {
            let url = format!("{url}/{manner}?n={name}");
            let call = Http::get(&url);
            return ("GET", url, call);
        }
        let call = if is_legacy(app) {
            self.in_session(house, app)
        } else {
            params["_meta"] = json!({
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
            });
            modern(&url).header("mcp-name", manner)
        };
        let message = json!({ "jsonrpc": "2.0", "id": name, "method": "tools/call", "params": params });
        ("POST", url, call.json(&message))
    }

    /// A message to a server of the legacy era.
    pub(super) fn in_session(&self, house: &House, app: &str) -> Call {
        legacy(&house.gateway.resource(app)).header("mcp-session-id", &self.sessions[app])
    }

    /// Begins a call, whose name is made of who calls what and how.
    pub(super) fn start(&self, house: &House, app: &'static str, manner: &'static str) -> Flight {
        let name = format!("{}-{manner}-{app}", self.name);
        let (method, url, call) = self.request(house, app, manner, &name);
        let watched = self.at(app).signed(method, &url, call).watch(&house.gateway.clock);
        Flight { who: self.id.clone(), app, manner, name, watched }
    }

    /// The whole reply to a plain call of this name.
    pub(super) async fn call(&self, house: &House, app: &str, name: &str) -> Reply {
        let (method, url, call) = self.request(house, app, PLAIN, name);
        self.at(app).send(method, &url, || call.clone()).await
    }
}

fn legacy(url: &str) -> Call {
    accepting(url).header("mcp-protocol-version", "2025-11-25")
}

fn modern(url: &str) -> Call {
    accepting(url).header("mcp-protocol-version", "2026-07-28").header("mcp-method", "tools/call")
}

fn accepting(url: &str) -> Call {
    Http::post(url).header("accept", "application/json, text/event-stream")
}

/// A call under way.
pub(super) struct Flight {
    /// The id of the agent that makes it.
    pub(super) who: String,
    pub(super) app: &'static str,
    pub(super) manner: &'static str,
    pub(super) name: String,
    pub(super) watched: Watched,
}

impl Flight {
    /// The highest number of a beat that has come.
    pub(super) fn beat(&self) -> u64 {
        self.highest(&self.watched.text())
    }

    fn highest(&self, text: &str) -> u64 {
        let mark = if self.app == "web" { "beat " } else { "\"progress\":" };
        let number = |rest: &str| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok();
        text.rsplit(mark).find_map(number).unwrap_or(0)
    }

    /// Waits for a beat that is later than this.
    pub(super) async fn beyond(&self, beat: u64) {
        self.watched.until(|text| self.highest(text) > beat).await;
    }

    /// Its id in the record, once the head of the reply is there.
    pub(super) fn attempt(&self) -> String {
        self.watched.header("x-request-id")
    }
}
