//! An agent that misbehaves is suspended by itself, with all below it, and let back by itself.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use vestibule_model::FixedClock;
use vestibule_testkit::{Answer, End, Http, Reply};

use super::{
    family::{House, PLAIN, SLOW, STREAM},
    member::{Family, Flight, Member},
};
use crate::gateway::wednesday_noon;

/// Alice's agent `a` above `b`, `c` below that, and `b2`; bob's `o`.
struct Scene {
    clock: Arc<FixedClock>,
    house: House,
    family: Family,
    other: Family,
}

impl Scene {
    async fn new(breakers: &str) -> Self {
        let clock = wednesday_noon();
        let house = House::at(
            Arc::<FixedClock>::clone(&clock),
            &format!("tokens: {{ ttl_seconds: 300 }}, breakers: {{ {breakers} }},"),
            &[],
        )
        .await;
        let below = [("b", "a"), ("c", "b"), ("b2", "a")];
        let family = house.tree("a", Some("alice"), &["modern", "web"], &below).await;
        let other = house.tree("o", Some("bob"), &["modern", "web"], &[]).await;
        Self { clock, house, family, other }
    }

    fn get(&self, name: &str) -> &Member {
        if name == "o" { self.other.get(name) } else { self.family.get(name) }
    }

    async fn later(&self, seconds: u64) {
        self.house.gateway.advance(&self.clock, Duration::from_secs(seconds)).await;
    }

    async fn call(&self, name: &str, app: &str) -> Reply {
        self.get(name).call(&self.house, app, name).await
    }

    /// Asks for an operation that there is not.
    async fn denied(&self, name: &str) -> u16 {
        let url = format!("{}/nothing", self.house.gateway.resource("web"));
        self.get(name).at("web").send("GET", &url, || Http::get(&url)).await.status.as_u16()
    }

    async fn hammer(&self, name: &str, times: usize) {
        for _ in 0..times {
            assert_eq!(self.denied(name).await, 404);
        }
    }

    async fn refused(&self, name: &str, seconds: u64) {
        let reply = self.call(name, "web").await;
        assert_eq!(
            (reply.status.as_u16(), reply.header("retry-after")),
            (403, &*seconds.to_string()),
            "{name}"
        );
        assert_eq!(
            (&reply.json()["code"], &reply.json()["retryable"]),
            (&json!("agent-suspended"), &json!(true))
        );
        let record = self.house.gateway.attempt_of(&reply).await;
        let cause = record["cause"].as_str().unwrap();
        assert!(cause.starts_with("the breaker of agent `"), "{cause}");
        assert_eq!((&record["denial"], &record["outcome"]), (&json!("agent-suspended"), &json!("refused")));
    }

    async fn breakers(&self) -> Vec<Value> {
        let all = self.house.gateway.get("/admin/v1/breakers").await["items"].as_array().unwrap().clone();
        all.into_iter().filter(|one| one["state"] != "closed").collect()
    }

    /// What the gateway says that it did with the breakers, once it is so much.
    async fn acts(&self, count: usize) -> Vec<(String, Value)> {
        let acts = async {
            loop {
                let acts = self.house.gateway.attempts("kind=administration").await;
                let mut acts: Vec<_> = acts
                    .into_iter()
                    .filter(|act| {
                        act["action"].as_str().unwrap().starts_with("breaker-") && !act["outcome"].is_null()
                    })
                    .map(|act| {
                        let detail: Value = serde_json::from_str(act["detail"].as_str().unwrap()).unwrap();
                        let said = format!("{} {} {}", act["author"], act["action"], act["target"]);
                        (said.replace('"', ""), detail)
                    })
                    .collect();
                acts.sort_by_key(|(_, detail)| detail["version"].as_u64());
                if acts.len() >= count {
                    return acts;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), acts).await.unwrap()
    }

    async fn metric(&self, line: &str) {
        let metrics = self.house.gateway.admin("GET", "/metrics").send().await.text();
        assert!(metrics.lines().any(|one| one == line), "{line} is not in\n{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_hammers_is_cut_with_all_below_it_and_siblings_and_others_are_unharmed() {
    let scene = Scene::new("").await;
    let streams = |names: &[&str]| -> Vec<Flight> {
        let members = names.iter().map(|name| scene.get(name));
        members
            .flat_map(|member| ["modern", "web"].map(|app| member.start(&scene.house, app, STREAM)))
            .collect()
    };
    let (below, beside) = (streams(&["b", "c"]), streams(&["a", "b2", "o"]));
    for flight in below.iter().chain(&beside) {
        flight.beyond(0).await;
    }
    // Its two streams are two operations that were permitted.
    scene.hammer("b", 17).await;
    assert_eq!(scene.call("c", "web").await.status, 200);
    scene.hammer("b", 1).await;
    for flight in &below {
        flight.watched.ended().await;
        assert!(!flight.watched.is_whole(), "{}", flight.name);
        let record = scene.house.record(&flight.attempt()).await;
        let said = [&record["outcome"], &record["denial"], &record["cause"]];
        let b = &scene.get("b").id;
        let cause = format!(
            "the breaker of agent `{b}` is open: 18 of 20 operations were denied within 60 s (denials, by gateway)"
        );
        assert_eq!(said, [&json!("cut"), &json!("agent-suspended"), &json!(cause)], "{}", flight.name);
    }
    let seen = scene.house.seen("web").len();
    for name in ["b", "c"] {
        scene.refused(name, 60).await;
        assert_eq!(scene.call(name, "modern").await.status, 403);
        let minted = scene.get(name).at("web").exchange_form(&[]).await;
        assert_eq!(minted.json()["error"], "temporarily_unavailable");
    }
    assert_eq!(scene.house.seen("web").len(), seen);
    for flight in &beside {
        flight.beyond(flight.beat() + 10).await;
    }
    for name in ["a", "b2", "o"] {
        assert_eq!(scene.call(name, "web").await.status, 200, "{name}");
    }
    let (said, detail) = scene.acts(1).await.remove(0);
    assert_eq!(said, format!("gateway breaker-trip agent/{}", scene.get("b").id));
    assert_eq!(
        (&detail["signal"], &detail["cut"]),
        (&json!("denials"), &json!({ "attempts": 4, "streams": 4 }))
    );
    scene.metric("vestibule_agent_breaker_transitions_total{to=\"open\"} 1").await;
    scene.metric("vestibule_agent_breakers_open 1").await;
    scene.house.finish();
    for flight in &beside {
        assert_eq!(flight.watched.ended().await, End::Closed);
        assert!(flight.watched.is_whole(), "{}", flight.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_calls_at_once_exactly_as_many_pass_as_probes_and_a_good_one_closes() {
    let scene = Scene::new("agents: { default: { probes: 3 } }").await;
    scene.hammer("b", 20).await;
    scene.refused("b", 60).await;
    scene.later(60).await;
    let (family, seen) = (&scene.family, scene.house.seen("web").len());
    let (b, c) = (family.get("b"), family.get("c"));
    let calls: Vec<_> = (0..16)
        .map(|n| {
            let member = if n % 2 == 0 { b } else { c };
            let (method, url, call) = member.request(&scene.house, "web", SLOW, &format!("probe-{n}"));
            member.at("web").signed(method, &url, call).watch(&scene.house.gateway.clock)
        })
        .collect();
    let refused = async {
        while calls.iter().filter(|call| call.status() == Some(403)).count() < 13 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), refused).await.unwrap();
    while scene.house.seen("web").len() < seen + 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(scene.breakers().await[0]["state"], "probing");
    scene.metric("vestibule_agent_breaker_transitions_total{to=\"probing\"} 1").await;
    scene.house.finish();
    for call in &calls {
        call.ended().await;
    }
    assert_eq!(calls.iter().filter(|call| call.status() == Some(200)).count(), 3);
    assert_eq!(scene.house.seen("web").len(), seen + 3, "nobody else reached the application");
    assert_eq!((scene.call("b", "web").await.status.as_u16(), scene.breakers().await), (200, vec![]));
    let b = format!("agent/{}", b.id);
    let said: Vec<_> = scene.acts(3).await.into_iter().map(|(said, _)| said).collect();
    let actions = ["trip", "probe", "close"].map(|action| format!("gateway breaker-{action} {b}"));
    assert_eq!(said, actions);
    scene.metric("vestibule_agent_breaker_transitions_total{to=\"closed\"} 1").await;
    scene.metric("vestibule_agent_breakers_open 0").await;
}

#[tokio::test]
async fn a_probe_that_is_denied_opens_for_twice_as_long_and_a_list_decides_nothing() {
    let scene = Scene::new("").await;
    scene.hammer("b", 20).await;
    scene.later(60).await;
    let url = scene.house.gateway.resource("modern");
    let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": { "_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {} } } });
    let list = Http::post(&url)
        .header("accept", "application/json, text/event-stream")
        .header("mcp-protocol-version", "2026-07-28")
        .header("mcp-method", "tools/list")
        .json(&message);
    let b = scene.get("b").at("modern");
    let listed = b.send("POST", &url, || list.clone()).await;
    assert_eq!(listed.status, 200, "{}", listed.text());
    assert_eq!(scene.breakers().await[0]["state"], "probing");
    assert_eq!(scene.denied("b").await, 404);
    scene.refused("b", 120).await;
    scene.later(119).await;
    scene.refused("b", 1).await;
    scene.later(1).await;
    assert_eq!(
        scene.get("b").at("web").try_again().await.unwrap().id(),
        scene.get("b").id,
        "it gets a token for it"
    );
    assert_eq!(scene.breakers().await[0]["strikes"], 1);
}

#[tokio::test]
async fn an_open_breaker_survives_a_restart() {
    let mut scene = Scene::new("").await;
    scene.hammer("b", 20).await;
    scene.house.gateway = scene.house.gateway.restart().await;
    let open = scene.breakers().await;
    assert_eq!((&open[0]["id"], &open[0]["state"]), (&json!(scene.get("b").id), &json!("open")));
    assert_eq!((&open[0]["signal"], &open[0]["by"]), (&json!("denials"), &json!("gateway")));
    assert_eq!(scene.acts(1).await.len(), 1, "its record was completed");
}

#[tokio::test]
async fn who_pretends_to_be_somebody_trips_nobodys_breaker() {
    let scene = Scene::new("").await;
    let (url, token) = (scene.house.gateway.resource("web"), scene.get("b").at("web").token().to_owned());
    for _ in 0..60 {
        let reply = Http::get(&format!("{url}/nothing")).bearer(&token).send().await;
        assert_eq!(reply.status, 401, "without the proof of its key");
    }
    assert_eq!((scene.call("b", "web").await.status.as_u16(), scene.breakers().await), (200, vec![]));
}

#[tokio::test]
async fn an_operator_opens_and_closes_a_breaker() {
    let scene = Scene::new("").await;
    let b = &scene.get("b").id;
    let stream = scene.get("c").start(&scene.house, "web", STREAM);
    stream.beyond(0).await;
    let post = async |path: &str, body: Value| {
        scene.house.gateway.post(&format!("/admin/v1/breakers/{path}"), &body).await
    };
    let opened =
        post("trip", json!({ "kind": "agent", "id": b, "seconds": 90, "reason": "a strange night" })).await;
    assert_eq!((&opened["state"], &opened["cut"]), (&json!("open"), &json!({ "attempts": 1, "streams": 1 })));
    stream.watched.ended().await;
    scene.refused("c", 90).await;
    let listed = scene.breakers().await.remove(0);
    assert_eq!(
        [&listed["kind"], &listed["signal"], &listed["detail"], &listed["by"]],
        ["agent", "order", "a strange night", "operator"]
    );
    assert_eq!(post("reset", json!({ "kind": "agent", "id": b })).await["state"], "closed");
    assert_eq!(scene.call("c", "web").await.status, 200);
    let again = json!({ "kind": "agent", "id": b });
    let refused = scene.house.gateway.admin("POST", "/admin/v1/breakers/reset").json(&again).send().await;
    assert_eq!((refused.status.as_u16(), &refused.json()["code"]), (409, &json!("not-open")));
    let acts = scene.acts(3).await;
    let of_operator = acts.iter().filter(|(said, _)| said.starts_with("operator breaker-"));
    assert_eq!(of_operator.count(), 3, "{acts:?}");
    for body in [
        json!({ "kind": "agent", "id": b, "seconds": 0 }),
        json!({ "kind": "agent", "id": "", "seconds": 1 }),
        json!({ "kind": "agent", "id": b, "reason": "x".repeat(257) }),
        json!({ "kind": "user", "id": b }),
    ] {
        let refused = scene.house.gateway.admin("POST", "/admin/v1/breakers/trip").json(&body).send().await;
        assert_eq!(refused.status, 400, "{body}");
    }
    let unknown = json!({ "kind": "app", "id": "none" });
    let refused = scene.house.gateway.admin("POST", "/admin/v1/breakers/trip").json(&unknown).send().await;
    assert_eq!(refused.status, 404);
}

#[tokio::test]
async fn who_takes_more_bytes_or_operations_or_calls_than_may_be_is_cut() {
    for (breakers, signal, calls) in [
        ("bytes_max: 100000", "bytes", 1),
        ("operations_max: 1", "operations", 2),
        ("calls_max: 3", "calls", 4),
        ("errors: { percent: 50, calls_min: 5 }", "errors", 5),
    ] {
        let scene = Scene::new(&format!("agents: {{ agents: {{ a: {{ {breakers} }} }} }}")).await;
        if signal == "bytes" {
            scene.house.upstream("web").answer_at("/plain", Answer::new(200, "x".repeat(1_000_000)));
        } else if signal == "errors" {
            scene.house.upstream("web").answer_at("/plain", Answer::new(422, ""));
        }
        for n in 0..calls {
            let manner = if n == 1 && signal == "operations" { STREAM } else { PLAIN };
            let flight = scene.get("a").start(&scene.house, "web", manner);
            if manner == STREAM {
                flight.beyond(0).await;
            } else {
                flight.watched.ended().await;
                assert_eq!(flight.watched.is_whole(), signal != "bytes", "{signal}");
            }
        }
        scene.refused("a", 60).await;
        let (_, detail) = scene.acts(1).await.remove(0);
        assert_eq!(detail["signal"], signal);
        for _ in 0..calls {
            scene.call("o", "modern").await;
        }
        assert_eq!(scene.call("o", "modern").await.status, 200, "{signal}: another's thresholds are others");
    }
}

#[tokio::test]
async fn an_application_that_fails_is_left_alone_and_another_is_not() {
    let scene = Scene::new("").await;
    let web = scene.house.upstream("web");
    web.answer_at("/plain", Answer::new(500, "oh"));
    for _ in 0..20 {
        assert_eq!(scene.call("o", "web").await.status, 500);
    }
    let seen = web.requests().len();
    for name in ["o", "a"] {
        let reply = scene.call(name, "web").await;
        assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (503, "10"));
        let told = reply.json();
        assert_eq!((&told["code"], &told["retryable"]), (&json!("upstream-suspended"), &json!(true)));
        assert_eq!(told["hints"], json!(["try again in 10 seconds"]));
        let record = scene.house.gateway.attempt_of(&reply).await;
        assert_eq!(
            record["cause"],
            "the breaker of application `web` is open: 20 of 20 calls failed within 30 s (failures, by gateway)"
        );
        assert_eq!(scene.call(name, "modern").await.status, 200);
    }
    assert_eq!(scene.denied("o").await, 404, "what is denied is denied");
    assert_eq!(web.requests().len(), seen, "nothing reached it");
    scene.metric("vestibule_upstream_breaker_transitions_total{to=\"open\"} 1").await;
    scene.metric("vestibule_upstream_breakers_open 1").await;
    scene.later(10).await;
    assert_eq!(scene.call("o", "web").await.status, 500, "one probe");
    assert_eq!(scene.call("o", "web").await.header("retry-after"), "20");
    assert_eq!(web.requests().len(), seen + 1);
    web.answer_at("/plain", Answer::json(&json!({})));
    scene.later(20).await;
    assert_eq!(scene.call("o", "web").await.status, 200);
    assert_eq!(scene.call("a", "web").await.status, 200);
    let said: Vec<_> = scene.acts(5).await.into_iter().map(|(said, _)| said).collect();
    let actions = ["trip", "probe", "trip", "probe", "close"];
    assert_eq!(said, actions.map(|action| format!("gateway breaker-{action} app/web")));
}

#[tokio::test]
async fn an_application_is_left_alone_by_hand_and_a_model_can_read_why() {
    let scene = Scene::new("").await;
    let stream = scene.get("o").start(&scene.house, "modern", STREAM);
    stream.beyond(0).await;
    let trip = json!({ "kind": "app", "id": "modern", "seconds": 30, "reason": "maintenance" });
    scene.house.gateway.post("/admin/v1/breakers/trip", &trip).await;
    let reply = scene.call("o", "modern").await;
    assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (503, "30"));
    let error = &reply.json()["error"];
    assert_eq!(error["message"], "the application is left alone for now; try again later");
    assert_eq!(error["data"]["authorization"]["hints"], json!(["try again in 30 seconds"]));
    assert_eq!(scene.call("o", "web").await.status, 200);
    stream.beyond(stream.beat() + 5).await;
    let gateway = &scene.house.gateway;
    assert_eq!(scene.breakers().await[0]["detail"], "maintenance");
    gateway.post("/admin/v1/breakers/reset", &json!({ "kind": "app", "id": "modern" })).await;
    assert_eq!(scene.call("o", "modern").await.status, 200);
}
