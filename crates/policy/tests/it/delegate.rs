//! Handing something on: whether it may be done, with whom, how deep, for how long and with what.

use std::{collections::BTreeSet, time::Duration};

use vestibule_inbound::Caller;
use vestibule_model::{AgentId, AgentState, Authority, Directory, Refusal, json::parse};
use vestibule_policy::{Decision, Delegating, Environment, Lock, Options, Outcome, PolicySet, Severity};

use crate::support::{
    agent, caller, directory, file, from_ip, in_groups, keyed, load, noon, options, plain, represented,
    sandboxes, try_load, user,
};

fn lock(policies: &str, agents: &[(&str, &[&str], u8)]) -> Lock {
    Lock::new(Some(load(policies, &sandboxes())), directory(agents))
}

/// To a child at depth 2, for ten minutes, all operations.
fn to(child: &AgentId) -> Delegating<'_> {
    Delegating { child, depth: 2, lifetime: Duration::from_secs(600), operations: BTreeSet::new() }
}

fn handed(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

type Decided = Result<Decision, Box<(Refusal, Decision)>>;

fn delegate(lock: &Lock, caller: &Caller, asked: &Delegating<'_>) -> Decided {
    lock.delegate(caller, asked, &noon()).map_err(Box::new)
}

/// `permit` or the code of the denial.
fn code(lock: &Lock, caller: &Caller, asked: &Delegating<'_>) -> &'static str {
    delegate(lock, caller, asked).map_or_else(|refused| refused.0.denial.code(), |_| "permit")
}

fn id(agent: &str) -> AgentId {
    AgentId::new(agent).unwrap()
}

#[test]
fn nothing_is_handed_on_that_no_permit_names() {
    let agents: &[(&str, &[&str], u8)] = &[("a", &["g"], 3)];
    let calls = lock("@id(\"p\") permit (principal, action in Action::\"call\", resource);", agents);
    assert_eq!(
        code(&calls, &plain("a"), &to(&keyed(1))),
        "arguments-not-permitted",
        "who may call may not spawn"
    );
    let empty = Lock::new(None, directory(agents));
    assert_eq!(code(&empty, &plain("a"), &to(&keyed(1))), "policy-set-empty");
    let files = [file("s.shadow.cedar", "@id(\"s\") permit (principal, action, resource);")];
    let shadow = PolicySet::load(&files, &sandboxes(), &options()).unwrap();
    let shadow = Lock::new(Some(shadow), directory(agents));
    assert_eq!(code(&shadow, &plain("a"), &to(&keyed(1))), "policy-set-empty");
    let granted = lock(
        "@id(\"p\") permit (principal in AgentGroup::\"g\", action == Action::\"delegate\", resource);",
        agents,
    );
    let decision = delegate(&granted, &plain("a"), &to(&keyed(1))).unwrap();
    assert_eq!((decision.allow, decision.policies), (true, vec!["p".to_owned()]));
    assert_eq!(decision.policy_set, granted.policies().digest());
}

#[test]
fn every_agent_of_the_chain_and_the_user_must_be_permitted_to_delegate() {
    let lock = lock(
        "@id(\"a\") permit (principal in AgentGroup::\"g\", action == Action::\"delegate\", resource);
         @id(\"u\") permit (principal in UserGroup::\"dev\", action == Action::\"delegate\", resource);",
        &[("in", &["g"], 0), ("out", &[], 0)],
    );
    let key = keyed(9).to_string();
    let decided = |chain: &[&str], groups: Option<&[&str]>| {
        let user = groups.map(|groups| in_groups(user("u"), groups));
        code(&lock, &represented(chain, user, |_| ()), &to(&keyed(1)))
    };
    assert_eq!(decided(&["in"], None), "permit");
    assert_eq!(decided(&["in", &key], None), "permit");
    assert_eq!(decided(&["in"], Some(&["dev"])), "permit");
    assert_ne!(decided(&["out", "in"], None), "permit");
    assert_ne!(decided(&["in", "out"], None), "permit");
    assert_ne!(decided(&["in"], Some(&[])), "permit");
    let (refusal, decision) = *delegate(
        &lock,
        &represented(&["in", "out"], Some(in_groups(user("u"), &["dev"])), |_| ()),
        &to(&keyed(1)),
    )
    .unwrap_err();
    let subjects: Vec<_> = decision.subjects.iter().map(|one| (one.subject.as_str(), one.allow)).collect();
    assert_eq!(
        subjects,
        [("Agent::\"in\"", true), ("Agent::\"out\"", false), ("User::\"https://idp.test#u\"", true)]
    );
    assert_eq!(refusal.cause, "nothing permits Agent::\"out\"");
}

#[test]
fn the_child_is_seen_as_it_will_be() {
    let lock = lock(
        "@id(\"p\") permit (principal is Agent, action == Action::\"delegate\", resource in AgentGroup::\"workers\") when { resource.trust <= principal.trust };
         @id(\"s\") permit (principal == Agent::\"boss\", action == Action::\"delegate\", resource in AgentGroup::\"spawned\");",
        &[("boss", &[], 2), ("worker", &["workers"], 1), ("elder", &["workers"], 3), ("other", &[], 1)],
    );
    let decided = |parent: &str, child: &AgentId| code(&lock, &plain(parent), &to(child));
    assert_eq!(decided("boss", &id("worker")), "permit");
    assert_ne!(decided("boss", &id("elder")), "permit", "trusted more than its parent");
    assert_ne!(decided("boss", &id("other")), "permit");
    assert_eq!(decided("boss", &keyed(1)), "permit");
    assert_eq!(decided("worker", &keyed(1)), "permit", "in its parent's groups, with its trust");
    assert_ne!(decided("other", &keyed(1)), "permit");
}

#[test]
fn who_could_be_no_link_of_a_chain_is_handed_nothing() {
    let everything = "@id(\"p\") permit (principal, action, resource);";
    let mut retired = (*agent("retired", &[], 0)).clone();
    retired.state = AgentState::Retired;
    let agents = Directory::default().with(retired.into()).with(agent("a", &[], 0)).with(agent("b", &[], 0));
    let lock = Lock::new(Some(load(everything, &sandboxes())), agents.into());
    let key = keyed(1).to_string();
    for (chain, child, expected) in [
        (&["a"][..], "b", "permit"),
        (&["a"], &key, "permit"),
        (&["a"], "stranger", "agent-unknown"),
        (&["a"], "retired", "agent-unknown"),
        (&["a", &key], &key, "agent-unknown"),
        (&["a", &key, "b"], &key, "agent-unknown"),
        (&["stranger"], "b", "agent-unknown"),
        (&[&key], "b", "agent-unknown"),
    ] {
        assert_eq!(code(&lock, &caller(chain, None, |_| ()), &to(&id(child))), expected, "{chain:?} {child}");
    }
}

#[test]
fn depth_and_time_are_what_is_asked_for() {
    let lock = lock(
        "@id(\"p\") permit (principal, action == Action::\"delegate\", resource) when { context.input.depth <= 4 && context.input.expires <= 3600 };",
        &[("a", &[], 0)],
    );
    let child = keyed(1);
    let decided = |depth, lifetime| code(&lock, &plain("a"), &Delegating { depth, lifetime, ..to(&child) });
    assert_eq!(decided(4, Duration::from_secs(3600)), "permit");
    assert_eq!(decided(5, Duration::from_secs(3600)), "arguments-not-permitted");
    assert_eq!(decided(4, Duration::from_secs(3601)), "arguments-not-permitted");
    assert_eq!(decided(4, Duration::from_millis(3_600_001)), "arguments-not-permitted", "rounded up");
    assert_eq!(decided(4, Duration::MAX), "argument-inexact");
    assert_eq!(decided(usize::MAX, Duration::ZERO), "argument-inexact");
    let (refusal, _) = *delegate(&lock, &plain("a"), &Delegating { depth: 5, ..to(&child) }).unwrap_err();
    assert_eq!(refusal.hints, ["the argument `depth` is not permitted as it is"]);
}

#[test]
fn who_leaves_the_operations_out_hands_on_all_of_them() {
    let lists = lock(
        "@id(\"p\") permit (principal, action == Action::\"delegate\", resource) when { [\"list_repos\", \"create_repo\"].containsAll(context.input.operations) };",
        &[("a", &[], 0)],
    );
    let child = keyed(1);
    let asked = |names: &[&str]| Delegating { operations: handed(names), ..to(&child) };
    assert_eq!(code(&lists, &plain("a"), &asked(&["list_repos"])), "permit");
    assert_eq!(code(&lists, &plain("a"), &asked(&["list_repos", "delete_repo"])), "arguments-not-permitted");
    assert_eq!(code(&lists, &plain("a"), &asked(&[])), "arguments-not-permitted", "not the empty set");
    let bounded = |operations: &str| {
        let text = format!(
            r#"[{{"type":"vestibule_operations","locations":["https://gateway.test/apps/sandbox"],"operations":{operations}}}]"#
        );
        let authority = Authority::from_json(&parse(text.as_bytes(), 16).unwrap()).unwrap();
        caller(&["a"], None, |token| token.authority = Some(authority))
    };
    assert_eq!(code(&lists, &bounded(r#"{"list_repos":{}}"#), &asked(&[])), "permit");
    assert_ne!(code(&lists, &bounded(r#"{"list_repos":{},"delete_repo":{}}"#), &asked(&[])), "permit");
    let no_delete = lock(
        "@id(\"p\") permit (principal, action, resource);
         @id(\"f\") forbid (principal, action == Action::\"delegate\", resource) when { context.input.operations.contains(\"delete_repo\") };",
        &[("a", &[], 0)],
    );
    assert_eq!(code(&no_delete, &plain("a"), &asked(&["list_repos"])), "permit");
    assert_eq!(
        code(&no_delete, &plain("a"), &asked(&[])),
        "arguments-not-permitted",
        "a forbid sees each of them"
    );
}

#[test]
fn the_rest_of_the_context_is_that_of_the_caller() {
    let lock = lock(
        "@id(\"p\") permit (principal, action == Action::\"delegate\", resource)
           when { context.caller.depth == 1 && context.token.scopes.contains(\"spawn\") && context.env has ip && context.env.ip.isInRange(ip(\"10.0.0.0/8\")) && context.caller.chain in AgentGroup::\"g\" };",
        &[("a", &["g"], 0)],
    );
    let scoped = caller(&["a"], None, |token| token.scopes = ["spawn".to_owned()].into());
    let child = keyed(1);
    let at = |caller: &Caller, env: &Environment| lock.delegate(caller, &to(&child), env).is_ok();
    assert!(at(&scoped, &from_ip("10.1.1.1")));
    assert!(!at(&scoped, &from_ip("192.0.2.1")));
    assert!(!at(&plain("a"), &from_ip("10.1.1.1")));
}

#[test]
fn a_policy_that_fails_to_evaluate_refuses_to_delegate() {
    let lock = lock(
        "@id(\"p\") permit (principal, action, resource);
         @id(\"f\") @reason(\"not so deep\") forbid (principal, action == Action::\"delegate\", resource) when { context.input.depth * 4611686018427387904 > 100 };",
        &[("a", &[], 0)],
    );
    let (refusal, decision) = *delegate(&lock, &plain("a"), &to(&keyed(1))).unwrap_err();
    assert_eq!(refusal.denial.code(), "policy-error");
    assert_eq!(decision.subjects[0].errors, ["f"]);
    let child = keyed(1);
    let (refusal, decision) =
        *delegate(&lock, &plain("a"), &Delegating { depth: 1, ..to(&child) }).unwrap_err();
    assert_eq!((refusal.denial.code(), decision.policies), ("arguments-not-permitted", vec!["f".to_owned()]));
    assert_eq!(refusal.hints, ["not so deep", "the argument `depth` is not permitted as it is"]);
}

#[test]
fn shadow_policies_say_what_they_would_have_said_of_delegating() {
    let files = [
        file("a.cedar", "@id(\"p\") permit (principal, action == Action::\"delegate\", resource);"),
        file(
            "s.shadow.cedar",
            "@id(\"s\") forbid (principal, action == Action::\"delegate\", resource) when { context.input.expires > 60 };",
        ),
    ];
    let set = PolicySet::load(&files, &sandboxes(), &options()).unwrap();
    let lock = Lock::new(Some(set), directory(&[("a", &[], 0)]));
    let decision = delegate(&lock, &plain("a"), &to(&keyed(1))).unwrap();
    assert_eq!(
        (decision.shadow[0].would, &*decision.shadow[0].policies),
        (Outcome::Deny, &["s".to_owned()][..])
    );
}

#[test]
fn a_replaced_directory_counts_from_the_next_delegation_on() {
    let lock = lock(
        "@id(\"p\") permit (principal, action == Action::\"delegate\", resource in AgentGroup::\"g\");",
        &[("a", &["g"], 0)],
    );
    assert_eq!(code(&lock, &plain("a"), &to(&keyed(1))), "permit");
    lock.replace_directory(directory(&[("a", &[], 0)]));
    assert_eq!(code(&lock, &plain("a"), &to(&keyed(1))), "arguments-not-permitted");
}

// ---- loading -----------------------------------------------------------------------------------------------

#[test]
fn a_policy_on_delegating_is_checked_when_it_is_loaded() {
    let refused = |condition: &str| {
        let policy = format!(
            "@id(\"a\")\nforbid (principal, action == Action::\"delegate\", resource)\nwhen {{ {condition} }};"
        );
        let problems = try_load(&policy, &sandboxes()).expect_err(condition);
        (problems[0].line, problems[0].to_string())
    };
    let (line, text) = refused("context.input.dept > 4");
    assert!(line == 3 && text.contains("input.dept") && text.contains("did you mean `depth`?"), "{text}");
    let (_, text) = refused("context.input has expire");
    assert!(text.contains("`expire`") && text.contains("did you mean `expires`?"), "{text}");
    let (_, text) = refused("!(context.input has name)");
    assert!(text.contains("has an argument `name`"), "{text}");
    let (_, text) = refused("context.input.depth == \"4\"");
    assert!(text.contains("test.cedar:3:"), "{text}");
    let (_, text) = refused("resource.readOnly");
    assert!(text.contains("readOnly"), "{text}");
    let (_, text) = refused("context.input.depth > 4 && context.input.depth < 3 && false");
    assert!(text.contains("can never match"), "{text}");
}

#[test]
fn delegating_can_be_written_about_before_any_operation_is_known() {
    let set = PolicySet::load(
        &[file("a.cedar", "@id(\"a\") permit (principal, action == Action::\"delegate\", resource);")],
        &Vec::new(),
        &options(),
    )
    .unwrap();
    assert_eq!(set.warnings(), []);
    let lock = Lock::new(Some(set), directory(&[("a", &[], 0)]));
    assert_eq!(code(&lock, &plain("a"), &to(&keyed(1))), "permit");
    // What can never match is an error at once, and what waits for operations is not.
    let never = "@id(\"a\") permit (principal, action == Action::\"delegate\", resource is Operation);";
    assert!(PolicySet::load(&[file("a.cedar", never)], &Vec::new(), &options()).is_err());
    for later in ["resource is Operation", "resource in App::\"later\""] {
        let policy = format!(
            "@id(\"a\") permit (principal, action, {later}) when {{ resource is Operation && resource.readOnly }};"
        );
        let set = PolicySet::load(&[file("a.cedar", &policy)], &Vec::new(), &options()).unwrap();
        assert_eq!(set.warnings()[0].severity, Severity::Warning);
    }
}

#[test]
fn a_condition_on_an_operation_in_a_policy_that_is_about_everything_is_refused_with_what_to_write() {
    let problems =
        try_load("@id(\"a\") permit (principal, action, resource) when { resource.readOnly };", &sandboxes())
            .unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    let text = problems[0].to_string();
    assert!(text.contains("readOnly") && text.contains("action in Action::\"call\""), "{text}");
}

#[test]
fn no_application_is_named_like_the_action() {
    let catalog = vec![crate::support::sandbox("delegate", vestibule_model::AppKind::Mcp)];
    let problems = PolicySet::load(&[], &catalog, &Options { timezone: "UTC".to_owned() }).unwrap_err();
    assert!(problems[0].message.contains("reserved"), "{problems:?}");
}
