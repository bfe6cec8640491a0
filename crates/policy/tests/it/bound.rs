//! What was handed on bounds what may be attempted, whatever the policies permit.

use vestibule_inbound::Caller;
use vestibule_model::{AppId, Authority, json::parse};
use vestibule_policy::{Decision, Lock, Verdict};

use crate::support::{caller, code, decide, directory, load, noon, plain, sandboxes, user, verdict};

const HERE: &str = "https://gateway.test/apps/sandbox";
const EVERYTHING: &str = "@id(\"all\") permit (principal, action, resource);";

fn lock(policies: &str) -> Lock {
    Lock::new(Some(load(policies, &sandboxes())), directory(&[("a", &[], 1), ("b", &[], 1)]))
}

fn authority(resource: &str, operations: &str) -> Authority {
    let text = format!(
        r#"[{{"type":"vestibule_operations","locations":["{resource}"],"operations":{operations}}}]"#
    );
    Authority::from_json(&parse(text.as_bytes(), 16).unwrap()).unwrap()
}

fn bounded(resource: &str, operations: &str) -> Caller {
    caller(&["a"], None, |token| token.authority = Some(authority(resource, operations)))
}

/// May create with one name, and list.
fn narrow() -> Caller {
    bounded(HERE, r#"{"create_repo":{"name":{"prefix":"demo-"}},"list_repos":{}}"#)
}

fn refused(
    lock: &Lock,
    caller: &Caller,
    operation: &str,
    text: &str,
) -> (vestibule_model::Refusal, Decision) {
    match verdict(lock, caller, operation, text, &noon()) {
        Verdict::Refused(refusal, decision) => (refusal, decision),
        Verdict::Permitted(_) => panic!("refused"),
    }
}

#[test]
fn a_call_inside_passes_and_one_outside_is_told_which_argument_is_too_much() {
    let lock = lock(EVERYTHING);
    let create = |text: &str| decide(&lock, &narrow(), "sandbox__create_repo", text);
    assert_eq!(create(r#"{"name":"demo-1"}"#), "permit");
    assert_eq!(create(r#"{"name":"prod"}"#), "authority-exceeded");
    assert_eq!(create(r#"{"name":"demo-1","private":true}"#), "authority-exceeded", "closed world");
    assert_eq!(decide(&lock, &plain("a"), "sandbox__create_repo", r#"{"name":"prod"}"#), "permit");
    let (refusal, decision) = refused(&lock, &narrow(), "sandbox__create_repo", r#"{"name":"prod"}"#);
    assert_eq!(refusal.hints, ["the argument `name` exceeds what was delegated to this agent"]);
    assert_eq!(refusal.cause, "outside of authorization_details: the argument `name`");
    // The record: denied, by no policy, and what the policies said of the subject.
    assert!(!decision.allow && decision.policies.is_empty());
    assert!(decision.subjects[0].allow);
    assert_eq!(decision.subjects[0].policies, ["all"]);
}

#[test]
fn an_operation_that_was_not_handed_on_does_not_exist() {
    let lock = lock(EVERYTHING);
    for text in [r#"{"name":"demo-1"}"#, "{}", r#"{"undeclared":1}"#, "[]"] {
        let (refusal, decision) = refused(&lock, &narrow(), "sandbox__delete_repo", text);
        assert_eq!(refusal.denial.code(), "operation-not-permitted", "{text}");
        assert!(refusal.hints.is_empty() && refusal.scopes.is_empty(), "{text}");
        assert!(refusal.cause.starts_with("outside of authorization_details"), "{text}");
        assert!(!decision.allow, "{text}");
    }
    assert_eq!(decide(&lock, &narrow(), "sandbox__nothing", "{}"), "operation-unknown");
}

#[test]
fn what_was_handed_on_for_another_resource_opens_nothing_here() {
    let lock = lock(EVERYTHING);
    for elsewhere in ["https://gateway.test/apps/other", "https://gateway.test/apps/sandbox/", ""] {
        let mut caller = narrow();
        if elsewhere.is_empty() {
            // The other way round: the token is for another resource than what was handed on.
            let mut token = caller.token().clone();
            token.audience = "https://gateway.test/apps/other".to_owned();
            caller = Caller::for_test(None, caller.chain().clone(), token);
        } else {
            caller = bounded(elsewhere, r#"{"list_repos":{}}"#);
        }
        assert_eq!(decide(&lock, &caller, "sandbox__list_repos", "{}"), "operation-not-permitted");
        assert!(lock.visible(&caller, &AppId::new("sandbox").unwrap(), &noon()).is_empty());
    }
}

#[test]
fn an_authority_grants_nothing() {
    let lock = lock("@id(\"p\") permit (principal == Agent::\"b\", action, resource);");
    assert_eq!(decide(&lock, &narrow(), "sandbox__list_repos", "{}"), "operation-not-permitted");
    let lock = self::lock(
        "@id(\"p\") permit (principal, action == Action::\"sandbox__create_repo\", resource) when { context.input.name == \"demo-1\" };",
    );
    let create = |text: &str| decide(&lock, &narrow(), "sandbox__create_repo", text);
    assert_eq!(create(r#"{"name":"demo-1"}"#), "permit");
    assert_eq!(create(r#"{"name":"demo-2"}"#), "arguments-not-permitted");
    assert_eq!(create(r#"{"name":"other"}"#), "arguments-not-permitted", "the policies' reason stays");
}

#[test]
fn only_what_was_handed_on_is_listed() {
    let app = AppId::new("sandbox").unwrap();
    let names = |lock: &Lock, caller: &Caller| {
        let mut names: Vec<String> =
            lock.visible(caller, &app, &noon()).iter().map(ToString::to_string).collect();
        names.sort();
        names
    };
    let everything = lock(EVERYTHING);
    assert_eq!(names(&everything, &plain("a")).len(), 4);
    // The same token but for what was handed on: nothing is remembered of the one for the other.
    assert_eq!(narrow().token().digest, plain("a").token().digest);
    assert_eq!(names(&everything, &narrow()), ["create_repo", "list_repos"]);
    assert_eq!(names(&everything, &plain("a")).len(), 4);
    assert_eq!(names(&everything, &bounded(HERE, r#"{"nothing":{}}"#)), Vec::<String>::new());
    let lists = lock("@id(\"p\") permit (principal, action == Action::\"sandbox__list_repos\", resource);");
    assert_eq!(names(&lists, &narrow()), ["list_repos"], "and what policies hide stays hidden");
}

#[test]
fn a_wider_scope_is_not_asked_for_where_it_would_not_help() {
    let mut catalog = sandboxes();
    catalog[0].operations[1].scopes = ["repo".to_owned()].into();
    let policies = format!(
        "{EVERYTHING} @id(\"s\") @challenge(\"insufficient_scope\") forbid (principal, action in Action::\"call\", resource)
         unless {{ resource.scopes.isEmpty() || context.token.scopes.containsAny(resource.scopes) }};"
    );
    let lock = Lock::new(Some(load(&policies, &catalog)), directory(&[("a", &[], 0)]));
    let create = |text: &str| decide(&lock, &narrow(), "sandbox__create_repo", text);
    assert_eq!(create(r#"{"name":"demo-1"}"#), "scope-insufficient");
    assert_eq!(create(r#"{"name":"prod"}"#), "authority-exceeded");
}

#[test]
fn whoever_is_unknown_learns_nothing_of_what_was_handed_on() {
    let stranger = caller(&["stranger"], Some(user("u")), |token| {
        token.authority = Some(authority(HERE, r#"{"list_repos":{}}"#));
    });
    let lock = lock(EVERYTHING);
    for operation in ["sandbox__list_repos", "sandbox__delete_repo", "sandbox__nothing"] {
        assert_eq!(
            code(&verdict(&lock, &stranger, operation, "{}", &noon())),
            "agent-unknown",
            "{operation}"
        );
    }
}

#[test]
fn the_name_of_an_argument_is_told_in_part_only() {
    let lock = lock(EVERYTHING);
    let catalog_takes_any = format!(r#"{{"name":"demo-1","{}":1}}"#, "x".repeat(1000));
    // Undeclared arguments are refused before; an operation that welcomes them is another matter.
    assert_eq!(decide(&lock, &narrow(), "sandbox__create_repo", &catalog_takes_any), "argument-undeclared");
    let open = serde_json::json!({ "type": "object", "additionalProperties": true });
    let catalog = vec![crate::support::app(
        "sandbox",
        vestibule_model::AppKind::Mcp,
        vec![crate::support::operation("list_repos", vestibule_model::Effect::Read, open)],
    )];
    let lock = Lock::new(Some(load(EVERYTHING, &catalog)), directory(&[("a", &[], 0)]));
    let caller = bounded(HERE, r#"{"list_repos":{"page":{"exact":1}}}"#);
    let (refusal, _) =
        refused(&lock, &caller, "sandbox__list_repos", &format!(r#"{{"{}":1}}"#, "x".repeat(1000)));
    assert_eq!(refusal.denial.code(), "authority-exceeded");
    assert!(refusal.cause.len() < 200 && refusal.hints[0].len() < 200);
}
