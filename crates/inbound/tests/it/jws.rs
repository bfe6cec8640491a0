use serde_json::json;
use vestibule_inbound::jws::{Algorithm, JwsError, Profile, Unverified};

use crate::support::{Signer, b64, claims, header};

const PROFILE: Profile =
    Profile { types: &["at+jwt"], is_type_optional: false, algorithms: &[Algorithm::Es256] };

fn error(text: &str) -> JwsError {
    Unverified::parse(text, &PROFILE).unwrap_err()
}

#[test]
fn a_changed_bit_anywhere_is_noticed() {
    let signer = Signer::new();
    let key = signer.key();
    let token = signer.sign(&header(), &claims());
    assert!(Unverified::parse(&token, &PROFILE).unwrap().verify(&key).is_ok());
    for at in 0..token.len() {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        let verdict = Unverified::parse(&changed, &PROFILE).and_then(|jws| jws.verify(&key).map(|_| ()));
        assert!(verdict.is_err(), "byte {at}");
    }
}

#[test]
fn a_token_cut_short_anywhere_is_refused() {
    let signer = Signer::new();
    let key = signer.key();
    let token = signer.sign(&header(), &claims());
    for end in 0..token.len() {
        let cut = &token[..end];
        let verdict = Unverified::parse(cut, &PROFILE).and_then(|jws| jws.verify(&key).map(|_| ()));
        assert!(verdict.is_err(), "{end} bytes");
    }
}

#[test]
fn anything_but_three_full_parts_is_refused() {
    let token = Signer::new().sign(&header(), &claims());
    let (input, signature) = token.rsplit_once('.').unwrap();
    let (head, payload) = input.split_once('.').unwrap();
    for text in [
        String::new(),
        "..".into(),
        input.into(),
        format!("{input}."),
        format!("{head}..{signature}"),
        format!(".{payload}.{signature}"),
        format!("{token}.{signature}"),
        format!("{token}."),
        format!(" {token}"),
    ] {
        assert_eq!(error(&text), JwsError::Malformed, "{text}");
    }
}

#[test]
fn only_the_canonical_spelling_of_base64url_is_read() {
    let token = Signer::new().sign(&header(), &claims());
    let (input, signature) = token.rsplit_once('.').unwrap();
    // 64 bytes leave four unused bits in the last character: `x` and its neighbours decode to the same bytes.
    let (body, last) = signature.split_at(signature.len() - 1);
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = alphabet.find(last).unwrap();
    let neighbour = &alphabet[at + 1..at + 2];
    for text in [
        format!("{input}.{body}{neighbour}"),
        format!("{input}.{signature}=="),
        format!("{input}.+{}", &signature[1..]),
        format!("{input}.{body}\n{last}"),
    ] {
        assert_eq!(error(&text), JwsError::Malformed, "{text}");
    }
}

#[test]
fn a_header_or_payload_that_two_parsers_read_differently_is_refused() {
    let signer = Signer::new();
    let good = header().to_string();
    for (head, payload) in [
        (r#"{"typ":"at+jwt","alg":"none","alg":"ES256","kid":"k1"}"#, "{}"),
        (r#"{"typ":"at+jwt","alg":"ES256","\u0061lg":"none"}"#, "{}"),
        (good.as_str(), r#"{"aud":"a","aud":"b"}"#),
        (good.as_str(), r#"{"act":{"sub":"a","sub":"b"}}"#),
        (good.as_str(), r#"{"sub":"\ud800"}"#),
        (good.as_str(), "[]"),
        ("[]", "{}"),
        (good.as_str(), r"{} {}"),
    ] {
        assert_eq!(error(&signer.sign_texts(head, payload)), JwsError::Malformed, "{head} {payload}");
    }
    let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(40), "]".repeat(40));
    assert_eq!(error(&signer.sign_texts(&good, &deep)), JwsError::Malformed);
}

#[test]
fn a_critical_extension_is_refused() {
    let header = json!({"typ": "at+jwt", "alg": "ES256", "kid": "k1", "crit": ["b64"], "b64": false});
    assert_eq!(error(&Signer::new().sign(&header, &claims())), JwsError::Critical);
}

#[test]
fn the_length_is_bounded_before_anything_is_decoded() {
    let long = json!({"pad": "x".repeat(7000)});
    assert_eq!(error(&Signer::new().sign(&header(), &long)), JwsError::TooLong);
    assert_eq!(error(&format!("{}.{}.{}", b64("a"), "!".repeat(9000), b64("c"))), JwsError::TooLong);
}

#[test]
fn a_profile_decides_whether_the_type_may_be_absent() {
    let untyped = Signer::new().sign(&json!({"alg": "ES256"}), &claims());
    assert_eq!(error(&untyped), JwsError::WrongType);
    let lenient = Profile { is_type_optional: true, ..PROFILE };
    assert!(Unverified::parse(&untyped, &lenient).is_ok());
    // Absent is one thing, another type is another.
    let other = Signer::new().sign(&json!({"alg": "ES256", "typ": "JWT"}), &claims());
    assert_eq!(Unverified::parse(&other, &lenient).unwrap_err(), JwsError::WrongType);
}
