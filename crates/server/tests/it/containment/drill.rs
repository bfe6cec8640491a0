//! The drill: an agent in the middle of a chain is compromised while those below it are in mid-flight, in every way in
//! which a call can be under way.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use vestibule_model::Monotonic;
use vestibule_testkit::{AgentKey, End, Holder, Http, Seen};

use super::{
    family::{APPS, House, PLAIN, SLOW, STREAM, name_of},
    member::{Family, Flight},
};

/// What the kernel had taken before may be read a little later; nothing that the application sent later is, however soon.
const KERNEL: Duration = Duration::from_secs(1);
/// The agent that is revoked and those below it.
const SUBTREE: [&str; 4] = ["b", "c", "d", "c2"];

struct Drill {
    house: Arc<House>,
    family: Arc<Family>,
    other: Family,
    cut: Vec<Flight>,
    spared: Vec<Flight>,
}

impl Drill {
    /// Alice's agent `a` above `b`, `c` and `d`, with siblings on the way; and a tree of bob's. All of them stream from
    /// every application; `d` waits for a plain answer of each as well, has no more turns, and calls each once more.
    async fn new() -> Self {
        let house = House::new("limits: { agent_requests_max: 6, agent_queue_seconds: 60 },").await;
        let below = [("b", "a"), ("c", "b"), ("d", "c"), ("b2", "a"), ("c2", "b")];
        let family = house.tree("a", Some("alice"), &APPS, &below).await;
        let other = house.tree("o", Some("bob"), &APPS, &[("p", "o")]).await;
        let (mut cut, mut spared) = (Vec::new(), Vec::new());
        for member in family.members.iter().chain(&other.members) {
            let flights = if SUBTREE.contains(&&*member.name) { &mut cut } else { &mut spared };
            flights.extend(APPS.map(|app| member.start(&house, app, STREAM)));
        }
        for flight in cut.iter().chain(&spared) {
            flight.beyond(5).await;
        }
        let d = family.get("d");
        for app in APPS {
            let slow = d.start(&house, app, SLOW);
            house.until_seen(app, &slow.name).await;
            cut.push(slow);
        }
        cut.extend(APPS.map(|app| d.start(&house, app, PLAIN)));
        let drill = Self { house: Arc::new(house), family: Arc::new(family), other, cut, spared };
        drill.until_queued().await;
        drill
    }

    /// Waits until a rehearsal of the order finds the calls that wait for a turn.
    async fn until_queued(&self) {
        let queued = async {
            loop {
                let report = self.order(json!({ "dry_run": true })).await;
                if report["cut"]["attempts"] == self.cut.len() {
                    return report;
                }
            }
        };
        let report = tokio::time::timeout(Duration::from_secs(10), queued).await.unwrap();
        assert_eq!((&report["cut"]["streams"], &report["cut"]["nodes"]), (&json!(12), &json!(12)));
    }

    async fn order(&self, with: Value) -> Value {
        self.house.order("agent", &self.family.get("b").id, with).await
    }

    /// Lets `c` have children as long as it may.
    async fn children(&self) -> (tokio::sync::oneshot::Receiver<()>, tokio::task::JoinHandle<Vec<Holder>>) {
        let (first, begun) = tokio::sync::oneshot::channel();
        let (family, mut first) = (Arc::clone(&self.family), Some(first));
        let children = tokio::spawn(async move {
            let mut children = Vec::new();
            while let Ok(child) = family.get("c").at("web").try_spawn(AgentKey::generate("child"), &[]).await
            {
                children.push(child);
                first.take().map(|first| first.send(()));
            }
            children
        });
        (begun, children)
    }

    fn beats(&self) -> BTreeMap<&'static str, u64> {
        APPS.map(|app| (app, self.house.upstream(app).beats())).into()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn revoking_an_agent_cuts_all_that_is_under_way_below_it_and_nothing_else() {
    let drill = Drill::new().await;
    let (begun, children) = drill.children().await;
    begun.await.unwrap();
    let report = drill.order(json!({})).await;
    let (acknowledged, beats) = (drill.house.gateway.clock.monotonic(), drill.beats());
    // The applications go on, for everybody.
    for flight in &drill.spared {
        flight.beyond(beats[flight.app] + 20).await;
    }
    let children = children.await.unwrap();
    assert_silent(&drill, acknowledged, &beats).await;
    assert_agree(&drill, &report, children.len()).await;
    assert_told(&drill).await;
    assert_dead(&drill, &children).await;
    assert_spared(&drill).await;
}

/// No byte comes after the acknowledgement; what was streaming breaks, what was not is refused.
async fn assert_silent(drill: &Drill, acknowledged: Monotonic, beats: &BTreeMap<&str, u64>) {
    for flight in &drill.cut {
        flight.watched.ended().await;
        let name = &flight.name;
        let (before, last) = flight.watched.read_by(acknowledged);
        assert!(last.unwrap().since(acknowledged) < KERNEL, "{name}: a byte came late");
        if flight.manner == STREAM {
            assert!(before > 0, "{name}: nothing had come before");
            assert!(flight.beat() > 5 && flight.beat() <= beats[flight.app], "{name}: {}", flight.beat());
            assert!(!flight.watched.is_whole(), "{name}: ended as if it were whole");
        } else {
            assert_eq!(flight.watched.status(), Some(401), "{name}: {}", flight.watched.text());
            assert!(!flight.watched.text().contains("done"), "{name}");
        }
    }
}

/// Each application is told that the calls are over, in the way of its kind, and knows nothing of what was queued.
async fn assert_told(drill: &Drill) {
    let upstream = drill.house.upstream("legacy");
    upstream.protocol().wait_for_cancelled(5).await;
    let requests = upstream.requests();
    let session = |seen: &Seen| seen.header("mcp-session-id").to_owned();
    let told = requests.iter().filter(|seen| seen.json()["method"] == "notifications/cancelled");
    let told: BTreeSet<_> =
        told.map(|seen| (seen.json()["params"]["requestId"].clone().to_string(), session(seen))).collect();
    let forwarded = |flight: &Flight| {
        let call = requests.iter().find(|seen| name_of(seen).as_ref() == Some(&flight.name)).unwrap();
        (call.json()["id"].to_string(), session(call))
    };
    let cut = drill.cut.iter().filter(|flight| flight.app == "legacy" && flight.manner != PLAIN);
    assert_eq!(told, cut.map(forwarded).collect());
    assert_eq!(upstream.protocol().cancelled().len(), 5);
    for app in ["modern", "web"] {
        drill.house.upstream(app).wait_for_aborted(5).await;
    }
    for app in APPS {
        let mut seen = drill.house.seen(app);
        seen.sort();
        let all = drill.cut.iter().chain(&drill.spared);
        let mut sent: Vec<_> = all.filter(|it| it.app == app && it.manner != PLAIN).collect();
        sent.sort_by_key(|flight| &flight.name);
        assert_eq!(seen, sent.iter().map(|flight| flight.name.clone()).collect::<Vec<_>>(), "{app}");
    }
}

/// The report, the record and what the callers know tell the same, call by call.
async fn assert_agree(drill: &Drill, report: &Value, children: usize) {
    let cut = &report["cut"];
    assert_eq!((&cut["attempts"], &cut["streams"]), (&json!(18), &json!(12)));
    assert_eq!((&report["completed"], &report["state"]), (&json!(0), &json!("revoked")));
    assert!(cut["nodes"].as_u64().unwrap() >= 12 + children as u64, "{cut}, {children} children");
    let mut told: Vec<_> = report["attempts"].as_array().unwrap().clone();
    for flight in &drill.cut {
        let (stage, outcome) = match flight.manner {
            STREAM => ("streaming", "cut"),
            SLOW => ("forwarded", "unknown"),
            _ => ("queued", "refused"),
        };
        let cancelled = match (flight.manner, flight.app) {
            (PLAIN, _) => Value::Null,
            (_, "legacy") => json!("notified"),
            (_, _) => json!("closed"),
        };
        let (attempt, name) = (flight.attempt(), &flight.name);
        let place = told.iter().position(|one| one["attempt"] == attempt);
        assert!(place.is_some(), "{name} is not in the report");
        let one = told.swap_remove(place.unwrap());
        assert_eq!((&one["agent"], &one["stage"]), (&json!(flight.who), &json!(stage)), "{name}");
        let record = drill.house.record(&attempt).await;
        let recorded =
            [&record["outcome"], &record["denial"], &record["cancelled"], &record["agent"], &record["app"]];
        let wanted =
            [&json!(outcome), &json!("agent-revoked"), &cancelled, &json!(flight.who), &json!(flight.app)];
        assert_eq!(recorded, wanted, "{name}");
        assert_eq!(record["user"]["subject"], "alice", "{name}: {record}");
    }
    assert_eq!(told, Vec::<Value>::new());
}

/// Whoever was born in the meantime is dead, and nobody below gets a token any more.
async fn assert_dead(drill: &Drill, children: &[Holder]) {
    let url = format!("{}/plain?n=child", drill.house.gateway.resource("web"));
    for child in children {
        let reply = child.send("GET", &url, || Http::get(&url)).await;
        assert_eq!(reply.status, 401);
        assert_eq!(drill.house.record(reply.header("x-request-id")).await["denial"], "agent-revoked");
    }
    for name in SUBTREE {
        let member = drill.family.get(name);
        for app in APPS {
            let reply = member.call(&drill.house, app, "late").await;
            assert_eq!(reply.status, 401, "{name} at {app}");
            let again = member.at(app).exchange_form(&[]).await;
            assert_eq!(
                (again.status.as_u16(), &again.json()["error"]),
                (400, &json!("invalid_request")),
                "{name}"
            );
            let spawned = member.at(app).try_spawn(AgentKey::generate("late"), &[]).await.unwrap_err();
            assert_eq!(spawned.status, 400, "{name} at {app}");
        }
    }
    for app in APPS {
        assert!(!drill.house.seen(app).iter().any(|name| name == "child" || name == "late"));
    }
}

/// Those above and beside are served to the end, and further.
async fn assert_spared(drill: &Drill) {
    drill.house.finish();
    for flight in &drill.spared {
        assert_eq!(flight.watched.ended().await, End::Closed, "{}", flight.name);
        assert!(flight.watched.is_whole(), "{}", flight.name);
        assert_eq!(drill.house.record(&flight.attempt()).await["outcome"], "completed", "{}", flight.name);
    }
    for member in drill.family.members.iter().chain(&drill.other.members) {
        if !SUBTREE.contains(&&*member.name) {
            for app in APPS {
                assert_eq!(member.call(&drill.house, app, "later").await.status, 200, "{}", member.name);
            }
        }
    }
    for app in ["modern", "web"] {
        assert_eq!(drill.house.upstream(app).aborted(), 5, "{app}");
    }
}
