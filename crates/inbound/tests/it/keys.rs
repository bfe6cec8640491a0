use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
        RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
    },
};
use serde_json::{Value, json};
use vestibule_inbound::jws::{Algorithm, Key, KeyError, Profile, Unverified};

use crate::support::{Signer, b64};

const ANY: Profile = Profile { types: &[], is_type_optional: true, algorithms: Algorithm::ALL };

fn jws(alg: &str, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> String {
    let input = format!("{}.{}", b64(json!({"alg": alg}).to_string()), b64("{}"));
    let signature = b64(sign(input.as_bytes()));
    format!("{input}.{signature}")
}

fn is_signed(token: &str, jwk: &Value) -> bool {
    Unverified::parse(token, &ANY).unwrap().verify(&Key::from_jwk(jwk).unwrap()).is_ok()
}

fn rsa_jws(alg: &str, pair: &RsaKeyPair, encoding: &'static dyn RsaEncoding) -> String {
    jws(alg, |message| {
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(encoding, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    })
}

#[test]
fn every_algorithm_on_the_list_verifies_with_a_key_that_fits() {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let (n, e) = (pair.public_key().modulus(), pair.public_key().exponent());
    let rsa = json!({"kty": "RSA",
        "n": b64(n.big_endian_without_leading_zero()), "e": b64(e.big_endian_without_leading_zero())});
    let rs256 = rsa_jws("RS256", &pair, &RSA_PKCS1_SHA256);
    let ps256 = rsa_jws("PS256", &pair, &RSA_PSS_SHA256);
    assert!(is_signed(&rs256, &rsa));
    assert!(is_signed(&ps256, &rsa));

    let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(48);
    let p384 = json!({"kty": "EC", "crv": "P-384", "x": b64(x), "y": b64(y)});
    let es384 = jws("ES384", |message| pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec());
    assert!(is_signed(&es384, &p384));

    let pair = Ed25519KeyPair::generate().unwrap();
    let ed25519 = json!({"kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key())});
    assert!(is_signed(&jws("EdDSA", |message| pair.sign(message).as_ref().to_vec()), &ed25519));

    // The key decides too: no token is verified with a key of another algorithm.
    assert!(!is_signed(&rs256, &p384));
    assert!(!is_signed(&rs256, &ed25519));
    assert!(!is_signed(&es384, &rsa));
    let mut pinned = rsa;
    pinned["alg"] = json!("PS256");
    assert!(!is_signed(&rs256, &pinned));
    assert!(is_signed(&ps256, &pinned));
}

#[test]
fn a_private_or_symmetric_key_is_never_taken() {
    let mut private = Signer::new().jwk;
    private["d"] = json!(b64([1; 32]));
    assert_eq!(Key::from_jwk(&private).unwrap_err(), KeyError::Private);
    assert_eq!(Key::from_jwk(&json!({"kty": "oct", "k": b64("secret")})).unwrap_err(), KeyError::Private);
}

#[test]
fn a_key_that_cannot_verify_our_algorithms_is_not_taken() {
    let good = Signer::new().jwk;
    let with = |name: &str, value: Value| {
        let mut jwk = good.clone();
        jwk[name] = value;
        Key::from_jwk(&jwk).map(|_| ())
    };
    assert_eq!(with("use", json!("sig")), Ok(()));
    assert_eq!(with("key_ops", json!(["verify"])), Ok(()));
    assert_eq!(with("use", json!("enc")), Err(KeyError::Unsupported));
    assert_eq!(with("key_ops", json!(["deriveKey"])), Err(KeyError::Unsupported));
    assert_eq!(with("alg", json!("RS256")), Err(KeyError::Unsupported));
    assert_eq!(with("alg", json!("HS256")), Err(KeyError::Unsupported));
    assert_eq!(with("crv", json!("P-521")), Err(KeyError::Unsupported));
    assert_eq!(with("kty", json!("RSA")), Err(KeyError::Unsupported));
    assert_eq!(with("x", json!(b64([1; 31]))), Err(KeyError::Malformed));
    assert_eq!(with("y", json!("not base64!")), Err(KeyError::Malformed));
    assert_eq!(Key::from_jwk(&json!("key")).map(|_| ()), Err(KeyError::Malformed));
}

#[test]
fn an_rsa_key_is_neither_weak_nor_expensive() {
    for (bytes, verdict) in
        [(255, Err(KeyError::RsaSize)), (256, Ok(())), (1024, Ok(())), (1025, Err(KeyError::RsaSize))]
    {
        let jwk = json!({"kty": "RSA", "n": b64(vec![0xff; bytes]), "e": "AQAB"});
        assert_eq!(Key::from_jwk(&jwk).map(|_| ()), verdict, "{bytes} bytes");
    }
    let padded = json!({"kty": "RSA", "n": b64([vec![0], vec![0xff; 256]].concat()), "e": "AQAB"});
    assert_eq!(Key::from_jwk(&padded).map(|_| ()), Err(KeyError::RsaSize));
}

#[test]
fn a_thumbprint_is_over_the_required_members_and_no_others() {
    // RFC 7638 §3.1.
    let rsa = json!({
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
    });
    let thumbprint = |jwk: &Value| Key::from_jwk(jwk).unwrap().thumbprint().to_string();
    assert_eq!(thumbprint(&rsa), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    // RFC 8037 appendix A.3.
    let okp = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    assert_eq!(thumbprint(&okp), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    // RFC 9449 §4.1 and §6.1.
    let ec = json!({
        "use": "sig", "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA", "crv": "P-256", "kty": "EC",
        "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
    });
    assert_eq!(thumbprint(&ec), "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
}

#[test]
fn one_key_has_one_spelling_and_so_one_thumbprint() {
    let n = b64([0xff; 256]);
    let with = |e: &str| Key::from_jwk(&json!({"kty": "RSA", "n": n, "e": e})).map(|_| ());
    assert_eq!(with("AQAB"), Ok(()));
    for padded in ["AAEAAQ", "", "AQAB=", "AA"] {
        assert_eq!(with(padded), Err(KeyError::Malformed), "{padded}");
    }
    let x = Signer::new().jwk["x"].as_str().unwrap().to_owned();
    let (body, last) = x.split_at(42);
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = alphabet.find(last).unwrap();
    let mut jwk = Signer::new().jwk;
    jwk["x"] = json!(format!("{body}{}", &alphabet[at + 1..at + 2]));
    assert_eq!(Key::from_jwk(&jwk).unwrap_err(), KeyError::Malformed);
}
