use std::{hint::black_box, sync::Arc, thread, time::Duration};

use serde::Serialize;
use tokio::runtime::{Builder, Runtime};
use vestibule_containment::{Containment, DenyKey, KeyKind, Passage, Path};
use vestibule_model::{
    Actor, AgentId, AppId, AttemptId, Clock, Denial, Entropy, Jti, NodeId, PathNode, SeededEntropy,
    SystemClock, Thumbprint, Timestamp, TokenId,
};
use vestibule_store::{Follower, Kind, Record, SqliteStore, Store, Subscriber};

use super::median;
use crate::Failed;

/// Requests that take turns, so many that the processor does not know the way to each by heart.
const REQUESTS: u64 = 256;
/// How often the turns of all of them are timed.
const TURNS: usize = 400;
/// In flight meanwhile.
const IN_FLIGHT: u64 = 10_000;

/// What containment costs a request.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Admission {
    /// To be let in and to leave again, for a chain of one agent, in microseconds.
    pub(crate) shallow_us: f64,
    /// The same for a chain of four.
    pub(crate) deep_us: f64,
    /// Threads that do it at the same time.
    pub(crate) threads: usize,
    /// Names that are denied while one is looked up.
    pub(crate) denied: u64,
    /// To look one name up among them, in nanoseconds.
    pub(crate) lookup_ns: f64,
}

/// On as many threads as there are cores, as the gateway does it, with requests of others in flight.
pub(super) fn measure(denied: u64) -> Result<Admission, Failed> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let (empty, full) = (World::new(0)?, World::new(denied)?);
    let _others = empty.in_flight(IN_FLIGHT)?;
    let admit = |depth| {
        empty.time(threads, depth, |containment, request| {
            containment.admit(black_box(&request.path()), request.attempt).map(drop)
        })
    };
    let deep = 4;
    let check =
        full.time(threads, deep, |containment, request| containment.check(black_box(&request.path())))?;
    Ok(Admission {
        shallow_us: admit(1)? / 1e3,
        deep_us: admit(deep)? / 1e3,
        threads,
        denied,
        lookup_ns: check / Request::names_looked_up(deep) as f64,
    })
}

struct World {
    containment: Arc<Containment>,
    clock: Arc<SystemClock>,
    _follower: Arc<Follower>,
    _folder: tempfile::TempDir,
    _runtime: Runtime,
}

impl World {
    /// With so many entries, of all kinds that are many.
    fn new(entries: u64) -> Result<Self, Failed> {
        let failed = |error: &dyn std::fmt::Display| Failed::because("containment", error);
        let runtime = Builder::new_current_thread().enable_time().build().map_err(|error| failed(&error))?;
        let folder = tempfile::tempdir().map_err(|error| failed(&error))?;
        let clock = Arc::new(SystemClock::default());
        let store = SqliteStore::open(folder.path(), clock.clone()).map_err(|error| failed(&error))?;
        let store: Arc<dyn Store> = Arc::new(store);
        let containment = Containment::new(Arc::clone(&store), clock.clone());
        let start = Follower::start(store, clock.clone(), Duration::from_secs(1), vec![containment.clone()]);
        let follower = runtime.block_on(start).map_err(|error| failed(&error))?;
        // It follows nothing while nobody drives the runtime.
        containment.attach(&follower, Duration::from_secs(24 * 60 * 60));
        let records = (0..entries).map(record).collect::<Result<_, _>>()?;
        containment.reset(records).map_err(|error| failed(&error))?;
        Ok(Self { containment, clock, _follower: follower, _folder: folder, _runtime: runtime })
    }

    fn in_flight(&self, count: u64) -> Result<Vec<Passage>, Failed> {
        let admit = |n| {
            let request = Request::new(REQUESTS * 100 + n, 1)?;
            self.containment.admit(&request.path(), request.attempt).map_err(refused)
        };
        (0..count).map(admit).collect()
    }

    /// How long `work` takes for one request, in nanoseconds, while all threads do it.
    fn time(
        &self,
        threads: usize,
        depth: u64,
        work: impl Fn(&Containment, &Request) -> Result<(), Denial> + Sync,
    ) -> Result<f64, Failed> {
        let turns = |thread: u64| -> Result<f64, Failed> {
            let first = thread * REQUESTS;
            let requests: Vec<_> =
                (first..first + REQUESTS).map(|n| Request::new(n, depth)).collect::<Result<_, _>>()?;
            let mut times = Vec::with_capacity(TURNS);
            for _ in 0..TURNS {
                let start = self.clock.monotonic();
                for request in &requests {
                    work(&self.containment, request).map_err(refused)?;
                }
                let took = self.clock.monotonic().since(start);
                times.push(took.as_nanos() as f64 / requests.len() as f64);
            }
            Ok(median(times.into_iter()))
        };
        let medians: Vec<f64> = thread::scope(|scope| {
            let running: Vec<_> =
                (0..threads as u64).map(|thread| scope.spawn(move || turns(thread))).collect();
            let joined = running.into_iter().map(|thread| {
                thread.join().unwrap_or_else(|_| Err(Failed("a thread that measures panicked".to_owned())))
            });
            joined.collect::<Result<_, _>>()
        })?;
        Ok(medians.iter().sum::<f64>() / medians.len() as f64)
    }
}

fn refused(denial: Denial) -> Failed {
    Failed::because("containment refuses", denial.code())
}

/// One of the many that are denied.
fn record(n: u64) -> Result<Record, Failed> {
    let (kind, id) = match n % 7 {
        0 => (KeyKind::Token, format!("{n:032x}")),
        1 => (KeyKind::Delegation, format!("{n:032x}")),
        2 => (KeyKind::Agent, format!("spiffe://example.org/agent/{n}")),
        3 => (KeyKind::User, format!("https://idp.example.org#{n}")),
        4 => (KeyKind::Session, format!("https://idp.example.org#{n}")),
        5 => (KeyKind::Client, format!("https://idp.example.org#{n}")),
        _ => (KeyKind::Credential, thumbprint(n, 1).to_string()),
    };
    let key = DenyKey::new(kind, &id).map_err(|error| Failed::because(id, error))?;
    Ok(Record {
        kind: Kind::Deny,
        key: key.to_string(),
        version: 1,
        parent: None,
        subject: None,
        expires_at: None,
        body: r#"{"state":"revoked","reason":"compromise","cutoff":null,"by":"bench","at":0}"#.to_owned(),
    })
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
    app: AppId,
    attempt: AttemptId,
    issued_at: Timestamp,
}

impl Request {
    fn new(n: u64, depth: u64) -> Result<Self, Failed> {
        let malformed = |error| Failed::because("a request", error);
        let entropy: &dyn Entropy = &SeededEntropy::new(n);
        let issued_at = Timestamp::from_seconds(1_800_000_000);
        let actor = |place| {
            let id = format!("spiffe://example.org/caller/{n}/{place}");
            Ok(Actor { issuer: "https://gateway.example.org".into(), agent: AgentId::new(&id)? })
        };
        let node = |place| PathNode {
            id: NodeId::random(entropy),
            since: issued_at,
            keys: vec![thumbprint(n * 8 + place, 2)],
        };
        Ok(Self {
            jti: Jti::random(entropy).into(),
            agents: (0..depth).map(actor).collect::<Result<_, _>>().map_err(malformed)?,
            nodes: (0..depth).map(node).collect(),
            app: AppId::new("tickets").map_err(malformed)?,
            attempt: AttemptId::new(issued_at, entropy),
            issued_at,
        })
    }

    /// The token, and of each agent its name, its node and its key. The application and everything are names too, but
    /// of these kinds nothing is denied.
    fn names_looked_up(depth: u64) -> u64 {
        1 + 3 * depth
    }

    fn path(&self) -> Path<'_> {
        Path {
            jti: Some(&self.jti),
            issued_at: self.issued_at,
            agents: &self.agents,
            nodes: &self.nodes,
            user: None,
            behind: None,
            app: Some(&self.app),
            calls: &[],
        }
    }
}
