//! The policies in `/policies`, each with the tests beside it.

use std::{path::Path, sync::Arc};

use serde_json::json;
use vestibule_model::{AppKind, Directory, Effect};
use vestibule_policy::{Catalog, PolicyFile, PolicySet, run_cases};

use crate::support::{app, file, operation, options, sandboxes};

fn read(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

fn passes(files: &[PolicyFile], catalog: &Catalog, cases: &str) {
    let set = PolicySet::load(files, catalog, &options()).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!(set.warnings(), []);
    let results = run_cases(&Arc::new(set), &Directory::default(), &read(cases)).unwrap();
    assert!(!results.is_empty());
    let failed: Vec<_> = results.iter().filter(|result| !result.passed).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn every_guard_rail_holds_against_a_grant_of_everything() {
    let no_arguments = || json!({ "type": "object" });
    let mut scoped = operation("scoped", Effect::Write, no_arguments());
    scoped.scopes = ["repo:write".to_owned(), "repo".to_owned()].into();
    let mut changed = operation("changed", Effect::Read, no_arguments());
    changed.pinned = false;
    let plain = operation("plain", Effect::Read, no_arguments());
    let destroy = operation("destroy", Effect::Destroy, no_arguments());
    let catalog = vec![app("guarded", AppKind::Mcp, vec![scoped, changed, plain, destroy])];
    let grant = "@id(\"test.grant\") permit (principal in AgentGroup::\"testers\", action, resource);";
    let files = [file("guard-rails.cedar", &read("guard-rails.cedar")), file("grant.cedar", grant)];
    passes(&files, &catalog, "guard-rails.tests.json");
}

#[test]
fn the_sandbox_permits_what_the_tour_shows() {
    let files = ["guard-rails.cedar", "sandbox.cedar"].map(|name| file(name, &read(name)));
    passes(&files, &sandboxes(), "sandbox.tests.json");
}

#[test]
fn the_example_conditions_permit_and_refuse() {
    let files = ["guard-rails.cedar", "examples/conditions.cedar"].map(|name| file(name, &read(name)));
    passes(&files, &sandboxes(), "examples/conditions.tests.json");
}
