//! A gateway in front of one application of each kind, and trees of agents at it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Value, json};
use vestibule_model::{Clock, SystemClock};
use vestibule_testkit::{AgentKey, Answer, CallReply, Era, Holder, Mcp, Seen, TestIssuer, TestUpstream};

use super::member::{Family, Member};
use crate::gateway::{TestGateway, folder};

/// An MCP server of the legacy era, one of the modern era, and an HTTP API.
pub(super) const APPS: [&str; 3] = ["legacy", "modern", "web"];

const POLICIES: &str = r#"
@id("call") permit (principal, action in Action::"call", resource);
@id("hand-on") permit (principal, action == Action::"delegate", resource);
"#;

/// What a call is like, by the name of its operation: a stream of beats, a plain one that is not answered before the
/// test ends, a plain one.
pub(super) const STREAM: &str = "stream";
pub(super) const SLOW: &str = "slow";
pub(super) const PLAIN: &str = "plain";

pub(super) struct House {
    pub(super) gateway: TestGateway,
    pub(super) users: TestIssuer,
    upstreams: BTreeMap<&'static str, TestUpstream>,
}

impl House {
    /// With these further members of the configuration.
    pub(super) async fn new(config: &str) -> Self {
        Self::at(Arc::new(SystemClock::default()), config, &[]).await
    }

    /// As [`House::new`], at the time of this clock, with these MCP servers that are the agent `helper`.
    pub(super) async fn at(clock: Arc<dyn Clock>, config: &str, helpers: &[&'static str]) -> Self {
        let users = TestIssuer::start().await;
        let mut upstreams = BTreeMap::from([("web", api().await)]);
        for app in ["legacy", "modern"].iter().chain(helpers) {
            upstreams.insert(app, server(if is_legacy(app) { Era::Legacy } else { Era::Modern }).await);
        }
        let url = |app: &str| upstreams.get(app).unwrap().url();
        let section = users.config(&json!({ "a": ["client-of-a"], "o": ["client-of-o"] }));
        let routes = [STREAM, SLOW, PLAIN]
            .map(|name| format!("{name}: {{ route: GET /{name}, query: {{ n: {{ type: string }} }} }}"));
        let helpers = helpers.iter().map(|app| {
            format!("{app}: {{ mcp: {{ url: '{}/mcp', access: {{ agent: {{ id: helper }} }} }} }},", url(app))
        });
        let config = format!(
            "{{ user_issuers: {section}, {config} apps: {{ {}
              legacy: {{ mcp: {{ url: '{}/mcp' }} }}, modern: {{ mcp: {{ url: '{}/mcp' }} }},
              web: {{ http: {{ url: '{}', record: {{ arguments: true }}, operations: {{ routes: {{ {} }} }} }} }} }} }}",
            helpers.collect::<String>(),
            url("legacy"),
            url("modern"),
            url("web"),
            routes.join(", ")
        );
        let gateway = TestGateway::start_in(folder(&[("all.cedar", POLICIES)]), &config, clock).await;
        Self { gateway, users, upstreams }
    }

    pub(super) fn upstream(&self, app: &str) -> &TestUpstream {
        self.upstreams.get(app).unwrap()
    }

    /// Streams of beats end as they should.
    pub(super) fn finish(&self) {
        self.upstreams.values().for_each(TestUpstream::finish);
    }

    /// The names of the calls that the application has seen.
    pub(super) fn seen(&self, app: &str) -> Vec<String> {
        self.upstream(app).requests().iter().filter_map(name_of).collect()
    }

    /// Waits until the application has seen a call of this name.
    pub(super) async fn until_seen(&self, app: &str, name: &str) {
        let mut count = 0;
        while !self.seen(app).iter().any(|seen| seen == name) {
            count = self.upstream(app).requests().len().max(count + 1);
            self.upstream(app).wait_for(count).await;
        }
    }

    /// A root of the registered agent `agent`, which is added, for `user` (none: for itself) at each of `apps`, and below
    /// it what `below` says: children and their parents.
    pub(super) async fn tree(
        &self,
        agent: &str,
        user: Option<&str>,
        apps: &[&'static str],
        below: &[(&'static str, &'static str)],
    ) -> Family {
        let registered = self.gateway.agent(agent, json!({})).await;
        let key = Arc::new(AgentKey::generate(agent));
        let mut holders = BTreeMap::new();
        for app in apps {
            let resource = self.gateway.resource(app);
            let (key, fields) = (Arc::clone(&key), [("resource", &*resource)]);
            let holder = match user {
                Some(user) => {
                    let token = self.id_token(user, agent);
                    Holder::for_user(&registered, key, &token, &fields).await
                }
                None => Holder::root(&registered, key, &fields).await,
            };
            holders.insert(*app, holder);
        }
        let mut family = Family { members: vec![Member::new(self, agent, agent.to_owned(), holders).await] };
        for (child, parent) in below {
            let key = Arc::new(AgentKey::generate(child));
            let mut holders = BTreeMap::new();
            for (app, holder) in &family.get(parent).holders {
                holders.insert(*app, holder.spawn(Arc::clone(&key), &[]).await);
            }
            family.members.push(Member::new(self, child, key.agent().to_string(), holders).await);
        }
        family
    }

    /// An ID token of `user` as the client of the agent gets it.
    pub(super) fn id_token(&self, user: &str, agent: &str) -> String {
        let client = format!("client-of-{agent}");
        self.users.id_token(user, &client, self.gateway.clock.now(), &json!({}))
    }

    /// The record of an attempt, once it is closed: that may be a moment after its connection has broken.
    pub(super) async fn record(&self, attempt: &str) -> Value {
        let closed = async {
            loop {
                let record = self.gateway.get(&format!("/admin/v1/attempts/{attempt}")).await;
                if !record["outcome"].is_null() {
                    return record;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), closed).await.unwrap()
    }

    /// Gives an order with these further members.
    pub(super) async fn order(&self, kind: &str, id: &str, with: Value) -> Value {
        let mut body = json!({ "kind": kind, "id": id, "reason": "compromise" });
        body.as_object_mut().unwrap().extend(with.as_object().unwrap().clone());
        self.gateway.post("/admin/v1/revocations", &body).await
    }
}

async fn server(era: Era) -> TestUpstream {
    let schema = json!({ "type": "object", "properties": { "n": { "type": "string" } } });
    let tools = [STREAM, SLOW, PLAIN].map(|name| json!({ "name": name, "inputSchema": schema }));
    let mcp = Mcp::new(era, tools.to_vec());
    mcp.reply_to(STREAM, CallReply::Beats);
    mcp.reply_to(SLOW, CallReply::Hang);
    TestUpstream::mcp(mcp).await
}

async fn api() -> TestUpstream {
    let upstream = TestUpstream::http(Answer::json(&json!({}))).await;
    upstream.answer_at("/stream", Answer::beats("done"));
    upstream.answer_at("/slow", Answer::late("done"));
    upstream
}

/// The name of the call that a request to an application is.
pub(super) fn name_of(seen: &Seen) -> Option<String> {
    match &seen.query {
        Some(query) => query.strip_prefix("n=").map(str::to_owned),
        None => seen.json()["params"]["arguments"]["n"].as_str().map(str::to_owned),
    }
}

pub(super) fn is_legacy(app: &str) -> bool {
    app.ends_with("legacy")
}
