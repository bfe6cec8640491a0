//! A trace ends, whatever the log holds.

use vestibule_evidence::{Attempt, TRACE_ATTEMPTS_MAX, TraceBounds, TraceOf, trace, trace_in};
use vestibule_model::{DEPTH_MAX, NodeId, Origin, SeededEntropy};

use super::{
    story::{Story, story},
    workflow, written,
};

#[tokio::test]
async fn a_trace_that_is_cut_short_keeps_the_earliest_and_says_how_many_it_left_out() {
    let mut story = story();
    story.acts("again", "revoke", "agent/reviewer");
    let (rig, evidence) = written(&story).await;
    evidence.flush().await.unwrap();
    let bounds = TraceBounds { attempts_max: 3, acts_max: 1 };
    let traced = trace_in(rig.path(), workflow(&story), bounds).unwrap();
    assert_eq!((traced.attempts, traced.left_out), (3, 7));
    assert_eq!(
        story.outline(&traced),
        "\
planner root
  - planner-token completed
  - list completed
  - worker-token completed
    worker spawned
"
    );
    let bounds = TraceBounds { attempts_max: usize::MAX, acts_max: 0 };
    let traced = trace_in(rig.path(), workflow(&story), bounds).unwrap();
    assert_eq!((traced.attempts, traced.left_out), (10, 1), "the bounds have bounds");
}

#[test]
fn the_largest_trace_is_bounded() {
    let mut story = story();
    let planner = story.planner.clone();
    for _ in 0..TRACE_ATTEMPTS_MAX {
        story.calls("busy", &planner);
    }
    let traced = trace(&story.records, workflow(&story));
    assert_eq!((traced.attempts, traced.left_out), (10_000, 10));
}

#[test]
fn an_act_on_an_agent_of_many_nodes_stands_at_the_tree() {
    let mut story = story();
    let planner = story.planner.clone();
    for _ in 0..20 {
        story.makes("swarm-token", "swarm", Origin::Spawned, Some(&planner), &[]);
    }
    story.acts("swarm-revoked", "revoke", "agent/swarm");
    let traced = trace(&story.records, workflow(&story));
    assert_eq!(traced.acts.iter().map(|act| act.target.as_str()).collect::<Vec<_>>(), ["agent/swarm"]);
}

/// Makes each node the child of the next; the last is that of the first.
fn circle(story: &mut Story, length: usize) -> Vec<Attempt> {
    let entropy = SeededEntropy::new(8);
    let nodes: Vec<NodeId> = (0..length).map(|_| NodeId::random(&entropy)).collect();
    let planner = story.planner.clone();
    let from = story.records.len();
    for (index, node) in nodes.iter().enumerate() {
        story.makes("round", "round", Origin::Spawned, Some(&planner), &[]);
        let record = &mut story.records.last_mut().unwrap().record;
        record.chain.clear();
        let fact = record.delegation.as_mut().unwrap();
        fact.node = node.clone();
        fact.parent = Some(nodes[(index + 1) % length].clone());
    }
    story.records.split_off(from)
}

#[test]
fn nodes_above_each_other_in_a_circle_give_a_tree_that_ends_and_has_all_of_them() {
    for length in [1, 2, 9, 5_000] {
        let mut story = story();
        let records = circle(&mut story, length);
        let traced = trace(&records, TraceOf::Workflow(story.workflow.clone()));
        assert_eq!(traced.roots.len(), length);
        assert_eq!(story.outline(&traced).matches("- round completed").count(), length);
    }
}

#[test]
fn what_is_deeper_than_a_chain_can_be_stands_at_the_top() {
    let mut story = story();
    let mut node = story.planner.clone();
    for _ in 1..=DEPTH_MAX {
        node = story.makes("deeper-token", "deeper", Origin::Spawned, Some(&node), &[]);
    }
    let traced = trace(&story.records, workflow(&story));
    assert_eq!(traced.roots.len(), 2);
    assert_eq!(traced.roots.iter().filter(|root| root.node == *node.id()).count(), 1);
}
