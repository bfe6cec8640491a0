//! Races against an order on the running gateway: after the acknowledgement nobody below is served, however close it was,
//! and report, record and application agree about every single call.
//!
//! A hundred rounds of each; with `VESTIBULE_RACES` in the environment, 3,400 of each.

mod ledger;

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use serde_json::json;
use tokio::sync::Notify;
use vestibule_testkit::{AgentKey, Answer, Cut, Holder, Http, OpenReply};

use self::ledger::Ledger;
use super::family::{House, PLAIN, STREAM};

/// Rounds at one gateway, whose record is then compared as a whole.
const ROUNDS: usize = 100;
/// Who races with the order in each round.
const RACERS: usize = 3;

#[expect(
    clippy::disallowed_methods,
    reason = "how long to race is asked for from outside, as no test depends on it"
)]
fn gateways() -> usize {
    if std::env::var("VESTIBULE_RACES").is_ok() { 34 } else { 1 }
}

/// A gateway, a root that spawns whoever is revoked in a round, and what has come of it all.
struct Track {
    house: House,
    root: Holder,
    ledger: Ledger,
}

impl Track {
    async fn new() -> Self {
        let house = House::new("evidence: { mode: required },").await;
        let mut root = house.tree("a", Some("alice"), &["web"], &[]).await;
        let root = root.members.remove(0).holders.remove("web").unwrap();
        Self { house, root, ledger: Ledger::default() }
    }

    async fn child(&self) -> Holder {
        self.root.spawn(AgentKey::generate("child"), &[]).await
    }

    /// Revokes an agent, a little later in each round, and says when that is acknowledged.
    async fn revoke(&self, holder: &Holder, round: usize, acknowledged: &AtomicBool) -> serde_json::Value {
        pause(round % 20 * 4).await;
        let report = if (round / 4).is_multiple_of(2) {
            self.house.order("agent", &holder.id(), json!({})).await
        } else {
            self.house.order("delegation", &holder.node(), json!({})).await
        };
        acknowledged.store(true, Ordering::SeqCst);
        self.ledger.report(&report);
        report
    }

    fn call(
        &self,
        holder: &Holder,
        manner: &str,
        name: &str,
    ) -> impl Future<Output = Result<OpenReply, Cut>> {
        let url = format!("{}/{manner}?n={name}", self.house.gateway.resource("web"));
        holder.signed("GET", &url, Http::get(&url)).open()
    }

    /// One call of this name, and whether it was served: answered with 200, and whole. Whoever is served must have asked
    /// before the acknowledgement.
    async fn race(&self, holder: &Holder, name: &str, acknowledged: &AtomicBool) -> bool {
        let is_late = acknowledged.load(Ordering::SeqCst);
        let Ok(mut reply) = self.call(holder, PLAIN, name).await else { return false };
        let is_served = rest(&mut reply).await && reply.status == 200;
        assert!(!(is_served && is_late), "{name} survived");
        if is_served {
            self.ledger.served(name);
        }
        is_served
    }

    /// A stream of two chunks, of which the first has come and the second waits at the application.
    async fn first_chunk(&self, holder: &Holder, round: usize) -> OpenReply {
        let upstream = self.house.upstream("web");
        let answer = Answer::stream("text/plain", ["one\n", "two\n"]);
        // Where the length is known, the last chunk completes the reply; else what comes behind it.
        let answer = if round % 4 < 2 { answer.header("content-length", "8") } else { answer };
        upstream.answer_at("/stream", answer);
        upstream.hold();
        upstream.step();
        let mut reply = self.call(holder, STREAM, &round.to_string()).await.unwrap();
        assert_eq!(reply.read_until("one\n").await, "one\n");
        reply
    }
}

/// Lets others go first, so many times.
async fn pause(turns: usize) {
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
}

/// Whether the rest of the reply comes.
async fn rest(reply: &mut OpenReply) -> bool {
    loop {
        match reply.chunk().await {
            Ok(Some(_)) => {}
            end => return end.is_ok(),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_is_admitted_past_a_revocation() {
    for _ in 0..gateways() {
        let track = Track::new().await;
        for round in 0..ROUNDS {
            let (child, acknowledged) = (track.child().await, AtomicBool::new(false));
            let racers = (0..RACERS).map(async |racer| {
                let mut turn = 0;
                while track.race(&child, &format!("{round}-{racer}-{turn}"), &acknowledged).await {
                    turn += 1;
                }
            });
            tokio::join!(track.revoke(&child, round, &acknowledged), join_all(racers));
            assert!(!track.race(&child, &format!("{round}-late"), &acknowledged).await);
        }
        track.ledger.assert_agrees(&track.house).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_is_born_past_a_revocation() {
    for _ in 0..gateways() {
        let track = Track::new().await;
        for round in 0..ROUNDS {
            let (parent, acknowledged, first) = (track.child().await, AtomicBool::new(false), Notify::new());
            let racers = (0..RACERS).map(async |racer| {
                let mut born = Vec::new();
                let mut is_late = false;
                while let Ok(child) = parent.try_spawn(AgentKey::generate("child"), &[]).await {
                    assert!(!is_late, "a child was born");
                    is_late = acknowledged.load(Ordering::SeqCst);
                    track.race(&child, &format!("{round}-{racer}-{}", born.len()), &acknowledged).await;
                    born.push(child);
                    first.notify_one();
                }
                born
            });
            let revoking = async {
                // In every other round there is a child before the order, in the others perhaps.
                if round.is_multiple_of(2) {
                    first.notified().await;
                }
                track.revoke(&parent, round, &acknowledged).await
            };
            let (_, born) = tokio::join!(revoking, join_all(racers));
            for (number, child) in born.iter().flatten().enumerate() {
                assert!(!track.race(child, &format!("{round}-late-{number}"), &acknowledged).await);
                assert!(child.try_again().await.is_err());
            }
            assert!(parent.try_again().await.is_err());
        }
        track.ledger.assert_agrees(&track.house).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_last_chunk_of_a_reply_arrives_or_the_reply_is_cut_and_the_report_knows_which() {
    for _ in 0..gateways() {
        let track = Track::new().await;
        for round in 0..ROUNDS {
            let (child, acknowledged) = (track.child().await, AtomicBool::new(false));
            let mut reply = track.first_chunk(&child, round).await;
            let last = async {
                pause(round * 37 % 1000).await;
                track.house.upstream("web").step();
                rest(&mut reply).await
            };
            let (is_whole, report) = tokio::join!(last, track.revoke(&child, round, &acknowledged));
            match report["attempts"][0]["stage"].as_str() {
                None => assert!(is_whole, "round {round}: it had left before the order"),
                Some("streaming") => assert!(!is_whole, "round {round}: it was whole and cut"),
                // Its last byte may have been on its way, or not.
                Some(stage) => assert_eq!(stage, "completed", "round {round}"),
            }
            if is_whole {
                track.ledger.served(&round.to_string());
            }
            assert!(!track.race(&child, &format!("{round}-late"), &acknowledged).await);
        }
        track.ledger.assert_agrees(&track.house).await;
    }
}
