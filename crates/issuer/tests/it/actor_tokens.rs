//! What a child signs to be spawned.

use serde_json::{Value, json};
use vestibule_issuer::{NewAgent, OAuthError, Reason};
use vestibule_model::Denial;
use vestibule_store::{Kind, Op, Put};

use crate::{
    holder::Holder,
    signer::hash,
    support::{Ground, ISSUER, NOW, Signer, TOKEN_ENDPOINT, World, b64, worker},
};

/// A parent that may spawn, and a key that wants to be its child.
struct Nursery {
    world: World,
    parent: Holder,
    child: Signer,
    _ground: Ground,
}

impl Nursery {
    async fn new() -> Self {
        let ground = Ground::new();
        let world = World::on(&ground).await;
        let secret = world.add(worker()).await;
        let parent = world.root(&secret, &[]).await;
        Self { world, parent, child: Signer::new("child"), _ground: ground }
    }

    fn claims(&self) -> Value {
        self.child.actor_claims(&self.parent.token, self.world.now())
    }

    fn with(&self, name: &str, value: Value) -> Value {
        let mut claims = self.claims();
        claims[name] = value;
        claims
    }

    fn without(&self, name: &str) -> Value {
        let mut claims = self.claims();
        claims.as_object_mut().unwrap().shift_remove(name);
        claims
    }

    async fn refused(&self, actor: &str) -> OAuthError {
        let error = self.world.spawn_with(&self.parent, actor, &[]).await.unwrap_err();
        assert_eq!(error.body()["error"], "invalid_request");
        assert_eq!(error.agent.as_ref().map(|agent| agent.as_str()), Some("worker"));
        error
    }

    /// An agent with the key of the child.
    async fn register(&self, id: &str) {
        let jwks = Some(json!({"keys": [self.child.jwk]}));
        self.world.registry.add(NewAgent { id: id.into(), jwks, ..NewAgent::default() }).await.unwrap();
    }
}

#[tokio::test]
async fn every_claim_is_checked_with_a_reason_of_its_own() {
    let nursery = Nursery::new().await;
    let other = Signer::new("other");
    for (claims, reason) in [
        (nursery.with("aud", json!(TOKEN_ENDPOINT)), Reason::ActorTokenWrongAudience),
        (nursery.with("aud", json!("https://other.test")), Reason::ActorTokenWrongAudience),
        (nursery.with("aud", json!([ISSUER, "https://other.test"])), Reason::ActorTokenWrongAudience),
        (nursery.without("aud"), Reason::ActorTokenWrongAudience),
        (nursery.with("iss", json!("worker")), Reason::ActorTokenWrongSubject),
        (nursery.without("iss"), Reason::ActorTokenWrongSubject),
        (nursery.without("sub"), Reason::ActorTokenWrongSubject),
        (nursery.with("sth", json!(hash("another token"))), Reason::ActorTokenOtherSubject),
        (nursery.with("sth", json!(nursery.parent.token)), Reason::ActorTokenOtherSubject),
        (nursery.without("sth"), Reason::ActorTokenOtherSubject),
        (nursery.with("exp", json!(NOW + 61)), Reason::ActorTokenTooLong),
        (nursery.with("iat", json!(NOW - 1)), Reason::ActorTokenTooLong),
        (nursery.without("exp"), Reason::ActorTokenInvalid),
        (nursery.without("iat"), Reason::ActorTokenInvalid),
        (nursery.with("iat", json!("now")), Reason::ActorTokenInvalid),
        (nursery.without("jti"), Reason::ActorTokenInvalid),
        (nursery.with("jti", json!("")), Reason::ActorTokenInvalid),
        (nursery.with("jti", json!("j".repeat(257))), Reason::ActorTokenInvalid),
        (nursery.without("cnf"), Reason::ActorTokenInvalid),
        (nursery.with("cnf", json!({"jkt": nursery.child.thumbprint()})), Reason::ActorTokenInvalid),
        // A key that did not sign.
        (nursery.with("cnf", json!({"jwk": other.public()})), Reason::ActorTokenInvalid),
    ] {
        let actor = nursery.child.actor_token(&claims);
        assert_eq!(nursery.refused(&actor).await.reason, reason, "{claims}");
    }
    // Nothing of it was used up.
    let actor = nursery.child.actor_token(&nursery.claims());
    assert!(nursery.world.spawn_with(&nursery.parent, &actor, &[]).await.is_ok());
}

#[tokio::test]
async fn its_time_is_a_minute_and_the_clocks_may_differ_by_half_of_one() {
    let nursery = Nursery::new().await;
    for (from, reason) in [
        (-89, None),
        (-90, Some(Reason::ActorTokenExpired)),
        (30, None),
        (31, Some(Reason::ActorTokenNotYetValid)),
    ] {
        let claims = nursery.child.actor_claims(&nursery.parent.token, NOW + from);
        let actor = nursery.child.actor_token(&claims);
        let answer = nursery.world.spawn_with(&nursery.parent, &actor, &[]).await;
        assert_eq!(answer.err().map(|error| error.reason), reason, "{from}");
    }
}

#[tokio::test]
async fn another_type_another_algorithm_or_a_private_key_is_refused() {
    let nursery = Nursery::new().await;
    let claims = nursery.claims();
    for header in [
        json!({"typ": "at+jwt", "alg": "ES256"}),
        json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": nursery.child.public()}),
        json!({"alg": "ES256"}),
        json!({"typ": "vst-actor+jwt", "alg": "none"}),
        json!({"typ": "vst-actor+jwt", "alg": "HS256"}),
        json!({"typ": "vst-actor+jwt", "alg": "RS256"}),
        json!({"typ": "vst-actor+jwt", "alg": "ES256", "crit": ["exp"]}),
    ] {
        let actor = nursery.child.sign(&header, &claims);
        assert_eq!(nursery.refused(&actor).await.reason, Reason::ActorTokenInvalid, "{header}");
    }
    let mut private = nursery.child.public();
    private["d"] = json!(b64([1; 32]));
    let actor = nursery.child.actor_token(&nursery.with("cnf", json!({"jwk": private})));
    assert_eq!(nursery.refused(&actor).await.reason, Reason::ActorTokenInvalid);
    let oct = json!({"kty": "oct", "k": b64([1; 32])});
    let actor = nursery.child.actor_token(&nursery.with("cnf", json!({"jwk": oct})));
    assert_eq!(nursery.refused(&actor).await.reason, Reason::ActorTokenInvalid);
    for text in ["", ".", "a.b.c", &"x".repeat(9000)] {
        let form = [("actor_token", text), ("actor_token_type", crate::holder::JWT)];
        let error = nursery.world.exchange(&nursery.parent, &form).await.unwrap_err();
        let expected = if text.is_empty() { Reason::ActorTokenIncomplete } else { Reason::ActorTokenInvalid };
        assert_eq!(error.reason, expected);
    }
}

#[tokio::test]
async fn it_is_used_once() {
    let nursery = Nursery::new().await;
    let claims = nursery.claims();
    let actor = nursery.child.actor_token(&claims);
    assert!(nursery.world.spawn_with(&nursery.parent, &actor, &[]).await.is_ok());
    assert_eq!(nursery.refused(&actor).await.reason, Reason::ActorTokenReplayed);
    // The identifier counts, not the bytes.
    let mut again = nursery.claims();
    again["jti"] = claims["jti"].clone();
    assert_eq!(nursery.refused(&nursery.child.actor_token(&again)).await.reason, Reason::ActorTokenReplayed);
    // To the end of the leeway, and under another parent's eyes too.
    nursery.world.clock.advance(std::time::Duration::from_millis(89_999));
    nursery.world.store.trim(vestibule_model::Clock::now(nursery.world.clock.as_ref()), 0).await.unwrap();
    assert_eq!(nursery.refused(&actor).await.reason, Reason::ActorTokenReplayed);
    nursery.world.clock.advance(std::time::Duration::from_millis(1));
    assert_eq!(nursery.refused(&actor).await.reason, Reason::ActorTokenExpired);
}

#[tokio::test]
async fn what_is_refused_for_anything_else_is_not_used_up() {
    let nursery = Nursery::new().await;
    let actor = nursery.child.actor_token(&nursery.claims());
    let refused = nursery.world.spawn_with(&nursery.parent, &actor, &[("scope", "admin")]).await;
    assert_eq!(refused.unwrap_err().reason, Reason::ScopeNotAllowed);
    assert!(nursery.world.spawn_with(&nursery.parent, &actor, &[]).await.is_ok());
}

#[tokio::test]
async fn a_child_has_none_of_the_keys_above_it() {
    let nursery = Nursery::new().await;
    let world = &nursery.world;
    // The parent under another name.
    let claims = nursery.parent.key.actor_claims(&nursery.parent.token, world.now());
    let actor = nursery.parent.key.actor_token(&claims);
    let error = nursery.refused(&actor).await;
    assert_eq!(error.reason, Reason::ActorKeyOfAncestor);
    // Further up.
    let child = world.spawn(&nursery.parent, &[]).await;
    let claims = nursery.parent.key.actor_claims(&child.token, world.now());
    let error = world.spawn_with(&child, &nursery.parent.key.actor_token(&claims), &[]).await.unwrap_err();
    assert_eq!(error.reason, Reason::ActorKeyOfAncestor);
    // Itself.
    let claims = child.key.actor_claims(&child.token, world.now());
    let error = world.spawn_with(&child, &child.key.actor_token(&claims), &[]).await.unwrap_err();
    assert_eq!(error.reason, Reason::ActorKeyOfAncestor);
}

#[tokio::test]
async fn a_key_that_an_agent_above_has_registered_is_no_childs() {
    let ground = Ground::new();
    let world = World::on(&ground).await;
    let (used, kept) = (Signer::new("used"), Signer::new("kept"));
    let jwks = Some(json!({"keys": [used.jwk, kept.jwk]}));
    world.registry.add(NewAgent { jwks, ..worker() }).await.unwrap();
    let claims = json!({"iss": "worker", "sub": "worker", "aud": ISSUER, "exp": NOW + 60, "jti": "1"});
    let assertion = used.sign(&json!({"alg": "ES256"}), &claims);
    let form = [
        ("grant_type", "client_credentials"),
        ("resource", crate::support::SANDBOX),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", assertion.as_str()),
    ];
    let dpop = Signer::new("dpop");
    let response = world.token(&world.proof(&dpop, None), &form).await.unwrap();
    let parent = Holder::of(dpop, &response);
    // The one it authenticated with stands on the path, the other one nowhere.
    for key in [&used, &kept] {
        let error = world.try_spawn(&parent, key, &[]).await.unwrap_err();
        assert_eq!(error.reason, Reason::ActorKeyOfAncestor);
    }
    let mut claims = kept.actor_claims(&parent.token, NOW);
    claims["iss"] = json!("worker");
    claims["sub"] = json!("worker");
    let error = world.spawn_with(&parent, &kept.actor_token(&claims), &[]).await.unwrap_err();
    assert_eq!(error.reason, Reason::ActorIsParent);
}

#[tokio::test]
async fn a_registered_agent_is_spawned_by_its_own_key() {
    let nursery = Nursery::new().await;
    nursery.register("clerk").await;
    let mut claims = nursery.claims();
    claims["iss"] = json!("clerk");
    claims["sub"] = json!("clerk");
    let actor = nursery.child.actor_token(&claims);
    let response = nursery.world.spawn_with(&nursery.parent, &actor, &[]).await.unwrap();
    let delegation = &response.minted.delegation;
    assert_eq!(delegation.agent().as_str(), "clerk");
    assert_eq!(delegation.keys(), [nursery.child.thumbprint()]);
    // Somebody else's key, a name without keys, and no name at all.
    nursery.world.add(NewAgent { id: "secretive".into(), ..worker() }).await;
    let stranger = Signer::new("stranger");
    for (key, name) in [(&stranger, "clerk"), (&stranger, "secretive"), (&stranger, "nobody")] {
        let mut claims = key.actor_claims(&nursery.parent.token, NOW);
        claims["iss"] = json!(name);
        claims["sub"] = json!(name);
        assert_eq!(nursery.refused(&key.actor_token(&claims)).await.reason, Reason::ActorUnknown, "{name}");
    }
    // The thumbprint of another key.
    let mut claims = stranger.actor_claims(&nursery.parent.token, NOW);
    claims["iss"] = json!(nursery.child.id());
    claims["sub"] = json!(nursery.child.id());
    let error = nursery.refused(&stranger.actor_token(&claims)).await;
    assert_eq!(error.reason, Reason::ActorTokenWrongSubject);
}

#[tokio::test]
async fn a_registered_agent_may_show_its_client_assertion_instead() {
    let nursery = Nursery::new().await;
    nursery.register("clerk").await;
    let assertion = |jti: &str, typ: &str| {
        let claims = json!({"iss": "clerk", "sub": "clerk", "aud": ISSUER, "exp": NOW + 60, "jti": jti});
        nursery.child.sign(&json!({"alg": "ES256", "typ": typ}), &claims)
    };
    for (number, typ) in ["JWT", "client-authentication+jwt"].into_iter().enumerate() {
        let actor = assertion(&number.to_string(), typ);
        let response = nursery.world.spawn_with(&nursery.parent, &actor, &[]).await.unwrap();
        assert_eq!(response.minted.delegation.agent().as_str(), "clerk");
        assert_eq!(response.minted.bound_to, Some(nursery.child.thumbprint()));
        assert_eq!(nursery.refused(&actor).await.reason, Reason::ActorTokenReplayed);
    }
    // What was its authentication is no actor token afterwards.
    let used = assertion("used", "JWT");
    let form = [
        ("grant_type", "client_credentials"),
        ("resource", crate::support::SANDBOX),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", used.as_str()),
    ];
    assert!(nursery.world.token(&http::HeaderMap::new(), &form).await.is_ok());
    assert_eq!(nursery.refused(&used).await.reason, Reason::ActorTokenReplayed);
}

#[tokio::test]
async fn what_is_wrong_with_an_assertion_is_said_of_an_actor_token() {
    let nursery = Nursery::new().await;
    nursery.register("clerk").await;
    let good = || json!({"iss": "clerk", "sub": "clerk", "aud": ISSUER, "exp": NOW + 60, "jti": "1"});
    for (name, value, reason) in [
        ("aud", json!("https://other.test"), Reason::ActorTokenWrongAudience),
        ("iss", json!("worker"), Reason::ActorTokenWrongSubject),
        ("sub", json!("nobody"), Reason::ActorUnknown),
        // Has a secret, and no keys.
        ("sub", json!("worker"), Reason::ActorUnknown),
        ("sub", json!(7), Reason::ActorTokenWrongSubject),
        ("exp", json!(NOW - 30), Reason::ActorTokenExpired),
        ("exp", json!(NOW + 601), Reason::ActorTokenTooLong),
        ("iat", json!(NOW + 31), Reason::ActorTokenNotYetValid),
        ("jti", json!(""), Reason::ActorTokenInvalid),
    ] {
        let mut claims = good();
        claims[name] = value;
        let actor = nursery.child.sign(&json!({"alg": "ES256", "typ": "JWT"}), &claims);
        assert_eq!(nursery.refused(&actor).await.reason, reason, "{claims}");
    }
    let forged = Signer::new("x").sign(&json!({"alg": "ES256", "typ": "JWT"}), &good());
    assert_eq!(nursery.refused(&forged).await.reason, Reason::ActorTokenInvalid);
}

#[tokio::test]
async fn a_child_cannot_be_made_by_the_parents_word_alone() {
    let nursery = Nursery::new().await;
    // The parent signs for a key that it does not hold.
    let claims = nursery.claims();
    let actor = nursery.parent.key.actor_token(&claims);
    assert_eq!(nursery.refused(&actor).await.reason, Reason::ActorTokenInvalid);
    // And the child is bound: its token is nothing to the parent.
    let child = nursery.world.spawn(&nursery.parent, &[]).await;
    let stolen = Holder { key: nursery.parent.key, token: child.token, minted: child.minted };
    assert_eq!(nursery.world.call(&stolen), Err(Denial::ProofWrongKey));
    assert_eq!(nursery.world.not_spawned(&stolen, &[]).await, Reason::ProofWrongKey);
}

#[tokio::test]
async fn a_retired_agent_is_nobodys_child() {
    let nursery = Nursery::new().await;
    nursery.register("clerk").await;
    let store = &nursery.world.store;
    let record = store.get(Kind::Agent, "clerk").await.unwrap().unwrap();
    let mut agent = record.decode::<Value>().unwrap();
    agent["state"] = json!("retired");
    store.commit(vec![Op::Put(Put::new(Kind::Agent, "clerk", &agent).unwrap())]).await.unwrap();
    nursery.world.caught_up().await;
    let mut claims = nursery.claims();
    claims["iss"] = json!("clerk");
    claims["sub"] = json!("clerk");
    let by_key = nursery.child.actor_token(&claims);
    let claims = json!({"iss": "clerk", "sub": "clerk", "aud": ISSUER, "exp": NOW + 60, "jti": "1"});
    let by_assertion = nursery.child.sign(&json!({"alg": "ES256", "typ": "JWT"}), &claims);
    for actor in [by_key, by_assertion] {
        assert_eq!(nursery.refused(&actor).await.reason, Reason::ActorUnknown);
    }
}
