//! Which issuers can be configured.

use std::{collections::BTreeSet, sync::Arc};

use vestibule_inbound::users::{UserIssuerConfig, UserIssuerConfigError, UserIssuers};
use vestibule_model::{FixedClock, Timestamp};

use crate::users_issuer::{GATEWAY, NOW, clients, config, worker};

fn new(configs: Vec<UserIssuerConfig>) -> Result<(), UserIssuerConfigError> {
    let clock = Arc::new(FixedClock::at(Timestamp::from_seconds(NOW)));
    UserIssuers::new(configs, &clients(), GATEWAY, clock).map(|_| ())
}

/// The key that is at fault.
fn fault(change: impl FnOnce(&mut UserIssuerConfig)) -> Option<&'static str> {
    let mut config = config("corp", "https://sso.corp.example/realms/corp");
    change(&mut config);
    new(vec![config]).err().map(|error| error.key)
}

#[test]
fn an_issuer_is_an_https_url_without_query_and_not_ourselves() {
    for (issuer, is_good) in [
        ("https://sso.corp.example", true),
        ("https://sso.corp.example/", true),
        ("https://sso.corp.example:8443/realms/corp", true),
        ("http://127.0.0.1:8080/realms/corp", true),
        ("http://[::1]:8080", true),
        ("http://localhost:8080", true),
        ("http://sso.corp.example", false),
        ("http://localhost.corp.example", false),
        ("http://10.0.0.1", false),
        ("https://sso.corp.example?tenant=1", false),
        ("https://sso.corp.example#users", false),
        ("https://user:hunter2@sso.corp.example", false),
        ("https://user@sso.corp.example", false),
        ("sso.corp.example", false),
        ("ftp://sso.corp.example", false),
        ("https://sso.corp.example/\u{e4}", false),
        ("https://sso.corp.example/a b", false),
        ("", false),
        (GATEWAY, false),
    ] {
        let expected = (!is_good).then_some("issuer");
        assert_eq!(fault(|config| config.issuer = issuer.to_owned()), expected, "{issuer}");
    }
    assert_eq!(
        fault(|config| config.issuer = format!("https://{}.example", "a".repeat(250))),
        Some("issuer")
    );
}

#[test]
fn plain_http_across_the_network_must_be_called_dangerous() {
    let plain = |config: &mut UserIssuerConfig| config.issuer = "http://keycloak:8080/realms/corp".to_owned();
    assert_eq!(fault(plain), Some("issuer"));
    let dangerous = |config: &mut UserIssuerConfig| {
        plain(config);
        config.dangerous_plain_http = true;
    };
    assert_eq!(fault(dangerous), None);

    let keys = |url: &str| url.parse().ok();
    assert_eq!(fault(|config| config.jwks_url = keys("http://keycloak:8080/certs")), Some("jwks_url"));
    assert_eq!(fault(|config| config.jwks_url = keys("file:///etc/keys")), Some("jwks_url"));
    assert_eq!(fault(|config| config.jwks_url = keys("https://keycloak:8443/certs")), None);
    assert_eq!(fault(|config| config.jwks_url = keys("http://127.0.0.1:8080/certs")), None);
}

#[test]
fn two_issuers_share_neither_name_nor_identifier() {
    let named = |name, issuer| config(name, issuer);
    let (a, b) = ("https://a.example", "https://b.example");
    assert_eq!(new(vec![named("a", a), named("b", b)]), Ok(()));
    let key = |configs| new(configs).unwrap_err().key;
    assert_eq!(key(vec![named("a", a), named("a", b)]), "name");
    assert_eq!(key(vec![named("a", a), named("b", a)]), "issuer");
}

#[test]
fn names_and_groups_follow_their_grammar() {
    for name in ["", "Corp", "corp:x", "corp x", "a123456789012345678901234567890123"] {
        assert_eq!(fault(|config| config.name = name.to_owned()), Some("name"), "{name}");
    }
    assert_eq!(fault(|config| config.groups_claim = None), None);
    let only = |group: &str| Some(BTreeSet::from([group.to_owned()]));
    assert_eq!(fault(|config| config.groups = only("dev")), None);
    assert_eq!(fault(|config| config.groups = only("")), Some("groups"));
    assert_eq!(fault(|config| config.groups = only(&"x".repeat(65))), Some("groups"));
    let unclaimed =
        |config: &mut UserIssuerConfig| (config.groups_claim, config.groups) = (None, only("dev"));
    assert_eq!(fault(unclaimed), Some("groups"));
    let nameless = |config: &mut UserIssuerConfig| {
        config.agents.insert(worker(), BTreeSet::from([String::new()]));
    };
    assert_eq!(fault(nameless), Some("agents"));
}
