//! Proofs of possession (RFC 9449 §4.3) and everything an attacker would change about one.

use std::{sync::Arc, time::Duration};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use vestibule_inbound::{
    dpop::{ALGORITHMS, Expected, Flaw, Mismatch, Proof, ProofError, Proofs},
    jws::{Algorithm, JwsError, Key, KeyError, Profile, Unverified},
};
use vestibule_model::{Denial, Digest, FixedClock, SeededEntropy, Timestamp};

use crate::support::{NOW, RESOURCE, Signer, b64, changed, dpop_claims, dpop_header};

const TOKEN: &str = "the-token";

/// Where proofs are presented, and somebody with a key.
struct Desk {
    clock: Arc<FixedClock>,
    proofs: Arc<Proofs>,
    holder: Signer,
}

impl Desk {
    fn new() -> Self {
        Self::at(NOW, |clock| Proofs::new(clock, &SeededEntropy::new(1)))
    }

    fn at(now: i64, proofs: impl FnOnce(Arc<FixedClock>) -> Arc<Proofs>) -> Self {
        let clock = Arc::new(FixedClock::at(Timestamp::from_seconds(now)));
        Self { proofs: proofs(Arc::clone(&clock)), clock, holder: Signer::new() }
    }

    fn claims(&self) -> Value {
        dpop_claims(&self.proofs, Some(TOKEN))
    }

    fn prove(&self, claims: &Value) -> String {
        self.holder.sign(&dpop_header(&self.holder), claims)
    }

    fn headers(&self, headers: &HeaderMap) -> Result<Option<Proof>, ProofError> {
        self.proofs.verify(headers, &Expected { method: "POST", url: RESOURCE, token: Some(TOKEN) })
    }

    fn verify(&self, proof: &str) -> Result<Proof, ProofError> {
        self.headers(&headers(&[proof])).map(Option::unwrap)
    }

    /// The verdict on a good proof with one claim replaced, or removed if `value` is null.
    fn with(&self, claim: &str, value: Value) -> Result<Proof, ProofError> {
        self.verify(&self.prove(&changed(self.claims(), &format!("/{claim}"), &value)))
    }

    /// The verdict on a good proof with one member of the header replaced, or removed if `value` is null.
    fn with_header(&self, name: &str, value: Value) -> Result<Proof, ProofError> {
        let header = changed(dpop_header(&self.holder), &format!("/{name}"), &value);
        self.verify(&self.holder.sign(&header, &self.claims()))
    }
}

fn headers(proofs: &[&str]) -> HeaderMap {
    let name = HeaderName::from_static("dpop");
    proofs.iter().map(|proof| (name.clone(), HeaderValue::from_str(proof).unwrap())).collect()
}

#[test]
fn a_good_proof_names_its_key() {
    let desk = Desk::new();
    let proof = desk.verify(&desk.prove(&desk.claims())).unwrap();
    assert_eq!(proof.key, desk.holder.key().thumbprint());
    assert!(!proof.is_nonce_old);
    // RFC 9449 §4.2: there may be other claims.
    assert!(desk.with("custom", json!({"a": 1})).is_ok());
}

#[test]
fn no_header_is_no_proof_and_two_headers_are_none_either() {
    let desk = Desk::new();
    assert_eq!(desk.headers(&HeaderMap::new()), Ok(None));
    let (a, b) = (desk.prove(&desk.claims()), desk.prove(&desk.claims()));
    assert_eq!(desk.headers(&headers(&[&a, &b])), Err(ProofError::Malformed(Flaw::Repeated)));
    assert_eq!(desk.headers(&headers(&[&a, &a])), Err(ProofError::Malformed(Flaw::Repeated)));
    let joined = format!("{a}, {b}");
    assert_eq!(desk.verify(&joined), Err(ProofError::Malformed(Flaw::Jws(JwsError::Malformed))));
    // None of it was used up.
    assert!(desk.verify(&a).is_ok());
}

#[test]
fn what_is_not_a_jws_or_too_long_is_refused() {
    let desk = Desk::new();
    for text in ["", "x", "a.b.c", "..", "Bearer x"] {
        assert!(matches!(desk.verify(text), Err(ProofError::Malformed(Flaw::Jws(_)))), "{text}");
    }
    let long = "x".repeat(9000);
    assert_eq!(desk.verify(&long), Err(ProofError::Malformed(Flaw::Jws(JwsError::TooLong))));
    assert_eq!(
        desk.with("pad", json!("x".repeat(6000))),
        Err(ProofError::Malformed(Flaw::Jws(JwsError::TooLong)))
    );
    let mut bytes = HeaderMap::new();
    bytes.insert("dpop", HeaderValue::from_bytes(b"\xe4").unwrap());
    assert_eq!(desk.headers(&bytes), Err(ProofError::Malformed(Flaw::NotText)));
}

#[test]
fn another_type_of_token_is_no_proof() {
    let desk = Desk::new();
    let wrong = Err(ProofError::Malformed(Flaw::Jws(JwsError::WrongType)));
    for typ in ["JWT", "at+jwt", "vst-actor+jwt", "vst-call+jwt", "dpop", ""] {
        assert_eq!(desk.with_header("typ", json!(typ)), wrong, "{typ}");
    }
    assert_eq!(desk.with_header("typ", Value::Null), wrong);
    assert!(desk.with_header("typ", json!("application/dpop+jwt")).is_ok());
}

#[test]
fn only_asymmetric_algorithms_that_fit_the_key_are_taken() {
    let desk = Desk::new();
    let refused = Err(ProofError::Malformed(Flaw::Jws(JwsError::AlgorithmRefused)));
    for alg in ["none", "None", "HS256", "HS512", "ES256K", "ES512", ""] {
        assert_eq!(desk.with_header("alg", json!(alg)), refused, "{alg}");
    }
    assert_eq!(desk.with_header("alg", Value::Null), refused);
    for alg in ["ES384", "RS256", "EdDSA"] {
        assert_eq!(desk.with_header("alg", json!(alg)), Err(ProofError::Wrong(Mismatch::Signature)), "{alg}");
    }
    // The classic: a MAC, with the public key that everybody has as its secret.
    let header = changed(dpop_header(&desk.holder), "/alg", &json!("HS256"));
    let input = format!("{}.{}", b64(header.to_string()), b64(desk.claims().to_string()));
    let secret = jsonwebtoken::EncodingKey::from_secret(desk.holder.jwk.to_string().as_bytes());
    let mac = jsonwebtoken::crypto::sign(input.as_bytes(), &secret, jsonwebtoken::Algorithm::HS256).unwrap();
    assert_eq!(desk.verify(&format!("{input}.{mac}")), refused);
    let names: Vec<_> = ALGORITHMS.iter().map(|algorithm| algorithm.name()).collect();
    assert_eq!(names, ["ES256", "ES384", "EdDSA", "PS256", "RS256"]);
}

#[test]
fn a_proof_by_an_ed25519_key_is_taken() {
    let desk = Desk::new();
    let pair = Ed25519KeyPair::generate().unwrap();
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key())});
    // RFC 9864 §2.2: two names for one algorithm.
    for (number, alg) in ["EdDSA", "Ed25519"].into_iter().enumerate() {
        let header = json!({"typ": "dpop+jwt", "alg": alg, "jwk": jwk});
        let mut claims = desk.claims();
        claims["jti"] = json!(format!("proof-{number}-by-ed25519"));
        let input = format!("{}.{}", b64(header.to_string()), b64(claims.to_string()));
        let proof = desk.verify(&format!("{input}.{}", b64(pair.sign(input.as_bytes())))).unwrap();
        assert_eq!(proof.key, Key::from_jwk(&jwk).unwrap().thumbprint());
    }
}

#[test]
fn an_extension_that_must_be_understood_is_refused() {
    let critical = Err(ProofError::Malformed(Flaw::Jws(JwsError::Critical)));
    assert_eq!(Desk::new().with_header("crit", json!(["exp"])), critical);
}

#[test]
fn the_key_is_there_and_public() {
    let desk = Desk::new();
    assert_eq!(desk.with_header("jwk", Value::Null), Err(ProofError::Malformed(Flaw::NoKey)));
    let key = |key| Err(ProofError::Malformed(Flaw::Key(key)));
    let private = changed(desk.holder.jwk.clone(), "/d", &json!(b64([1; 32])));
    assert_eq!(desk.with_header("jwk", private), key(KeyError::Private));
    let symmetric = json!({"kty": "oct", "k": b64("secret")});
    assert_eq!(desk.with_header("jwk", symmetric), key(KeyError::Private));
    assert_eq!(desk.with_header("jwk", json!("key")), key(KeyError::Malformed));
    let for_encryption = changed(desk.holder.jwk.clone(), "/use", &json!("enc"));
    assert_eq!(desk.with_header("jwk", for_encryption), key(KeyError::Unsupported));
}

#[test]
fn the_signature_is_by_the_key_that_the_proof_carries() {
    let desk = Desk::new();
    let wrong = Err(ProofError::Wrong(Mismatch::Signature));
    let stranger = Signer::new();
    let claims = desk.claims();
    assert_eq!(desk.verify(&stranger.sign(&dpop_header(&desk.holder), &claims)), wrong);
    // Also when the key is one that was seen before.
    let good = desk.prove(&claims);
    assert!(desk.verify(&good).is_ok());
    assert_eq!(desk.verify(&stranger.sign(&dpop_header(&desk.holder), &desk.claims())), wrong);
    let (input, _) = good.rsplit_once('.').unwrap();
    assert_eq!(desk.verify(&format!("{input}.{}", b64([1; 64]))), wrong);
}

#[test]
fn every_required_claim_is_there_and_of_its_type() {
    let desk = Desk::new();
    for claim in ["jti", "htm", "htu", "iat", "ath"] {
        let flaw = Err(ProofError::Malformed(Flaw::Claim(claim)));
        assert_eq!(desk.with(claim, Value::Null), flaw, "without {claim}");
        assert_eq!(desk.with(claim, json!([1])), flaw, "{claim} as an array");
    }
    assert_eq!(desk.with("nonce", json!(1)), Err(ProofError::Malformed(Flaw::Claim("nonce"))));
}

#[test]
fn the_jti_is_neither_empty_nor_long() {
    let desk = Desk::new();
    let flaw = Err(ProofError::Malformed(Flaw::Claim("jti")));
    assert_eq!(desk.with("jti", json!("")), flaw);
    assert_eq!(desk.with("jti", json!("x".repeat(257))), flaw);
    assert!(desk.with("jti", json!("x".repeat(256))).is_ok());
}

#[test]
fn the_method_is_exactly_that_of_the_request() {
    let desk = Desk::new();
    for method in ["GET", "post", "POST ", ""] {
        assert_eq!(desk.with("htm", json!(method)), Err(ProofError::Wrong(Mismatch::Method)), "{method}");
    }
}

#[test]
fn the_url_is_that_of_the_request_but_for_its_spelling_and_its_query() {
    let desk = Desk::new();
    for url in [
        "HTTPS://GW.Test:443/apps/sandbox/mcp",
        "https://gw.test/apps/sandbox/mcp?x=1#y",
        "https://gw.test/apps/%73andbox/mcp",
    ] {
        assert!(desk.with("htu", json!(url)).is_ok(), "{url}");
    }
    for url in [
        "https://gw.test/apps/other/mcp",
        "https://gw.test/apps/sandbox/mcp/",
        "https://gw.test/apps/SANDBOX/mcp",
        "https://other.test/apps/sandbox/mcp",
        "http://gw.test/apps/sandbox/mcp",
        "https://gw.test:8443/apps/sandbox/mcp",
        "/apps/sandbox/mcp",
        "",
    ] {
        assert_eq!(desk.with("htu", json!(url)), Err(ProofError::Wrong(Mismatch::Url)), "{url}");
    }
}

#[test]
fn the_token_is_the_one_that_came_with_it() {
    let desk = Desk::new();
    let wrong = Err(ProofError::Wrong(Mismatch::Token));
    let hash = |text: &str| b64(Digest::of(text.as_bytes()).bytes());
    assert_eq!(desk.with("ath", json!(hash("another-token"))), wrong);
    assert_eq!(desk.with("ath", json!(format!("{}=", hash(TOKEN)))), wrong);
    assert_eq!(desk.with("ath", json!(TOKEN)), wrong);
    // Where no token is expected, none has to be named.
    let expected = Expected { method: "POST", url: RESOURCE, token: None };
    let bare = desk.prove(&dpop_claims(&desk.proofs, None));
    assert!(desk.proofs.verify(&headers(&[&bare]), &expected).is_ok());
}

#[test]
fn the_proof_was_made_about_now() {
    let desk = Desk::new();
    for (iat, verdict) in [
        (NOW - 301, Err(ProofError::Wrong(Mismatch::Time))),
        (NOW - 300, Ok(())),
        (NOW + 300, Ok(())),
        (NOW + 301, Err(ProofError::Wrong(Mismatch::Time))),
        (i64::MIN, Err(ProofError::Wrong(Mismatch::Time))),
        (i64::MAX, Err(ProofError::Wrong(Mismatch::Time))),
    ] {
        assert_eq!(desk.with("iat", json!(iat)).map(|_| ()), verdict, "{iat}");
    }
    assert_eq!(desk.with("iat", json!(1.5)), Err(ProofError::Malformed(Flaw::Claim("iat"))));
}

#[test]
fn a_nonce_of_this_process_is_needed() {
    let desk = Desk::new();
    let needed = Err(ProofError::NonceNeeded);
    assert_eq!(desk.with("nonce", Value::Null), needed);
    let own = desk.proofs.nonce();
    let foreign = Proofs::new(Arc::<FixedClock>::clone(&desk.clock), &SeededEntropy::new(2)).nonce();
    assert_ne!(own, foreign);
    // RFC 9449 §8 has the last of these.
    for nonce in ["", "x", &foreign, &own[..53], &format!("{own}A"), "eyJ7S_zG.eyJH0-Z.HX4w-7v"] {
        assert_eq!(desk.with("nonce", json!(nonce)), needed, "{nonce}");
    }
    // Another epoch under the MAC of this one.
    let mut bytes = [vec![0; 7], vec![1], vec![0; 32]].concat();
    assert_eq!(desk.with("nonce", json!(b64(&bytes))), needed);
    bytes[7] = 0;
    assert_eq!(desk.with("nonce", json!(b64(&bytes))), needed);
    assert!(desk.with("nonce", json!(own)).is_ok());
}

#[test]
fn a_nonce_is_good_in_its_epoch_and_the_next_and_never_again() {
    let desk = Desk::new();
    let nonce = desk.proofs.nonce();
    let verdict = || {
        let claims = changed(desk.claims(), "/nonce", &json!(nonce));
        desk.verify(&desk.prove(&claims)).map(|proof| proof.is_nonce_old)
    };
    assert_eq!(verdict(), Ok(false));
    desk.clock.advance(Duration::from_millis(59_999));
    assert_eq!((verdict(), desk.proofs.nonce() == nonce), (Ok(false), true));
    desk.clock.advance(Duration::from_millis(1));
    assert_eq!((verdict(), desk.proofs.nonce() == nonce), (Ok(true), false));
    desk.clock.advance(Duration::from_millis(59_999));
    assert_eq!(verdict(), Ok(true));
    desk.clock.advance(Duration::from_millis(1));
    assert_eq!(verdict(), Err(ProofError::NonceNeeded));
}

#[test]
fn what_another_nonce_would_not_mend_is_not_answered_with_one() {
    let desk = Desk::new();
    let claims = changed(desk.claims(), "/nonce", &Value::Null);
    let claims = changed(claims, "/htm", &json!("GET"));
    assert_eq!(desk.verify(&desk.prove(&claims)), Err(ProofError::Wrong(Mismatch::Method)));
}

#[test]
fn a_proof_is_good_once_as_long_as_its_nonce_is() {
    let desk = Desk::new();
    let proof = desk.prove(&desk.claims());
    assert!(desk.verify(&proof).is_ok());
    for _ in 0..2 {
        assert_eq!(desk.verify(&proof), Err(ProofError::Replayed));
        desk.clock.advance(Duration::from_secs(59));
    }
    assert_eq!(desk.verify(&proof), Err(ProofError::Replayed));
    desk.clock.advance(Duration::from_secs(2));
    assert_eq!(desk.verify(&proof), Err(ProofError::NonceNeeded));
}

#[test]
fn the_same_claims_signed_again_are_the_same_proof() {
    let desk = Desk::new();
    let claims = desk.claims();
    assert!(desk.verify(&desk.prove(&claims)).is_ok());
    // ES256 signs differently each time; the header may be spelled differently too.
    assert_eq!(desk.verify(&desk.prove(&claims)), Err(ProofError::Replayed));
    let header = changed(dpop_header(&desk.holder), "/kid", &json!("other"));
    assert_eq!(desk.verify(&desk.holder.sign(&header, &claims)), Err(ProofError::Replayed));
}

#[test]
fn a_proof_that_is_refused_is_not_used_up() {
    let desk = Desk::new();
    let proof = desk.prove(&desk.claims());
    let elsewhere = |method, url, token| {
        desk.proofs.verify(&headers(&[&proof]), &Expected { method, url, token: Some(token) })
    };
    assert!(elsewhere("GET", RESOURCE, TOKEN).is_err());
    assert!(elsewhere("POST", "https://gw.test/mcp", TOKEN).is_err());
    assert!(elsewhere("POST", RESOURCE, "another-token").is_err());
    assert!(elsewhere("POST", RESOURCE, TOKEN).is_ok());
}

#[test]
fn nobody_can_use_up_the_jti_of_another_key() {
    let desk = Desk::new();
    let claims = desk.claims();
    let stranger = Signer::new();
    // With the victim's key in the header and no way to sign; then with a key of their own.
    assert!(desk.verify(&stranger.sign(&dpop_header(&desk.holder), &claims)).is_err());
    assert!(desk.verify(&stranger.sign(&dpop_header(&stranger), &claims)).is_ok());
    assert!(desk.verify(&desk.prove(&claims)).is_ok());
}

#[test]
fn more_proofs_than_can_be_remembered_are_refused_until_there_is_room() {
    let desk = Desk::at(NOW, |clock| Proofs::for_test(clock, &SeededEntropy::new(1), 2, 2));
    let verdict = || desk.verify(&desk.prove(&desk.claims())).map(|_| ());
    assert_eq!([verdict(), verdict(), verdict()], [Ok(()), Ok(()), Err(ProofError::Exceeded)]);
    desk.clock.advance(Duration::from_secs(60));
    assert_eq!([verdict(), verdict(), verdict()], [Ok(()), Ok(()), Err(ProofError::Exceeded)]);
    desk.clock.advance(Duration::from_secs(60));
    assert_eq!(verdict(), Ok(()));
}

#[test]
fn one_key_cannot_use_up_the_memory_of_all() {
    let desk = Desk::at(NOW, |clock| Proofs::for_test(clock, &SeededEntropy::new(1), 4, 2));
    let other = Signer::new();
    let by = |signer: &Signer| desk.verify(&signer.sign(&dpop_header(signer), &desk.claims())).map(|_| ());
    let exceeded = || Err(ProofError::Exceeded);
    let hostile: Vec<_> = (0..8).map(|_| by(&desk.holder)).collect();
    assert_eq!(
        (&hostile[..2], hostile[2..].iter().all(|verdict| *verdict == exceeded())),
        (&[Ok(()), Ok(())][..], true)
    );
    assert_eq!([by(&other), by(&other), by(&other)], [Ok(()), Ok(()), exceeded()]);
    desk.clock.advance(Duration::from_secs(60));
    assert_eq!(by(&desk.holder), Ok(()));
}

#[test]
fn each_error_is_answered_in_its_way() {
    for (error, denial) in [
        (ProofError::Malformed(Flaw::Repeated), Denial::ProofInvalid),
        (ProofError::Wrong(Mismatch::Url), Denial::ProofInvalid),
        (ProofError::WrongKey, Denial::ProofWrongKey),
        (ProofError::NonceNeeded, Denial::ProofNonceNeeded),
        (ProofError::Replayed, Denial::ProofReplayed),
        (ProofError::Exceeded, Denial::ProofsExceeded),
    ] {
        assert_eq!(error.denial(), denial, "{error}");
    }
}

#[test]
fn neither_secret_nor_token_is_in_debug_output() {
    let desk = Desk::new();
    let expected = Expected { method: "POST", url: RESOURCE, token: Some(TOKEN) };
    let shown = format!("{expected:?}{:?}", desk.proofs);
    assert!(
        shown.contains(RESOURCE) && !shown.contains(TOKEN) && !shown.contains(&desk.proofs.nonce()),
        "{shown}"
    );
}

const EXAMPLE_HEADER: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19";
/// RFC 9449 §4.1, figure 2.
const EXAMPLE: &str = "eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";
/// RFC 9449 §7.1, figure 12.
const EXAMPLE_WITH_TOKEN: &str = "eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA";

#[test]
fn the_examples_of_rfc_9449_are_good_but_for_the_nonce_that_they_lack() {
    let desk = Desk::at(1_562_262_616, |clock| Proofs::new(clock, &SeededEntropy::new(1)));
    let verdict = |proof: &str, method, url, token| {
        let proof = format!("{EXAMPLE_HEADER}.{proof}");
        desk.proofs.verify(&headers(&[&proof]), &Expected { method, url, token })
    };
    // Everything but the signature is judged before the nonce.
    assert_eq!(
        verdict(EXAMPLE, "POST", "https://server.example.com/token", None),
        Err(ProofError::NonceNeeded)
    );
    let (url, token) =
        ("https://resource.example.org/protectedresource", "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU");
    assert_eq!(verdict(EXAMPLE_WITH_TOKEN, "GET", url, Some(token)), Err(ProofError::NonceNeeded));
    assert_eq!(verdict(EXAMPLE_WITH_TOKEN, "GET", url, Some("x")), Err(ProofError::Wrong(Mismatch::Token)));

    for proof in [EXAMPLE, EXAMPLE_WITH_TOKEN] {
        let text = format!("{EXAMPLE_HEADER}.{proof}");
        let profile =
            Profile { types: &["dpop+jwt"], is_type_optional: false, algorithms: &[Algorithm::Es256] };
        let jws = Unverified::parse(&text, &profile).unwrap();
        let key = Key::from_json(jws.header().get("jwk").unwrap()).unwrap();
        assert!(jws.verify(&key).is_ok());
        // RFC 9449 §6.1, figure 9.
        assert_eq!(key.thumbprint().to_string(), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
    }
}
