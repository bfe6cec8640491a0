use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use http::{HeaderMap, header::AUTHORIZATION};
use vestibule_inbound::{Authenticator, Outcome, Presented, Scheme};
use vestibule_model::Denial;

use crate::support::{Door, at_once, bearer, claims, dpop, header, presented};

fn denial(door: &Door, headers: &HeaderMap, query: Option<&str>) -> Denial {
    door.present(headers, query).unwrap_err().denial
}

#[test]
fn nothing_presented_is_missing_and_not_malformed() {
    assert_eq!(denial(&Door::new(), &HeaderMap::new(), None), Denial::CredentialMissing);
}

#[test]
fn two_authorization_headers_are_refused_even_if_both_are_good() {
    let door = Door::new();
    let mut headers = bearer(&door.signer.sign(&header(), &claims()));
    headers.append(AUTHORIZATION, headers[AUTHORIZATION].clone());
    assert_eq!(denial(&door, &headers, None), Denial::CredentialMalformed);
}

#[test]
fn a_token_in_the_query_is_refused_however_the_key_is_spelled_and_whatever_the_header_says() {
    let door = Door::new();
    let good = bearer(&door.signer.sign(&header(), &claims()));
    for query in ["access_token=x", "a=b&access_token=x", "access%5Ftoken=x", "access_token"] {
        assert_eq!(denial(&door, &good, Some(query)), Denial::CredentialInQuery, "{query}");
    }
    assert!(door.present(&good, Some("q=access_token")).is_ok());
}

#[test]
fn what_no_scheme_takes_is_refused_and_never_anonymous() {
    let door = Door::new();
    let (malformed, unsupported) = (Denial::CredentialMalformed, Denial::CredentialUnsupported);
    for (value, expected) in [
        ("Basic d29ya2VyOnNlY3JldA==", unsupported),
        ("Digest abc", unsupported),
        ("Bearer", malformed),
        ("", malformed),
        ("Bearer\ttoken", malformed),
        ("b\u{e9}arer x", malformed),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        assert_eq!(denial(&door, &headers, None), expected, "{value}");
    }
}

#[test]
fn a_header_longer_than_any_token_is_refused_before_it_is_decoded() {
    let door = Door::new();
    assert_eq!(denial(&door, &bearer(&"a".repeat(9000)), None), Denial::CredentialMalformed);
    assert_eq!(denial(&door, &bearer(&"a".repeat(8200)), None), Denial::TokenInvalid);
}

#[test]
fn the_name_of_the_scheme_is_read_without_case() {
    let door = Door::new();
    let token = door.signer.sign(&header(), &claims());
    for scheme in ["bearer", "BEARER", "Bearer  "] {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, format!("{scheme} {token}").parse().unwrap());
        assert!(door.present(&headers, None).is_ok(), "{scheme}");
    }
}

#[test]
fn the_token_is_in_no_debug_output() {
    let door = Door::new();
    let token = door.signer.sign(&header(), &claims());
    let headers = bearer(&token);
    let presented = presented(&headers, None);
    let credential = vestibule_inbound::authorization(&headers).unwrap();
    let caller = door.present(&headers, None).unwrap();
    let shown = format!("{presented:?}{credential:?}{caller:?}{:?}", door.authenticator);
    assert!(!shown.contains(&token[..20]), "{shown}");
}

/// Counts how often it is asked.
struct Tripwire(Arc<AtomicUsize>);

impl Scheme for Tripwire {
    fn name(&self) -> &'static str {
        "tripwire"
    }

    fn verify<'a>(&'a self, _presented: &'a Presented<'a>) -> Outcome<'a> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Outcome::NotPresented
    }
}

#[test]
fn a_rejected_credential_is_not_tried_as_another_kind() {
    let door = Door::new();
    let asked = Arc::new(AtomicUsize::new(0));
    let both = Authenticator::new(vec![Box::new(door.hop_tokens()), Box::new(Tripwire(Arc::clone(&asked)))]);
    let authenticate = |headers: HeaderMap| at_once(both.authenticate(&presented(&headers, None)));

    assert_eq!(authenticate(bearer("a.b.c")).unwrap_err().denial, Denial::TokenInvalid);
    assert_eq!(authenticate(dpop("a.b.c", &[])).unwrap_err().denial, Denial::TokenInvalid);
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    assert_eq!(authenticate(HeaderMap::new()).unwrap_err().denial, Denial::CredentialMissing);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}
