//! One kind of token presented as another, everywhere.

use serde_json::json;
use vestibule_issuer::{NewAgent, Reason};
use vestibule_model::{AgentId, Denial};

use crate::{
    holder::{ACCESS_TOKEN, EXCHANGE, Holder, ID_TOKEN, JWT},
    support::{Ground, ISSUER, NOW, SANDBOX, Signer, World, basic, worker},
};

/// One token of every kind that an agent gets hold of here.
struct Tokens {
    world: World,
    secret: String,
    root: Holder,
    child: Signer,
    actor: String,
    call: String,
    proof: String,
    assertion: String,
    _ground: Ground,
}

impl Tokens {
    async fn new() -> Self {
        let ground = Ground::new();
        let world = World::on(&ground).await;
        let secret = world.add(worker()).await;
        let root = world.root(&secret, &[]).await;
        let child = Signer::new("child");
        let actor = child.actor_token(&child.actor_claims(&root.token, NOW));
        let caller = world.caller(&root);
        let life = std::time::Duration::from_secs(60);
        let worker = AgentId::new("worker").unwrap();
        let call = world.issuer.call_token(&caller, &worker, world.attempt(), life).unwrap();
        let call = secrecy::ExposeSecret::expose_secret(&call).to_owned();
        let proof = world.proof(&root.key, Some(&root.token))["dpop"].to_str().unwrap().to_owned();
        let jwks = Some(json!({"keys": [child.jwk]}));
        world.registry.add(NewAgent { id: "keyed".into(), jwks, ..NewAgent::default() }).await.unwrap();
        let claims = json!({"iss": "keyed", "sub": "keyed", "aud": ISSUER, "exp": NOW + 60, "jti": "1"});
        let assertion = child.sign(&json!({"alg": "ES256", "typ": "JWT"}), &claims);
        Self { world, secret, root, child, actor, call, proof, assertion, _ground: ground }
    }

    /// What the token endpoint says to `token` as a subject of that type, from a client with a proof.
    async fn as_subject(&self, token: &str, kind: &str) -> Reason {
        let headers = self.world.proven("worker", &self.secret, &self.root.key);
        let form = [
            ("grant_type", EXCHANGE),
            ("subject_token", token),
            ("subject_token_type", kind),
            ("resource", SANDBOX),
        ];
        self.world.token(&headers, &form).await.unwrap_err().reason
    }
}

#[tokio::test]
async fn no_token_is_a_subject_of_another_type() {
    let tokens = Tokens::new().await;
    for (token, kind, reason) in [
        // A hop token as the token of a human, and as the token about a call.
        (&tokens.root.token, ID_TOKEN, Reason::UserTokenWrongType),
        (&tokens.root.token, JWT, Reason::TokenWrongType),
        // The token about a call as a hop token: it says that we made it, and that is not enough.
        (&tokens.call, ACCESS_TOKEN, Reason::TokenWrongType),
        (&tokens.call, ID_TOKEN, Reason::UserTokenWrongType),
        // What a child signs.
        (&tokens.actor, ACCESS_TOKEN, Reason::UserTokenWrongType),
        (&tokens.actor, ID_TOKEN, Reason::UserTokenWrongType),
        (&tokens.actor, JWT, Reason::TokenWrongType),
        (&tokens.proof, ACCESS_TOKEN, Reason::UserTokenWrongType),
        (&tokens.proof, JWT, Reason::TokenWrongType),
        (&tokens.assertion, ACCESS_TOKEN, Reason::UserTokenIssuerUnknown),
        (&tokens.assertion, ID_TOKEN, Reason::UserTokenIssuerUnknown),
        (&tokens.assertion, JWT, Reason::TokenWrongType),
    ] {
        assert_eq!(tokens.as_subject(token, kind).await, reason, "{kind} {}", &token[..60]);
    }
}

#[tokio::test]
async fn no_token_is_an_actor_but_what_the_child_signed() {
    let tokens = Tokens::new().await;
    let other = tokens.world.root(&tokens.secret, &[]).await;
    for actor in [&tokens.root.token, &other.token, &tokens.call, &tokens.proof] {
        let error = tokens.world.spawn_with(&tokens.root, actor, &[]).await.unwrap_err();
        assert_eq!(error.reason, Reason::ActorTokenInvalid, "{}", &actor[..60]);
    }
}

#[tokio::test]
async fn subject_and_actor_cannot_change_places() {
    let tokens = Tokens::new().await;
    let headers = tokens.world.proof(&tokens.child, Some(&tokens.actor));
    let form = [("actor_token", tokens.root.token.as_str()), ("actor_token_type", JWT)];
    let error = tokens.world.exchange_with(&headers, &tokens.actor, &form).await.unwrap_err();
    assert_eq!(error.reason, Reason::ActorTokenUnexpected);
    let form = [("actor_token", tokens.root.token.as_str()), ("actor_token_type", ACCESS_TOKEN)];
    let error = tokens.world.exchange_with(&headers, &tokens.actor, &form).await.unwrap_err();
    assert_eq!(error.reason, Reason::ActorTypeUnsupported);
}

#[tokio::test]
async fn a_token_that_only_says_that_it_is_ours_is_not() {
    let tokens = Tokens::new().await;
    let forger = Signer::new("forger");
    let mut claims = crate::support::payload(&tokens.root.token);
    // A whole chain above it, whoever that may be.
    claims["act"] = json!({"iss": ISSUER, "sub": "worker", "act": {"iss": "https://other.test", "sub": "x"}});
    let kid = tokens.world.keys.status().signing.unwrap();
    for header in [
        json!({"typ": "at+jwt", "alg": "ES256", "kid": kid}),
        json!({"typ": "at+jwt", "alg": "ES256", "kid": kid, "jwk": forger.public()}),
    ] {
        let forged = forger.sign(&header, &claims);
        assert_eq!(tokens.as_subject(&forged, ACCESS_TOKEN).await, Reason::TokenInvalid);
    }
    let forged = forger.sign(&json!({"typ": "at+jwt", "alg": "ES256", "kid": "forger"}), &claims);
    assert_eq!(tokens.as_subject(&forged, ACCESS_TOKEN).await, Reason::TokenKeyUnknown);
    // Another issuer's token with actors of its own is no human's either.
    claims["iss"] = json!("https://other.test");
    let foreign = forger.sign(&json!({"typ": "at+jwt", "alg": "ES256"}), &claims);
    assert_eq!(tokens.as_subject(&foreign, ACCESS_TOKEN).await, Reason::UserTokenIssuerUnknown);
}

#[tokio::test]
async fn what_opens_nothing_at_the_token_endpoint_opens_no_door_either() {
    let tokens = Tokens::new().await;
    for token in [&tokens.call, &tokens.actor, &tokens.proof, &tokens.assertion] {
        for scheme in ["Bearer", "DPoP"] {
            let mut headers = tokens.world.proof_at(&tokens.root.key, SANDBOX, Some(token));
            headers.insert("authorization", format!("{scheme} {token}").parse().unwrap());
            assert_eq!(tokens.world.enter(&headers, SANDBOX).unwrap_err(), Denial::TokenWrongType);
        }
    }
}

#[tokio::test]
async fn no_token_is_a_client_authentication() {
    let tokens = Tokens::new().await;
    for token in [&tokens.root.token, &tokens.call, &tokens.actor, &tokens.proof] {
        let form = [
            ("grant_type", "client_credentials"),
            ("resource", SANDBOX),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", token.as_str()),
        ];
        let error = tokens.world.token(&http::HeaderMap::new(), &form).await.unwrap_err();
        assert_eq!((error.reason, error.status()), (Reason::AssertionInvalid, 401));
        let mut headers = http::HeaderMap::new();
        headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
        let form = [("grant_type", "client_credentials"), ("resource", SANDBOX)];
        let error = tokens.world.token(&headers, &form).await.unwrap_err();
        assert_eq!(error.reason, Reason::ClientMalformed);
    }
    let headers = basic("worker", &tokens.secret);
    assert!(
        tokens
            .world
            .token(&headers, &[("grant_type", "client_credentials"), ("resource", SANDBOX)])
            .await
            .is_ok()
    );
}

/// What is signed for applications, with claims that are those of a hop token to the letter.
fn signed_for_others(tokens: &Tokens, typ: &str) -> String {
    let claims = crate::support::payload(&tokens.root.token);
    let token = tokens.world.issuer.sign_for_others(typ, &claims).unwrap();
    secrecy::ExposeSecret::expose_secret(&token).to_owned()
}

#[tokio::test]
async fn what_is_signed_for_others_works_nowhere_here() {
    let tokens = Tokens::new().await;
    let typed = [
        Reason::UserTokenWrongType,
        Reason::UserTokenWrongType,
        Reason::ActorTokenInvalid,
        Reason::AssertionInvalid,
    ];
    // What everybody's tokens may say they are. But we are nobody's issuer of users, and no agent with a key.
    let untyped = [
        Reason::TokenWrongType,
        Reason::UserTokenIssuerUnknown,
        Reason::ActorUnknown,
        Reason::ClientMethodWrong,
    ];
    for (typ, [as_access, as_id, as_actor, as_client]) in
        [("vst-assertion+jwt", typed), ("txntoken+jwt", typed), ("JWT", untyped)]
    {
        let token = signed_for_others(&tokens, typ);
        assert_eq!(tokens.as_subject(&token, ACCESS_TOKEN).await, as_access, "{typ}");
        assert_eq!(tokens.as_subject(&token, ID_TOKEN).await, as_id, "{typ}");
        assert_eq!(tokens.as_subject(&token, JWT).await, Reason::TokenWrongType, "{typ}");
        let error = tokens.world.spawn_with(&tokens.root, &token, &[]).await.unwrap_err();
        assert_eq!(error.reason, as_actor, "{typ}");
        let form = [
            ("grant_type", "client_credentials"),
            ("resource", SANDBOX),
            ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
            ("client_assertion", token.as_str()),
        ];
        let error = tokens.world.token(&http::HeaderMap::new(), &form).await.unwrap_err();
        assert_eq!(error.reason, as_client, "{typ}");
        for scheme in ["Bearer", "DPoP"] {
            let mut headers = tokens.world.proof_at(&tokens.root.key, SANDBOX, Some(&token));
            headers.insert("authorization", format!("{scheme} {token}").parse().unwrap());
            assert_eq!(tokens.world.enter(&headers, SANDBOX).unwrap_err(), Denial::TokenWrongType, "{typ}");
        }
    }
}

#[tokio::test]
async fn what_opens_a_door_here_is_never_signed_for_others() {
    let tokens = Tokens::new().await;
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "vst-call+jwt", "Application/vst-call+jwt"] {
        let fault = tokens.world.issuer.sign_for_others(typ, &json!({})).unwrap_err();
        assert_eq!(fault.kind, vestibule_model::FaultKind::Internal, "{typ}");
    }
}
