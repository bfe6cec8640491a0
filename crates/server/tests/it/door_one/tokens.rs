//! Tokens that are not ours, or not for this.

use aws_lc_rs::hmac;
use serde_json::{Value, json};
use vestibule_testkit::AgentKey;

use super::{
    Door, list,
    mint::{Mint, replace},
};

#[tokio::test]
async fn a_token_whose_form_or_signature_is_not_ours_is_refused() {
    let mut door = Door::new().await;
    let token = door.token.clone();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (header, claims) = signed.split_once('.').unwrap();
    let swapped = if signature.starts_with('A') { "B" } else { "A" };
    let other_claims = door.other.split('.').nth(1).unwrap().to_owned();
    for (what, forged) in [
        ("no token at all", "garbage".to_owned()),
        ("two parts", signed.to_owned()),
        ("five parts, as an encrypted token", format!("{token}.a.b")),
        ("cut short", token[..token.len() - 8].to_owned()),
        ("a signature with another first character", format!("{signed}.{swapped}{}", &signature[1..])),
        ("no signature", format!("{signed}.")),
        ("the claims of another token", format!("{header}.{other_claims}.{signature}")),
        ("padding", format!("{token}=")),
        ("a longer second spelling", format!("{header}.{claims}=.{signature}")),
        ("more than 8 KiB", format!("{}{}", "A".repeat(8_000), &token[..200])),
    ] {
        door.refuses_token(what, &forged, "token-invalid").await;
    }
}

#[tokio::test]
async fn each_header_and_claim_of_a_signed_token_must_be_the_right_one() {
    let mut door = Door::new().await;
    let mint = Mint::of(&door.gateway, &door.token).await;
    let now = mint.claims["iat"].as_i64().unwrap();
    let web = door.gateway.resource("web");
    let other = door.other.clone();
    door.refuses_token("for another application", &other, "token-wrong-audience").await;
    for (what, forged, code) in [
        ("an ID token", mint.header("typ", json!("JWT")), "token-wrong-type"),
        ("no type", mint.header("typ", Value::Null), "token-wrong-type"),
        ("a proof of possession", mint.header("typ", json!("dpop+jwt")), "token-wrong-type"),
        ("an unknown key", mint.header("kid", json!("unknown")), "token-key-unknown"),
        ("no key", mint.header("kid", Value::Null), "token-key-unknown"),
        ("an extension", mint.header("crit", json!(["exp"])), "token-invalid"),
        (
            "for two applications",
            mint.claim("aud", json!([web, "https://b.example"])),
            "token-wrong-audience",
        ),
        ("for nobody", mint.claim("aud", Value::Null), "token-wrong-audience"),
        ("for a longer name", mint.claim("aud", json!(format!("{web}/"))), "token-wrong-audience"),
        ("another issuer", mint.claim("iss", json!("https://evil.example")), "token-wrong-issuer"),
        ("expired", mint.claim("exp", json!(now - 1)), "token-expired"),
        ("without an end", mint.claim("exp", Value::Null), "token-invalid"),
        ("issued in the future", mint.claim("iat", json!(now + 600)), "token-not-yet-valid"),
        ("not before later", mint.claim("nbf", json!(now + 600)), "token-not-yet-valid"),
        ("bound to a key", mint.claim("cnf", json!({ "jkt": "x" })), "token-invalid"),
        ("issued to another client", mint.claim("client_id", json!("b")), "token-invalid"),
        ("without its delegation", mint.claim("vst", Value::Null), "token-invalid"),
    ] {
        door.refuses_token(what, &forged, code).await;
    }
    let unregistered = mint.with(|_, claims| {
        replace(claims, "sub", json!("ghost"));
        replace(claims, "client_id", json!("ghost"));
    });
    door.refuses_token("an agent that is not registered", &unregistered, "agent-unknown").await;
    assert_eq!(list(&web, &mint.with(|_, _| {})).await.status, 200, "the forger is not at fault");
}

#[tokio::test]
async fn neither_the_algorithm_nor_the_key_is_the_tokens_to_choose() {
    let mut door = Door::new().await;
    let mint = Mint::of(&door.gateway, &door.token).await;
    let secret = hmac::Key::new(hmac::HMAC_SHA256, mint.key.jwk().to_string().as_bytes());
    let mac = |input: &str| hmac::sign(&secret, input.as_bytes()).as_ref().to_vec();
    door.refuses_token("no signature", &mint.signed("none", |_| Vec::new()), "token-invalid").await;
    for (what, forged) in [
        ("no algorithm", mint.signed("none", |_| vec![0; 64])),
        ("no algorithm, in another case", mint.signed("None", |_| vec![0; 64])),
        ("a MAC by the public key", mint.signed("HS256", mac)),
        ("an algorithm of clients", mint.signed("RS256", |_| vec![0; 256])),
    ] {
        door.refuses_token(what, &forged, "token-algorithm-refused").await;
    }
    let stranger = AgentKey::generate("stranger");
    let carried = |header: &mut Value, _: &mut Value| {
        replace(header, "jwk", stranger.jwk());
        replace(header, "kid", json!("stranger"));
    };
    let ours = mint.by(&stranger, |_, _| {});
    door.refuses_token("a stranger's signature under our key's name", &ours, "token-invalid").await;
    let own = mint.by(&stranger, carried);
    door.refuses_token("a stranger's key that travels in the token", &own, "token-key-unknown").await;
}

#[tokio::test]
async fn a_token_of_another_gateway_opens_nothing_here() {
    let mut door = Door::new().await;
    let elsewhere = Door::new().await;
    door.refuses_token("the same agent, registered elsewhere", &elsewhere.token, "token-key-unknown").await;
    assert_eq!(list(&elsewhere.gateway.resource("web"), &elsewhere.token).await.status, 200);
}
