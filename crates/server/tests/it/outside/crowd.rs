//! Many agents that live for one call: nobody registers them, and nothing of them stays.

use std::{sync::Arc, time::Duration};

use vestibule_model::{Clock, FixedClock, SystemClock};
use vestibule_store::{By, Kind, SqliteStore, Store};
use vestibule_testkit::{AgentKey, Holder, Http};

use super::workloads::Yard;

/// How many agents there are, half of them roots and half spawned by these: `VESTIBULE_CROWD`, or so many.
const CROWD: usize = 200;
/// How many act at once.
const AT_ONCE: usize = 16;
/// What may stay in memory for each: its delegation, its token and its proofs are remembered, within their bounds.
const BYTES_EACH: u64 = 32 << 10;
/// What the caches of the lock and the connections take whoever comes.
const BYTES_ANYWAY: u64 = 64 << 20;

/// A root by the token of a platform, and an agent that it spawns: each has one token and makes one call.
async fn live(yard: &Yard, number: usize) {
    let root = yard.root(&format!("repo:acme/r{number}:ref:refs/heads/main")).await;
    let url = format!("{}/repos", yard.town.api());
    let call = async |agent: &Holder| {
        let reply = agent.send("GET", &url, || Http::get(&url)).await;
        assert_eq!(reply.status, 200, "{}", reply.text());
    };
    call(&root).await;
    call(&root.spawn(AgentKey::generate("c"), &[]).await).await;
}

#[expect(clippy::disallowed_methods, reason = "how many is for whoever runs the tests to say")]
fn crowd() -> usize {
    std::env::var("VESTIBULE_CROWD").ok().and_then(|number| number.parse().ok()).unwrap_or(CROWD)
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).and_then(|text| text.trim().parse().ok());
    kib.unwrap_or(0) * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_agents_that_live_for_one_call_leaves_nothing_behind() {
    let crowd = crowd();
    let yard = Arc::new(Yard::new().await);
    live(&yard, crowd).await;
    let (before, stopwatch) = (resident_bytes(), SystemClock::default());
    let began = stopwatch.monotonic();
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..AT_ONCE {
        let yard = Arc::clone(&yard);
        workers.spawn(async move {
            for number in (worker..crowd / 2).step_by(AT_ONCE) {
                live(&yard, number).await;
            }
        });
    }
    workers.join_all().await;
    let took = stopwatch.monotonic().since(began);
    let grown = resident_bytes().saturating_sub(before);
    let agents = (crowd / 2) as u64 * 2;
    eprintln!(
        "{agents} agents in {:.1} s, {:.0} a second; {:.1} MB more in memory",
        took.as_secs_f64(),
        agents as f64 / took.as_secs_f64(),
        grown as f64 / 1e6
    );
    // Of a small crowd the memory says nothing: other tests run in the same process.
    let is_crowd = crowd > CROWD;
    let bound = BYTES_ANYWAY + agents * BYTES_EACH;
    assert!(!is_crowd || grown <= bound, "{grown} bytes more for {agents} agents");
    assert_eq!(yard.town.upstream.requests().len() as u64, agents + 2, "each made one call");
    assert_eq!(yard.ci.fetches(), 1, "the platform was asked for its keys once");

    let yard = Arc::into_inner(yard).unwrap();
    let (dir, at) = (Arc::clone(&yard.town.gateway.dir), yard.town.now());
    yard.town.gateway.stop().await;
    let rows = async |clock: FixedClock| {
        let store = SqliteStore::open(&dir.path().join("state"), Arc::new(clock)).unwrap();
        let (mut rows, mut after) = (0, None);
        loop {
            let page = store.scan(Kind::Delegation, By::All, after.as_deref(), 1000).await.unwrap();
            rows += page.len() as u64;
            after = page.last().map(|record| record.key.clone());
            if page.len() < 1000 {
                return (store, rows);
            }
        }
    };
    let (store, rows_then) = rows(FixedClock::at(at)).await;
    assert_eq!(rows_then, agents + 2, "a node each, and nothing else");
    assert_eq!(store.scan(Kind::Agent, By::All, None, 10).await.unwrap().len(), 2, "the registered ones");
    // As the gateway does every minute, once their hour is over.
    let over = at.plus(Duration::from_secs(3_601));
    let gone = store.trim(over, 0).await.unwrap();
    assert!(gone >= rows_then, "{gone} rows went");
    assert_eq!(store.trim(over, 0).await.unwrap(), 0, "something was left");
    drop(store);
    assert_eq!(rows(FixedClock::at(at)).await.1, 0, "rows of delegations are left");
}
