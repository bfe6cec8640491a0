//! A token that is bound to a key, at door one: worth nothing without a proof of that key for this very request.

use std::time::Duration;

use http::{HeaderName, header::AUTHORIZATION};
use serde_json::{Value, json};
use vestibule_inbound::{Caller, Presented};
use vestibule_model::Denial;

use crate::support::{
    Door, RESOURCE, Signer, app, at_once, bearer, changed, claims, dpop, dpop_claims, dpop_header, header,
    presented, spawned,
};

/// A door, and a good bound token of the holder.
fn bound() -> (Door, String) {
    let door = Door::new();
    let claims = spawned(&["a", "b"], Some("alice"), &door.holder.jkt());
    let token = door.signer.sign(&header(), &claims);
    (door, token)
}

fn proof_with(door: &Door, token: &str, path: &str, value: &Value) -> String {
    let claims = changed(dpop_claims(&door.proofs, Some(token)), path, value);
    door.holder.sign(&dpop_header(&door.holder), &claims)
}

#[test]
fn with_a_proof_of_its_key_it_is_taken_and_the_caller_says_so() {
    let (door, token) = bound();
    let caller = door.dpop(&token, &[&door.proof(&token)]).unwrap();
    let proof = caller.proof().unwrap();
    assert_eq!(Some(proof.key), caller.token().bound_to);
    assert_eq!(proof.key.to_string(), door.holder.jkt());
    assert!(!proof.is_nonce_old);
    assert!(door.claims(&claims()).unwrap().proof().is_none());
}

#[test]
fn as_a_bearer_token_it_is_refused_also_with_a_good_proof_beside_it() {
    let (door, token) = bound();
    assert_eq!(door.bearer(&token).unwrap_err(), Denial::ProofMissing);
    let mut headers = dpop(&token, &[&door.proof(&token)]);
    headers.insert(AUTHORIZATION, bearer(&token)[AUTHORIZATION].clone());
    assert_eq!(door.present(&headers, None).unwrap_err().denial, Denial::ProofMissing);
}

#[test]
fn without_a_proof_it_is_refused() {
    let (door, token) = bound();
    assert_eq!(door.dpop(&token, &[]).unwrap_err(), Denial::ProofMissing);
}

#[test]
fn an_unbound_token_is_no_dpop_token_whatever_proof_comes_with_it() {
    let door = Door::new();
    let token = door.signer.sign(&header(), &claims());
    assert_eq!(door.dpop(&token, &[]).unwrap_err(), Denial::ProofWrongKey);
    assert_eq!(door.dpop(&token, &[&door.proof(&token)]).unwrap_err(), Denial::ProofWrongKey);
}

#[test]
fn a_bearer_token_with_a_proof_beside_it_is_two_credentials() {
    let door = Door::new();
    let token = door.signer.sign(&header(), &claims());
    let mut headers = bearer(&token);
    assert!(door.present(&headers, None).is_ok());
    headers.insert(HeaderName::from_static("dpop"), door.proof(&token).parse().unwrap());
    assert_eq!(door.present(&headers, None).unwrap_err().denial, Denial::CredentialMalformed);
}

#[test]
fn a_proof_alone_is_no_credential() {
    let (door, token) = bound();
    let mut headers = dpop(&token, &[&door.proof(&token)]);
    headers.remove(AUTHORIZATION);
    assert_eq!(door.present(&headers, None).unwrap_err().denial, Denial::CredentialMissing);
}

#[test]
fn a_bearer_and_a_dpop_credential_at_once_are_refused() {
    let (door, token) = bound();
    let unbound = door.signer.sign(&header(), &claims());
    let mut headers = dpop(&token, &[&door.proof(&token)]);
    headers.append(AUTHORIZATION, bearer(&unbound)[AUTHORIZATION].clone());
    assert_eq!(door.present(&headers, None).unwrap_err().denial, Denial::CredentialMalformed);
}

#[test]
fn a_stolen_token_is_worth_nothing_with_the_thiefs_own_proof() {
    let (door, token) = bound();
    let thief = Signer::new();
    let proof = thief.sign(&dpop_header(&thief), &dpop_claims(&door.proofs, Some(&token)));
    assert_eq!(door.dpop(&token, &[&proof]).unwrap_err(), Denial::ProofWrongKey);
}

#[test]
fn the_proof_is_checked_at_every_request_although_the_token_is_remembered() {
    let (door, token) = bound();
    let proof = door.proof(&token);
    assert!(door.dpop(&token, &[&proof]).is_ok());
    assert_eq!(door.dpop(&token, &[&proof]).unwrap_err(), Denial::ProofReplayed);
    assert_eq!(door.dpop(&token, &[]).unwrap_err(), Denial::ProofMissing);
    assert_eq!(door.bearer(&token).unwrap_err(), Denial::ProofMissing);
    assert!(door.dpop(&token, &[&door.proof(&token)]).is_ok());
}

#[test]
fn a_proof_for_another_token_is_refused() {
    let (door, token) = bound();
    let jti = json!("44444444444444444444444444444444");
    let claims = changed(spawned(&["a", "b"], Some("alice"), &door.holder.jkt()), "/jti", &jti);
    let other = door.signer.sign(&header(), &claims);
    let proof = door.proof(&other);
    assert_eq!(door.dpop(&token, &[&proof]).unwrap_err(), Denial::ProofInvalid);
    // And is not used up by that.
    assert!(door.dpop(&other, &[&proof]).is_ok());
    assert_eq!(
        door.dpop(&token, &[&proof_with(&door, &token, "/ath", &Value::Null)]).unwrap_err(),
        Denial::ProofInvalid
    );
}

#[test]
fn the_proof_is_for_the_method_and_the_url_of_this_request() {
    let (door, token) = bound();
    let present = |method, url| {
        let headers = dpop(&token, &[&door.proof(&token)]);
        let presented =
            Presented { headers: &headers, query: Some("a=b"), resource: RESOURCE, app: app(), method, url };
        at_once(door.authenticator.authenticate(&presented)).map(|_| ()).map_err(|refusal| refusal.denial)
    };
    assert_eq!(present("POST", RESOURCE), Ok(()));
    assert_eq!(present("DELETE", RESOURCE), Err(Denial::ProofInvalid));
    assert_eq!(present("POST", "https://gw.test/mcp"), Err(Denial::ProofInvalid));
    assert_eq!(present("POST", "http://gw.test/apps/sandbox/mcp"), Err(Denial::ProofInvalid));
}

#[test]
fn what_is_wrong_with_the_nonce_is_told_apart_from_what_is_wrong_with_the_proof() {
    let (door, token) = bound();
    let denial = |proof: &str| door.dpop(&token, &[proof]).map(|_| ());
    assert_eq!(denial(&proof_with(&door, &token, "/nonce", &Value::Null)), Err(Denial::ProofNonceNeeded));
    assert_eq!(denial(&proof_with(&door, &token, "/nonce", &json!("x"))), Err(Denial::ProofNonceNeeded));
    assert_eq!(denial("x"), Err(Denial::ProofInvalid));
    let proof = door.proof(&token);
    assert_eq!(door.dpop(&token, &[&proof, &proof]).unwrap_err(), Denial::ProofInvalid);
}

#[test]
fn an_old_nonce_is_still_good_and_the_caller_says_that_it_is_old() {
    let (door, token) = bound();
    let proof = door.proof(&token);
    door.clock.advance(Duration::from_secs(60));
    let caller: Caller = door.dpop(&token, &[&proof]).unwrap();
    assert!(caller.proof().unwrap().is_nonce_old);
}

#[test]
fn a_bad_token_is_refused_for_what_it_is_and_uses_up_no_proof() {
    let (door, token) = bound();
    let proof = door.proof(&token);
    door.clock.advance(Duration::from_secs(5));
    let headers = dpop(&token, &[&proof]);
    let elsewhere = Presented { resource: "https://gw.test/mcp", ..presented(&headers, None) };
    let refusal = at_once(door.authenticator.authenticate(&elsewhere)).unwrap_err();
    assert_eq!(refusal.denial, Denial::TokenWrongAudience);
    assert!(door.dpop(&token, &[&proof]).is_ok());

    door.clock.advance(Duration::from_secs(115));
    assert_eq!(door.dpop(&token, &[&door.proof(&token)]).unwrap_err(), Denial::TokenExpired);
}

#[test]
fn the_name_of_the_dpop_scheme_is_read_without_case() {
    let (door, token) = bound();
    for scheme in ["dpop", "DPOP"] {
        let mut headers = dpop(&token, &[&door.proof(&token)]);
        headers.insert(AUTHORIZATION, format!("{scheme} {token}").parse().unwrap());
        assert!(door.present(&headers, None).is_ok(), "{scheme}");
    }
}
