//! What comes in is bounded: each bound has its own refusal, and beyond it the application sees nothing. The bounds on
//! time are waited for, a second each.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use vestibule_testkit::{Answer, Call, Era, Http, Mcp, Reply, TestUpstream};

use crate::{
    gateway::{PERMIT_TESTERS, TestGateway},
    wire::{Wire, exchange},
};

/// A gateway with these limits, an application of each kind, and an agent.
struct House {
    web: TestUpstream,
    tools: TestUpstream,
    gateway: TestGateway,
    token: String,
}

impl House {
    async fn new(limits: &str) -> Self {
        let web = TestUpstream::http(Answer::json(&json!([]))).await;
        let tools = TestUpstream::mcp(Mcp::new(Era::Legacy, Vec::new())).await;
        let config = format!(
            "limits: {{ {limits} }}\napps:\n  tools: {{ mcp: {{ url: '{}/mcp' }} }}\n  web: {{ http: {{ url: '{}', \
             operations: {{ routes: {{ list: {{ route: GET /things }}, make: {{ route: POST /things, body: {{ json: {{ \
             type: object }} }} }}, put: {{ route: PUT /file, body: opaque }} }} }} }} }}\n",
            tools.url(),
            web.url()
        );
        let gateway = TestGateway::start(&config, &[("all.cedar", PERMIT_TESTERS)]).await;
        let token = gateway.token("a", "web").await;
        Self { web, tools, gateway, token }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.gateway.resource("web"))
    }

    fn list(&self) -> Call {
        Http::get(&self.url("/things")).bearer(&self.token)
    }

    fn make(&self, body: impl Into<Bytes>) -> Call {
        Http::post(&self.url("/things")).bearer(&self.token).body("application/json", body)
    }

    /// The head of a request as it goes over the wire, with these further lines.
    fn head(&self, method: &str, path: &str, lines: &str) -> String {
        let token = &self.token;
        let host = self.gateway.running().data_address();
        format!(
            "{method} /apps/web{path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n{lines}"
        )
    }

    async fn refused(&self, what: &str, reply: &Reply, status: u16, code: &str) {
        assert_eq!(reply.status, status, "{what}: {}", reply.text());
        assert_eq!(reply.header("content-type"), "application/problem+json", "{what}");
        assert_eq!(reply.json()["code"], code, "{what}");
        let attempt = self.gateway.attempt_of(reply).await;
        assert_eq!((&attempt["denial"], &attempt["outcome"]), (&json!(code), &json!("refused")), "{what}");
        assert_eq!(attempt["agent"], "a", "{what}");
    }

    /// The attempts that fit `query`, once there is one: a record is closed a moment after a connection has broken.
    async fn recorded(&self, query: &str) -> Vec<Value> {
        let search = async {
            loop {
                let found = self.gateway.attempts(query).await;
                if !found.is_empty() {
                    return found;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), search).await.unwrap()
    }
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_refused_whether_its_length_is_announced_or_not() {
    let house = House::new("body_max_bytes: 1024, opaque_body_max_bytes: 2048").await;
    let body = |size: usize| format!("{{\"x\":\"{}\"}}", "a".repeat(size - 8));
    assert_eq!(house.make(body(1024)).send().await.status, 200);
    let announced = house.make(body(1025)).send().await;
    house.refused("announced", &announced, 413, "body-too-large").await;
    let head = house.head(
        "POST",
        "/things",
        "content-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n",
    );
    let chunk = format!("200\r\n{}\r\n", "1".repeat(0x200));
    let chunked = exchange(&house.url(""), format!("{head}{}0\r\n\r\n", chunk.repeat(3))).await;
    assert!(chunked.starts_with("HTTP/1.1 413 "), "{chunked}");
    assert_eq!(house.gateway.attempts("denial=body-too-large").await.len(), 2);
    let put = |size| {
        Http::request(Method::PUT, &house.url("/file")).bearer(&house.token).body("a/b", vec![0; size])
    };
    assert_eq!(put(2048).send().await.status, 200);
    house.refused("opaque", &put(2049).send().await, 413, "body-too-large").await;
    assert_eq!(house.web.requests().len(), 2);
}

#[tokio::test]
async fn a_body_that_two_parsers_could_read_differently_is_refused_by_both_kinds_of_application() {
    let house = House::new("json_max_depth: 8").await;
    let agent = house.gateway.agent("b", json!({})).await;
    let (url, token) = (house.gateway.resource("tools"), agent.token(&house.gateway.resource("tools")).await);
    let seen = house.tools.requests().len();
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(8), "]".repeat(8));
    let invalid = "json-invalid";
    for (what, body, code) in [
        ("a key twice", br#"{"x":1,"x":2}"#.to_vec(), "json-duplicate-key"),
        ("a key twice, spelt differently", br#"{"x":1,"\u0078":2}"#.to_vec(), "json-duplicate-key"),
        ("a key twice, deep inside", br#"{"x":[{"y":1,"y":1}]}"#.to_vec(), "json-duplicate-key"),
        ("nine levels", deep.into_bytes(), "json-too-deep"),
        ("half a character", br#"{"x":"\ud800"}"#.to_vec(), invalid),
        ("bytes that are not UTF-8", b"{\"x\":\"\xff\"}".to_vec(), invalid),
        ("an overlong slash", b"{\"x\":\"\xc0\xaf\"}".to_vec(), invalid),
        ("two values", br#"{"x":1}{"x":2}"#.to_vec(), invalid),
        ("a comment", br#"{"x":1/**/}"#.to_vec(), invalid),
        ("a comma too many", br#"{"x":1,}"#.to_vec(), invalid),
        ("no number", br#"{"x":NaN}"#.to_vec(), invalid),
        ("a byte order mark", b"\xef\xbb\xbf{\"x\":1}".to_vec(), invalid),
    ] {
        house.refused(what, &house.make(body.clone()).send().await, 400, code).await;
        let reply = Http::post(&url).bearer(&token).body("application/json", body).send().await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["code"]),
            (400, &json!(code)),
            "{what}: {}",
            reply.text()
        );
        assert_eq!(house.gateway.attempt_of(&reply).await["denial"], code, "{what}");
    }
    assert_eq!(house.web.requests().len(), 0);
    assert_eq!(house.tools.requests().len(), seen);
}

#[tokio::test]
async fn a_head_beyond_the_bounds_is_refused_before_there_is_a_request() {
    let house = House::new("headers_max_bytes: 8192, headers_max_count: 16").await;
    let close = "connection: close\r\n\r\n";
    let large = house.head("GET", "/things", &format!("x: {}\r\n{close}", "a".repeat(8192)));
    let many = house.head("GET", "/things", &format!("{}{close}", "x: a\r\n".repeat(16)));
    for (what, request) in [("a large head", large), ("many fields", many)] {
        let reply = exchange(&house.url(""), request).await;
        assert!(reply.starts_with("HTTP/1.1 431 "), "{what}: {reply}");
    }
    let fine = house.head("GET", "/things", &format!("{}{close}", "x: a\r\n".repeat(8)));
    assert!(exchange(&house.url(""), fine).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(house.web.requests().len(), 1);
    assert_eq!(house.gateway.attempts("app=web&outcome=refused").await.len(), 0);
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_not_waited_for() {
    let house = House::new("body_read_seconds: 1").await;
    let lines = "content-type: application/json\r\ncontent-length: 8\r\nconnection: close\r\n\r\n{";
    let reply = exchange(&house.url(""), house.head("POST", "/things", lines)).await;
    assert!(reply.starts_with("HTTP/1.1 408 "), "{reply}");
    assert!(reply.contains("\"body-too-slow\""), "{reply}");
    let attempts = house.gateway.attempts("denial=body-too-slow").await;
    assert_eq!((attempts.len(), &attempts[0]["outcome"]), (1, &json!("refused")));
    assert_eq!(house.web.requests().len(), 0);
}

#[tokio::test]
async fn a_head_that_does_not_arrive_costs_a_connection_and_nothing_else() {
    let house = House::new("headers_read_seconds: 1").await;
    let before = house.gateway.attempts("").await;
    for start in
        ["", "GET ", "GET /apps/web/things HTTP/1.1\r\nhost: x\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
    {
        let reply = exchange(&house.url(""), start).await;
        assert!(!reply.starts_with("HTTP/1.1 2"), "{start:?}: {reply}");
    }
    assert_eq!(house.gateway.attempts("").await, before);
    assert_eq!(house.list().send().await.status, 200);
}

#[tokio::test]
async fn one_busy_agent_waits_and_is_refused_while_another_passes() {
    let house = House::new("agent_requests_max: 1, agent_queue_max: 1").await;
    let other = house.gateway.token("b", "web").await;
    house.web.hold();
    let first = tokio::spawn(house.list().send());
    house.web.wait_for(1).await;
    // Of two more one waits, and so there is no room for the other.
    let mut more = tokio::task::JoinSet::new();
    more.spawn(house.list().send());
    more.spawn(house.list().send());
    let refused = more.join_next().await.unwrap().unwrap();
    house.refused("one too many", &refused, 429, "too-many-requests").await;
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(refused.json()["retryable"], true);
    assert_eq!(house.web.requests().len(), 1);
    let passing = tokio::spawn(Http::get(&house.url("/things")).bearer(&other).send());
    house.web.wait_for(2).await;
    house.web.release();
    for reply in [first.await.unwrap(), passing.await.unwrap(), more.join_next().await.unwrap().unwrap()] {
        assert_eq!(reply.status, 200);
    }
    assert_eq!(house.web.requests().len(), 3);
    assert_eq!(house.gateway.attempts("denial=too-many-requests").await.len(), 1);
    assert_eq!(house.gateway.attempts("app=web&outcome=completed&operation=list").await.len(), 3);
}

#[tokio::test]
async fn a_waiting_request_of_an_agent_that_is_revoked_never_reaches_the_application() {
    let house = House::new("agent_requests_max: 1, agent_queue_max: 1").await;
    house.web.hold();
    let first = tokio::spawn(house.list().open());
    house.web.wait_for(1).await;
    let mut more = tokio::task::JoinSet::new();
    more.spawn(house.list().send());
    more.spawn(house.list().send());
    assert_eq!(more.join_next().await.unwrap().unwrap().status, 429, "so the other one waits");
    let report = house.gateway.revoke("agent", "a").await;
    assert_eq!(report["cut"]["attempts"], 2);
    let waiting = more.join_next().await.unwrap().unwrap();
    house.refused("waiting", &waiting, 401, "agent-revoked").await;
    if let Ok(reply) = first.await.unwrap() {
        assert_eq!(reply.status, 401);
    }
    house.web.wait_for_aborted(1).await;
    house.web.release();
    assert_eq!(house.web.requests().len(), 1);
    let attempts = house.gateway.attempts("denial=agent-revoked").await;
    let mut outcomes: Vec<&Value> = attempts.iter().map(|attempt| &attempt["outcome"]).collect();
    outcomes.sort_by_key(|outcome| outcome.to_string());
    assert_eq!(outcomes, ["refused", "unknown"], "the application may have acted on the first");
}

#[tokio::test]
async fn bytes_in_flight_are_bounded_in_total_and_given_back() {
    let house = House::new("bytes_in_flight_max: 1048576").await;
    let body = format!("{{\"x\":\"{}\"}}", "a".repeat(600_000));
    house.web.hold();
    let first = tokio::spawn(house.make(body.clone()).send());
    house.web.wait_for(1).await;
    let refused = house.make(body.clone()).send().await;
    house.refused("the second", &refused, 503, "bytes-in-flight-exceeded").await;
    assert_eq!(house.web.requests().len(), 1);
    house.web.release();
    assert_eq!(first.await.unwrap().status, 200);
    assert_eq!(house.make(body).send().await.status, 200);
    let metrics = house.gateway.admin("GET", "/metrics").send().await.text();
    assert!(metrics.lines().any(|line| line == "vestibule_bytes_in_flight 0"), "{metrics}");
}

#[tokio::test]
async fn a_client_that_stops_reading_is_let_go_and_its_record_closed() {
    let house = House::new("write_stall_seconds: 1").await;
    let chunk = Bytes::from(vec![b'x'; 1 << 20]);
    house.web.answer(Answer::stream("text/plain", std::iter::repeat_n(chunk, 64)));
    let mut wire = Wire::to(&house.url("")).await;
    wire.send(house.head("GET", "/things", "\r\n")).await;
    assert!(wire.first().await.starts_with(b"HTTP/1.1 200 "));
    house.web.wait_for_aborted(1).await;
    let attempts = house.recorded("app=web&outcome=unknown").await;
    assert_eq!((attempts.len(), &attempts[0]["operation"]), (1, &json!("list")));
    let written = attempts[0]["bytes_out"].as_u64().unwrap();
    assert!(written < 64 << 20, "{written} bytes were taken for a client that reads none");
    assert!(wire.rest().await.len() < 64 << 20);
}

#[tokio::test]
async fn a_call_that_goes_on_for_ever_is_ended() {
    let house = House::new("call_max_seconds: 1").await;
    house.web.answer(Answer::stream("text/plain", ["one", "two"]));
    house.web.hold();
    house.web.step();
    let mut reply = house.list().open().await.unwrap();
    assert_eq!(reply.chunk().await.unwrap().unwrap(), "one");
    assert!(reply.chunk().await.is_err(), "a part was passed off as the whole");
    house.web.wait_for_aborted(1).await;
    assert_eq!(house.recorded("app=web&outcome=failed").await.len(), 1);
}
