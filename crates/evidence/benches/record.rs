//! What the record costs an attempt, in mode `batched`: the attempt's own part, without the writer that works beside it.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has failed")]

use std::{path::Path, sync::Arc, time::Duration};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::{Builder, Runtime};
use vestibule_evidence::{
    ChainLink, Decision, Durations, Evidence, EvidenceConfig, LogKey, Mode, Outcome, Record, RecordKind,
};
use vestibule_model::{
    AgentId, AppId, AttemptId, Clock, Digest, Jti, NodeId, SeededEntropy, SystemClock, Thumbprint, TraceId,
    UserId, WorkflowId,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Attempts between two flushes: few enough that the writer still gathers them while they are measured.
const ATTEMPTS: u32 = 100;

struct Bench {
    clock: Arc<SystemClock>,
    entropy: Arc<SeededEntropy>,
    evidence: Evidence,
    runtime: Runtime,
}

impl Bench {
    fn new(folder: &Path) -> Self {
        let config = EvidenceConfig {
            folder: folder.to_owned(),
            origin: "gateway.example/1".to_owned(),
            mode: Mode::Batched,
            segment_max_bytes: 64 * 1024 * 1024,
            queue_max: 10_000,
        };
        let (clock, entropy) = (Arc::new(SystemClock::default()), Arc::new(SeededEntropy::new(1)));
        let key = LogKey::from_seed(&[7; 32]);
        let evidence = Evidence::open(config, key, clock.clone(), entropy.clone()).unwrap();
        Self { clock, entropy, evidence, runtime: Builder::new_current_thread().build().unwrap() }
    }

    /// A permitted call by the second agent of a chain that acts for a human.
    fn record(&self) -> Record {
        let entropy = &*self.entropy;
        let now = self.clock.now();
        let attempt = AttemptId::new(now, entropy);
        let link = |agent| ChainLink {
            issuer: "https://gateway.example".to_owned(),
            agent: AgentId::new(agent).unwrap(),
            node: Some(NodeId::random(entropy)),
        };
        let user = UserId { issuer: "https://idp.example".to_owned(), subject: "8f14e45f".to_owned() };
        Record {
            remote: Some([10, 0, 0, 7].into()),
            method: Some("tools/call".to_owned()),
            app: Some(AppId::new("tickets").unwrap()),
            operation: Some("create_issue".to_owned()),
            agent: Some(AgentId::new("ticket-worker").unwrap()),
            user: Some(user),
            chain: vec![link("planner"), link("ticket-worker")],
            workflow: Some(WorkflowId::random(entropy)),
            token: Some(Jti::random(entropy).into()),
            key: Some(Thumbprint::from_bytes([1; 32])),
            scopes: vec!["tickets:read".to_owned(), "tickets:write".to_owned()],
            args_digest: Some(Digest::of(b"{}")),
            decision: Decision::Permit,
            policies: vec!["workers-may-create".to_owned()],
            policy_set: Some(Digest::of(b"policies").to_string()),
            bytes_in: 1200,
            durations: Durations { inbound_us: 4, policy_us: 21, outbound_us: 1, ..Durations::default() },
            ..Record::new(RecordKind::Call, attempt, now, TraceId::of(attempt))
        }
    }

    /// As many records, and nothing left in the queue.
    fn prepare(&self) -> Vec<Record> {
        self.runtime.block_on(self.evidence.flush()).unwrap();
        (0..ATTEMPTS).map(|_| self.record()).collect()
    }

    async fn attempt(&self, record: Record) {
        let mut entry = self.evidence.begin(record).unwrap();
        entry.opened().await.unwrap();
        let record = entry.record();
        record.upstream_status = Some(200);
        record.bytes_out = 2400;
        record.durations.upstream_us = 1800;
        entry.close(Outcome::Completed).await.unwrap();
    }
}

fn attempts(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new(folder.path());
    let mut group = c.benchmark_group("record");
    group.throughput(Throughput::Elements(ATTEMPTS.into()));
    group.sample_size(20).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    group.bench_function(format!("{ATTEMPTS} attempts begun, opened and closed"), |b| {
        b.iter_batched(
            || bench.prepare(),
            |records| {
                bench.runtime.block_on(async {
                    for record in records {
                        bench.attempt(record).await;
                    }
                });
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
    bench.runtime.block_on(bench.evidence.shutdown());
}

criterion_group!(benches, attempts);
criterion_main!(benches);
