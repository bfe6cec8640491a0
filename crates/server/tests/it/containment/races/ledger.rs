use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use serde_json::Value;

use super::super::family::House;

/// More than there are attempts at one gateway.
const ATTEMPTS_MAX: usize = 10_000;

/// What callers and reports said.
#[derive(Default)]
pub(super) struct Ledger {
    /// The names of the calls that were served.
    served: Mutex<BTreeSet<String>>,
    /// The stage in which each attempt was cut.
    stages: Mutex<BTreeMap<String, String>>,
}

impl Ledger {
    pub(super) fn served(&self, name: &str) {
        self.served.lock().unwrap().insert(name.to_owned());
    }

    pub(super) fn report(&self, report: &Value) {
        let attempts = report["attempts"].as_array().unwrap();
        let is = |one: &&Value, stages: &[&str]| stages.contains(&one["stage"].as_str().unwrap());
        let count = |stages: &[&str]| attempts.iter().filter(|one| is(one, stages)).count();
        assert_eq!(report["cut"]["attempts"], count(&["queued", "forwarded", "streaming"]), "{report}");
        assert_eq!(report["cut"]["streams"], count(&["streaming"]), "{report}");
        assert_eq!(report["completed"], count(&["completed"]), "{report}");
        for one in attempts {
            let (attempt, stage) = (text(&one["attempt"]), text(&one["stage"]));
            assert_eq!(self.stages().insert(attempt, stage), None, "cut twice: {one}");
        }
    }

    fn stages(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.stages.lock().unwrap()
    }

    /// Call by call: what a caller was served is recorded as completed, what a report says was cut is recorded so, and the
    /// application has seen each call once that may have been forwarded, and none that was refused.
    pub(super) async fn assert_agrees(&self, house: &House) {
        let (records, served) = (recorded(house).await, self.served.lock().unwrap().clone());
        let mut stages = self.stages().clone();
        let (mut completed, mut forwarded, mut refused) = (BTreeSet::new(), BTreeSet::new(), 0);
        for record in &records {
            let name = text(&record["arguments"]["n"]);
            let stage = stages.remove(record["attempt"].as_str().unwrap());
            let outcome = record["outcome"].as_str().unwrap();
            let agrees = match outcome {
                "refused" => matches!(stage.as_deref(), None | Some("queued")),
                "unknown" => stage.as_deref() == Some("forwarded"),
                // Complete, and cut before the record said so.
                "cut" => matches!(stage.as_deref(), Some("streaming" | "completed")),
                "completed" => matches!(stage.as_deref(), None | Some("completed")),
                _ => false,
            };
            assert!(agrees, "recorded as {outcome}, reported as {stage:?}: {record}");
            match outcome {
                "refused" => refused += 1,
                "completed" => _ = completed.insert(name),
                _ => _ = forwarded.insert(name),
            }
        }
        assert_eq!(stages, BTreeMap::new(), "reported and not recorded");
        assert!(served.is_subset(&completed), "served: {:?}", served.difference(&completed));
        let seen = house.seen("web");
        let once: BTreeSet<_> = seen.iter().cloned().collect();
        assert_eq!(seen.len(), once.len(), "seen twice");
        assert!(completed.is_subset(&once), "not seen: {:?}", completed.difference(&once));
        let may: BTreeSet<_> = completed.union(&forwarded).cloned().collect();
        assert!(once.is_subset(&may), "refused and seen: {:?}", once.difference(&may));
        assert!(!served.is_empty() && refused > 0, "nothing raced");
    }
}

/// All the calls, once every record is closed.
async fn recorded(house: &House) -> Vec<Value> {
    let search = async {
        loop {
            let path = format!("/admin/v1/attempts?limit={ATTEMPTS_MAX}&app=web");
            let mut found = house.gateway.get(&path).await["items"].as_array().unwrap().clone();
            assert!(found.len() < ATTEMPTS_MAX);
            found.retain(|record| record["kind"] == "call");
            if found.iter().all(|record| record["outcome"].is_string()) {
                return found;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), search).await.unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
