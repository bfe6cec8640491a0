//! Per-call tokens, and that no kind of token is ever read as another.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use vestibule_inbound::{CallToken, CallTokens, Expired};
use vestibule_model::{Denial, FixedClock};

use crate::support::{Door, ISSUER, NOW, Signer, changed, claims, header, spawned};

const CALL: &str = "0190f3c4a5b67c8d9e0f1a2b3c4d5e6f";

/// The claims of a token about a call by `b`, whom `a` spawned for alice, to `summarizer`.
fn call_claims(door: &Door) -> Value {
    let claims = spawned(&["a", "b"], Some("alice"), &door.holder.jkt());
    let claims = changed(claims, "/aud", &json!("summarizer"));
    let claims = changed(claims, "/call", &json!(CALL));
    changed(claims, "/cnf", &Value::Null)
}

fn call_header() -> Value {
    json!({"typ": "vst-call+jwt", "alg": "ES256", "kid": "k1"})
}

fn call_tokens(door: &Door) -> CallTokens {
    CallTokens::new(ISSUER, Arc::clone(&door.keys), Arc::<FixedClock>::clone(&door.clock))
}

fn read(door: &Door, header: &Value, claims: &Value) -> Result<CallToken, Denial> {
    call_tokens(door).read(&door.signer.sign(header, claims)).map_err(|refusal| refusal.denial)
}

#[test]
fn it_tells_who_calls_whom_and_in_which_call() {
    let door = Door::new();
    let token = read(&door, &call_header(), &call_claims(&door)).unwrap();
    assert_eq!((token.agent.as_str(), token.call.to_string().as_str()), ("summarizer", CALL));
    assert_eq!(token.caller.agent().as_str(), "b");
    assert_eq!(token.caller.chain().depth(), 2);
    assert_eq!(token.caller.user().unwrap().subject, "alice");
    let facts = token.caller.token();
    assert_eq!((facts.bound_to, facts.nodes.len()), (None, 2));
    assert_eq!(facts.nodes[1].keys[0].to_string(), door.holder.jkt());
}

#[test]
fn what_is_missing_malformed_or_of_somebody_else_is_refused() {
    let door = Door::new();
    let good = call_claims(&door);
    for (path, value, denial) in [
        ("/call", Value::Null, Denial::TokenInvalid),
        ("/call", json!("x"), Denial::TokenInvalid),
        ("/call", json!([CALL]), Denial::TokenInvalid),
        ("/aud", Value::Null, Denial::TokenWrongAudience),
        ("/aud", json!(["summarizer", "other"]), Denial::TokenWrongAudience),
        ("/aud", json!("not an id"), Denial::TokenInvalid),
        ("/iss", json!("https://evil.test"), Denial::TokenWrongIssuer),
        ("/client_id", json!("a"), Denial::TokenInvalid),
        ("/vst", Value::Null, Denial::TokenInvalid),
        ("/vst/since", json!([NOW]), Denial::TokenInvalid),
        ("/authorization_details", json!([]), Denial::TokenInvalid),
        // A binding that nobody would ask a proof of.
        ("/cnf", json!({"jkt": door.holder.jkt()}), Denial::TokenInvalid),
        ("/iat", json!(NOW + 6), Denial::TokenNotYetValid),
    ] {
        let claims = changed(good.clone(), path, &value);
        assert_eq!(read(&door, &call_header(), &claims).unwrap_err(), denial, "{path} {value}");
    }
    let stranger = Signer::new();
    let forged = call_tokens(&door).read(&stranger.sign(&call_header(), &good));
    assert_eq!(forged.unwrap_err().denial, Denial::TokenInvalid);
    let unknown = changed(call_header(), "/kid", &json!("k2"));
    assert_eq!(read(&door, &unknown, &good).unwrap_err(), Denial::TokenKeyUnknown);
}

#[test]
fn it_expires_to_the_second() {
    let door = Door::new();
    let claims = call_claims(&door);
    door.clock.advance(Duration::from_millis(119_999));
    assert!(read(&door, &call_header(), &claims).is_ok());
    door.clock.advance(Duration::from_millis(1));
    assert_eq!(read(&door, &call_header(), &claims).unwrap_err(), Denial::TokenExpired);
}

/// Claims under which every reader but for the type would find what it needs.
fn for_every_reader() -> Value {
    changed(claims(), "/call", &json!(CALL))
}

#[test]
fn no_kind_of_token_is_read_as_another() {
    let door = Door::new();
    let own = |typ: &str| json!({"typ": typ, "alg": "ES256", "kid": "k1"});
    // Of an ID token and a client assertion the type is `JWT`, or there is none.
    let untyped = json!({"alg": "ES256", "kid": "k1"});
    for (header, is_hop, is_call) in [
        (own("at+jwt"), true, false),
        (own("application/at+jwt"), true, false),
        (own("vst-call+jwt"), false, true),
        (own("vst-actor+jwt"), false, false),
        (own("dpop+jwt"), false, false),
        (own("txntoken+jwt"), false, false),
        (own("logout+jwt"), false, false),
        (own("client-authentication+jwt"), false, false),
        (own("JWT"), false, false),
        (own("jwt"), false, false),
        (own(""), false, false),
        (untyped, false, false),
    ] {
        let token = door.signer.sign(&header, &for_every_reader());
        let verdict = |is_taken| if is_taken { Ok(()) } else { Err(Denial::TokenWrongType) };
        let at_door = door.bearer(&token).map(|_| ());
        assert_eq!(at_door, verdict(is_hop), "at the door: {header}");
        let as_subject = door.hop_tokens().read(&token, Expired::Accepted);
        assert_eq!(as_subject.map(|_| ()).map_err(|no| no.denial), verdict(is_hop), "as a subject: {header}");
        let as_call = call_tokens(&door).read(&token);
        assert_eq!(as_call.map(|_| ()).map_err(|no| no.denial), verdict(is_call), "as a call: {header}");
    }
    assert!(door.signer.sign(&header(), &claims()).len() < 8192);
}

#[test]
fn a_proof_of_possession_is_no_token() {
    let door = Door::new();
    let token = door.signer.sign(&header(), &claims());
    let proof = door.proof(&token);
    assert_eq!(door.bearer(&proof).unwrap_err(), Denial::TokenWrongType);
    assert_eq!(door.dpop(&proof, &[&proof]).unwrap_err(), Denial::TokenWrongType);
    assert_eq!(call_tokens(&door).read(&proof).unwrap_err().denial, Denial::TokenWrongType);
}
