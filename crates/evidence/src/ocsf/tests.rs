use serde_json::{Value, json};
use vestibule_model::{NodeId, Origin, SeededEntropy, Thumbprint, TokenId, TraceId, UserId, WorkflowId};

use super::*;
use crate::{Cancelled, ChainLink, DelegationFact, Gap, Mode, event};

/// What OCSF 1.8 requires, per class; `a|b` is its `at_least_one`.
const BASE: &[&str] = &[
    "activity_id",
    "category_uid",
    "class_uid",
    "metadata.product.name|metadata.product.uid",
    "metadata.product.vendor_name",
    "metadata.version",
    "severity_id",
    "time",
    "type_uid",
];
const REQUIRED: &[(u32, u32, &[&str])] = &[
    (6003, 6, &["actor.app_uid|actor.user", "api.operation", "src_endpoint.ip|src_endpoint.name"]),
    (3002, 3, &["user.uid|user.name", "service.name|dst_endpoint"]),
    (3004, 3, &["entity.name|entity.uid"]),
    (6002, 6, &["app.name|app.uid"]),
];

fn check(line: &[u8], class: u32) {
    let event: Value = serde_json::from_slice(line).unwrap();
    let (_, category, required) = REQUIRED.iter().find(|row| row.0 == class).unwrap();
    for attribute in BASE.iter().chain(*required) {
        let found = attribute.split('|').any(|path| {
            let value = path.split('.').try_fold(&event, |value, key| value.get(key));
            value.is_some_and(|value| !value.is_null())
        });
        assert!(found, "{class}: {attribute} is missing in {event}");
    }
    assert_eq!(event["class_uid"], class);
    assert_eq!(event["category_uid"], *category);
    let activity = event["activity_id"].as_u64().unwrap();
    assert_eq!(event["type_uid"].as_u64().unwrap(), u64::from(class) * 100 + activity);
    assert!(activity != 99 || event["activity_name"].is_string(), "Other needs its name");
}

#[test]
fn every_class_has_what_the_schema_requires_even_if_nothing_is_known() {
    let (entropy, now) = (SeededEntropy::new(1), Timestamp::from_millis(1_700_000_000_000));
    let id = AttemptId::new(now, &entropy);
    for (kind, class) in [
        (RecordKind::Call, 6003),
        (RecordKind::TokenRequest, 3002),
        (RecordKind::TokenIntrospection, 3002),
        (RecordKind::TokenRevocation, 3002),
        (RecordKind::Administration, 3004),
    ] {
        let record = Record::new(kind, id, now, TraceId::of(id));
        for (entry, outcome) in [(EntryKind::Opened, None), (EntryKind::Closed, Some(Outcome::Refused))] {
            let mut line = Vec::new();
            event::write_attempt(&mut line, entry, &record, outcome, now).unwrap();
            check(&line, class);
        }
    }
    let gap = Lifecycle::Gap(Gap { from: now, to: now, torn_bytes: 0 });
    for own in [Lifecycle::Start { version: "1", mode: Mode::Batched }, Lifecycle::Stop, gap] {
        let mut line = Vec::new();
        event::write_lifecycle(&mut line, &own, id, now).unwrap();
        check(&line, 6002);
    }
}

fn event(record: &Record, outcome: Outcome) -> Value {
    let mut line = Vec::new();
    let closed = Some(outcome);
    event::write_attempt(&mut line, EntryKind::Closed, record, closed, Timestamp::from_millis(1002)).unwrap();
    serde_json::from_slice(&line).unwrap()
}

fn id(at: i64) -> AttemptId {
    AttemptId::new(Timestamp::from_millis(at), &SeededEntropy::new(1))
}

/// By a child of an agent that was called, for a human, cut while the application worked on it.
fn delegated() -> Record {
    let link = |agent: &str, node: &str| ChainLink {
        issuer: "https://gateway.example".to_owned(),
        agent: AgentId::new(agent).unwrap(),
        node: Some(NodeId::parse(&node.repeat(32)).unwrap()),
    };
    let user = UserId { issuer: "https://idp.example".to_owned(), subject: "ana".to_owned() };
    Record {
        remote: Some([10, 0, 0, 7].into()),
        method: Some("POST".to_owned()),
        app: Some(AppId::new("github").unwrap()),
        operation: Some("create_repo".to_owned()),
        agent: Some(AgentId::new("clerk").unwrap()),
        user: Some(user),
        chain: vec![link("planner", "a"), link("reviewer", "b"), link("clerk", "c")],
        workflow: Some(WorkflowId::parse(&"d".repeat(32)).unwrap()),
        calls: vec![id(900)],
        token: Some(TokenId::parse(&"e".repeat(32)).unwrap()),
        key: Some(Thumbprint::from_bytes([1; 32])),
        decision: Decision::Permit,
        policies: vec!["clerks-create".to_owned()],
        denial: Some("agent-revoked".to_owned()),
        cancelled: Some(Cancelled::Notified),
        ..Record::new(RecordKind::Call, id(1000), Timestamp::from_millis(1000), TraceId::of(id(1000)))
    }
}

#[test]
fn a_delegated_call_is_one_event_with_everything_that_is_known() {
    let mut event = event(&delegated(), Outcome::Cut);
    assert_eq!(event["metadata"]["product"]["version"].take(), env!("CARGO_PKG_VERSION"));
    let expected: Value = serde_json::from_str(include_str!("delegated_call.json")).unwrap();
    assert_eq!(event, expected, "{event:#}");
}

#[test]
fn requests_about_tokens_are_told_apart() {
    let node = |text: &str| NodeId::parse(&text.repeat(32)).unwrap();
    let fact = |parent: Option<NodeId>, made_by: AttemptId| {
        let origin = if parent.is_some() { Origin::Spawned } else { Origin::Root };
        let expires_at = Timestamp::from_millis(2000);
        Some(DelegationFact { node: node("c"), parent, origin, made_by: Some(made_by), expires_at })
    };
    for (kind, delegation, activity, service) in [
        (RecordKind::TokenRequest, None, "token request", "token endpoint"),
        (RecordKind::TokenRequest, fact(None, id(1000)), "token request", "token endpoint"),
        (RecordKind::TokenRequest, fact(Some(node("b")), id(1000)), "delegation", "token endpoint"),
        // Again under a node that is there.
        (RecordKind::TokenRequest, fact(Some(node("b")), id(900)), "token request", "token endpoint"),
        (RecordKind::TokenIntrospection, None, "token introspection", "introspection endpoint"),
        (RecordKind::TokenRevocation, None, "token revocation", "revocation endpoint"),
    ] {
        let event = event(&Record { kind, delegation, ..delegated() }, Outcome::Completed);
        assert_eq!((&event["activity_name"], &event["service"]["name"]), (&json!(activity), &json!(service)));
        assert_eq!(event["user"]["uid"], "clerk");
    }
    let record = Record { delegation: fact(Some(node("b")), id(1000)), ..delegated() };
    assert_eq!(
        event(&record, Outcome::Completed)["unmapped"]["vestibule"]["delegation"],
        json!({
            "node": "c".repeat(32), "parent": "b".repeat(32), "origin": "spawned",
            "made_by": id(1000).to_string(), "expires_at": 2000
        })
    );
}
