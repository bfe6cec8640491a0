//! The reference pages against the code: every key, bound, field and claim.

use std::{collections::BTreeSet, path::Path, sync::Arc};

use serde_json::{Value, json};
use vestibule_evidence::Attempt;
use vestibule_issuer::Reason;
use vestibule_model::SystemClock;
use vestibule_server::config::{GatewayConfig, Settings};
use vestibule_testkit::{AgentKey, Answer, Credential, Holder, Http, TestAgent, TestUpstream};

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
    let hyphenated: BTreeSet<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '-').collect();
    let is_described = |key: &&String| words.contains(key.as_str()) || hyphenated.contains(key.as_str());
    let missing: Vec<_> = all.iter().filter(|key| !is_described(key)).collect();
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
    // All of `limits` but the lists of rates and quotas, and eight keys elsewhere.
    let limits = defaults["limits"].as_object().unwrap().values().filter(|value| value.is_u64()).count();
    assert_eq!(seen, limits + 8, "rows with bounds");
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

#[test]
fn every_reason_for_no_token_is_described_with_its_answer() {
    let page = Page::named("docs/reference/token-errors.md");
    let rows: Vec<Vec<String>> = page.rows().into_iter().map(|(_, cells)| cells).collect();
    for reason in Reason::ALL {
        let row = rows.iter().filter(|cells| cells[0] == format!("`{}`", reason.code())).collect::<Vec<_>>();
        let (error, sentence) = (reason.error(), reason.description());
        let answer = format!("{} `{}`: {sentence}", error.status(), error.as_str());
        assert_eq!(row.iter().map(|cells| &*cells[2]).collect::<Vec<_>>(), [answer], "{}", reason.code());
        assert!(!row[0][1].is_empty(), "{}", reason.code());
    }
    let codes: BTreeSet<String> = Reason::ALL.iter().map(|reason| format!("`{}`", reason.code())).collect();
    let others =
        rows.iter().map(|cells| &cells[0]).filter(|cell| cell.starts_with('`') && !codes.contains(*cell));
    assert_eq!(others.collect::<Vec<_>>(), Vec::<&String>::new(), "no such code");
}

/// The pages that show tokens, and the reference in which every claim of theirs is described.
const TOKEN: &str = "docs/reference/token.md";
const DELEGATING: &str = "docs/guides/delegate-to-an-agent.md";

#[tokio::test]
async fn the_claims_of_a_token_are_those_of_the_reference() {
    let gateway = Quickstart::start();
    let token = agent(&gateway, 0).await.token(gateway.text("/apps/0/url")).await;
    compare(&shown(&Page::named(TOKEN), "json token"), &claims(&token));
}

#[tokio::test]
async fn the_token_of_a_chain_of_four_is_as_it_is_shown() {
    let gateway = Quickstart::start();
    let alice = gateway.vestibule(&["sandbox", "user-token", "alice"]);
    let app = gateway.text("/apps/1/url");
    let mut holder =
        Holder::for_user(&agent(&gateway, 0).await, key(), alice.trim(), &[("resource", app)]).await;
    for depth in 2..=4 {
        let details = r#"[{"type":"vestibule_operations","operations":{"list_repos":{}}}]"#;
        let asked = [("scope", "repo"), ("authorization_details", details)];
        holder = holder.spawn(key(), if depth == 4 { &asked } else { &asked[..1] }).await;
    }
    let (shown, claims) = (shown(&Page::named(DELEGATING), "json token spawned"), claims(holder.token()));
    compare(&shown, &claims);
    let depth = |claims: &Value| {
        std::iter::successors(claims.get("act"), |act| act.get("act")).collect::<Vec<_>>().len()
    };
    assert_eq!((depth(&shown), depth(&claims)), (4, 4));
    assert_eq!(shown["vst"]["depth"], claims["vst"]["depth"]);
}

#[tokio::test]
async fn the_token_of_a_call_is_as_it_is_shown() {
    let helper = TestUpstream::http(Answer::json(&json!({}))).await;
    let apps = Page::named(DELEGATING).apps().replace("http://127.0.0.1:8790", &helper.url());
    let gateway = Quickstart::with_apps(&apps);
    let permit = r#"@id("all") permit (principal, action == Action::"helper__summary", resource);"#;
    std::fs::write(gateway.path("vestibule-data/policies/helper.cedar"), permit).unwrap();
    gateway.vestibule(&["agent", "add", "helper"]);
    let agent = agent(&gateway, 0).await;
    let alice = gateway.vestibule(&["sandbox", "user-token", "alice"]);
    let resource = format!("{}/apps/helper", gateway.text("/gateway_url"));
    let holder = Holder::for_user(&agent, key(), alice.trim(), &[("resource", &resource)]).await;
    let url = format!("{resource}/summary");
    // The policy is read within a second.
    while holder.send("GET", &url, || Http::get(&url)).await.status != 200 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let seen = helper.requests();
    let token = seen.last().unwrap().header("authorization").strip_prefix("Bearer ").unwrap();
    compare(&shown(&Page::named(TOKEN), "json token call"), &claims(token));
}

/// What an application is told, and the guide for its developers.
const VERIFYING: &str = "docs/guides/verify-our-tokens.md";

#[tokio::test]
async fn what_an_application_is_told_is_as_it_is_shown() {
    let ledger = TestUpstream::http(Answer::json(&json!({}))).await;
    let apps = Page::named(VERIFYING).apps().replace("http://127.0.0.1:8790", &ledger.url());
    let gateway = Quickstart::with_apps(&apps);
    let permit = r#"
    @id("all")
    permit (principal, action in [Action::"ledger__transfer", Action::"ledger-txn__transfer"], resource);
    @id("hand-on") permit (principal, action == Action::"delegate", resource);"#;
    std::fs::write(gateway.path("vestibule-data/policies/ledger.cedar"), permit).unwrap();
    let agent = agent(&gateway, 0).await;
    let page = Page::named(VERIFYING);
    for (app, header, info) in
        [("ledger", "authorization", "json assertion"), ("ledger-txn", "txn-token", "json txn-token")]
    {
        let alice = gateway.vestibule(&["sandbox", "user-token", "alice"]);
        let resource = format!("{}/apps/{app}", gateway.text("/gateway_url"));
        let mut holder = Holder::for_user(&agent, key(), alice.trim(), &[("resource", &resource)]).await;
        if info == "json assertion" {
            holder = holder.spawn(key(), &[]).await;
        }
        let url = format!("{resource}/accounts/alice/transfers");
        let transfer = || Http::post(&url).json(&json!({ "to": "bob", "amount": 7 }));
        // The policy is read within a second.
        while holder.send("POST", &url, transfer).await.status != 200 {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        let seen = ledger.requests();
        let claims = claims(seen.last().unwrap().header(header).trim_start_matches("Bearer "));
        let shown = shown(&page, info);
        let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
        assert_eq!(names(&shown), names(&claims), "{info}");
        let described = described(&page);
        for name in names(&shown) {
            let is_described =
                described.contains(&name) || described.iter().any(|of| of.starts_with(&format!("{name}.")));
            assert!(is_described, "`{name}` is not described");
        }
        for nested in ["vst_op", "tctx", "rctx"].iter().filter(|nested| shown.get(**nested).is_some()) {
            assert_eq!(names(&shown[*nested]), names(&claims[*nested]), "{info}: {nested}");
        }
    }
}

async fn agent(gateway: &Quickstart, index: usize) -> TestAgent {
    let text = |name: &str| gateway.text(&format!("/agents/{index}/{name}"));
    let secret = Credential::Basic(text("client_secret").to_owned());
    TestAgent::connect(gateway.text("/issuer"), text("id"), secret, Arc::new(SystemClock::default())).await
}

fn key() -> AgentKey {
    AgentKey::generate("key")
}

/// Whether the token that a page shows has the claims of a real one, and the reference describes them.
fn compare(shown: &Value, claims: &Value) {
    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(shown), names(claims));
    assert_eq!(names(&shown["vst"]), names(&claims["vst"]));
    let described = described(&Page::named(TOKEN));
    let own = ["department", "role", "tenant"];
    for name in names(shown).iter().filter(|name| !own.contains(&&***name) && *name != "vst") {
        assert!(described.contains(name), "`{name}` is not described");
    }
    for name in names(&shown["vst"]) {
        assert!(described.contains(&format!("vst.{name}")), "`vst.{name}` is not described");
    }
    if let Some(user) = shown["vst"].get("user") {
        assert_eq!(names(user), names(&claims["vst"]["user"]));
        for name in names(user) {
            assert!(described.contains(&format!("vst.user.{name}")), "`vst.user.{name}` is not described");
        }
    }
}

fn claims(token: &str) -> Value {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}
