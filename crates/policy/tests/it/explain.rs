//! What operators are told: why, what would have to change, and what an agent may do at all.

use std::collections::{BTreeMap, BTreeSet};

use vestibule_model::AgentId;
use vestibule_policy::{
    Applicable, Attempt, ClaimScopes, Explanation, Hypothesis, Lock, May, NotApplicable, Outcome,
};

use crate::support::{arguments, caller, directory, id, load, noon, plain, sandboxes, user};

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
        issuer: String::new(),
        scopes: BTreeSet::new(),
        claims: BTreeMap::new(),
        ip: None,
        at: noon().now,
        operation: id(operation),
        arguments: arguments(text),
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
        @id(\"s\") @challenge(\"insufficient_scope\") forbid (principal, action, resource) unless { context.token.scopes.containsAny(resource.scopes) };";
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
    let a = lock.applicable(plain("a").agent(), None).unwrap();
    assert_eq!(may(&a, "sandbox__list_repos"), May::Always);
    assert_eq!(may(&a, "sandbox__create_repo"), May::When);
    assert_eq!(may(&a, "sandbox__delete_repo"), May::Never, "the guard rail cannot be met at trust 0");
    assert_eq!(may(&a, "sandbox-http__list_repos"), May::Never);
    let b = lock.applicable(plain("b").agent(), None).unwrap();
    assert_eq!(may(&b, "sandbox__delete_repo"), May::Always);
    let create = b.operations.iter().find(|listed| listed.operation == "sandbox__create_repo").unwrap();
    assert_eq!(
        create.grants[0].conditions,
        ["context.input.name like \"demo-*\"", "context.input has private", "context.input.private",]
    );
    assert_eq!(
        may(&lock.applicable(plain("b").agent(), Some(&user("u"))).unwrap(), "sandbox__delete_repo"),
        May::Never
    );
}

#[test]
fn nothing_is_said_about_an_agent_that_is_not_registered() {
    assert!(matches!(lock().applicable(plain("nobody").agent(), None), Err(NotApplicable::Refused(_))));
    let empty = Lock::new(None, directory(&[("a", &[], 0)]));
    assert!(matches!(empty.applicable(plain("a").agent(), None), Err(NotApplicable::Refused(_))));
}

#[test]
fn a_grant_to_others_is_named_with_what_the_subject_would_have_to_belong_to() {
    let explained = explain(&suppose("c", "sandbox__delete_repo", r#"{"name":"x"}"#));
    let nearest = &explained.subjects[0].nearest[0];
    assert_eq!(nearest.id, "p.delete");
    assert_eq!(nearest.changes, [r#"Agent::"c" would have to be in AgentGroup::"g""#]);
}
