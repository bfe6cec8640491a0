//! What containment costs a request: to be let in and to leave, and to have each of its names looked up among a million
//! entries. What it costs to bring one more entry into force; and what a breaker costs a call that it lets pass.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has failed")]

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use tokio::runtime::{Builder, Runtime};
use vestibule_containment::{
    Containment, DenyKey, KeyKind, Path,
    breaker::{Charge, End, Rest, Share, Thresholds},
};
use vestibule_model::{
    Actor, AgentId, AppId, AttemptId, Entropy, Jti, NodeId, PathNode, Represented, SeededEntropy,
    SystemClock, Thumbprint, Timestamp, TokenId, UserId,
};
use vestibule_store::{Change, Follower, Kind, Record, SqliteStore, Subscriber};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ENTRIES: u64 = 1_000_000;

/// So many that the processor does not know the way to each by heart.
const REQUESTS: u64 = 256;

struct Gateway {
    containment: Arc<Containment>,
    _follower: Arc<Follower>,
    _folder: tempfile::TempDir,
    _runtime: Runtime,
}

impl Gateway {
    /// With so many entries, of all kinds that are many.
    fn with(entries: u64) -> Self {
        let runtime = Builder::new_current_thread().enable_time().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemClock::default());
        let store = Arc::new(SqliteStore::open(folder.path(), clock.clone()).unwrap());
        let containment = Containment::new(store.clone(), clock.clone());
        let start = Follower::start(store, clock, Duration::from_secs(1), vec![containment.clone()]);
        let follower = runtime.block_on(start).unwrap();
        // It follows nothing while nobody drives the runtime.
        containment.attach(&follower, Duration::from_secs(24 * 60 * 60));
        containment.reset((0..entries).map(record).collect()).unwrap();
        Self { containment, _follower: follower, _folder: folder, _runtime: runtime }
    }
}

fn record(n: u64) -> Record {
    let kinds = KeyKind::ALL.iter().copied().filter(|kind| !matches!(kind, KeyKind::App | KeyKind::All));
    let kind = kinds.cycle().nth(usize::try_from(n % 7).unwrap()).unwrap();
    let id = match kind {
        KeyKind::Token | KeyKind::Delegation => format!("{n:032x}"),
        KeyKind::Agent => format!("spiffe://example.org/agent/{n}"),
        KeyKind::User | KeyKind::Session | KeyKind::Client => format!("https://idp.example.org#{n}"),
        KeyKind::Credential => thumbprint(n, 1).to_string(),
        KeyKind::App | KeyKind::All => unreachable!("there are not many of them"),
    };
    Record {
        kind: Kind::Deny,
        key: DenyKey::new(kind, &id).unwrap().to_string(),
        version: 1,
        parent: None,
        subject: None,
        expires_at: None,
        body: r#"{"state":"revoked","reason":"compromise","cutoff":null,"by":"bench","at":0}"#.to_owned(),
    }
}

fn thumbprint(n: u64, salt: u8) -> Thumbprint {
    let mut bytes = [salt; 32];
    bytes.iter_mut().zip(n.to_be_bytes()).for_each(|(slot, byte)| *slot = byte);
    Thumbprint::from_bytes(bytes)
}

/// What a token says, of which no name is denied.
struct Request {
    jti: TokenId,
    agents: Vec<Actor>,
    nodes: Vec<PathNode>,
    user: Option<Represented>,
    app: AppId,
    attempt: AttemptId,
}

impl Request {
    fn of(n: u64, depth: u64, has_user: bool) -> Self {
        let entropy: &dyn Entropy = &SeededEntropy::new(n);
        let now = Timestamp::from_seconds(1_800_000_000);
        let actor = |place| Actor {
            issuer: "https://gateway.example.org".into(),
            agent: AgentId::new(&format!("spiffe://example.org/caller/{n}/{place}")).unwrap(),
        };
        let node = |place: u64| PathNode {
            id: NodeId::random(entropy),
            since: now,
            keys: vec![thumbprint(n * 8 + place, 2)],
        };
        let user = Represented {
            id: UserId { issuer: "https://idp.example.org".to_owned(), subject: format!("user-{n}") },
            groups: Default::default(),
            session: Some(format!("session-{n}")),
            client: Some("client".to_owned()),
            since: Some(now),
        };
        Self {
            jti: Jti::random(entropy).into(),
            agents: (0..depth).map(actor).collect(),
            nodes: (0..depth).map(node).collect(),
            user: has_user.then_some(user),
            app: AppId::new("github").unwrap(),
            attempt: AttemptId::new(now, entropy),
        }
    }

    fn path(&self) -> Path<'_> {
        Path {
            jti: Some(&self.jti),
            issued_at: Timestamp::from_seconds(1_800_000_000),
            agents: &self.agents,
            nodes: &self.nodes,
            user: self.user.as_ref(),
            behind: None,
            app: Some(&self.app),
            calls: &[],
        }
    }
}

fn requests(c: &mut Criterion) {
    for (entries, among) in [(0, "nothing"), (ENTRIES, "1000000")] {
        let gateway = Gateway::with(entries);
        let mut group = c.benchmark_group(format!("containment/among-{among}"));
        // 9, 6, 9 and 30 names: the token, everything, the application, three for each agent, three for the user.
        for (name, depth, has_user) in
            [("depth-1", 1, false), ("depth-1-user", 1, true), ("depth-8-user", 8, true)]
        {
            let requests: Vec<_> = (0..REQUESTS).map(|n| Request::of(n, depth, has_user)).collect();
            let mut turns = requests.iter().cycle();
            group.bench_function(format!("admit-and-drop/{name}"), |b| {
                b.iter(|| {
                    let request = turns.next().unwrap();
                    gateway.containment.admit(black_box(&request.path()), request.attempt).unwrap()
                });
            });
            let mut turns = requests.iter().cycle();
            group.bench_function(format!("check/{name}"), |b| {
                b.iter(|| gateway.containment.check(black_box(&turns.next().unwrap().path())).unwrap());
            });
        }
        group.finish();
    }
}

fn orders(c: &mut Criterion) {
    let gateway = Gateway::with(ENTRIES);
    let requests: Vec<_> = (0..10_000).map(|n| Request::of(n, 1, false)).collect();
    let running: Vec<_> = requests
        .iter()
        .map(|request| gateway.containment.admit(&request.path(), request.attempt).unwrap())
        .collect();
    let mut next = ENTRIES;
    c.bench_function("containment/one-more-entry/among-1000000/10000-in-flight", |b| {
        b.iter(|| {
            let record = record(next);
            next += 1;
            let change =
                Change { seq: next, kind: record.kind, key: record.key.clone(), record: Some(record) };
            gateway.containment.apply(&change).unwrap();
        });
    });
    assert!(running.iter().all(|passage| passage.cut().is_none()));
}

/// What a breaker costs a call that it lets pass: to be looked up while a thousand others are open, and to be counted.
fn breakers(c: &mut Criterion) {
    let gateway = Gateway::with(0);
    let breakers = gateway.containment.breakers();
    let rest = Rest { open: Duration::from_secs(60), open_max: Duration::from_secs(3600), probes: 1 };
    let by = Thresholds {
        window: Duration::from_secs(60),
        denials: Some(Share { percent: 50, calls_min: 20 }),
        errors: None,
        calls: None,
        operations: None,
        bytes: None,
        rest,
    };
    let mut group = c.benchmark_group("breakers");
    for (name, depth) in [("depth-1", 1), ("depth-8", 8)] {
        let requests: Vec<_> = (0..REQUESTS).map(|n| Request::of(n, depth, false)).collect();
        let charge = Charge { end: Some(End::Done), operation: Some(1), bytes: 1_000 };
        let mut turns = requests.iter().cycle();
        group.bench_function(format!("charge/{name}"), |b| {
            b.iter(|| {
                let request = turns.next().unwrap();
                breakers.charge(black_box(&request.agents), Some(request.attempt), &charge, |_| by)
            });
        });
    }
    let denied = Charge { end: Some(End::Denied), operation: Some(1), bytes: 0 };
    for n in 0..1_000 {
        let request = Request::of(1_000_000 + n, 1, false);
        (0..20).for_each(|_| drop(breakers.charge(&request.agents, None, &denied, |_| by)));
    }
    assert_eq!(breakers.list().len(), 1_000);
    let requests: Vec<_> = (0..REQUESTS).map(|n| Request::of(n, 1, false)).collect();
    let mut turns = requests.iter().cycle();
    group.bench_function("admit-and-drop/depth-1/among-1000-open", |b| {
        b.iter(|| {
            let request = turns.next().unwrap();
            gateway.containment.admit(black_box(&request.path()), request.attempt).unwrap()
        });
    });
    group.finish();
}

criterion_group!(benches, requests, orders, breakers);
criterion_main!(benches);
