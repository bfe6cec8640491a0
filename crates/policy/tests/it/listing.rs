//! What a caller sees of an application.

use vestibule_inbound::Caller;
use vestibule_model::AppId;
use vestibule_policy::{Environment, Lock};

use crate::support::{caller, directory, from_ip, load, noon, plain, sandboxes};

fn lock(policies: &str) -> Lock {
    Lock::new(Some(load(policies, &sandboxes())), directory(&[("a", &["g"], 2), ("b", &[], 0)]))
}

fn visible(lock: &Lock, caller: &Caller, env: &Environment) -> Vec<String> {
    let names = lock.visible(caller, &AppId::new("sandbox").unwrap(), env);
    let mut names: Vec<String> = names.iter().map(ToString::to_string).collect();
    names.sort();
    names
}

#[test]
fn an_operation_that_some_arguments_could_permit_is_shown() {
    let lock = lock(
        "@id(\"p\") permit (principal in AgentGroup::\"g\", action == Action::\"sandbox__create_repo\", resource) when { context.input.name like \"demo-*\" };
         @id(\"q\") permit (principal, action == Action::\"sandbox__list_repos\", resource);",
    );
    assert_eq!(visible(&lock, &plain("a"), &noon()), ["create_repo", "list_repos"]);
    assert_eq!(visible(&lock, &plain("b"), &noon()), ["list_repos"]);
}

#[test]
fn every_agent_of_the_chain_must_see_it() {
    let lock = lock("@id(\"p\") permit (principal in AgentGroup::\"g\", action, resource);");
    assert_eq!(visible(&lock, &caller(&["a", "a"], None, |_| ()), &noon()).len(), 4);
    assert!(visible(&lock, &caller(&["b", "a"], None, |_| ()), &noon()).is_empty());
}

#[test]
fn a_forbid_hides_only_what_no_arguments_could_save() {
    let lock = lock(
        "@id(\"p\") permit (principal, action, resource);
         @id(\"f\") forbid (principal, action == Action::\"sandbox__create_repo\", resource) when { context.input.name == \"x\" };
         @id(\"g\") forbid (principal is Agent, action in Action::\"call\", resource) when { resource.destructive && principal.trust < 1 };",
    );
    assert_eq!(
        visible(&lock, &plain("a"), &noon()),
        ["create_repo", "delete_repo", "list_repos", "stream_progress"]
    );
    assert_eq!(visible(&lock, &plain("b"), &noon()), ["create_repo", "list_repos", "stream_progress"]);
}

#[test]
fn what_is_known_while_listing_counts() {
    let lock = lock(
        "@id(\"p\") permit (principal, action, resource) when { context.env has ip && context.env.ip.isInRange(ip(\"10.0.0.0/8\")) };",
    );
    assert_eq!(visible(&lock, &plain("a"), &from_ip("10.1.1.1")).len(), 4);
    assert!(
        visible(&lock, &plain("a"), &from_ip("192.0.2.1")).is_empty(),
        "a list belongs to a source address"
    );
}

#[test]
fn a_list_follows_the_minute() {
    let lock =
        lock("@id(\"p\") permit (principal, action, resource) when { context.env.minuteOfDay == 720 };");
    assert_eq!(visible(&lock, &plain("a"), &noon()).len(), 4);
    let next = Environment { now: noon().now.plus(std::time::Duration::from_secs(60)), ip: None };
    assert!(visible(&lock, &plain("a"), &next).is_empty());
}

#[test]
fn an_operation_that_only_lacks_a_scope_is_shown() {
    let mut catalog = sandboxes();
    catalog[0].operations[0].scopes = ["repo".to_owned()].into();
    let policies = "@id(\"p\") permit (principal, action == Action::\"sandbox__list_repos\", resource);
        @id(\"s\") @challenge(\"insufficient_scope\") forbid (principal, action in Action::\"call\", resource) unless { resource.scopes.isEmpty() || context.token.scopes.containsAny(resource.scopes) };";
    let lock = Lock::new(Some(load(policies, &catalog)), directory(&[("a", &[], 0)]));
    assert_eq!(visible(&lock, &plain("a"), &noon()), ["list_repos"]);
}

#[test]
fn an_unknown_application_and_an_unknown_agent_show_nothing() {
    let lock = lock("@id(\"p\") permit (principal, action, resource);");
    assert!(lock.visible(&plain("a"), &AppId::new("nowhere").unwrap(), &noon()).is_empty());
    assert!(visible(&lock, &plain("stranger"), &noon()).is_empty());
}
