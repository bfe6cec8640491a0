//! What is refused when it is loaded, and what the person who wrote it is told.

use serde_json::json;
use vestibule_model::{AppKind, Effect};
use vestibule_policy::{Catalog, Options, PolicySet, Problem, Severity};

use crate::support::{app, decide, directory, file, load, operation, options, plain, sandboxes, try_load};

fn refused(text: &str) -> Vec<Problem> {
    try_load(text, &sandboxes()).unwrap_err()
}

/// The one problem, as text.
fn only(text: &str) -> String {
    let problems = refused(text);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems[0].to_string()
}

#[test]
fn a_syntax_error_names_its_place() {
    let problems =
        refused("@id(\"a\")\npermit (principal, action, resource)\nwhen { principal.trust >> 1 };");
    assert_eq!((problems[0].file.as_str(), problems[0].line), ("test.cedar", 3));
    assert!(problems[0].column > 20, "{problems:?}");
}

#[test]
fn every_broken_policy_is_reported_at_once() {
    let problems =
        refused("permit (principal);\n@id(\"ok\") permit (principal, action, resource);\nforbid (;");
    assert_eq!(problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn an_argument_that_does_not_exist_is_refused_with_the_near_name() {
    let text = only(
        "@id(\"a\")\npermit (principal, action == Action::\"sandbox__create_repo\", resource)\nwhen { context.input.nam == \"x\" };",
    );
    assert_eq!(
        text,
        "test.cedar:3:8: error: `a`: attribute `input.nam` in context for Action::\"sandbox__create_repo\" not found\n  help: did you mean `name`?"
    );
}

#[test]
fn asking_only_for_the_presence_of_an_argument_that_does_not_exist_is_refused_too() {
    let text = only(
        "@id(\"a\") forbid (principal, action == Action::\"sandbox__create_repo\", resource) unless { !(context.input has privat) };",
    );
    assert!(text.contains("no operation that the policy is about has an argument `privat`"), "{text}");
    assert!(text.ends_with("help: did you mean `private`?"), "{text}");
}

#[test]
fn an_optional_argument_needs_a_guard() {
    let text = only(
        "@id(\"a\") permit (principal, action == Action::\"sandbox__create_repo\", resource) when { context.input.private };",
    );
    assert!(
        text.contains("optional attribute `input.private`") && text.contains("context.input has private"),
        "{text}"
    );
}

#[test]
fn an_unknown_action_is_refused_with_the_near_name() {
    let text = only("@id(\"a\") permit (principal, action == Action::\"sandbox__create_rep\", resource);");
    assert!(
        text.contains("unrecognized action")
            && text.contains("did you mean `Action::\"sandbox__create_repo\"`?"),
        "{text}"
    );
}

#[test]
fn ids_are_required_and_unique_over_all_files() {
    assert!(only("permit (principal, action, resource);").contains("no id\n  help: write `@id("));
    let policy = "@id(\"same\") permit (principal, action, resource);";
    let files = [file("one.cedar", policy), file("two.cedar", &format!("\n{policy}"))];
    let problems = PolicySet::load(&files, &sandboxes(), &options()).unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        "two.cedar:2:1: error: `same`: the id is used already, at one.cedar:1\n  help: records name policies by id: make it unique"
    );
}

#[test]
fn templates_are_refused_by_name() {
    let text = only("@id(\"t\") permit (principal == ?principal, action, resource);");
    assert!(text.contains("templates are not supported") && text.contains("help: "), "{text}");
}

#[test]
fn a_policy_that_can_never_match_is_refused() {
    for impossible in [
        "@id(\"a\") permit (principal, action in Action::\"sandbox\", resource) when { principal.trust < 1 && principal.trust > 1 && false };",
        "@id(\"a\") forbid (principal is Chain, action, resource);",
        "@id(\"a\") permit (principal, action == Action::\"sandbox__list_repos\", resource is App);",
    ] {
        let problems = refused(impossible);
        assert!(problems.iter().any(|problem| problem.severity == Severity::Error), "{problems:?}");
    }
    let text = only(
        "@id(\"a\") forbid (principal is Agent, action in Action::\"call\", resource) when { resource.pinned && false };",
    );
    assert!(text.contains("can never match") && text.contains("help: "), "{text}");
}

#[test]
fn an_impossible_shadow_policy_is_only_a_warning() {
    let enforced = file("a.cedar", "@id(\"a\") permit (principal is Agent, action, resource);");
    let shadow = file(
        "b.shadow.cedar",
        "@id(\"b\") forbid (principal is Agent, action in Action::\"call\", resource) when { resource.pinned && false };",
    );
    let set = PolicySet::load(&[enforced, shadow], &sandboxes(), &options()).unwrap();
    assert_eq!(set.warnings().len(), 1);
    assert_eq!(
        (set.warnings()[0].severity, set.warnings()[0].policy.as_deref()),
        (Severity::Warning, Some("b"))
    );
}

#[test]
fn a_policy_about_an_application_without_operations_yet_is_only_a_warning() {
    let catalog = vec![app("later", AppKind::Mcp, Vec::new())];
    let set = load("@id(\"a\") permit (principal, action in Action::\"later\", resource);", &catalog);
    assert_eq!(set.warnings()[0].message, "the policy is about operations of which none is known yet");
}

fn odd() -> Catalog {
    let odd = json!({ "type": "object", "properties": {
        "user-id": { "type": "string" },
        "if": { "type": ["integer", "null"] },
        "tree": { "oneOf": [{ "type": "string" }, { "type": "object" }] },
        "place": { "type": "object", "properties": { "city": { "type": "string" }, "extra": {} } },
    } });
    let open = json!({ "type": "object", "properties": { "a": { "type": "string" } }, "additionalProperties": true });
    vec![app(
        "odd",
        AppKind::Mcp,
        vec![
            operation("create-issue.v2", Effect::Write, odd),
            operation("open", Effect::Write, open),
            operation("broken", Effect::Write, json!({ "type": "string" })),
            operation(
                "resources/read",
                Effect::Read,
                json!({ "properties": { "uri": { "type": "string" } }, "required": ["uri"] }),
            ),
        ],
    )]
}

#[test]
fn names_need_not_be_identifiers() {
    let set = load(
        "@id(\"a\") permit (principal, action == Action::\"odd__create-issue.v2\", resource)
           when { context.input has \"user-id\" && context.input[\"user-id\"] like \"u-*\" && context.input has \"if\" && context.input[\"if\"] > 0 };
         @id(\"b\") permit (principal, action == Action::\"odd__resources/read\", resource) when { context.input.uri like \"doc:*\" };",
        &odd(),
    );
    let lock = vestibule_policy::Lock::new(Some(set), directory(&[("a", &[], 0)]));
    assert_eq!(
        decide(&lock, &plain("a"), "odd__create-issue.v2", r#"{"user-id":"u-1","if":1,"tree":[1]}"#),
        "permit"
    );
    assert_eq!(
        decide(&lock, &plain("a"), "odd__create-issue.v2", r#"{"user-id":"u-1","if":null}"#),
        "arguments-not-permitted"
    );
    assert_eq!(decide(&lock, &plain("a"), "odd__resources/read", r#"{"uri":"doc:1"}"#), "permit");
}

#[test]
fn one_bad_definition_costs_only_its_own_arguments() {
    let set = load("@id(\"a\") permit (principal, action, resource);", &odd());
    assert_eq!(set.warnings().len(), 1);
    assert!(
        set.warnings()[0].to_string().starts_with("app odd: warning: `broken`: "),
        "{}",
        set.warnings()[0]
    );
    let lock = vestibule_policy::Lock::new(Some(set), directory(&[("a", &[], 0)]));
    assert_eq!(decide(&lock, &plain("a"), "odd__broken", "{}"), "permit");
    assert_eq!(decide(&lock, &plain("a"), "odd__broken", r#"{"x":1}"#), "argument-undeclared");
    assert_eq!(decide(&lock, &plain("a"), "odd__open", r#"{"x":1}"#), "permit");
}

#[test]
fn an_argument_that_policies_cannot_see_cannot_be_named_not_even_to_ask_whether_it_is_there() {
    for condition in [
        "context.input.tree == \"x\"",
        "context.input has tree",
        "!(context.input has tree)",
        "context.input has place && context.input.place has extra",
        "context.input has place && !(context.input.place has nowhere)",
    ] {
        let policy = format!(
            "@id(\"a\") permit (principal, action == Action::\"odd__create-issue.v2\", resource) when {{ {condition} }};"
        );
        let problems = try_load(&policy, &odd()).expect_err(condition);
        let text = problems[0].to_string();
        assert!(text.contains("cannot read the argument") || text.contains("declares no member"), "{text}");
        assert!(problems[0].column > 80, "points at the name: {text}");
    }
}

#[test]
fn whether_an_undeclared_argument_is_there_cannot_be_asked_where_such_are_welcome() {
    let policy = "@id(\"a\") forbid (principal, action in Action::\"odd\", resource) when { context.input has \"user-id\" };";
    let problems = try_load(policy, &odd()).unwrap_err();
    assert!(
        problems[0].message.starts_with("`odd__open` takes arguments that it does not declare"),
        "{problems:?}"
    );
}

#[test]
fn a_policy_looks_no_further_than_the_entities_it_is_given() {
    load(
        "@id(\"a\") permit (principal, action in Action::\"call\", resource) when { resource.app.kind == \"mcp\" };",
        &sandboxes(),
    );
    let text = only(
        "@id(\"a\") permit (principal, action, resource) when { Agent::\"other\" in AgentGroup::\"trusted\" };",
    );
    assert!(text.contains("literal"), "{text}");
}

#[test]
fn configuration_is_checked() {
    let options = Options { timezone: "Mars/Olympus".to_owned() };
    let problems = PolicySet::load(&[], &sandboxes(), &options).unwrap_err();
    assert!(problems[0].message.contains("Mars/Olympus"));
    let reserved = vec![app("call", AppKind::Mcp, Vec::new())];
    assert!(PolicySet::load(&[], &reserved, &self::options()).unwrap_err()[0].message.contains("reserved"));
    let many = file("many.cedar", &";".repeat(100_001));
    let problems = PolicySet::load(&[many], &sandboxes(), &self::options()).unwrap_err();
    assert!(problems.iter().any(|problem| problem.message.contains("more than 100,000 policies")));
    let large = file("large.cedar", &" ".repeat(4 * 1024 * 1024 + 1));
    assert!(
        PolicySet::load(&[large], &sandboxes(), &self::options()).unwrap_err()[0].message.contains("4 MiB")
    );
}

#[test]
fn the_digest_names_everything_a_decision_depends_on() {
    let digest = |files: &[vestibule_policy::PolicyFile], catalog: &Catalog, timezone: &str| {
        let options = Options { timezone: timezone.to_owned() };
        PolicySet::load(files, catalog, &options).unwrap().digest().to_owned()
    };
    let (a, b) =
        (file("a.cedar", "@id(\"a\") permit (principal, action, resource);"), file("b.cedar", "// nothing"));
    let one = digest(&[a.clone(), b.clone()], &sandboxes(), "UTC");
    assert_eq!(one.len(), 64);
    assert_eq!(
        one,
        digest(&[b.clone(), a.clone()], &sandboxes(), "UTC"),
        "the order of files does not matter"
    );
    let mut unpinned = sandboxes();
    unpinned[0].operations[0].pinned = false;
    for other in [
        digest(std::slice::from_ref(&a), &sandboxes(), "UTC"),
        digest(&[a.clone(), b.clone()], &sandboxes(), "Europe/Berlin"),
        digest(&[a, b], &unpinned, "UTC"),
    ] {
        assert_ne!(one, other);
    }
}
