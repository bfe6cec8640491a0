//! The load generator: a thread per connection with one request in flight, which costs less per request than any
//! runtime and waits for the time of a request to within microseconds.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use serde::Serialize;
use vestibule_model::{Clock, Monotonic, SystemClock};

use crate::{
    Failed,
    wire::{Connection, Target},
    workload::Workload,
};

/// What load to put where.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) target: Target,
    pub(crate) workload: Workload,
    /// For every request, as `name: value`.
    pub(crate) headers: Vec<String>,
    pub(crate) credentials: Credentials,
    pub(crate) connections: usize,
    pub(crate) duration: Duration,
    /// Requests per second on a schedule (open loop); none sends the next when the last is answered (closed loop).
    pub(crate) rate: Option<f64>,
}

/// By which the connections, in turn, show who they are.
#[derive(Debug)]
pub(crate) enum Credentials {
    Nothing,
    Bearer(Vec<String>),
    Bound(Vec<BoundToken>),
}

/// A token that is bound to a key, and proofs of that key, each good for one request: signed before, or the generator
/// would take longer for a request than what it measures.
#[derive(Debug)]
pub(crate) struct BoundToken {
    token: String,
    proofs: Vec<String>,
    used: AtomicUsize,
}

impl BoundToken {
    pub(crate) fn new(token: String, proofs: Vec<String>) -> Self {
        Self { token, proofs, used: AtomicUsize::new(0) }
    }

    /// One that was not used.
    fn proof(&self) -> Option<&str> {
        self.proofs.get(self.used.fetch_add(1, Ordering::Relaxed)).map(String::as_str)
    }
}

impl Credentials {
    /// `Authorization` for a connection, and where its proofs come from.
    fn of(&self, connection: usize) -> (String, Option<&BoundToken>) {
        fn turn<T>(all: &[T], connection: usize) -> Option<&T> {
            all.get(connection.checked_rem(all.len())?)
        }
        match self {
            Self::Nothing => (String::new(), None),
            Self::Bearer(tokens) => {
                let token =
                    turn(tokens, connection).map(|token| format!("authorization: Bearer {token}\r\n"));
                (token.unwrap_or_default(), None)
            }
            Self::Bound(tokens) => {
                let bound = turn(tokens, connection);
                let token = bound.map(|bound| format!("authorization: DPoP {}\r\n", bound.token));
                (token.unwrap_or_default(), bound)
            }
        }
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) duration: Duration,
    /// One for each answered request, in microseconds, in order of size.
    latencies: Vec<u32>,
    failures: u64,
    first_failure: Option<String>,
}

/// [`Measured`] in figures.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    pub(crate) requests: usize,
    pub(crate) failures: u64,
    pub(crate) first_failure: Option<String>,
    pub(crate) seconds: f64,
    pub(crate) throughput: f64,
    pub(crate) p50_us: u32,
    pub(crate) p99_us: u32,
    pub(crate) p999_us: u32,
    pub(crate) max_us: u32,
}

impl Measured {
    pub(crate) fn requests(&self) -> usize {
        self.latencies.len()
    }

    /// Answered requests per second.
    pub(crate) fn throughput(&self) -> f64 {
        self.requests() as f64 / self.duration.as_secs_f64()
    }

    /// The latency that this share of the requests does not exceed, in microseconds.
    pub(crate) fn percentile(&self, share: f64) -> u32 {
        let rank = (self.latencies.len() as f64 * share).ceil() as usize;
        self.latencies.get(rank.saturating_sub(1)).copied().unwrap_or(0)
    }

    /// Itself, if every request was answered by the application.
    pub(crate) fn without_failures(self) -> Result<Self, Failed> {
        match self.first_failure {
            Some(first) => {
                Err(Failed::because(format!("{} requests failed, the first", self.failures), first))
            }
            None if self.latencies.is_empty() => Err(Failed("no request was answered".to_owned())),
            None => Ok(self),
        }
    }

    pub(crate) fn summary(&self) -> Summary {
        Summary {
            requests: self.requests(),
            failures: self.failures,
            first_failure: self.first_failure.clone(),
            seconds: self.duration.as_secs_f64(),
            throughput: self.throughput(),
            p50_us: self.percentile(0.5),
            p99_us: self.percentile(0.99),
            p999_us: self.percentile(0.999),
            max_us: self.percentile(1.0),
        }
    }

    fn absorb(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.failures += other.failures;
        self.first_failure = self.first_failure.take().or(other.first_failure);
    }

    fn failed(&mut self, why: String) {
        self.failures += 1;
        self.first_failure.get_or_insert(why);
    }
}

/// What the connections share.
struct Shared<'a> {
    plan: &'a Plan,
    clock: SystemClock,
    /// The number of the next request: its identity, and its place in the schedule.
    next: AtomicU64,
    start: Barrier,
    /// Somebody has no proof left. All stop, for the load is no longer what it was.
    is_over: AtomicBool,
}

/// Puts the load on and waits for its end.
pub(crate) fn run(plan: &Plan) -> Result<Measured, Failed> {
    let connections = (0..plan.connections)
        .map(|_| Connection::open(&plan.target.authority))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Failed::because(&plan.target.authority, error))?;
    let shared = Shared {
        plan,
        clock: SystemClock::default(),
        next: AtomicU64::new(0),
        start: Barrier::new(plan.connections + 1),
        is_over: AtomicBool::new(false),
    };
    let mut total = thread::scope(|scope| {
        let workers: Vec<_> = connections
            .into_iter()
            .enumerate()
            .map(|(index, connection)| {
                let shared = &shared;
                scope.spawn(move || worker(shared, connection, index))
            })
            .collect();
        shared.start.wait();
        let started = shared.clock.monotonic();
        let mut total = Measured::default();
        for worker in workers {
            match worker.join() {
                Ok(measured) => total.absorb(measured),
                Err(_) => total.failed("a connection's thread panicked".to_owned()),
            }
        }
        total.duration = shared.clock.monotonic().since(started);
        total
    });
    total.latencies.sort_unstable();
    Ok(total)
}

fn worker(shared: &Shared<'_>, mut connection: Connection, index: usize) -> Measured {
    let (head, bound) = head(shared.plan, index);
    let mut measured = Measured::default();
    let mut request = Vec::new();
    shared.start.wait();
    let started = shared.clock.monotonic();
    loop {
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let Some(sent) = shared.due(started, number) else { return measured };
        let body = shared.plan.workload.body(number);
        request.clear();
        request.extend_from_slice(head.as_bytes());
        if let Some(bound) = bound {
            let Some(proof) = bound.proof() else {
                shared.is_over.store(true, Ordering::Relaxed);
                return measured;
            };
            request.extend_from_slice(format!("dpop: {proof}\r\n").as_bytes());
        }
        request.extend_from_slice(format!("content-length: {}\r\n\r\n{body}", body.len()).as_bytes());
        match connection.exchange(&request) {
            Ok(answer) if shared.plan.workload.is_answer(answer.status, &answer.body) => {
                let latency = shared.clock.monotonic().since(started).saturating_sub(sent);
                measured.latencies.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
            }
            Ok(answer) => {
                measured.failed(format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)));
            }
            Err(error) => {
                measured.failed(error.to_string());
                match Connection::open(&shared.plan.target.authority) {
                    Ok(fresh) => connection = fresh,
                    Err(_) => return measured,
                }
            }
        }
    }
}

fn head(plan: &Plan, index: usize) -> (String, Option<&BoundToken>) {
    let mut head = plan.workload.head(&plan.target);
    let (authorization, bound) = plan.credentials.of(index);
    head.push_str(&authorization);
    for header in &plan.headers {
        head.push_str(&format!("{header}\r\n"));
    }
    (head, bound)
}

impl Shared<'_> {
    /// Waits until request `number` is due and gives the time, since `started`, from which its latency counts; none
    /// when the load is over.
    #[expect(clippy::disallowed_methods, reason = "an open loop waits for the time of its next request")]
    fn due(&self, started: Monotonic, number: u64) -> Option<Duration> {
        if self.is_over.load(Ordering::Relaxed) {
            return None;
        }
        let now = self.clock.monotonic().since(started);
        let Some(rate) = self.plan.rate else { return (now < self.plan.duration).then_some(now) };
        let scheduled = Duration::from_secs_f64(number as f64 / rate);
        if scheduled >= self.plan.duration {
            return None;
        }
        let Some(wait) = scheduled.checked_sub(now) else {
            // Late, because the connections were all waiting for answers: what it waited for counts. Anything else
            // would hide the stall (coordinated omission).
            return Some(scheduled);
        };
        thread::sleep(wait);
        // Woken late by the machine is not the target's doing.
        Some(self.clock.monotonic().since(started))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let measured = Measured {
            latencies: (1..=200).collect(),
            duration: Duration::from_secs(2),
            ..Measured::default()
        };
        assert_eq!([0.5, 0.99, 0.999, 1.0].map(|share| measured.percentile(share)), [100, 198, 200, 200]);
        assert_eq!(measured.throughput(), 100.0);
        assert_eq!(Measured::default().percentile(0.5), 0);
    }

    #[test]
    fn connections_take_credentials_in_turn_and_each_proof_once() {
        let bound = |token: &str| BoundToken::new(token.to_owned(), vec![format!("proof-{token}")]);
        let credentials = Credentials::Bound(vec![bound("a"), bound("b")]);
        let (authorization, from) = credentials.of(3);
        assert_eq!(authorization, "authorization: DPoP b\r\n");
        assert_eq!(from.unwrap().proof(), Some("proof-b"));
        assert_eq!(from.unwrap().proof(), None);
        assert_eq!(credentials.of(2).1.unwrap().proof(), Some("proof-a"));
        let bearer = Credentials::Bearer(vec!["a".to_owned()]);
        assert_eq!(bearer.of(5).0, "authorization: Bearer a\r\n");
        assert_eq!(Credentials::Bearer(Vec::new()).of(0).0, "");
    }

    #[test]
    fn one_failure_spoils_a_measurement() {
        let mut measured = Measured { latencies: vec![1], ..Measured::default() };
        measured.failed("403 no".to_owned());
        measured.failed("500 later".to_owned());
        assert_eq!(
            measured.without_failures().unwrap_err().to_string(),
            "2 requests failed, the first: 403 no"
        );
    }
}
