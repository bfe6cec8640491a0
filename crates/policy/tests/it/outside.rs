//! Agents whose token another issuer signed, and agents that nobody registered.

use std::{collections::BTreeSet, sync::Arc};

use vestibule_inbound::{Caller, TokenFacts};
use vestibule_model::{AgentId, Directory, SubjectPattern, WorkloadRule, WorkloadRules};
use vestibule_policy::Lock;

use crate::support::{caller, decide, directory, keyed, load, plain, sandboxes};

#[test]
fn an_agent_of_ours_is_the_same_with_a_token_that_another_issuer_signed() {
    let set = r#"@id("ours") permit (principal == Agent::"a", action in Action::"call", resource)
        when { context.token.issuer == "https://issuer.test" };
        @id("theirs") permit (principal == Agent::"b", action in Action::"call", resource)
        when { context.token.issuer == "https://idp.test" };"#;
    let agents = directory(&[("a", &[], 0), ("b", &[], 0)]);
    let lock = Lock::new(Some(load(set, &sandboxes())), agents);
    let by = |agent, issuer: &str| {
        let ours = plain(agent);
        let token = TokenFacts { issuer: issuer.into(), ..ours.token().clone() };
        Caller::for_test(None, ours.chain().clone(), token)
    };
    assert_eq!(decide(&lock, &by("b", "https://idp.test"), "sandbox__list_repos", "{}"), "permit");
    assert_eq!(
        decide(&lock, &by("a", "https://idp.test"), "sandbox__list_repos", "{}"),
        "operation-not-permitted"
    );
}

/// An agent of a workload issuer of which the rule `build` is as given.
fn workload(rules: Vec<WorkloadRule>) -> (Lock, AgentId) {
    let rules = WorkloadRules::new([("ci".to_owned(), rules)].into()).unwrap();
    let directory = Directory::default().ruled(Arc::new(rules));
    let lock = Lock::new(Some(load(EVERYTHING_OF_CI, &sandboxes())), Arc::new(directory));
    (lock, AgentId::new("workload:ci/build#repo:acme/app:ref:main").unwrap())
}

const EVERYTHING_OF_CI: &str = r#"
@id("ci") permit (principal in AgentGroup::"ci", action in Action::"call", resource) when { principal.trust >= 2 };"#;

fn build(groups: &[&str], trust: u8) -> WorkloadRule {
    WorkloadRule {
        agent: "build".to_owned(),
        subject: SubjectPattern::new("repo:acme/*:ref:main").unwrap(),
        has_instance: false,
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
        trust,
        scopes: BTreeSet::new(),
        apps: BTreeSet::new(),
    }
}

#[test]
fn an_agent_by_a_rule_is_what_the_rule_says_now() {
    let says = |rules| {
        let (lock, id) = workload(rules);
        decide(&lock, &plain(id.as_str()), "sandbox__list_repos", "{}")
    };
    assert_eq!(says(vec![build(&["ci"], 2)]), "permit");
    assert_eq!(says(vec![build(&["ci"], 1)]), "operation-not-permitted");
    assert_eq!(says(vec![build(&["other"], 3)]), "operation-not-permitted");
    assert_eq!(says(Vec::new()), "agent-unknown", "its rule is gone");
}

#[test]
fn what_an_agent_by_a_rule_spawns_has_its_groups_and_trust() {
    let (lock, id) = workload(vec![build(&["ci"], 2)]);
    let child = keyed(7);
    let spawned = caller(&[id.as_str(), child.as_str()], None, |_| ());
    assert_eq!(decide(&lock, &spawned, "sandbox__list_repos", "{}"), "permit");
    let (lock, _) = workload(Vec::new());
    assert_eq!(decide(&lock, &spawned, "sandbox__list_repos", "{}"), "agent-unknown", "with its parent");
}
