use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use vestibule_inbound::{Expired, VerificationKeys};
use vestibule_model::Denial;

use crate::support::{Door, ISSUER, NODE, NOW, RESOURCE, Signer, b64, changed, claims, header, spawned};

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    changed(claims(), &format!("/{name}"), &Value::Null)
}

#[test]
fn a_good_token_tells_who_calls_and_what_it_says() {
    let caller = Door::new().claims(&claims()).unwrap();
    assert_eq!(caller.agent().as_str(), "worker");
    assert_eq!(caller.user(), None);
    assert_eq!(caller.chain().depth(), 1);
    let facts = caller.token();
    assert_eq!((facts.issuer.as_ref(), facts.audience.as_str()), (ISSUER, RESOURCE));
    assert_eq!((facts.issued_at.seconds(), facts.expires_at.seconds()), (NOW, NOW + 120));
    assert_eq!(facts.scopes.iter().collect::<Vec<_>>(), ["repo:read", "repo:write"]);
    assert_eq!(facts.nodes.iter().map(|node| node.id.as_str()).collect::<Vec<_>>(), [NODE]);
    assert_eq!((facts.bound_to, facts.authority.as_ref(), facts.calls.len()), (None, None, 0));
    assert_eq!((facts.max_depth, facts.node_expires_at.seconds()), (4, NOW + 3600));
    let expected = json!({"department": ["platform"], "role": ["builder", "reader"]});
    assert_eq!(serde_json::to_value(&facts.claims).unwrap(), expected);
}

#[test]
fn another_type_of_token_is_refused_before_anything_else_of_it_is_read() {
    let door = Door::new();
    for typ in
        [json!("JWT"), json!("vst-actor+jwt"), json!("application/jwt"), json!(["at+jwt"]), json!(null)]
    {
        let header = json!({"typ": typ, "alg": "none", "kid": "k1"});
        assert_eq!(door.bearer(&door.signer.sign(&header, &claims())).unwrap_err(), Denial::TokenWrongType);
    }
    let untyped = json!({"alg": "ES256", "kid": "k1"});
    assert_eq!(door.bearer(&door.signer.sign(&untyped, &claims())).unwrap_err(), Denial::TokenWrongType);
    // RFC 9068 §4 names both spellings.
    let long = json!({"typ": "application/at+jwt", "alg": "ES256", "kid": "k1"});
    assert!(door.bearer(&door.signer.sign(&long, &claims())).is_ok());
}

#[test]
fn an_algorithm_that_is_not_es256_is_refused_also_with_a_signature_that_would_fit_it() {
    let door = Door::new();
    for alg in ["none", "NONE", "None", "", "es256", "RS256", "ES384", "EdDSA"] {
        let header = json!({"typ": "at+jwt", "alg": alg, "kid": "k1"});
        assert_eq!(
            door.bearer(&door.signer.sign(&header, &claims())).unwrap_err(),
            Denial::TokenAlgorithmRefused,
            "{alg}"
        );
    }
    // The classic: the public key as the secret of a MAC.
    let header = json!({"typ": "at+jwt", "alg": "HS256", "kid": "k1"});
    let input = format!("{}.{}", b64(header.to_string()), b64(claims().to_string()));
    let secret = jsonwebtoken::EncodingKey::from_secret(door.signer.jwk.to_string().as_bytes());
    let mac = jsonwebtoken::crypto::sign(input.as_bytes(), &secret, jsonwebtoken::Algorithm::HS256).unwrap();
    assert_eq!(door.bearer(&format!("{input}.{mac}")).unwrap_err(), Denial::TokenAlgorithmRefused);
}

#[test]
fn an_unknown_key_and_a_signature_by_another_key_are_told_apart_in_the_record() {
    let door = Door::new();
    for kid in [json!("k2"), json!(1), json!(null)] {
        let header = json!({"typ": "at+jwt", "alg": "ES256", "kid": kid});
        assert_eq!(door.bearer(&door.signer.sign(&header, &claims())).unwrap_err(), Denial::TokenKeyUnknown);
    }
    let stranger = Signer::new();
    assert_eq!(door.bearer(&stranger.sign(&header(), &claims())).unwrap_err(), Denial::TokenInvalid);
}

#[test]
fn a_key_that_travels_in_the_token_is_never_used() {
    let stranger = Signer::new();
    let header = json!({"typ": "at+jwt", "alg": "ES256", "kid": "k1", "jwk": stranger.jwk});
    assert_eq!(Door::new().bearer(&stranger.sign(&header, &claims())).unwrap_err(), Denial::TokenInvalid);
}

#[test]
fn another_issuer_is_refused_also_with_our_signature() {
    for iss in [json!("https://gw.test/"), json!("https://GW.test"), json!("https://evil.test")] {
        assert_eq!(Door::new().claims(&with("iss", iss)).unwrap_err(), Denial::TokenWrongIssuer);
    }
}

#[test]
fn the_audience_is_exactly_the_resource_asked_for_and_nothing_beside_it() {
    let door = Door::new();
    for aud in [
        json!("https://gw.test/apps/other/mcp"),
        json!(format!("{RESOURCE}/")),
        json!([RESOURCE, "https://gw.test/apps/other/mcp"]),
        json!([]),
        json!({"aud": RESOURCE}),
    ] {
        assert_eq!(door.claims(&with("aud", aud.clone())).unwrap_err(), Denial::TokenWrongAudience, "{aud}");
    }
    assert_eq!(door.claims(&without("aud")).unwrap_err(), Denial::TokenWrongAudience);
    assert!(door.claims(&with("aud", json!([RESOURCE]))).is_ok());
}

#[test]
fn a_remembered_token_still_expires_to_the_second() {
    let door = Door::new();
    assert!(door.claims(&claims()).is_ok());
    door.clock.advance(Duration::from_millis(119_999));
    let token = door.signer.sign(&header(), &claims());
    assert!(door.bearer(&token).is_ok());
    door.clock.advance(Duration::from_millis(1));
    assert_eq!(door.bearer(&token).unwrap_err(), Denial::TokenExpired);
}

#[test]
fn a_token_from_the_future_is_refused_beyond_the_skew_of_our_own_clocks() {
    let door = Door::new();
    for name in ["iat", "nbf"] {
        assert!(door.claims(&with(name, json!(NOW + 5))).is_ok());
        assert_eq!(door.claims(&with(name, json!(NOW + 6))).unwrap_err(), Denial::TokenNotYetValid);
    }
}

#[test]
fn every_claim_we_rely_on_must_be_there_and_well_formed() {
    let door = Door::new();
    for name in ["iss", "sub", "client_id", "jti", "acti", "iat", "exp", "vst"] {
        assert_eq!(door.claims(&without(name)).unwrap_err(), Denial::TokenInvalid, "without {name}");
        assert!(door.claims(&with(name, json!([1]))).is_err(), "{name} as an array");
    }
    for (name, value) in [
        ("client_id", json!("somebody-else")),
        ("jti", json!("not hexadecimal")),
        ("exp", json!(1.5)),
        ("exp", json!("1800000120")),
        ("scope", json!(["repo:read"])),
        ("role", json!({"admin": true})),
        ("role", json!(["reader", 1])),
    ] {
        assert_eq!(door.claims(&with(name, value)).unwrap_err(), Denial::TokenInvalid, "{name}");
    }
}

#[test]
fn the_chain_is_read_from_the_root_to_the_agent_that_acts() {
    let door = Door::new();
    for user in [None, Some("alice")] {
        let caller = door.bound(&spawned(&["a", "b", "c"], user, &door.holder.jkt())).unwrap();
        let chain: Vec<_> = caller.chain().actors().iter().map(|actor| actor.agent.as_str()).collect();
        assert_eq!(chain, ["a", "b", "c"]);
        assert_eq!(caller.agent().as_str(), "c");
        assert_eq!(
            caller.user().map(|user| (user.issuer.as_str(), user.subject.as_str())),
            user.map(|user| ("https://idp.test", user))
        );
        assert_eq!(caller.token().nodes.len(), 3);
    }
}

#[test]
fn a_chain_deeper_than_the_bound_is_refused() {
    let door = Door::new();
    let agents = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
    let present = |agents: &[&str], user| door.bound(&spawned(agents, user, &door.holder.jkt()));
    assert!(present(&agents[..8], None).is_ok());
    assert!(present(&agents[..8], Some("alice")).is_ok());
    assert_eq!(present(&agents, None).unwrap_err(), Denial::TokenInvalid);
    assert_eq!(present(&agents, Some("alice")).unwrap_err(), Denial::TokenInvalid);
}

#[test]
fn a_human_who_is_not_the_subject_is_refused() {
    let door = Door::new();
    let good = spawned(&["a"], Some("alice"), &door.holder.jkt());
    assert!(door.bound(&good).is_ok());
    let other = changed(good, "/sub_id/sub", &json!("bob"));
    assert_eq!(door.bound(&other).unwrap_err(), Denial::TokenInvalid);
}

#[test]
fn a_remembered_token_dies_with_its_key_and_survives_a_rotation_that_keeps_it() {
    let door = Door::new();
    let token = door.signer.sign(&header(), &claims());
    let (old, new) = (door.signer.key(), Signer::new().key());
    door.keys.store(Arc::new(VerificationKeys::new(vec![("k1".into(), Arc::clone(&old))])));
    assert!(door.bearer(&token).is_ok());
    door.keys
        .store(Arc::new(VerificationKeys::new(vec![("k1".into(), old), ("k2".into(), Arc::clone(&new))])));
    assert!(door.bearer(&token).is_ok());
    door.keys.store(Arc::new(VerificationKeys::new(vec![("k2".into(), Arc::clone(&new))])));
    assert_eq!(door.bearer(&token).unwrap_err(), Denial::TokenKeyUnknown);
    // The same name for another key does not bring it back.
    door.keys.store(Arc::new(VerificationKeys::new(vec![("k1".into(), new)])));
    assert_eq!(door.bearer(&token).unwrap_err(), Denial::TokenInvalid);
}

#[test]
fn the_token_endpoint_reads_a_token_for_whichever_resource_it_is() {
    let door = Door::new();
    let read =
        |claims: &Value| door.hop_tokens().read(&door.signer.sign(&header(), claims), Expired::Refused);
    let elsewhere = with("aud", json!("https://gw.test/apps/other/mcp"));
    assert_eq!(read(&elsewhere).unwrap().token().audience, "https://gw.test/apps/other/mcp");
    assert_eq!(read(&with("iss", json!("https://evil.test"))).unwrap_err().denial, Denial::TokenWrongIssuer);
    assert_eq!(read(&with("iat", json!(NOW + 6))).unwrap_err().denial, Denial::TokenNotYetValid);
    let caller = read(&spawned(&["a", "b"], None, &door.holder.jkt())).unwrap();
    assert_eq!(caller.token().bound_to.unwrap().to_string(), door.holder.jkt());
    assert!(caller.proof().is_none(), "nothing was proven");
}

#[test]
fn only_a_bound_token_may_be_read_past_its_expiry_and_not_past_that_of_its_node() {
    let door = Door::new();
    let unbound = door.signer.sign(&header(), &claims());
    let bound = door.signer.sign(&header(), &spawned(&["a", "b"], None, &door.holder.jkt()));
    let read = |token: &str, expired| {
        door.hop_tokens().read(token, expired).map(|_| ()).map_err(|refusal| refusal.denial)
    };
    door.clock.advance(Duration::from_secs(120));
    assert_eq!(read(&bound, Expired::Refused), Err(Denial::TokenExpired));
    assert_eq!(read(&unbound, Expired::Accepted), Err(Denial::TokenExpired));
    assert_eq!(read(&bound, Expired::Accepted), Ok(()));
    door.clock.advance(Duration::from_secs(3600 - 121));
    assert_eq!(read(&bound, Expired::Accepted), Ok(()));
    door.clock.advance(Duration::from_secs(1));
    assert_eq!(read(&bound, Expired::Accepted), Err(Denial::TokenExpired));
}
