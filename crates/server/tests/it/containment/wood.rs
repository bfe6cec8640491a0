//! Two trees, of which every agent streams at every application, and what an order leaves of them.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::{Value, json};
use vestibule_model::{Clock, SystemClock};

use super::{
    family::{House, STREAM},
    member::{Family, Flight, Member},
};

/// Alice's agent `a` stands above `b`, `c` and `d`, one below the other, and above `b2`; bob's `o` above `p`.
pub(super) struct Wood {
    pub(super) house: House,
    pub(super) alice: Family,
    bob: Family,
    flights: Vec<Flight>,
}

impl Wood {
    pub(super) async fn new() -> Self {
        Self::at(Arc::new(SystemClock::default())).await
    }

    /// At the time of this clock.
    pub(super) async fn at(clock: Arc<dyn Clock>) -> Self {
        let house = House::at(clock, "", &[]).await;
        let apps = ["modern", "web"];
        let below = [("b", "a"), ("c", "b"), ("d", "c"), ("b2", "a")];
        let alice = house.tree("a", Some("alice"), &apps, &below).await;
        let bob = house.tree("o", Some("bob"), &apps, &[("p", "o")]).await;
        let all = alice.members.iter().chain(&bob.members);
        let flights = all.flat_map(|member| apps.map(|app| member.start(&house, app, STREAM)));
        let flights: Vec<_> = flights.collect();
        let wood = Self { house, alice, bob, flights };
        for flight in &wood.flights {
            flight.beyond(0).await;
        }
        wood
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Member> {
        self.alice.members.iter().chain(&self.bob.members)
    }

    /// The name of a user, a session or a client as it is revoked.
    pub(super) fn foreign(&self, name: &str) -> String {
        format!("{}#{name}", self.house.users.id())
    }

    pub(super) fn node(&self, name: &str, app: &str) -> String {
        self.alice.get(name).at(app).node()
    }

    /// The calls that are dead, as `agent@app`: those whose agent is refused for this reason there. Its stream must have
    /// broken off; every other stream must go on.
    pub(super) async fn dead(&self, denial: &str) -> BTreeSet<String> {
        let mut dead = BTreeSet::new();
        for flight in &self.flights {
            let member = self.members().find(|member| member.id == flight.who).unwrap();
            let name = format!("{}@{}", member.name, flight.app);
            let seen = self.house.seen(flight.app).len();
            let reply = member.call(&self.house, flight.app, &name).await;
            if reply.status == 200 {
                flight.beyond(flight.beat()).await;
                continue;
            }
            flight.watched.ended().await;
            assert!(!flight.watched.is_whole(), "{name}");
            let cut = self.house.record(&flight.attempt()).await;
            assert_eq!((&cut["outcome"], &cut["denial"]), (&json!("cut"), &json!(denial)), "{name}");
            let refused = self.house.record(reply.header("x-request-id")).await;
            assert_eq!(
                (&refused["outcome"], &refused["denial"]),
                (&json!("refused"), &json!(denial)),
                "{name}"
            );
            assert_eq!(self.house.seen(flight.app).len(), seen, "{name}");
            dead.insert(name);
        }
        dead
    }

    /// How many streams have not ended.
    pub(super) fn running(&self) -> usize {
        self.flights.iter().filter(|flight| flight.watched.is_open()).count()
    }

    /// Every stream that is running goes on.
    pub(super) async fn goes_on(&self, count: usize) {
        assert_eq!(self.running(), count);
        for flight in self.flights.iter().filter(|flight| flight.watched.is_open()) {
            flight.beyond(flight.beat()).await;
        }
    }

    /// Revokes, and checks that exactly these are dead and that the report says so.
    pub(super) async fn assert_kills(&self, kind: &str, id: &str, dead: &[&str], nodes: u64) {
        let report = self.house.order(kind, id, json!({})).await;
        let cut = &report["cut"];
        let count = json!(dead.len());
        assert_eq!((&cut["attempts"], &cut["streams"]), (&count, &count), "{kind} {id}");
        assert_eq!(cut["nodes"], nodes, "{kind} {id}");
        let expected: BTreeSet<_> = dead.iter().map(|&name| name.to_owned()).collect();
        assert_eq!(self.dead(&format!("{kind}-revoked")).await, expected, "{kind} {id}");
        let told: BTreeSet<_> =
            report["attempts"].as_array().unwrap().iter().map(|one| self.name(one)).collect();
        assert_eq!(told, expected, "{kind} {id}");
    }

    /// Whose call, and where, an attempt of a report is.
    fn name(&self, attempt: &Value) -> String {
        let flight = self.flights.iter().find(|flight| attempt["attempt"] == flight.attempt()).unwrap();
        assert_eq!((&attempt["agent"], &attempt["stage"]), (&json!(flight.who), &json!("streaming")));
        let member = self.members().find(|member| member.id == flight.who).unwrap();
        format!("{}@{}", member.name, flight.app)
    }
}
