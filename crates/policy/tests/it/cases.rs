//! The runner of policy tests, and a worked set of policies with its scenarios.

use std::sync::Arc;

use serde_json::json;
use vestibule_model::{AppKind, Directory, Effect};
use vestibule_policy::{CasesError, Catalog, run_cases};

use crate::support::{app, directory, keyed, load, operation, sandboxes};

fn run(text: &str) -> Vec<vestibule_policy::CaseResult> {
    let set =
        Arc::new(load("@id(\"p\") permit (principal in AgentGroup::\"g\", action, resource);", &sandboxes()));
    run_cases(&set, &directory(&[("registered", &["g"], 0)]), text).unwrap()
}

#[test]
fn a_case_passes_only_when_decision_and_policies_are_the_expected_ones() {
    let case = |extra: &str| {
        let text = format!("[{{ \"name\": \"n\", \"operation\": \"sandbox__list_repos\", {extra} }}]");
        run(&text).remove(0)
    };
    assert!(case("\"agent\": \"registered\", \"expect\": \"permit\"").passed);
    assert!(
        case("\"agent\": \"inline\", \"groups\": [\"g\"], \"expect\": \"permit\", \"policies\": [\"p\"]")
            .passed
    );
    assert!(case("\"agent\": \"nobody\", \"expect\": \"agent-unknown\"").passed);
    assert!(case("\"agent\": \"nobody\", \"expect\": \"deny\"").passed);
    let wrong = case("\"agent\": \"registered\", \"expect\": \"deny\"");
    assert_eq!((wrong.passed, wrong.actual.as_str()), (false, "permit"));
    let other = case("\"agent\": \"registered\", \"expect\": \"permit\", \"policies\": [\"q\"]");
    assert_eq!((other.passed, other.policies), (false, vec!["p".to_owned()]));
}

#[test]
fn a_case_that_says_something_impossible_is_an_error_and_not_a_pass() {
    let set = Arc::new(load("@id(\"p\") permit (principal, action, resource);", &sandboxes()));
    let error = |case: &str| run_cases(&set, &Directory::default(), &format!("[{case}]")).unwrap_err();
    let base = "\"name\": \"n\", \"agent\": \"a\", \"operation\": \"sandbox__list_repos\"";
    assert!(matches!(error(&format!("{{ {base}, \"expect\": \"permitt\" }}")), CasesError::Case { .. }));
    assert!(matches!(
        error(&format!("{{ {base}, \"expect\": \"deny\", \"at\": \"noon\" }}")),
        CasesError::Case { .. }
    ));
    assert!(matches!(
        error(&format!("{{ {base}, \"expect\": \"deny\", \"trust\": 9 }}")),
        CasesError::Case { .. }
    ));
    assert!(matches!(
        error(&format!("{{ {base}, \"expect\": \"deny\", \"typo\": 1 }}")),
        CasesError::Invalid(_)
    ));
    let delegate = "\"delegate\": { \"child\": \"b\", \"expires\": 60 }";
    for both_or_neither in [
        format!("{{ {base}, {delegate}, \"expect\": \"deny\" }}"),
        format!(
            "{{ \"name\": \"n\", \"agent\": \"a\", {delegate}, \"arguments\": {{}}, \"expect\": \"deny\" }}"
        ),
        "{ \"name\": \"n\", \"agent\": \"a\", \"expect\": \"deny\" }".to_owned(),
        format!("{{ {base}, \"user_groups\": [\"dev\"], \"expect\": \"deny\" }}"),
    ] {
        assert!(matches!(error(&both_or_neither), CasesError::Case { .. }), "{both_or_neither}");
    }
}

#[test]
fn a_case_can_ask_about_delegating() {
    let policies = "@id(\"p\") permit (principal in AgentGroup::\"g\", action == Action::\"delegate\", resource in AgentGroup::\"g\")
           when { context.input.depth <= 3 && context.input.expires <= 600 && [\"list_repos\"].containsAll(context.input.operations) };
         @id(\"u\") permit (principal in UserGroup::\"dev\", action == Action::\"delegate\", resource);";
    let set = Arc::new(load(policies, &sandboxes()));
    let passes = |case: &str, expect: &str, policies: &str| {
        let text = format!(
            "[{{ \"name\": \"n\", \"agent\": \"registered\", {case}, \"expect\": \"{expect}\", \"policies\": {policies} }}]"
        );
        let result = run_cases(&set, &directory(&[("registered", &["g"], 0)]), &text).unwrap().remove(0);
        assert!(result.passed, "{case}: {result:?}");
    };
    let (key, other) = (keyed(1), keyed(2));
    let to = |child: &str, more: &str| {
        format!(
            "\"delegate\": {{ \"child\": \"{child}\", \"expires\": 600, \"operations\": [\"list_repos\"]{more} }}"
        )
    };
    let key = key.as_str();
    passes(&to(key, ""), "permit", "[\"p\"]");
    passes(&to(key, ", \"depth\": 3"), "permit", "[\"p\"]");
    passes(&to(key, ", \"depth\": 4"), "arguments-not-permitted", "[]");
    passes(&format!("\"delegate\": {{ \"child\": \"{key}\", \"expires\": 601 }}"), "deny", "[]");
    passes(&to("stranger", ""), "agent-unknown", "[]");
    passes(&to("defined", ", \"groups\": [\"g\"]"), "permit", "[\"p\"]");
    passes(&to("defined", ", \"groups\": [], \"trust\": 3"), "deny", "[]");
    // Without `depth`: one below the last that is named.
    let above = |count: usize| {
        let above = vec!["{ \"agent\": \"registered\" }"; count].join(", ");
        format!("\"ancestors\": [{above}], {}", to(other.as_str(), ""))
    };
    passes(&above(1), "permit", "[\"p\"]");
    passes(&above(2), "deny", "[]");
    let user = "\"user\": { \"issuer\": \"https://idp\", \"subject\": \"ada\" }";
    passes(&format!("{user}, {}", to(key, "")), "deny", "[]");
    passes(&format!("{user}, \"user_groups\": [\"dev\"], {}", to(key, "")), "permit", "[\"p\", \"u\"]");
}

fn company() -> Catalog {
    let repo = || {
        json!({ "type": "object", "required": ["owner", "repo"], "properties": {
        "owner": { "type": "string" }, "repo": { "type": "string" } } })
    };
    let create = json!({ "type": "object", "required": ["name"], "properties": {
        "name": { "type": "string" }, "organization": { "type": "string" }, "private": { "type": "boolean" } } });
    let transfer = json!({ "type": "object", "required": ["amount_cents", "currency"], "properties": {
        "amount_cents": { "type": "integer" }, "currency": { "enum": ["EUR", "USD"] } } });
    let mail = json!({ "type": "object", "properties": { "to": { "type": "array", "items": { "type": "string" } } } });
    let mut catalog = vec![
        app(
            "github",
            AppKind::Mcp,
            vec![
                operation("list_issues", Effect::Read, repo()),
                operation("issue_write", Effect::Write, repo()),
                operation("create_repository", Effect::Write, create),
                operation("delete_repository", Effect::Destroy, repo()),
                operation("create_gist", Effect::Write, json!({ "type": "object" })),
            ],
        ),
        app("bank", AppKind::Mcp, vec![operation("transfer", Effect::Write, transfer)]),
        app("mail", AppKind::Http, vec![operation("send", Effect::Write, mail)]),
    ];
    for listed in &mut catalog {
        let app = listed.app.to_string();
        for operation in &mut listed.operations {
            let fine = if operation.effect == Effect::Read { "read" } else { "write" };
            operation.scopes = [app.clone(), format!("{app}:{fine}")].into();
            operation.pinned = &*operation.name != "create_gist";
        }
    }
    catalog
}

#[test]
fn the_scenarios_of_the_worked_policies_hold() {
    let set = Arc::new(load(include_str!("../fixtures/company.cedar"), &company()));
    assert_eq!(set.warnings(), []);
    let results =
        run_cases(&set, &Directory::default(), include_str!("../fixtures/company.tests.json")).unwrap();
    let failed: Vec<_> = results.iter().filter(|result| !result.passed).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert!(results.len() >= 30);
}
