//! The documentation, tried: what a page shows is parsed by the code it is about, and what it says to type is run
//! against a quickstart, with the output compared.
//!
//! What a block promises, its info string says:
//!
//! - `yaml config`: a configuration file that is accepted;
//! - `yaml apps`: applications to add to the quickstart's configuration. There they are when the page is run;
//! - `yaml servers`: the authorization servers that those need, from the key `authorization_servers` on; on one page;
//! - `yaml limits`: limits that the quickstart has when the page is run;
//! - `cedar`: policies that load against the applications of the quickstart;
//! - `json`: JSON. `json attempt` is a whole attempt, `json token`, `json token spawned` and `json token call` are the
//!   claims of a token, `json assertion` and `json txn-token` those of what an application is told;
//! - `sh`, `console`: every `vestibule …` in it names commands and options that exist;
//! - `sh run`: runs, in order of the page, and succeeds;
//! - `console run`: each `$ …` runs. Where output is shown, it comes: `…` stands for anything, on a line of its own for
//!   any lines. Where none is shown, the command succeeds.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking; a missing key reads as null"
)]

mod commands;
mod page;
mod quickstart;
mod reference;
mod transcript;

use std::path::Path;

use vestibule_server::config::{GatewayConfig, Settings};

use crate::{page::pages, quickstart::Quickstart};

#[test]
fn every_block_names_its_language() {
    for page in pages() {
        for block in &page.blocks {
            assert!(!block.language().is_empty(), "{}: a block without a language", page.place(block));
        }
    }
}

#[test]
fn every_relative_link_leads_somewhere() {
    for page in pages() {
        for link in page.links() {
            let (file, heading) = link.split_once('#').unwrap_or((&link, ""));
            let target =
                if file.is_empty() { page.path.clone() } else { page.path.parent().unwrap().join(file) };
            assert!(target.exists(), "{}: `{link}` leads nowhere", page.name);
            if !heading.is_empty() {
                assert!(page::headings(&target).contains(heading), "{}: no heading for `{link}`", page.name);
            }
        }
    }
}

#[test]
fn every_configuration_is_accepted() {
    let mut seen = 0;
    for page in pages() {
        for block in page.blocks.iter().filter(|block| block.info == "yaml config") {
            let config = GatewayConfig::parse(&block.text)
                .unwrap_or_else(|error| panic!("{}: {error}", page.place(block)));
            Settings::check(config, Path::new("/nowhere"))
                .unwrap_or_else(|error| panic!("{}: {error}", page.place(block)));
            seen += 1;
        }
    }
    assert!(seen > 5, "{seen} configurations were found");
}

/// What all pages add to the quickstart's configuration.
fn apps() -> String {
    let pages = pages();
    pages.iter().map(page::Page::apps).chain(pages.iter().map(page::Page::servers)).collect()
}

#[test]
fn every_json_block_is_json() {
    for page in pages() {
        for block in page.blocks.iter().filter(|block| block.language() == "json") {
            let parsed = serde_json::from_str::<serde_json::Value>(&block.text);
            assert!(parsed.is_ok(), "{}: {parsed:?}", page.place(block));
        }
    }
}

#[test]
fn every_command_and_option_exists() {
    let mut help = commands::Help::default();
    let mut seen = 0;
    for page in pages() {
        for (place, words) in page.commands() {
            help.check(&words).unwrap_or_else(|why| panic!("{place}: `{}`: {why}", words.join(" ")));
            seen += 1;
        }
    }
    assert!(seen > 50, "{seen} commands were found");
}

#[test]
fn every_policy_loads() {
    let gateway = Quickstart::with_apps(&apps());
    let mut seen = 0;
    for page in pages() {
        let folder = gateway.path(&format!("policies-{seen}"));
        std::fs::create_dir(&folder).unwrap();
        let policies: Vec<_> = page.blocks.iter().filter(|block| block.language() == "cedar").collect();
        for block in &policies {
            std::fs::write(folder.join(format!("line-{}.cedar", block.line)), &block.text).unwrap();
        }
        if !policies.is_empty() {
            let checked =
                gateway.vestibule(&["policy", "check", folder.to_str().unwrap(), "--output", "json"]);
            let told: serde_json::Value = serde_json::from_str(&checked).unwrap();
            assert_eq!(
                (&told["ok"], &told["warnings"]),
                (&true.into(), &serde_json::json!([])),
                "{}: {checked}",
                page.name
            );
            seen += policies.len();
        } else {
            std::fs::remove_dir(&folder).unwrap();
        }
    }
    assert!(seen > 2, "{seen} blocks of policies were found");
}

/// One test for each page, so that they run beside each other, each against a quickstart of its own.
macro_rules! pages_that_run {
    ($($test:ident: $page:literal;)*) => {
        $(#[test]
        fn $test() {
            transcript::run($page);
        })*

        #[test]
        fn every_page_with_something_to_run_is_run() {
            let listed = [$($page),*];
            for page in pages().iter().filter(|page| page.blocks.iter().any(|block| block.is_run())) {
                assert!(listed.contains(&&*page.name), "{} is not run", page.name);
            }
        }
    };
}

pages_that_run! {
    the_tour_goes_as_it_is_told: "README.md";
    connecting_an_agent_goes_as_it_is_told: "docs/guides/connect-an-agent.md";
    verifying_our_tokens_goes_as_it_is_told: "docs/guides/verify-our-tokens.md";
    delegating_to_an_agent_goes_as_it_is_told: "docs/guides/delegate-to-an-agent.md";
    exchanging_tokens_goes_as_it_is_told: "docs/guides/access/token-exchange.md";
    keeping_secrets_in_the_vault_goes_as_it_is_told: "docs/guides/access/vault-secrets.md";
    putting_an_application_behind_goes_as_it_is_told: "docs/guides/put-an-app-behind.md";
    writing_a_policy_goes_as_it_is_told: "docs/guides/write-a-policy.md";
    responding_to_an_incident_goes_as_it_is_told: "docs/guides/respond-to-an-incident.md";
    limiting_calls_goes_as_it_is_told: "docs/guides/limit-calls.md";
    circuit_breakers_go_as_it_is_told: "docs/guides/circuit-breakers.md";
    operating_goes_as_it_is_told: "docs/guides/operate.md";
}
