//! What it costs to read a call, to digest its arguments, and to filter a list of 1,000 tools.
#![expect(clippy::unwrap_used, reason = "a benchmark that cannot be set up has failed")]

use std::{collections::HashSet, hint::black_box, time::Duration};

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde_json::{Value, json};
use vestibule_mcp::{Demand, Frame, ListKind, demand, listing};
use vestibule_model::{Digest, json::Json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ARGUMENTS_BYTES: usize = 1024;
const MAX_DEPTH: usize = 64;

/// A call with exactly 1 KiB of arguments: members out of order, a nested object, numbers, an array, escapes.
fn call() -> Bytes {
    let with_body = |body: String| {
        json!({
            "title": "Say \"hello\"\nto the world", "owner": "acme", "amount": 1250, "ratio": 0.75, "draft": false,
            "labels": ["bug", "urgent", "customer"],
            "assignee": { "name": "Zoë", "id": 42, "groups": ["platform", "on-call"] },
            "body": body,
        })
    };
    let rest = with_body(String::new()).to_string().len();
    let arguments = with_body("x".repeat(ARGUMENTS_BYTES - rest));
    assert_eq!(arguments.to_string().len(), ARGUMENTS_BYTES);
    let params = json!({
        "name": "create_issue", "arguments": arguments, "_meta": { "progressToken": "a7f3c9" },
    });
    bytes(&json!({ "jsonrpc": "2.0", "id": 17, "method": "tools/call", "params": params }))
}

/// The reply to a list request.
fn list(tools: usize) -> Bytes {
    let tool = |number: usize| {
        json!({
            "name": name(number), "title": format!("Tool {number}"),
            "description": "Creates an issue in the tracker of a project and returns its number and its address.",
            "inputSchema": { "type": "object", "required": ["owner", "title"], "properties": {
                "owner": { "type": "string", "description": "Who owns the project" },
                "title": { "type": "string", "maxLength": 200 },
                "labels": { "type": "array", "items": { "type": "string" } },
            } },
            "annotations": { "readOnlyHint": false, "destructiveHint": false },
        })
    };
    let tools: Vec<Value> = (0..tools).map(tool).collect();
    bytes(&json!({ "jsonrpc": "2.0", "id": 2, "result": { "tools": tools } }))
}

fn name(number: usize) -> String {
    format!("tool{number}")
}

fn bytes(message: &Value) -> Bytes {
    message.to_string().into()
}

fn read(body: &Bytes) -> Demand {
    demand(Frame::parse(body, MAX_DEPTH).unwrap()).unwrap()
}

fn digest(arguments: &Json) -> Digest {
    Digest::of(arguments.canonical().as_bytes())
}

fn calls(c: &mut Criterion) {
    let body = call();
    let Demand::Operation { arguments, .. } = read(&body) else { unreachable!("a tool is an operation") };
    let mut group = c.benchmark_group("call with 1 KiB of arguments");
    group.measurement_time(Duration::from_secs(2));
    group.bench_function("frame and demand", |b| b.iter(|| read(black_box(&body))));
    group.bench_function("canonical form and digest", |b| b.iter(|| digest(black_box(&arguments))));
    group.finish();
}

fn lists(c: &mut Criterion) {
    let body = list(1_000);
    let shown: HashSet<String> = (0..1_000).step_by(2).map(name).collect();
    let filter = |body: &Bytes| listing::filter(body, ListKind::Tools, |name| shown.contains(name)).unwrap();
    let mut group = c.benchmark_group("list 1000 tools");
    group.measurement_time(Duration::from_secs(2)).throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("every second one is shown", |b| b.iter(|| filter(black_box(&body))));
    group.finish();
}

criterion_group!(benches, calls, lists);
criterion_main!(benches);
