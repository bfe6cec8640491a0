//! An agent acts for a human whose token was issued to it.

use http::HeaderMap;
use serde_json::{Value, json};
use vestibule_containment::{DenyKey, Foreign, Reason as OrderReason, State};
use vestibule_inbound::users::{AccessTokenType, UserIssuerConfig};
use vestibule_issuer::{NewAgent, OAuthError, Reason, TokenResponse};
use vestibule_model::{AgentId, Clock as _, Denial, Timestamp, UserId};
use vestibule_testkit::TestIssuer;

use crate::{
    holder::{ACCESS_TOKEN, EXCHANGE, Holder, ID_TOKEN, JWT},
    support::{Ground, ISSUER, Plan, SANDBOX, Signer, World, access_token, basic, payload, set, worker},
};

/// A gateway that trusts an issuer of users, at which `worker` is the client `app`.
struct Town {
    world: World,
    idp: TestIssuer,
    secret: String,
    _ground: Ground,
}

impl Town {
    async fn new() -> Self {
        let ground = Ground::new();
        let idp = TestIssuer::start().await;
        let agents = [
            (AgentId::new("worker").unwrap(), set(&["app"])),
            (AgentId::new("other").unwrap(), set(&["other-app"])),
        ];
        let issuer = UserIssuerConfig {
            name: "idp".into(),
            issuer: idp.id(),
            jwks_url: Some(format!("{}/jwks", idp.id()).parse().unwrap()),
            dangerous_plain_http: false,
            agents: agents.into(),
            groups_claim: Some("groups".into()),
            groups: None,
            access_token_types: [AccessTokenType::AtJwt].into(),
            callers: None,
        };
        let world = World::planned(&ground, Plan { user_issuers: vec![issuer], ..Plan::default() }).await;
        let secret = world.add(worker()).await;
        Self { world, idp, secret, _ground: ground }
    }

    fn id_token(&self, with: &Value) -> String {
        self.idp.id_token("alice", "app", self.world.clock.now(), with)
    }

    async fn exchange(
        &self,
        headers: &HeaderMap,
        token: &str,
        kind: &str,
    ) -> Result<TokenResponse, OAuthError> {
        let form = [
            ("grant_type", EXCHANGE),
            ("subject_token", token),
            ("subject_token_type", kind),
            ("resource", SANDBOX),
        ];
        self.world.token(headers, &form).await
    }

    async fn bearer(&self, token: &str) -> Result<TokenResponse, OAuthError> {
        self.exchange(&basic("worker", &self.secret), token, ID_TOKEN).await
    }

    /// A root for the human, bound to a fresh key.
    async fn bound(&self, token: &str) -> Holder {
        let key = Signer::new("k");
        let headers = self.world.proven("worker", &self.secret, &key);
        let response = self.exchange(&headers, token, ID_TOKEN).await.unwrap();
        Holder::of(key, &response)
    }

    fn alice(&self) -> UserId {
        UserId { issuer: self.idp.id(), subject: "alice".into() }
    }
}

#[tokio::test]
async fn the_human_is_the_subject_and_the_agent_the_actor() {
    let town = Town::new().await;
    let holder = town.bound(&town.id_token(&json!({"groups": ["dev"], "acr": "mfa"}))).await;
    let claims = payload(&holder.token);
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!("alice"), &json!("worker")));
    assert_eq!(claims["sub_id"], json!({"format": "iss_sub", "iss": town.idp.id(), "sub": "alice"}));
    assert_eq!(claims["act"], json!({"iss": ISSUER, "sub": "worker"}));
    let issued = town.world.now();
    let facts = json!({"groups": ["idp:dev"], "sid": "session-of-alice", "client": "app", "iat": issued});
    assert_eq!(claims["vst"]["user"], facts);
    let node = &holder.minted.delegation;
    assert_eq!(node.chain, [AgentId::new("worker").unwrap()]);
    assert_eq!(node.user.as_ref().unwrap().id, town.alice());
    assert_eq!(node.grant.as_ref().unwrap().acr.as_deref(), Some("mfa"));
    assert_eq!(town.world.call(&holder), Ok(()));

    let child = town.world.spawn(&holder, &[]).await;
    let claims = payload(&child.token);
    assert_eq!((&claims["sub"], &claims["vst"]["user"]), (&json!("alice"), &facts));
    let act = json!({"iss": ISSUER, "sub": child.key.id(), "act": {"iss": ISSUER, "sub": "worker"}});
    assert_eq!(claims["act"], act);
    assert_eq!(child.minted.delegation.grant, None);
    assert_eq!(town.world.call(&child), Ok(()));
}

#[tokio::test]
async fn without_a_proof_it_is_a_bearer_token_that_cannot_spawn() {
    let town = Town::new().await;
    let response = town.bearer(&town.id_token(&json!({}))).await.unwrap();
    let body = response.body();
    assert_eq!((&body["token_type"], &body["issued_token_type"]), (&json!("Bearer"), &json!(ACCESS_TOKEN)));
    assert_eq!(town.world.present(&response, SANDBOX).unwrap().user(), Some(&town.alice()));
    let holder = Holder::of(Signer::new("k"), &response);
    assert_eq!(town.world.not_spawned(&holder, &[]).await, Reason::SpawnNeedsBoundToken);
}

#[tokio::test]
async fn a_root_is_of_one_human_one_token_and_one_key() {
    let town = Town::new().await;
    let token = town.id_token(&json!({}));
    let (one, two) = (town.bearer(&token).await.unwrap(), town.bearer(&token).await.unwrap());
    assert_eq!((one.minted.made, two.minted.made), (true, false));
    assert_eq!(one.minted.delegation, two.minted.delegation);
    let node = |response: TokenResponse| response.minted.delegation.id;
    let first = node(one);
    // Another login, another human, another key, or no human.
    assert_ne!(node(town.bearer(&town.id_token(&json!({}))).await.unwrap()), first);
    assert_ne!(node(town.bearer(&town.id_token(&json!({"sub": "bob"}))).await.unwrap()), first);
    assert_ne!(town.bound(&token).await.minted.delegation.id, first);
    let alone = town.world.ask(&town.secret, &[("resource", SANDBOX)]).await.unwrap();
    assert_ne!(node(alone), first);
}

#[tokio::test]
async fn a_token_that_was_issued_to_somebody_else_is_refused() {
    let town = Town::new().await;
    let others = town.world.add(NewAgent { id: "other".into(), ..worker() }).await;
    let nobodys = town.world.add(NewAgent { id: "third".into(), ..worker() }).await;
    let token = town.id_token(&json!({}));
    for (id, secret) in [("other", &others), ("third", &nobodys)] {
        let error = town.exchange(&basic(id, secret), &token, ID_TOKEN).await.unwrap_err();
        assert_eq!((error.reason, error.status()), (Reason::UserTokenNotForClient, 400));
        assert_eq!(error.reason.code(), "user-token-not-for-client");
        assert_eq!(error.body()["error"], "invalid_request");
        assert_eq!(error.agent.unwrap().as_str(), id);
    }
    // The human's issuer may name the agent.
    let may_act = town.id_token(&json!({"may_act": {"iss": ISSUER, "sub": "third"}}));
    assert!(town.exchange(&basic("third", &nobodys), &may_act, ID_TOKEN).await.is_ok());
}

#[tokio::test]
async fn the_client_authenticates_before_the_humans_token_is_looked_at() {
    let town = Town::new().await;
    let token = town.id_token(&json!({}));
    for headers in [HeaderMap::new(), town.world.proof(&Signer::new("k"), None)] {
        let error = town.exchange(&headers, &token, ID_TOKEN).await.unwrap_err();
        assert_eq!((error.reason, error.status()), (Reason::ClientMissing, 401));
    }
}

#[tokio::test]
async fn a_bad_token_of_a_human_has_the_reason_that_door_one_gives() {
    let town = Town::new().await;
    let now = town.world.now();
    let header = json!({"alg": "ES256", "typ": "JWT", "kid": "user-key"});
    let claims = json!({
        "iss": town.idp.id(), "sub": "alice", "aud": "app", "iat": now, "exp": now + 300,
    });
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        town.idp.sign(&header, &claims)
    };
    for (token, reason) in [
        (with("exp", json!(now - 31)), Reason::UserTokenExpired),
        (with("iat", json!(now + 100)), Reason::UserTokenNotYetValid),
        (with("iss", json!("https://other.test")), Reason::UserTokenIssuerUnknown),
        (with("act", json!({"sub": "x"})), Reason::UserTokenDelegated),
        (with("cnf", json!({"jkt": "x"})), Reason::UserTokenKeyBound),
        (Signer::new("x").sign(&header, &claims), Reason::UserTokenSignatureInvalid),
        (town.idp.sign(&json!({"alg": "ES256", "kid": "x"}), &claims), Reason::UserTokenKeyUnknown),
        (town.idp.sign(&json!({"alg": "ES256", "typ": "logout+jwt"}), &claims), Reason::UserTokenWrongType),
        ("rubbish".to_owned(), Reason::UserTokenMalformed),
    ] {
        let error = town.bearer(&token).await.unwrap_err();
        assert_eq!((error.reason, error.status()), (reason, 400));
        assert!(!error.to_string().contains(&token), "{error}");
    }
}

#[tokio::test]
async fn the_kind_of_a_humans_token_is_what_the_request_says_and_no_other_is_taken() {
    let town = Town::new().await;
    let headers = basic("worker", &town.secret);
    let id_token = town.id_token(&json!({"nonce": "n"}));
    let now = town.world.now();
    let access = town.idp.sign(
        &json!({"alg": "ES256", "typ": "at+jwt", "kid": "user-key"}),
        &json!({
            "iss": town.idp.id(), "sub": "alice", "aud": "app", "client_id": "app", "iat": now,
            "exp": now + 300, "jti": "a", "scope": "x",
        }),
    );
    let kinds = [ID_TOKEN, ACCESS_TOKEN];
    for (token, right) in [(&id_token, ID_TOKEN), (&access, ACCESS_TOKEN)] {
        for kind in kinds {
            let answer = town.exchange(&headers, token, kind).await;
            let expected = (kind != right).then_some(Reason::UserTokenWrongType);
            assert_eq!(answer.err().map(|error| error.reason), expected, "{kind}");
        }
        let error = town.exchange(&headers, token, JWT).await.unwrap_err();
        assert_eq!(error.reason, Reason::TokenWrongType);
    }
}

#[tokio::test]
async fn who_was_cut_off_is_acted_for_no_more() {
    let foreign = |town: &Town, name: &str| Foreign { issuer: town.idp.id(), name: name.into() };
    for (kind, reason, denial) in [
        ("user", Reason::UserRevoked, Denial::UserRevoked),
        ("session", Reason::SessionRevoked, Denial::SessionRevoked),
        ("client", Reason::ClientRevoked, Denial::ClientRevoked),
    ] {
        let town = Town::new().await;
        let token = town.id_token(&json!({}));
        let holder = town.bound(&token).await;
        let key = match kind {
            "user" => DenyKey::User(town.alice()),
            "session" => DenyKey::Session(foreign(&town, "session-of-alice")),
            _ => DenyKey::Client(foreign(&town, "app")),
        };
        town.world.revoke(key).await;
        assert_eq!(town.world.call(&holder), Err(denial));
        for error in [
            town.bearer(&token).await.unwrap_err(),
            town.world.exchange(&holder, &[]).await.unwrap_err(),
            town.world.try_spawn(&holder, &Signer::new("c"), &[]).await.unwrap_err(),
        ] {
            assert_eq!((error.reason, error.status()), (reason, 400));
        }
        // Others are not concerned.
        if kind == "user" {
            assert!(town.bearer(&town.id_token(&json!({"sub": "bob", "sid": "b"}))).await.is_ok());
        }
    }
}

#[tokio::test]
async fn a_token_from_before_a_cutoff_makes_no_new_root_after_it() {
    let town = Town::new().await;
    let before = town.id_token(&json!({}));
    town.world.clock.advance(std::time::Duration::from_secs(10));
    let cutoff = Some(Timestamp::from_seconds(town.world.now() - 5));
    let user = DenyKey::User(town.alice());
    town.world.order(user, State::Revoked, OrderReason::Unspecified, cutoff).await;
    assert_eq!(town.bearer(&before).await.unwrap_err().reason, Reason::UserRevoked);
    let after = town.id_token(&json!({}));
    let response = town.bearer(&after).await.unwrap();
    assert_eq!(payload(&access_token(&response))["sub"], "alice");
}

/// The attack: a stolen token of a user is exchanged at once, and only later is it known when it was stolen.
#[tokio::test]
async fn a_root_that_was_made_after_a_cutoff_from_a_token_of_before_it_is_dead() {
    let town = Town::new().await;
    let stolen = town.id_token(&json!({}));
    town.world.clock.advance(std::time::Duration::from_secs(10));
    let cutoff = Some(Timestamp::from_seconds(town.world.now() - 5));
    let thief = town.bound(&stolen).await;
    let heir = town.world.spawn(&thief, &[]).await;
    let own = town.bound(&town.id_token(&json!({}))).await;
    assert_eq!(town.world.call(&thief), Ok(()));
    let user = DenyKey::User(town.alice());
    town.world.order(user, State::Revoked, OrderReason::Compromise, cutoff).await;
    for dead in [&thief, &heir] {
        assert_eq!(town.world.call(dead), Err(Denial::UserRevoked));
        assert_eq!(town.world.exchange(dead, &[]).await.unwrap_err().reason, Reason::UserRevoked);
        assert_eq!(town.world.not_spawned(dead, &[]).await, Reason::UserRevoked);
    }
    assert_eq!(town.world.call(&own), Ok(()), "what she did after it is hers");
}

#[tokio::test]
async fn an_issuer_that_cannot_be_reached_is_no_refusal() {
    let ground = Ground::new();
    let idp = TestIssuer::start().await;
    let issuer = UserIssuerConfig {
        name: "idp".into(),
        issuer: idp.id(),
        // Nothing listens there.
        jwks_url: Some("http://127.0.0.1:1/jwks".parse().unwrap()),
        dangerous_plain_http: false,
        agents: [(AgentId::new("worker").unwrap(), set(&["app"]))].into(),
        groups_claim: None,
        groups: None,
        access_token_types: [].into(),
        callers: None,
    };
    let world = World::planned(&ground, Plan { user_issuers: vec![issuer], ..Plan::default() }).await;
    let secret = world.add(worker()).await;
    let town = Town { world, idp, secret, _ground: ground };
    let error = town.bearer(&town.id_token(&json!({}))).await.unwrap_err();
    assert_eq!((error.reason, error.status()), (Reason::UserTokenKeysUnavailable, 503));
}
