//! What is decided, by whom, and what the caller is told.

use serde_json::json;
use vestibule_inbound::Caller;
use vestibule_model::{AppId, AppKind, Directory, Effect};
use vestibule_policy::{Catalog, Environment, Lock, Options, Outcome, PolicySet, Verdict};

use crate::support::{
    app, arguments, caller, code, decide, decide_in, directory, file, from_ip, id, load, noon, operation,
    options, plain, sandboxes, user, verdict,
};

fn lock(policies: &str, agents: &[(&str, &[&str], u8)]) -> Lock {
    Lock::new(Some(load(policies, &sandboxes())), directory(agents))
}

const EVERYTHING: &str = "@id(\"all\") permit (principal, action, resource);";

#[test]
fn without_policies_everything_is_refused() {
    let agents = directory(&[("a", &[], 3)]);
    let empty = Lock::new(None, agents.clone());
    assert_eq!(decide(&empty, &plain("a"), "sandbox__list_repos", "{}"), "policy-set-empty");
    assert_eq!(code(&empty.always(&plain("a"), &AppId::new("sandbox").unwrap(), "ping")), "policy-set-empty");
    let files = [file("only.shadow.cedar", EVERYTHING)];
    let shadow = Lock::new(Some(PolicySet::load(&files, &sandboxes(), &options()).unwrap()), agents);
    assert_eq!(decide(&shadow, &plain("a"), "sandbox__list_repos", "{}"), "policy-set-empty");
}

#[test]
fn an_agent_that_is_not_registered_is_refused_before_any_policy() {
    let lock = lock(EVERYTHING, &[("a", &[], 0)]);
    assert_eq!(decide(&lock, &plain("b"), "sandbox__list_repos", "{}"), "agent-unknown");
    assert_eq!(decide(&lock, &plain("b"), "sandbox__nothing", "{}"), "agent-unknown", "nor what exists");
    let spawned = caller(&["b", "a"], None, |_| ());
    assert_eq!(decide(&lock, &spawned, "sandbox__list_repos", "{}"), "agent-unknown");
    let app = AppId::new("sandbox").unwrap();
    assert_eq!(code(&lock.always(&spawned, &app, "ping")), "agent-unknown");
    assert_eq!(code(&lock.always(&plain("a"), &app, "ping")), "permit");
    assert!(lock.visible(&spawned, &app, &noon()).is_empty());
}

#[test]
fn an_agent_that_another_issuer_names_is_not_ours() {
    let lock = lock(EVERYTHING, &[("a", &[], 0)]);
    let verified = plain("a");
    let mut token = verified.token().clone();
    token.namespace = "https://elsewhere.test".into();
    let foreign = Caller::for_test(None, verified.chain().clone(), token);
    assert_eq!(decide(&lock, &foreign, "sandbox__list_repos", "{}"), "agent-unknown");
}

#[test]
fn a_retired_agent_is_unknown() {
    let mut retired = (*crate::support::agent("a", &[], 3)).clone();
    retired.state = vestibule_model::AgentState::Retired;
    let lock =
        Lock::new(Some(load(EVERYTHING, &sandboxes())), Directory::default().with(retired.into()).into());
    assert_eq!(decide(&lock, &plain("a"), "sandbox__list_repos", "{}"), "agent-unknown");
}

#[test]
fn every_agent_of_the_chain_and_the_user_must_be_permitted() {
    let lock = lock(
        "@id(\"agents\") permit (principal in AgentGroup::\"g\", action, resource);
         @id(\"alice\") permit (principal == User::\"https://idp.test#alice\", action, resource);",
        &[("in", &["g"], 0), ("out", &[], 0)],
    );
    let decided = |chain: &[&str], who: Option<&str>| {
        decide(&lock, &caller(chain, who.map(user), |_| ()), "sandbox__list_repos", "{}")
    };
    assert_eq!(decided(&["in"], None), "permit");
    assert_eq!(decided(&["in", "in"], None), "permit");
    assert_eq!(decided(&["out", "in"], None), "operation-not-permitted");
    assert_eq!(decided(&["in"], Some("alice")), "permit");
    assert_eq!(decided(&["in"], Some("mallory")), "operation-not-permitted");
}

#[test]
fn a_decision_lists_subjects_root_first_and_the_policies_that_determined_it() {
    let lock = lock(
        "@id(\"p1\") permit (principal is Agent, action, resource);
         @id(\"p2\") permit (principal == Agent::\"a\", action, resource);
         @id(\"f\") forbid (principal == Agent::\"b\", action, resource);",
        &[("a", &[], 0), ("b", &[], 0)],
    );
    let Verdict::Permitted(permit) = verdict(&lock, &plain("a"), "sandbox__list_repos", "{}", &noon()) else {
        panic!("permitted")
    };
    assert_eq!(permit.decision().policies, ["p1", "p2"]);
    assert_eq!((permit.operation(), permit.caller().agent().as_str()), (&id("sandbox__list_repos"), "a"));
    assert_eq!(permit.decision().policy_set, lock.policies().digest());
    let chain = caller(&["a", "b"], None, |_| ());
    let Verdict::Refused(_, decision) = verdict(&lock, &chain, "sandbox__list_repos", "{}", &noon()) else {
        panic!("refused")
    };
    let subjects: Vec<_> = decision.subjects.iter().map(|one| (one.subject.as_str(), one.allow)).collect();
    assert_eq!(subjects, [("Agent::\"a\"", true), ("Agent::\"b\"", false)]);
    assert_eq!(decision.policies, ["f"]);
}

#[test]
fn some_agent_of_the_chain_can_be_asked_about() {
    let lock = lock(
        &format!(
            "{EVERYTHING} @id(\"f\") forbid (principal, action, resource) when {{ context.caller.chain in AgentGroup::\"bad\" }};"
        ),
        &[("good", &[], 0), ("bad", &["bad"], 0)],
    );
    assert_eq!(
        decide(&lock, &caller(&["good", "good"], None, |_| ()), "sandbox__list_repos", "{}"),
        "permit"
    );
    assert_ne!(decide(&lock, &caller(&["bad", "good"], None, |_| ()), "sandbox__list_repos", "{}"), "permit");
}

#[test]
fn a_forbid_that_fails_to_evaluate_does_not_disappear() {
    let catalog = vec![app(
        "bank",
        AppKind::Mcp,
        vec![operation(
            "pay",
            Effect::Write,
            json!({ "properties": { "amount": { "type": "integer" } }, "required": ["amount"] }),
        )],
    )];
    let policies = format!(
        "{EVERYTHING} @id(\"f\") forbid (principal, action == Action::\"bank__pay\", resource) when {{ context.input.amount * 100 > 5000 }};"
    );
    let lock = Lock::new(Some(load(&policies, &catalog)), directory(&[("a", &[], 0)]));
    assert_eq!(decide(&lock, &plain("a"), "bank__pay", r#"{"amount":50}"#), "permit");
    assert_eq!(decide(&lock, &plain("a"), "bank__pay", r#"{"amount":51}"#), "arguments-not-permitted");
    let overflow = verdict(&lock, &plain("a"), "bank__pay", r#"{"amount":9223372036854775807}"#, &noon());
    assert_eq!(code(&overflow), "policy-error");
    let Verdict::Refused(refusal, decision) = overflow else { panic!("refused") };
    assert_eq!(decision.subjects[0].errors, ["f"]);
    assert!(!refusal.cause.contains("9223372036854775807"), "the record does not quote arguments");
}

fn shop() -> Catalog {
    let order = json!({ "type": "object", "required": ["price"], "properties": {
        "price": { "type": "number" },
        "note": { "type": "string" },
        "address": { "type": "object", "properties": { "country": { "type": "string" }, "zip": { "type": "string" } } },
        "tags": { "type": "array", "items": { "type": "string" } },
    } });
    vec![app("shop", AppKind::Http, vec![operation("order", Effect::Write, order)])]
}

#[test]
fn a_number_that_policy_reads_is_exact_or_refused() {
    let lock = Lock::new(
        Some(load(
            "@id(\"p\") permit (principal, action in Action::\"call\", resource) when { context.input.price.lessThan(decimal(\"100.0\")) };",
            &shop(),
        )),
        directory(&[("a", &[], 0)]),
    );
    let order = |text: &str| decide(&lock, &plain("a"), "shop__order", text);
    assert_eq!(order(r#"{"price":99.9999}"#), "permit");
    assert_eq!(order(r#"{"price":1e2}"#), "arguments-not-permitted");
    assert_eq!(order(r#"{"price":99.99999}"#), "argument-inexact");
    assert_eq!(order(r#"{"price":1e17}"#), "argument-inexact");
    assert_eq!(order(r#"{"price":"1"}"#), "argument-inexact");
    assert_eq!(order("{}"), "argument-inexact");
    assert_eq!(order(r#"{"price":1,"note":12.123456789}"#), "permit", "nobody reads the note");
    let Verdict::Refused(refusal, _) =
        verdict(&lock, &plain("a"), "shop__order", r#"{"price":true}"#, &noon())
    else {
        panic!("refused")
    };
    assert_eq!(refusal.hints, ["the argument `price` must be a number with at most four decimal places"]);
}

#[test]
fn equal_decimals_are_equal_however_they_are_written() {
    let lock = Lock::new(
        Some(load(
            "@id(\"p\") permit (principal, action in Action::\"call\", resource) when { context.input.price == decimal(\"12.5\") };",
            &shop(),
        )),
        directory(&[("a", &[], 0)]),
    );
    for price in ["12.5", "12.5000", "125e-1"] {
        assert_eq!(
            decide(&lock, &plain("a"), "shop__order", &format!("{{\"price\":{price}}}")),
            "permit",
            "{price}"
        );
    }
}

#[test]
fn members_and_elements_of_arguments_are_typed_too() {
    let lock = Lock::new(
        Some(load(
            "@id(\"p\") permit (principal, action, resource)
             when { context.input has address.country && context.input.address.country == \"DE\" && context.input has tags && [\"a\", \"b\"].containsAll(context.input.tags) };",
            &shop(),
        )),
        directory(&[("a", &[], 0)]),
    );
    let order = |text: &str| decide(&lock, &plain("a"), "shop__order", text);
    assert_eq!(
        order(r#"{"price":1,"address":{"country":"DE","zip":7,"else":1},"tags":["b","a","a"]}"#),
        "permit"
    );
    assert_eq!(order(r#"{"price":1,"address":{"zip":"1"},"tags":[]}"#), "arguments-not-permitted");
    assert_eq!(order(r#"{"price":1,"address":{"country":"DE"},"tags":["c"]}"#), "arguments-not-permitted");
    assert_eq!(order(r#"{"price":1,"address":{"country":1},"tags":["a"]}"#), "argument-inexact");
    assert_eq!(order(r#"{"price":1,"address":"DE","tags":["a"]}"#), "argument-inexact");
}

#[test]
fn an_argument_that_nobody_declared_is_refused_by_name() {
    let lock = lock(EVERYTHING, &[("a", &[], 0)]);
    let Verdict::Refused(refusal, _) =
        verdict(&lock, &plain("a"), "sandbox__list_repos", r#"{"all":true}"#, &noon())
    else {
        panic!("refused")
    };
    assert_eq!(refusal.denial.code(), "argument-undeclared");
    assert_eq!(refusal.hints, ["leave out the argument `all`: the operation does not declare it"]);
}

#[test]
fn an_operation_that_is_not_visible_looks_like_one_that_is_not_there_whatever_is_wrong_with_the_call() {
    let lock = lock(
        "@id(\"p\") permit (principal == Agent::\"a\", action, resource);",
        &[("a", &[], 0), ("b", &[], 0)],
    );
    for text in ["{}", r#"{"name":"x"}"#, r#"{"name":1}"#, r#"{"undeclared":1}"#] {
        let Verdict::Refused(refusal, _) = verdict(&lock, &plain("b"), "sandbox__create_repo", text, &noon())
        else {
            panic!("refused")
        };
        assert_eq!(refusal.denial.code(), "operation-not-permitted", "{text}");
        assert_eq!((refusal.hints.len(), refusal.scopes.len()), (0, 0), "{text}");
    }
    assert_eq!(decide(&lock, &plain("a"), "sandbox__nothing", "{}"), "operation-unknown");
    assert_eq!(decide(&lock, &plain("a"), "nowhere__nothing", "{}"), "operation-unknown");
}

#[test]
fn hints_name_arguments_and_reasons_and_nothing_else() {
    let lock = lock(
        "@id(\"p-secret\") permit (principal, action == Action::\"sandbox__create_repo\", resource)
           when { context.input.name like \"demo-*\" && context.input has private && context.input.private };
         @id(\"f-secret\") @reason(\"not after hours\") forbid (principal, action, resource) when { context.env.minuteOfDay > 1200 };",
        &[("a", &[], 0)],
    );
    let hints = |text: &str, env: &Environment| match verdict(
        &lock,
        &plain("a"),
        "sandbox__create_repo",
        text,
        env,
    ) {
        Verdict::Refused(refusal, _) => (refusal.denial.code(), refusal.hints),
        Verdict::Permitted(_) => panic!("refused"),
    };
    assert_eq!(
        hints(r#"{"name":"x","private":true}"#, &noon()),
        ("arguments-not-permitted", vec!["the argument `name` is not permitted as it is".to_owned()])
    );
    assert_eq!(
        hints(r#"{"name":"demo-x"}"#, &noon()).1,
        ["the argument `private` is not permitted as it is"]
    );
    let late = Environment { now: noon().now.plus(std::time::Duration::from_secs(9 * 3600)), ip: None };
    assert_eq!(hints(r#"{"name":"demo-x","private":true}"#, &late).0, "operation-not-permitted");
}

#[test]
fn the_reason_of_a_forbid_over_arguments_is_told() {
    let lock = lock(
        &format!(
            "{EVERYTHING} @id(\"f\") @reason(\"names are short\") forbid (principal, action == Action::\"sandbox__create_repo\", resource) when {{ context.input.name like \"*xxx*\" }};"
        ),
        &[("a", &[], 0)],
    );
    let Verdict::Refused(refusal, _) =
        verdict(&lock, &plain("a"), "sandbox__create_repo", r#"{"name":"xxxx"}"#, &noon())
    else {
        panic!("refused")
    };
    assert_eq!(refusal.hints, ["names are short", "the argument `name` is not permitted as it is"]);
}

const SCOPED: &str = "@id(\"guard.scope\") @challenge(\"insufficient_scope\") forbid (principal, action in Action::\"call\", resource)
    unless { resource.scopes.isEmpty() || context.token.scopes.containsAny(resource.scopes) };
    @id(\"p\") permit (principal, action == Action::\"sandbox__create_repo\", resource) when { context.input.name like \"demo-*\" };";

#[test]
fn a_wider_token_is_asked_for_only_where_it_would_help() {
    let mut catalog = sandboxes();
    for operation in &mut catalog[0].operations {
        operation.scopes = ["repo".to_owned(), "repo:write".to_owned()].into();
    }
    let lock = Lock::new(Some(load(SCOPED, &catalog)), directory(&[("a", &[], 0)]));
    let with = |scope: &str| caller(&["a"], None, |token| token.scopes = [scope.to_owned()].into());
    let Verdict::Refused(refusal, _) =
        verdict(&lock, &with("other"), "sandbox__create_repo", r#"{"name":"demo-1"}"#, &noon())
    else {
        panic!("refused")
    };
    assert_eq!(
        (refusal.denial.code(), refusal.scopes),
        ("scope-insufficient", vec!["repo".to_owned(), "repo:write".to_owned()])
    );
    assert_eq!(decide(&lock, &with("repo"), "sandbox__create_repo", r#"{"name":"demo-1"}"#), "permit");
    assert_eq!(
        decide(&lock, &with("other"), "sandbox__create_repo", r#"{"name":"prod"}"#),
        "arguments-not-permitted"
    );
    assert_eq!(
        decide(&lock, &with("other"), "sandbox__delete_repo", r#"{"name":"demo-1"}"#),
        "operation-not-permitted"
    );
}

#[test]
fn time_of_day_is_that_of_the_configured_zone() {
    let policy = "@id(\"p\") permit (principal, action, resource) when { context.env.weekday == 3 && context.env.minuteOfDay == 780 };";
    let options = Options { timezone: "Europe/Berlin".to_owned() };
    let set = PolicySet::load(&[file("p.cedar", policy)], &sandboxes(), &options).unwrap();
    let lock = Lock::new(Some(set), directory(&[("a", &[], 0)]));
    assert_eq!(
        decide(&lock, &plain("a"), "sandbox__list_repos", "{}"),
        "permit",
        "12:00 UTC is 13:00 in Berlin"
    );
    let later = Environment { now: noon().now.plus(std::time::Duration::from_secs(60)), ip: None };
    assert_ne!(decide_in(&lock, &plain("a"), "sandbox__list_repos", "{}", &later), "permit");
}

#[test]
fn moments_and_addresses_are_compared_as_such() {
    let lock = lock(
        "@id(\"p\") permit (principal, action, resource)
         when { context.env.now < datetime(\"2026-01-07T12:00:00.001Z\") && context.env.now >= datetime(\"2026-01-07T12:00:00Z\") && context.env has ip && context.env.ip.isInRange(ip(\"2001:db8::/32\")) };",
        &[("a", &[], 0)],
    );
    let decided = |env: &Environment| decide_in(&lock, &plain("a"), "sandbox__list_repos", "{}", env);
    assert_eq!(decided(&from_ip("2001:db8::1")), "permit");
    assert_ne!(decided(&from_ip("192.0.2.1")), "permit");
    assert_ne!(decided(&noon()), "permit");
}

#[test]
fn shadow_policies_are_recorded_and_not_enforced() {
    let enforced = file(
        "a.cedar",
        "@id(\"p\") permit (principal, action == Action::\"sandbox__list_repos\", resource);",
    );
    let shadow = file(
        "b.shadow.cedar",
        "@id(\"s.forbid\") forbid (principal == Agent::\"a\", action == Action::\"sandbox__list_repos\", resource);
         @id(\"s.permit\") permit (principal == Agent::\"a\", action == Action::\"sandbox__create_repo\", resource) when { context.input.name == \"x\" };",
    );
    let set = PolicySet::load(&[enforced, shadow], &sandboxes(), &options()).unwrap();
    let lock = Lock::new(Some(set), directory(&[("a", &[], 0), ("b", &[], 0)]));
    let Verdict::Permitted(permit) = verdict(&lock, &plain("a"), "sandbox__list_repos", "{}", &noon()) else {
        panic!("permitted")
    };
    let shadow = &permit.decision().shadow[0];
    assert_eq!(
        (shadow.would, shadow.policies.as_slice()),
        (Outcome::Deny, ["s.forbid".to_owned()].as_slice())
    );
    let Verdict::Refused(_, decision) =
        verdict(&lock, &plain("a"), "sandbox__create_repo", r#"{"name":"x"}"#, &noon())
    else {
        panic!("refused")
    };
    assert_eq!(
        (decision.shadow[0].would, decision.shadow[0].subject.as_str()),
        (Outcome::Permit, "Agent::\"a\"")
    );
    let Verdict::Permitted(permit) = verdict(&lock, &plain("b"), "sandbox__list_repos", "{}", &noon()) else {
        panic!("permitted")
    };
    assert!(permit.decision().shadow.is_empty(), "no difference, no entry");
}

#[test]
fn what_only_a_shadow_policy_reads_never_refuses_a_call() {
    let shadow = "@id(\"s\") forbid (principal, action == Action::\"sandbox__create_repo\", resource) when { context.input.name == \"x\" };";
    let files = [file("a.cedar", EVERYTHING), file("s.shadow.cedar", shadow)];
    let set = PolicySet::load(&files, &sandboxes(), &options()).unwrap();
    let lock = Lock::new(Some(set), directory(&[("a", &[], 0)]));
    let Verdict::Permitted(permit) =
        verdict(&lock, &plain("a"), "sandbox__create_repo", r#"{"name":1}"#, &noon())
    else {
        panic!("permitted")
    };
    assert_eq!(permit.decision().shadow[0].would, Outcome::Deny);
}

#[test]
fn replaced_policies_and_agents_count_from_the_next_decision_on() {
    let lock =
        lock("@id(\"p\") permit (principal in AgentGroup::\"g\", action, resource);", &[("a", &["g"], 0)]);
    assert_eq!(decide(&lock, &plain("a"), "sandbox__list_repos", "{}"), "permit");
    lock.replace_directory(directory(&[("a", &[], 0)]));
    assert_eq!(decide(&lock, &plain("a"), "sandbox__list_repos", "{}"), "operation-not-permitted");
    lock.replace_policies(load(EVERYTHING, &sandboxes()));
    assert_eq!(decide(&lock, &plain("a"), "sandbox__list_repos", "{}"), "permit");
    lock.replace_directory(directory(&[]));
    assert_eq!(decide(&lock, &plain("a"), "sandbox__list_repos", "{}"), "agent-unknown");
}

#[test]
fn what_was_remembered_for_one_caller_is_not_used_for_another_with_the_same_digest() {
    let lock = lock(
        "@id(\"p\") permit (principal == Agent::\"a\", action, resource) when { context.token.claims.hasTag(\"role\") };",
        &[("a", &[], 0), ("b", &[], 0)],
    );
    let role = |token: &mut vestibule_inbound::TokenFacts| {
        token.claims.insert("role".to_owned(), ["x".to_owned()].into());
    };
    let strong = caller(&["a"], None, role);
    assert_eq!(decide(&lock, &strong, "sandbox__list_repos", "{}"), "permit");
    for weak in [plain("a"), caller(&["b"], None, role), caller(&["a"], Some(user("u")), role)] {
        assert_eq!(weak.token().digest, strong.token().digest);
        assert_eq!(decide(&lock, &weak, "sandbox__list_repos", "{}"), "operation-not-permitted");
        assert!(lock.visible(&weak, &AppId::new("sandbox").unwrap(), &noon()).is_empty());
    }
}

#[test]
fn arguments_that_are_no_object_are_refused() {
    let lock = lock(EVERYTHING, &[("a", &[], 0)]);
    let attempt =
        vestibule_policy::Attempt { operation: id("sandbox__list_repos"), arguments: &arguments("[]") };
    assert_eq!(code(&lock.decide(&plain("a"), &attempt, &noon())), "argument-inexact");
}
