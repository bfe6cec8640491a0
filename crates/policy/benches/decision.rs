//! What a decision and a list cost: 1,000 and 10,000 policies of which a handful apply, 1,000 tools.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has failed")]

use std::{collections::BTreeSet, hint::black_box, sync::Arc, time::Duration};

use criterion::{Criterion, criterion_group, criterion_main};
use serde_json::json;
use vestibule_inbound::{Caller, TokenFacts};
use vestibule_model::{
    Actor, Agent, AgentId, AgentState, AppId, AppKind, Authority, Chain, Directory, Effect, Operation,
    OperationId, Represented, Risk, SeededEntropy, Thumbprint, Timestamp, UserId, json::parse,
};
use vestibule_policy::{
    AppOperations, Attempt, Catalog, Environment, Lock, Options, PolicyFile, PolicySet, Verdict,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn catalog(tools: usize) -> Catalog {
    let tool = |number: usize| Operation {
        name: format!("tool{number}").into(),
        description: String::new(),
        input_schema: json!({ "type": "object", "required": ["owner", "amount"], "properties": {
            "owner": { "type": "string" }, "amount": { "type": "integer" }, "body": { "type": "string" },
            "labels": { "type": "array", "items": { "type": "string" } } } }),
        effect: if number.is_multiple_of(2) { Effect::Read } else { Effect::Write },
        risk: Risk::Reviewed,
        scopes: BTreeSet::new(),
        definition_digest: String::new(),
        pinned: true,
    };
    vec![AppOperations {
        app: AppId::new("app").unwrap(),
        kind: AppKind::Mcp,
        operations: (0..tools).map(tool).collect(),
    }]
}

/// Four guard rails and one grant that apply, and `count` grants to other agents and groups.
fn policies(count: usize, tools: usize) -> Vec<PolicyFile> {
    use std::fmt::Write;
    let mut text =
        "@id(\"mine\") permit (principal in AgentGroup::\"mine\", action in Action::\"app\", resource)
        when { context.input.owner == \"acme\" && context.input.amount < 1000 };
        @id(\"user\") permit (principal == User::\"https://idp#u\", action in Action::\"app\", resource);\n"
            .to_owned();
    for number in 0..count {
        let tool = number % tools;
        let who =
            if number % 2 == 0 { "principal == Agent::\"agent" } else { "principal in AgentGroup::\"group" };
        writeln!(
            text,
            "@id(\"p{number}\") permit ({who}{number}\", action == Action::\"app__tool{tool}\", resource) when {{ context.input.amount < {number} }};"
        )
        .unwrap();
    }
    let guards = include_str!("../../../policies/guard-rails.cedar").to_owned();
    vec![
        PolicyFile { name: "guard-rails.cedar".to_owned(), text: guards },
        PolicyFile { name: "grants.cedar".to_owned(), text },
    ]
}

fn lock(count: usize, tools: usize) -> Lock {
    let options = Options { timezone: "UTC".to_owned() };
    let set = PolicySet::load(&policies(count, tools), &catalog(tools), &options).unwrap();
    let agent = Agent {
        id: AgentId::new("a").unwrap(),
        groups: ["mine".to_owned(), "other".to_owned()].into(),
        trust: 2,
        scopes: BTreeSet::new(),
        claims: std::collections::BTreeMap::new(),
        apps: BTreeSet::new(),
        state: AgentState::Active,
        created_at: Timestamp::from_millis(0),
    };
    Lock::new(Some(set), Arc::new(Directory::default().with(Arc::new(agent))))
}

fn caller(user: bool, seed: u64) -> Caller {
    let token =
        TokenFacts::for_test("https://gw/apps/app", Timestamp::from_millis(0), &SeededEntropy::new(seed));
    let actor = Actor { issuer: Arc::clone(&token.issuer), agent: AgentId::new("a").unwrap() };
    let user = user.then(|| Represented {
        id: UserId { issuer: "https://idp".to_owned(), subject: "u".to_owned() },
        groups: BTreeSet::new(),
        session: None,
        client: None,
        since: None,
    });
    Caller::for_test(user, Chain::new(vec![actor]).unwrap(), token)
}

/// Three agents, two of them known by their keys, with what was handed on to the last.
fn chain(seed: u64) -> Caller {
    let root = caller(false, seed);
    let mut token = root.token().clone();
    let details = r#"[{"type":"vestibule_operations","locations":["https://gw/apps/app"],"operations":{"tool2":{},"tool3":{}}}]"#;
    token.authority = Some(Authority::from_json(&parse(details.as_bytes(), 16).unwrap()).unwrap());
    let spawned = |number| Actor {
        issuer: Arc::clone(&token.issuer),
        agent: AgentId::of_key(&Thumbprint::from_bytes([number; 32])),
    };
    let actors = root.chain().actors().iter().cloned().chain([spawned(1), spawned(2)]).collect();
    Caller::for_test(None, Chain::new(actors).unwrap(), token)
}

fn decisions(c: &mut Criterion) {
    let text = format!(
        "{{\"owner\":\"acme\",\"amount\":12,\"labels\":[\"a\",\"b\"],\"body\":\"{}\"}}",
        "x".repeat(1800)
    );
    let arguments = parse(text.as_bytes(), 16).unwrap();
    let env = Environment { now: Timestamp::from_seconds(1_767_787_200), ip: None };
    let operation = OperationId::new(AppId::new("app").unwrap(), "tool3");
    let attempt = Attempt { operation, arguments: &arguments };
    let mut group = c.benchmark_group("decide");
    for count in [1_000, 10_000] {
        let lock = lock(count, 20);
        let callers =
            [("agent", caller(false, 1)), ("agent and user", caller(true, 2)), ("chain of three", chain(3))];
        for (name, caller) in callers {
            group.bench_function(format!("{name}, {count} policies"), |b| {
                b.iter(|| {
                    let verdict = lock.decide(black_box(&caller), black_box(&attempt), &env);
                    assert!(matches!(verdict, Verdict::Permitted(_)));
                    verdict
                });
            });
        }
        let mut seed = 1000;
        group.bench_function(format!("agent with a new token, {count} policies"), |b| {
            b.iter_batched(
                || {
                    seed += 1;
                    caller(false, seed)
                },
                |caller| lock.decide(&caller, &attempt, &env),
                criterion::BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn lists(c: &mut Criterion) {
    let lock = lock(1_000, 1_000);
    let app = AppId::new("app").unwrap();
    let caller = caller(false, 1);
    let mut minute = 0;
    let mut group = c.benchmark_group("list 1000 tools");
    group.sample_size(20);
    group.bench_function("first of the minute", |b| {
        b.iter(|| {
            minute += 60;
            lock.visible(&caller, &app, &Environment { now: Timestamp::from_seconds(minute), ip: None })
        });
    });
    group.bench_function("remembered", |b| {
        let env = Environment { now: Timestamp::from_seconds(0), ip: None };
        b.iter(|| lock.visible(&caller, &app, &env));
    });
    group.finish();
}

fn loading(c: &mut Criterion) {
    let (files, catalog) = (policies(1_000, 20), catalog(20));
    let options = Options { timezone: "UTC".to_owned() };
    let mut group = c.benchmark_group("load");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    group.bench_function("1000 policies, 20 operations", |b| {
        b.iter(|| PolicySet::load(&files, &catalog, &options))
    });
    group.finish();
}

criterion_group!(benches, decisions, lists, loading);
criterion_main!(benches);
