//! What operators are told: why, what would have to change, and what an agent may do at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use vestibule_model::{AgentId, Authority};
use vestibule_policy::{
    Applicable, Attempt, ClaimScopes, Deed, Explanation, Hypothesis, Lock, May, NotApplicable, Outcome,
};

use crate::support::{arguments, caller, calling, directory, id, keyed, load, noon, plain, sandboxes, user};

const POLICIES: &str = "// Grants.
@id(\"p.create\")
permit (principal in AgentGroup::\"g\", action == Action::\"sandbox__create_repo\", resource)
when { context.input.name like \"demo-*\" && context.input has private && context.input.private };

@id(\"p.department\")
permit (principal in AgentGroup::\"g\", action == Action::\"sandbox__stream_progress\", resource)
when { context.token.claims.hasTag(\"department\") && context.token.claims.getTag(\"department\").contains(\"platform\") };

@id(\"p.list\") permit (principal, action == Action::\"sandbox__list_repos\", resource);
@id(\"p.delete\") permit (principal in AgentGroup::\"g\", action == Action::\"sandbox__delete_repo\", resource);

@id(\"f.destroy\") @reason(\"needs trust\")
forbid (principal is Agent, action in Action::\"call\", resource) when { resource.destructive && principal.trust < 1 };
";

fn lock() -> Lock {
    Lock::new(
        Some(load(POLICIES, &sandboxes())),
        directory(&[("a", &["g"], 0), ("b", &["g"], 2), ("c", &[], 3)]),
    )
}

fn suppose(agent: &str, operation: &str, text: &str) -> Hypothesis {
    Hypothesis {
        agent: AgentId::new(agent).unwrap(),
        ancestors: Vec::new(),
        user: None,
        user_groups: BTreeSet::new(),
        issuer: String::new(),
        audience: String::new(),
        scopes: BTreeSet::new(),
        claims: BTreeMap::new(),
        authority: None,
        ip: None,
        at: noon().now,
        deed: calling(operation, text),
    }
}

fn explain(hypothesis: &Hypothesis) -> Explanation {
    lock().explain(hypothesis, None).unwrap()
}

#[test]
fn a_permit_is_explained_by_the_policies_that_gave_it() {
    let explained = explain(&suppose("a", "sandbox__create_repo", r#"{"name":"demo-1","private":true}"#));
    assert_eq!((explained.outcome, explained.denial), (Outcome::Permit, None));
    let policy = &explained.subjects[0].determining[0];
    assert_eq!(
        (policy.id.as_str(), policy.file.as_str(), policy.line, policy.effect),
        ("p.create", "test.cedar", 2, "permit")
    );
    assert!(policy.text.starts_with("@id(\"p.create\")\npermit") && policy.text.ends_with("};"));
    assert!(policy.conditions.iter().all(|condition| condition.is == Some(condition.must_be)));
    assert!(policy.changes.is_empty());
}

#[test]
fn a_default_deny_is_explained_by_the_nearest_permit() {
    let explained = explain(&suppose("a", "sandbox__create_repo", r#"{"name":"demo-1","private":false}"#));
    assert_eq!(explained.denial, Some("arguments-not-permitted"));
    assert!(explained.subjects[0].determining.is_empty());
    let nearest = &explained.subjects[0].nearest[0];
    assert_eq!(nearest.changes, ["`context.input.private` is false, and would have to be true"]);
    let missing = explain(&suppose("a", "sandbox__create_repo", r#"{"name":"demo-1"}"#));
    assert_eq!(
        missing.subjects[0].nearest[0].changes,
        [
            "`context.input has private` is false, and would have to be true",
            "`context.input.private` would have to be true",
        ]
    );
}

#[test]
fn a_guard_rail_is_explained_with_its_reason_and_with_what_lifts_it() {
    let explained = explain(&suppose("a", "sandbox__delete_repo", r#"{"name":"x"}"#));
    let guard = &explained.subjects[0].determining[0];
    assert_eq!((guard.id.as_str(), guard.reason.as_deref()), ("f.destroy", Some("needs trust")));
    assert_eq!(
        guard.changes,
        [
            "`resource.destructive` is true, and would have to be false",
            "`principal.trust < 1` is true, and would have to be false",
        ]
    );
    assert_eq!(explain(&suppose("b", "sandbox__delete_repo", r#"{"name":"x"}"#)).outcome, Outcome::Permit);
}

#[test]
fn a_missing_claim_is_explained_by_the_scope_that_releases_it() {
    let claim_scopes = ClaimScopes::from([("department".to_owned(), ["profile".to_owned()].into())]);
    let hypothesis = suppose("a", "sandbox__stream_progress", "{}");
    let explained = lock().explain(&hypothesis, Some(&claim_scopes)).unwrap();
    assert!(explained.subjects[0].nearest[0].changes.contains(
        &"the token lacks the claim `department`, which comes with the scope `profile`".to_owned()
    ));
    let mut with = hypothesis;
    with.claims.insert("department".to_owned(), ["platform".to_owned()].into());
    assert_eq!(explain(&with).outcome, Outcome::Permit);
}

#[test]
fn a_missing_scope_is_explained_by_the_scopes_that_would_do() {
    let mut catalog = sandboxes();
    catalog[0].operations[0].scopes = ["repo".to_owned(), "repo:read".to_owned()].into();
    let policies = "@id(\"p\") permit (principal, action, resource);
        @id(\"s\") @challenge(\"insufficient_scope\") forbid (principal, action in Action::\"call\", resource) unless { context.token.scopes.containsAny(resource.scopes) };";
    let lock = Lock::new(Some(load(policies, &catalog)), directory(&[("a", &[], 0)]));
    let explained = lock.explain(&suppose("a", "sandbox__list_repos", "{}"), None).unwrap();
    assert_eq!(explained.denial, Some("scope-insufficient"));
    assert_eq!(
        explained.subjects[0].determining[0].changes[0],
        "the token would need the scope `repo` or `repo:read`"
    );
}

#[test]
fn what_did_not_come_to_policies_is_explained_by_its_cause() {
    let unknown = explain(&suppose("nobody", "sandbox__list_repos", "{}"));
    assert_eq!((unknown.denial, unknown.subjects.len()), (Some("agent-unknown"), 0));
    let undeclared = explain(&suppose("a", "sandbox__list_repos", r#"{"x":1}"#));
    assert_eq!(undeclared.denial, Some("argument-undeclared"));
    assert_eq!(undeclared.cause.as_deref(), Some("`x` is not declared by `sandbox__list_repos`"));
}

#[test]
fn a_verified_caller_can_be_explained_like_a_hypothesis() {
    let real = caller(&["b", "a"], Some(user("alice")), |_| ());
    let text = arguments(r#"{"name":"demo-1","private":true}"#);
    let attempt = Attempt { operation: id("sandbox__create_repo"), arguments: &text };
    let explained = explain(&Hypothesis::of(&real, &attempt, &noon()));
    let subjects: Vec<_> = explained.subjects.iter().map(|one| (one.subject.as_str(), one.outcome)).collect();
    assert_eq!(
        subjects,
        [
            ("Agent::\"b\"", Outcome::Permit),
            ("Agent::\"a\"", Outcome::Permit),
            ("User::\"https://idp.test#alice\"", Outcome::Deny),
        ]
    );
}

/// Handing something on to the holder of a key, for ten minutes.
fn handing_on(agent: &str, depth: usize) -> Hypothesis {
    let deed = Deed::Delegate {
        child: keyed(1),
        depth,
        lifetime: Duration::from_secs(600),
        operations: BTreeSet::new(),
    };
    Hypothesis { deed, ..suppose(agent, "sandbox__list_repos", "{}") }
}

const DELEGATING: &str = "@id(\"p.delegate\")
permit (principal in AgentGroup::\"g\", action == Action::\"delegate\", resource in AgentGroup::\"spawned\")
when { context.input.depth <= 3 };
@id(\"p.human\") permit (principal in UserGroup::\"dev\", action == Action::\"delegate\", resource);
@id(\"f.trust\") forbid (principal is Agent, action == Action::\"delegate\", resource) when { principal.trust < 1 };";

#[test]
fn delegating_is_explained_like_a_call() {
    let lock = Lock::new(Some(load(DELEGATING, &sandboxes())), directory(&[("b", &["g"], 2), ("c", &[], 3)]));
    let explain = |hypothesis: &Hypothesis| lock.explain(hypothesis, None).unwrap();
    let permitted = explain(&handing_on("b", 2));
    assert_eq!((permitted.operation.as_str(), permitted.outcome), ("delegate", Outcome::Permit));
    assert_eq!(permitted.subjects[0].determining[0].id, "p.delegate");
    let deep = explain(&handing_on("b", 4));
    assert_eq!(deep.denial, Some("arguments-not-permitted"));
    assert_eq!(
        deep.subjects[0].nearest[0].changes,
        ["`context.input.depth <= 3` is false, and would have to be true"]
    );
    let other = explain(&handing_on("c", 2));
    let nearest = &other.subjects[0].nearest;
    assert_eq!(
        (nearest.len(), nearest[0].id.as_str()),
        (1, "p.delegate"),
        "an agent is in no group of users"
    );
    assert_eq!(nearest[0].changes[0], r#"Agent::"c" would have to be in AgentGroup::"g""#);
    let mut below = handing_on("b", 3);
    (below.ancestors, below.agent) = (vec![below.agent], keyed(2));
    assert_eq!(explain(&below).subjects.len(), 2);
    assert_eq!(explain(&below).outcome, Outcome::Permit);
    below.user = Some(user("u"));
    assert_eq!(explain(&below).outcome, Outcome::Deny);
    below.user_groups = ["dev".to_owned()].into();
    assert_eq!(explain(&below).outcome, Outcome::Permit);
    below.agent = keyed(1);
    assert_eq!(explain(&below).denial, Some("agent-unknown"), "it hands nothing on to itself");
}

#[test]
fn what_was_handed_on_to_a_verified_caller_counts_when_it_is_explained() {
    let details = r#"[{"type":"vestibule_operations","locations":["https://gateway.test/apps/sandbox"],"operations":{"create_repo":{"name":{"exact":"demo-1"},"private":{"exact":true}}}}]"#;
    let real = caller(&["b"], None, |token| {
        token.authority = Some(Authority::from_json(&arguments(details)).unwrap());
    });
    let explained = |text: &str| {
        let text = arguments(text);
        let attempt = Attempt { operation: id("sandbox__create_repo"), arguments: &text };
        explain(&Hypothesis::of(&real, &attempt, &noon()))
    };
    assert_eq!(explained(r#"{"name":"demo-1","private":true}"#).outcome, Outcome::Permit);
    let outside = explained(r#"{"name":"demo-2","private":true}"#);
    assert_eq!((outside.outcome, outside.denial), (Outcome::Deny, Some("authority-exceeded")));
    assert_eq!(outside.subjects[0].outcome, Outcome::Permit, "the policies had nothing against it");
}

#[test]
fn whether_an_agent_may_delegate_is_never_always_or_when() {
    let lock = Lock::new(
        Some(load(DELEGATING, &sandboxes())),
        directory(&[("a", &["g"], 0), ("b", &["g"], 2), ("c", &[], 3)]),
    );
    let of = |agent: &str, user: Option<&vestibule_model::UserId>, groups: &[&str]| {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        lock.applicable(plain(agent).agent(), user, &groups).unwrap()
    };
    let b = of("b", None, &[]);
    assert_eq!((b.delegate.operation.as_str(), b.delegate.may), ("delegate", May::When));
    assert_eq!(b.delegate.grants[0].conditions, ["context.input.depth <= 3"]);
    assert_eq!(of("a", None, &[]).delegate.may, May::Never, "not at trust 0");
    assert_eq!(of("c", None, &[]).delegate.may, May::Never);
    assert_eq!(of("b", Some(&user("u")), &[]).delegate.may, May::Never);
    let attended = of("b", Some(&user("u")), &["dev"]);
    assert_eq!(attended.delegate.may, May::When);
    assert_eq!(attended.user_groups, ["dev".to_owned()].into());
}

#[test]
fn an_explanation_is_json() {
    let json = serde_json::to_value(explain(&suppose("a", "sandbox__list_repos", "{}"))).unwrap();
    assert_eq!(json["outcome"], "permit");
    assert_eq!(json["subjects"][0]["determining"][0]["id"], "p.list");
}

fn may(applicable: &Applicable, operation: &str) -> May {
    applicable.operations.iter().find(|listed| listed.operation == operation).unwrap().may
}

#[test]
fn what_an_agent_may_do_is_never_always_or_when() {
    let lock = lock();
    let a = lock.applicable(plain("a").agent(), None, &BTreeSet::new()).unwrap();
    assert_eq!(may(&a, "sandbox__list_repos"), May::Always);
    assert_eq!(may(&a, "sandbox__create_repo"), May::When);
    assert_eq!(may(&a, "sandbox__delete_repo"), May::Never, "the guard rail cannot be met at trust 0");
    assert_eq!(may(&a, "sandbox-http__list_repos"), May::Never);
    let b = lock.applicable(plain("b").agent(), None, &BTreeSet::new()).unwrap();
    assert_eq!(may(&b, "sandbox__delete_repo"), May::Always);
    let create = b.operations.iter().find(|listed| listed.operation == "sandbox__create_repo").unwrap();
    assert_eq!(
        create.grants[0].conditions,
        ["context.input.name like \"demo-*\"", "context.input has private", "context.input.private",]
    );
    assert_eq!(
        may(
            &lock.applicable(plain("b").agent(), Some(&user("u")), &BTreeSet::new()).unwrap(),
            "sandbox__delete_repo"
        ),
        May::Never
    );
}

#[test]
fn nothing_is_said_about_an_agent_that_is_not_registered() {
    assert!(matches!(
        lock().applicable(plain("nobody").agent(), None, &BTreeSet::new()),
        Err(NotApplicable::Refused(_))
    ));
    let empty = Lock::new(None, directory(&[("a", &[], 0)]));
    assert!(matches!(
        empty.applicable(plain("a").agent(), None, &BTreeSet::new()),
        Err(NotApplicable::Refused(_))
    ));
}

#[test]
fn a_grant_to_others_is_named_with_what_the_subject_would_have_to_belong_to() {
    let explained = explain(&suppose("c", "sandbox__delete_repo", r#"{"name":"x"}"#));
    let nearest = &explained.subjects[0].nearest[0];
    assert_eq!(nearest.id, "p.delete");
    assert_eq!(nearest.changes, [r#"Agent::"c" would have to be in AgentGroup::"g""#]);
}
