use std::{ops::ControlFlow, time::Duration};

use serde_json::json;
use vestibule_evidence::{
    Attempt, ChainLink, Decision, Evidence, Filter, Mode, Outcome, Record, RecordKind, State, get, newest,
    search,
};
use vestibule_model::{
    AgentId, AppId, AttemptId, Clock, Digest, Jti, NodeId, SeededEntropy, Thumbprint, UserId, WorkflowId,
};

use crate::rig::Rig;

/// Three attempts, a second apart: by a human's agent, by a child of it, by a stranger.
struct Log {
    rig: Rig,
    _evidence: Evidence,
    ids: [AttemptId; 3],
    nodes: [NodeId; 2],
    workflow: WorkflowId,
}

fn agent(id: &str) -> AgentId {
    AgentId::new(id).unwrap()
}

async fn log() -> Log {
    let rig = Rig::new(Mode::Required);
    let evidence = rig.open();
    let entropy = SeededEntropy::new(2);
    let nodes = [NodeId::random(&entropy), NodeId::random(&entropy)];
    let workflow = WorkflowId::random(&entropy);
    let link = |id: &str, node: &NodeId| ChainLink {
        issuer: "https://gateway.example".to_owned(),
        agent: agent(id),
        node: Some(node.clone()),
    };

    let mut parent = rig.record();
    parent.agent = Some(agent("parent"));
    parent.user = Some(UserId { issuer: "https://idp.example".to_owned(), subject: "ana \"a\"".to_owned() });
    parent.chain = vec![link("parent", &nodes[0])];
    parent.workflow = Some(workflow.clone());
    parent.token = Some(Jti::random(&entropy).into());
    parent.key = Some(Thumbprint::from_bytes([1; 32]));
    parent.app = Some(AppId::new("github").unwrap());
    parent.operation = Some("list_repos".to_owned());
    parent.args_digest = Some(Digest::of(b"{}"));
    parent.arguments = Some(json!({ "entry": "opened", "n": 1.5 }));
    parent.decision = Decision::Permit;
    parent.remote = Some([127, 0, 0, 1].into());

    rig.clock.advance(Duration::from_secs(1));
    let mut child = Record { attempt: AttemptId::new(rig.clock.now(), &entropy), ..parent.clone() };
    child.at = rig.clock.now();
    child.agent = Some(agent("child"));
    child.user = None;
    child.key = None;
    child.calls = vec![parent.attempt];
    child.chain.push(link("child", &nodes[1]));
    child.operation = Some("delete_repo".to_owned());
    child.decision = Decision::Deny;
    child.denial = Some("operation-not-permitted".to_owned());

    rig.clock.advance(Duration::from_secs(1));
    let mut stranger = rig.record();
    stranger.kind = RecordKind::TokenIntrospection;
    stranger.user = Some(UserId { issuer: "https://other.example".to_owned(), subject: "a#na".to_owned() });
    let ids = [parent.attempt, child.attempt, stranger.attempt];
    let mut first = evidence.begin(parent).unwrap();
    first.opened().await.unwrap();
    evidence.begin(child).unwrap().close(Outcome::Refused).await.unwrap();
    // Stays open: what ends it never comes.
    let mut last = evidence.begin(stranger).unwrap();
    last.opened().await.unwrap();
    std::mem::forget(last);
    first.close(Outcome::Completed).await.unwrap();
    Log { rig, _evidence: evidence, ids, nodes, workflow }
}

impl Log {
    fn search(&self, filter: &Filter) -> Vec<Attempt> {
        let mut found = Vec::new();
        search(self.rig.path(), filter, &mut |attempt| {
            found.push(attempt);
            ControlFlow::Continue(())
        })
        .unwrap();
        found
    }

    /// Which of the three are found, in the order in which they are.
    fn found(&self, filter: Filter) -> Vec<usize> {
        let position = |id: AttemptId| self.ids.iter().position(|other| *other == id).unwrap();
        self.search(&filter).iter().map(|attempt| position(attempt.record.attempt)).collect()
    }
}

#[tokio::test]
async fn each_filter_finds_what_fits() {
    let log = log().await;
    let some = |text: &str| Some(text.to_owned());
    let (none, at) = (Filter::default, |n: u64| log.rig.clock.now().minus(Duration::from_secs(2 - n)));
    for (filter, expected) in [
        // Those that ended in the order in which they did, then those that are open.
        (none(), vec![1, 0, 2]),
        (Filter { attempt: Some(log.ids[1]), ..none() }, vec![1]),
        (Filter { agent: Some(agent("parent")), ..none() }, vec![0]),
        (Filter { agent: Some(agent("par")), ..none() }, vec![]),
        (Filter { user: some("ana \"a\""), ..none() }, vec![0]),
        (Filter { user: some("https://idp.example#ana \"a\""), ..none() }, vec![0]),
        (Filter { user: some("https://other.example#ana \"a\""), ..none() }, vec![]),
        (Filter { user: some("a#na"), ..none() }, vec![2]),
        (Filter { user: some("https://other.example#a#na"), ..none() }, vec![2]),
        (Filter { user: some("na"), ..none() }, vec![]),
        (Filter { kind: Some(RecordKind::Call), ..none() }, vec![1, 0]),
        (Filter { kind: Some(RecordKind::TokenIntrospection), ..none() }, vec![2]),
        (Filter { key: Some(Thumbprint::from_bytes([1; 32])), ..none() }, vec![0]),
        (Filter { call: Some(log.ids[0]), ..none() }, vec![1]),
        (Filter { call: Some(log.ids[1]), ..none() }, vec![]),
        (Filter { app: AppId::new("github").ok(), ..none() }, vec![1, 0]),
        (Filter { operation: some("delete_repo"), ..none() }, vec![1]),
        (Filter { decision: Some(Decision::Undecided), ..none() }, vec![2]),
        (Filter { denial: some("operation-not-permitted"), ..none() }, vec![1]),
        (Filter { outcome: Some(Outcome::Completed), ..none() }, vec![0]),
        (Filter { workflow: Some(log.workflow.clone()), ..none() }, vec![1, 0]),
        (Filter { node: Some(log.nodes[0].clone()), ..none() }, vec![0]),
        (Filter { ancestor: some(log.nodes[0].as_str()), ..none() }, vec![1, 0]),
        (Filter { ancestor: some("parent"), ..none() }, vec![1, 0]),
        (Filter { ancestor: some("parent"), agent: Some(agent("child")), ..none() }, vec![1]),
        (Filter { since: Some(at(1)), ..none() }, vec![1, 2]),
        (Filter { until: Some(at(1)), ..none() }, vec![0]),
        (Filter { limit: Some(2), ..none() }, vec![1, 0]),
        (Filter { limit: Some(0), ..none() }, vec![]),
    ] {
        let shown = format!("{filter:?}");
        assert_eq!(log.found(filter), expected, "{shown}");
    }
}

#[tokio::test]
async fn the_newest_are_those_that_a_search_hands_out_last() {
    let log = log().await;
    let newest = |limit| -> Vec<AttemptId> {
        let found = newest(log.rig.path(), &Filter::default(), limit).unwrap();
        found.iter().map(|attempt| attempt.record.attempt).collect()
    };
    assert_eq!(newest(2), [log.ids[0], log.ids[2]]);
    assert_eq!(newest(100), [log.ids[1], log.ids[0], log.ids[2]]);
    assert_eq!(newest(0), []);
}

#[tokio::test]
async fn an_attempt_that_did_not_end_is_open() {
    let log = log().await;
    let found = get(log.rig.path(), log.ids[2]).unwrap().unwrap();
    assert_eq!((found.state, found.outcome), (State::Open, None));
    let unknown = AttemptId::new(log.rig.clock.now(), &SeededEntropy::new(3));
    assert_eq!(get(log.rig.path(), unknown).unwrap(), None);
}

#[tokio::test]
async fn a_search_ends_when_nothing_more_is_wanted() {
    let log = log().await;
    let mut seen = 0;
    search(log.rig.path(), &Filter::default(), &mut |_| {
        seen += 1;
        ControlFlow::Break(())
    })
    .unwrap();
    assert_eq!(seen, 1);
}

#[tokio::test]
async fn an_attempt_is_one_flat_object_with_the_same_fields_whatever_became_of_it() {
    let log = log().await;
    let shown: Vec<serde_json::Value> =
        log.search(&Filter::default()).iter().map(|attempt| serde_json::to_value(attempt).unwrap()).collect();
    let fields =
        |value: &serde_json::Value| -> Vec<String> { value.as_object().unwrap().keys().cloned().collect() };
    assert_eq!(fields(&shown[0]), fields(&shown[2]));
    let permitted = &shown[1];
    assert_eq!(permitted["attempt"], log.ids[0].to_string());
    assert_eq!(permitted["user"], json!({ "issuer": "https://idp.example", "subject": "ana \"a\"" }));
    assert_eq!(permitted["chain"][0]["node"], log.nodes[0].as_str());
    assert_eq!(permitted["arguments"], json!({ "entry": "opened", "n": 1.5 }));
    assert_eq!(permitted["outcome"], "completed");
    assert_eq!(permitted["state"], "closed");
    assert_eq!(permitted["durations"]["total_us"], 0);
    let read: Attempt = serde_json::from_value(permitted.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), *permitted);
}
