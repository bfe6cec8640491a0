//! The reference pages against the code: every key, bound, field and claim.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use serde_json::{Value, json};
use vestibule_evidence::Attempt;
use vestibule_model::SystemClock;
use vestibule_server::config::{GatewayConfig, Settings};
use vestibule_testkit::{Credential, TestAgent};

use crate::{page::Page, quickstart::Quickstart};

const CONFIGURATION: &str = "docs/reference/configuration.md";

/// The names in backticks in the first cells of a page's tables.
fn described(page: &Page) -> BTreeSet<String> {
    let cells = page.rows().into_iter().filter_map(|(_, cells)| cells.into_iter().next());
    cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2).map(ToOwned::to_owned).collect::<Vec<_>>())
        .collect()
}

/// The JSON of the block with this info string.
fn shown(page: &Page, info: &str) -> Value {
    let block = page.blocks.iter().find(|block| block.info == info).unwrap();
    serde_json::from_str(&block.text).unwrap()
}

fn keys(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            found.extend(
                members
                    .get("properties")
                    .and_then(Value::as_object)
                    .into_iter()
                    .flatten()
                    .map(|(key, _)| key.clone()),
            );
            members.values().for_each(|member| keys(member, found));
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_key_of_the_configuration_is_described() {
    let mut all = BTreeSet::new();
    keys(&GatewayConfig::json_schema(), &mut all);
    assert!(all.contains("body_max_bytes") && all.contains("arguments"), "{all:?}");
    let text = std::fs::read_to_string(Page::named(CONFIGURATION).path).unwrap();
    let words: BTreeSet<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
    let missing: Vec<_> = all.iter().filter(|key| !words.contains(&***key)).collect();
    assert!(missing.is_empty(), "not described: {missing:?}");
}

#[test]
fn the_bounds_of_the_configuration_are_those_of_the_reference() {
    let defaults = json!(GatewayConfig::default());
    let mut seen = 0;
    for (section, cells) in Page::named(CONFIGURATION).rows() {
        let number = |at: usize| cells.get(at).and_then(|cell| cell.replace(',', "").parse::<u64>().ok());
        let (Some(default), Some(from), Some(to)) = (number(1), number(2), number(3)) else { continue };
        let (section, key) = (section.trim_matches('`'), cells[0].trim_matches('`'));
        assert_eq!(defaults[section][key], json!(default), "default of {section}.{key}");
        let is_accepted = |value: u64| {
            let config = GatewayConfig::parse(&format!("{section}: {{ {key}: {value} }}")).unwrap();
            Settings::check(config, Path::new("/nowhere")).is_ok()
        };
        assert!(is_accepted(from) && is_accepted(to), "{section}.{key}");
        assert!(from == 0 || !is_accepted(from - 1), "{section}.{key}: less than {from} is accepted");
        assert!(!is_accepted(to + 1), "{section}.{key}: more than {to} is accepted");
        seen += 1;
    }
    let limits = defaults["limits"].as_object().unwrap().len();
    assert_eq!(seen, limits + 4, "rows with bounds");
}

#[test]
fn every_field_of_the_record_is_described() {
    let page = Page::named("docs/reference/record.md");
    let attempt = shown(&page, "json attempt");
    let read: Attempt = serde_json::from_value(attempt.clone()).unwrap();
    assert_eq!(json!(read), attempt, "the example has all fields and no other");
    let described = described(&page);
    let fields: BTreeSet<String> = attempt.as_object().unwrap().keys().cloned().collect();
    assert_eq!(fields.difference(&described).collect::<Vec<_>>(), Vec::<&String>::new(), "not described");
}

#[tokio::test]
async fn the_claims_of_a_token_are_those_of_the_reference() {
    let page = Page::named("docs/reference/token.md");
    let shown = shown(&page, "json token");
    let gateway = Quickstart::start();
    let secret = Credential::Basic(gateway.text("/agents/0/client_secret").to_owned());
    let clock = Arc::new(SystemClock::default());
    let agent =
        TestAgent::connect(gateway.text("/issuer"), gateway.text("/agents/0/id"), secret, clock).await;
    let token = agent.token(gateway.text("/apps/0/url")).await;
    let claims = claims(&token);
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&shown), names(&claims));
    assert_eq!(names(&shown["vst"]), names(&claims["vst"]));
    let described = described(&page);
    let own = ["department", "role", "tenant"];
    for name in names(&shown).iter().filter(|name| !own.contains(&&***name) && *name != "vst") {
        assert!(described.contains(name), "`{name}` is not described");
    }
    for name in names(&shown["vst"]) {
        assert!(described.contains(&format!("vst.{name}")), "`vst.{name}` is not described");
    }
}

fn claims(token: &str) -> Value {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}
