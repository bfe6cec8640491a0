mod bounds;
mod story;

use proptest::prelude::*;
use serde_json::json;
use vestibule_evidence::{
    Attempt, Decision, Evidence, Mode, RecordKind, State, Trace, TraceBounds, TraceOf, trace, trace_in,
};
use vestibule_model::{AttemptId, Origin, SeededEntropy, WorkflowId};

use crate::rig::Rig;
use story::{Story, story};

const WHOLE: &str = "\
planner root
  - planner-token completed
  - list completed
  - worker-token completed
    worker spawned
      - review completed
        reviewer invoked
          ! suspend agent/reviewer
          - reviewer-token completed
          - clerk-token completed
            clerk spawned
              - stream cut
              - refused refused
  - sibling-token completed
    sibling spawned
      - sibling-list completed
";

fn workflow(story: &Story) -> TraceOf {
    TraceOf::Workflow(story.workflow.clone())
}

fn outline(story: &Story, records: &[Attempt], of: TraceOf) -> String {
    story.outline(&trace(records, of))
}

#[test]
fn a_workflow_is_the_tree_of_who_asked_whom_and_what_became_of_it() {
    let story = story();
    let traced = trace(&story.records, workflow(&story));
    assert_eq!(story.outline(&traced), WHOLE);
    assert_eq!(traced.user.as_ref(), Some(&story.user));
    assert_eq!((traced.attempts, traced.left_out), (10, 0));
    let root = &traced.roots[0];
    assert_eq!(root.made_by, Some(story.id("planner-token")));
    // Its key proves the requests by which it hands authority on, too.
    assert_eq!(root.keys, [story.planner.key]);
    let list = root.steps[1].record.as_ref().unwrap();
    assert_eq!(
        (list.decision, list.policies.as_slice()),
        (Decision::Permit, ["may-list".to_owned()].as_slice())
    );
}

#[test]
fn of_an_attempt_stand_all_that_led_to_it_and_all_that_came_of_it() {
    let story = story();
    let of = |name: &str| outline(&story, &story.records, TraceOf::Attempt(story.id(name)));
    assert_eq!(
        of("refused"),
        "\
planner root
  - planner-token completed
  - worker-token completed
    worker spawned
      - review completed
        reviewer invoked
          ! suspend agent/reviewer
          - reviewer-token completed
          - clerk-token completed
            clerk spawned
              - refused refused
"
    );
    assert_eq!(
        of("review"),
        "\
planner root
  - planner-token completed
  - worker-token completed
    worker spawned
      - review completed
        reviewer invoked
          ! suspend agent/reviewer
          - reviewer-token completed
          - clerk-token completed
            clerk spawned
              - stream cut
              - refused refused
"
    );
    assert_eq!(
        of("sibling-token"),
        "\
planner root
  - planner-token completed
  - sibling-token completed
    sibling spawned
      - sibling-list completed
"
    );
    assert_eq!(of("planner-token"), WHOLE);
}

proptest! {
    #[test]
    fn the_order_of_the_records_changes_nothing(records in Just(story().records).prop_shuffle()) {
        let story = story();
        for of in [workflow(&story), TraceOf::Attempt(story.id("review"))] {
            prop_assert_eq!(trace(&records, of.clone()), trace(&story.records, of));
        }
    }

    /// Whatever is gone, each attempt that is left stands in the tree, under all agents of its chain.
    #[test]
    fn whatever_is_missing_nothing_that_is_there_is_dropped(records in proptest::sample::subsequence(story().records, 1..=11)) {
        let story = story();
        let traced = trace(&records, workflow(&story));
        let mut found = Vec::new();
        for root in &traced.roots {
            walk(root, &mut Vec::new(), &mut found);
        }
        let is_of_the_tree = |attempt: &&Attempt| attempt.record.kind != RecordKind::Administration;
        let mut expected: Vec<AttemptId> =
            records.iter().filter(is_of_the_tree).map(|attempt| attempt.record.attempt).collect();
        expected.sort();
        found.sort();
        prop_assert_eq!(found, expected);
        prop_assert!(traced.apart.is_empty() && traced.roots.len() <= 1);
    }
}

/// The attempts that are known. Those of an agent must stand below the agents of its chain.
fn walk(node: &vestibule_evidence::TraceNode, above: &mut Vec<String>, found: &mut Vec<AttemptId>) {
    above.push(node.agent.as_ref().unwrap().to_string());
    let chains = [
        ["planner"].as_slice(),
        &["planner", "sibling"],
        &["planner", "worker"],
        &["planner", "worker", "reviewer"],
        &["planner", "worker", "reviewer", "clerk"],
    ];
    assert!(chains.iter().any(|chain| *chain == above.as_slice()), "{above:?}");
    for step in &node.steps {
        found.extend(step.attempt.filter(|_| step.record.is_some()));
        step.nodes.iter().for_each(|node| walk(node, above, found));
    }
    above.pop();
}

#[test]
fn what_made_a_node_and_is_not_in_the_log_any_more_is_shown_as_unknown() {
    let story = story();
    // Later records still tell who is above whom, and within which call.
    let records = story.without(&["planner-token", "list", "worker-token", "review", "sibling-token"]);
    assert_eq!(
        outline(&story, &records, workflow(&story)),
        "\
planner ?
  - ? ?
    sibling ?
      - sibling-list completed
    worker ?
      - review ?
        reviewer invoked
          ! suspend agent/reviewer
          - reviewer-token completed
          - clerk-token completed
            clerk spawned
              - stream cut
              - refused refused
"
    );
    // The call is known, the token request within it is not: what was done within it tells.
    let records = story.without(&["reviewer-token"]);
    let traced = outline(&story, &records, TraceOf::Attempt(story.id("stream")));
    assert!(traced.contains("      - review completed\n        reviewer ?\n"), "{traced}");
    // A node that is used again says who made it, though that is gone.
    let mut records = story.without(&["planner-token"]);
    let again = AttemptId::new(records[0].record.at, &SeededEntropy::new(9));
    records[0].record = vestibule_evidence::Record {
        attempt: again,
        kind: RecordKind::TokenRequest,
        delegation: story.records[0].record.delegation.clone(),
        ..records[0].record.clone()
    };
    let traced = trace(&records, workflow(&story));
    let steps = &traced.roots[0].steps;
    assert_eq!(traced.roots[0].origin, Some(Origin::Root));
    assert_eq!((steps[0].attempt, &steps[0].record), (Some(story.id("planner-token")), &None));
    assert_eq!(steps[1].attempt, Some(again));
}

#[test]
fn what_was_done_within_a_call_is_found_though_the_call_is_gone() {
    let story = story();
    let traced = outline(&story, &story.without(&["review"]), TraceOf::Attempt(story.id("review")));
    assert!(traced.contains("      - review ?\n        reviewer invoked\n"), "{traced}");
    assert!(traced.contains("refused refused"), "{traced}");
}

#[test]
fn acts_stand_at_what_they_name_in_the_life_of_the_tree() {
    let mut story = story();
    let (planner, reviewer) = (story.planner.clone(), story.reviewer.clone());
    for (action, target) in [
        ("revoke", format!("delegation/{}", reviewer.id())),
        ("revoke", format!("credential/{}", reviewer.key)),
        ("suspend", format!("token/{}", planner.token)),
        ("resume", "agent/reviewer".to_owned()),
        ("revoke", format!("user/{}", story.user)),
        ("revoke", "app/github".to_owned()),
        ("revoke", "all/*".to_owned()),
        // Of others, or nothing that cuts.
        ("revoke", "agent/review".to_owned()),
        ("revoke", "app/gitlab".to_owned()),
        ("rotate", "agent/reviewer".to_owned()),
    ] {
        story.acts("act", action, &target);
    }
    // Beyond the life of its nodes, and before there were any.
    for (name, millis) in [("late", 3_600_001), ("early", -1)] {
        story.acts(name, "revoke", "agent/clerk");
        story.records.last_mut().unwrap().record.at =
            vestibule_model::Timestamp::from_millis(crate::rig::START + millis);
    }
    let traced = trace(&story.records, workflow(&story));
    let targets = |acts: &[vestibule_evidence::TraceAct]| -> Vec<String> {
        acts.iter().map(|act| format!("{} {}", act.action, act.target)).collect()
    };
    assert_eq!(
        targets(&traced.acts),
        [format!("revoke user/{}", story.user), "revoke app/github".to_owned(), "revoke all/*".to_owned()]
    );
    let root = &traced.roots[0];
    assert_eq!(targets(&root.acts), [format!("suspend token/{}", planner.token)]);
    let worker = &root.steps[2].nodes[0];
    let reviewer_node = &worker.steps[0].nodes[0];
    assert_eq!(
        targets(&reviewer_node.acts),
        [
            "suspend agent/reviewer".to_owned(),
            format!("revoke delegation/{}", reviewer.id()),
            format!("revoke credential/{}", reviewer.key),
            "resume agent/reviewer".to_owned(),
        ]
    );
    assert_eq!(reviewer_node.acts[0].author.as_deref(), Some("operator"));
    assert!(worker.acts.is_empty() && reviewer_node.steps[1].nodes[0].acts.is_empty());
}

#[test]
fn a_token_that_its_holder_gave_back_is_an_act() {
    let mut story = story();
    let target = format!("token/{}", story.planner.token);
    story.acts("given-back", "", &target);
    let record = &mut story.records.last_mut().unwrap().record;
    record.kind = RecordKind::TokenRevocation;
    record.author = None;
    record.agent = Some(story::agent("planner"));
    let traced = trace(&story.records, workflow(&story));
    let act = &traced.roots[0].acts[0];
    assert_eq!((act.action.as_str(), act.author.as_deref()), ("revoke", Some("planner")));
    // Where its record names the node, it is one of the agent's attempts, and not both.
    let record = &mut story.records.last_mut().unwrap().record;
    record.chain.clone_from(&story.planner.chain);
    record.workflow = Some(story.workflow.clone());
    let traced = trace(&story.records, workflow(&story));
    assert!(traced.roots[0].acts.is_empty());
    assert_eq!(traced.roots[0].steps.last().unwrap().attempt, Some(story.id("given-back")));
}

#[test]
fn an_attempt_of_no_tree_stands_apart() {
    let mut story = story();
    story.calls("anonymous", &story.planner.clone());
    let record = &mut story.records.last_mut().unwrap().record;
    (record.workflow, record.agent, record.user) = (None, None, None);
    record.chain.clear();
    assert_eq!(
        outline(&story, &story.records, TraceOf::Attempt(story.id("anonymous"))),
        "- anonymous completed\n"
    );
    let act = TraceOf::Attempt(story.id("suspension"));
    assert_eq!(outline(&story, &story.records, act), "! suspend agent/reviewer\n");
}

#[test]
fn what_is_not_in_the_log_gives_an_empty_trace() {
    let (story, entropy) = (story(), SeededEntropy::new(9));
    for of in [
        TraceOf::Workflow(WorkflowId::random(&entropy)),
        TraceOf::Attempt(AttemptId::new(vestibule_model::Timestamp::from_millis(0), &entropy)),
    ] {
        let traced = trace(&story.records, of);
        assert_eq!(traced.attempts, 0);
        assert_eq!(story.outline(&traced), "");
    }
}

/// Writes a story down, the last attempt left open.
async fn written(story: &Story) -> (Rig, Evidence) {
    let rig = Rig::new(Mode::Batched);
    let evidence = rig.open();
    for attempt in &story.records {
        let mut entry = evidence.begin(attempt.record.clone()).unwrap();
        entry.opened().await.unwrap();
        if attempt.record.attempt == story.id("refused") {
            std::mem::forget(entry);
        } else {
            entry.close(attempt.outcome.unwrap()).await.unwrap();
        }
    }
    (rig, evidence)
}

#[tokio::test]
async fn a_log_gives_the_trace_of_its_records_at_once_and_offline() {
    let mut story = story();
    story.records.reverse();
    let (rig, evidence) = written(&story).await;
    let open = story.records.iter_mut().find(|attempt| attempt.record.denial.is_some()).unwrap();
    (open.state, open.outcome) = (State::Open, None);
    for of in [workflow(&story), TraceOf::Attempt(story.id("review"))] {
        let expected = trace(&story.records, of.clone());
        let traced = evidence.trace(of.clone(), TraceBounds::default()).await.unwrap();
        assert_eq!(traced, expected, "nothing that was submitted before is missing");
        assert_eq!(trace_in(rig.path(), of, TraceBounds::default()).unwrap(), expected);
    }
    std::fs::remove_dir_all(rig.path().join("segments")).unwrap();
    let fault = evidence.trace(workflow(&story), TraceBounds::default()).await.unwrap_err();
    assert!(fault.cause.contains("segments"), "{}", fault.cause);
}

#[test]
fn a_trace_is_read_back_from_its_json() {
    let story = story();
    let traced = trace(&story.records, TraceOf::Attempt(story.id("stream")));
    let shown = serde_json::to_value(&traced).unwrap();
    assert_eq!(shown["of"], json!({ "attempt": story.id("stream").to_string() }));
    let step = &shown["roots"][0]["steps"][1];
    assert_eq!(step["attempt"], story.id("worker-token").to_string());
    assert_eq!(step["record"]["kind"], "token-request");
    let worker = &step["nodes"][0];
    assert_eq!((&worker["agent"], &worker["origin"]), (&json!("worker"), &json!("spawned")));
    let clerk = &worker["steps"][0]["nodes"][0]["steps"][1]["nodes"][0];
    assert_eq!(clerk["steps"][0]["record"]["cancelled"], "notified");
    assert_eq!(serde_json::from_value::<Trace>(shown).unwrap(), traced);
}
