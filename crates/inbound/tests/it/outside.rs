//! Access tokens of an outside issuer beside our own: who waits, what is remembered, and what is kept of a token.

use std::{collections::BTreeSet, sync::Arc};

use arc_swap::ArcSwap;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use vestibule_inbound::{
    AccessTokens, Authenticator, Caller, OutsideTokens,
    users::{Callers, ClaimNames, Mapping, UserIssuerConfig, UserIssuers},
};
use vestibule_model::{Agent, AgentId, AgentState, AppId, Clock, Denial, Directory, Timestamp};

use crate::{
    support::{Door, RESOURCE, app, at_once, bearer, claims, header as own_header, presented},
    users_issuer::{CLIENT, NOW, Realm, RsaSigner, header, named, worker},
};

/// A realm whose access tokens are callers, a door that takes them and ours, and the agents that are registered.
struct House {
    realm: Realm,
    own: Door,
    door: Authenticator,
    directory: Arc<ArcSwap<Directory>>,
}

fn agent(change: impl FnOnce(&mut Agent)) -> Arc<Agent> {
    let mut agent = Agent {
        id: worker(),
        groups: BTreeSet::new(),
        trust: 1,
        scopes: ["write".to_owned()].into(),
        claims: Default::default(),
        apps: BTreeSet::new(),
        state: AgentState::Active,
        created_at: Timestamp::from_seconds(0),
    };
    change(&mut agent);
    Arc::new(agent)
}

impl House {
    async fn new() -> Self {
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut UserIssuerConfig)) -> Self {
        let realm = Realm::with(|config| {
            config.callers = Some(Callers::default());
            change(config);
        })
        .await;
        let own = Door::new();
        let directory: Directory = [agent(|_| ())].into_iter().collect();
        let directory = Arc::new(ArcSwap::from_pointee(directory));
        let (users, proofs) = (Arc::clone(&realm.users), Arc::clone(&own.proofs));
        let outside = OutsideTokens::new(users, Arc::clone(&directory), proofs);
        let door = Authenticator::new(vec![Box::new(AccessTokens::new(own.hop_tokens(), outside))]);
        Self { realm, own, door, directory }
    }

    fn claims(&self, with: Value) -> Value {
        let mut claims = self.realm.access_claims();
        claims["aud"] = json!(RESOURCE);
        claims["jti"] = json!("t1");
        for (name, value) in with.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    }

    fn token(&self, with: Value) -> String {
        self.realm.signer.sign(&header("at+jwt", "k1"), &self.claims(with))
    }

    async fn present(&self, token: &str) -> Result<Caller, Denial> {
        let headers = bearer(token);
        self.door.authenticate(&presented(&headers, None)).await.map_err(|refusal| {
            assert!(!refusal.cause.contains(token), "the cause quotes the token");
            refusal.denial
        })
    }

    /// Without waiting for anybody.
    fn present_at_once(&self, token: &str) -> Result<Caller, Denial> {
        at_once(self.present(token))
    }

    fn registered(&self, agents: &[Arc<Agent>]) {
        self.directory.store(Arc::new(agents.iter().cloned().collect()));
    }
}

#[tokio::test]
async fn a_token_of_ours_waits_for_nobody_and_no_issuer_is_asked() {
    let house = House::new().await;
    let token = house.own.signer.sign(&own_header(), &claims());
    let caller = house.present_at_once(&token).unwrap();
    assert!(caller.token().behind.is_none() && caller.token().user_token.is_none());
    assert_eq!(house.present_at_once("a.b.c").unwrap_err(), Denial::TokenInvalid);
    let forged = house.realm.signer.sign(&own_header(), &claims());
    assert_eq!(house.present_at_once(&forged).unwrap_err(), Denial::TokenInvalid);
    assert_eq!(house.realm.issuer.requests(), 0);
}

#[tokio::test]
async fn an_outside_token_waits_once() {
    let house = House::new().await;
    let token = house.token(json!({}));
    let caller = house.present(&token).await.unwrap();
    assert_eq!((caller.agent(), caller.user().unwrap().subject.as_str()), (&worker(), "alice"));
    let again = house.present_at_once(&token).unwrap();
    assert_eq!(again.token().nodes, caller.token().nodes);
    // The keys are there now, so another one of it is verified at once, in a future of its own.
    assert!(house.present_at_once(&house.token(json!({ "jti": "t2" }))).is_ok());
    let facts = caller.token();
    assert_eq!(facts.jti.as_str(), format!("{}#t1", house.realm.issuer.identifier));
    assert_eq!((&*facts.namespace, facts.max_depth), ("https://gw.test", 1));
    assert_eq!((facts.issued_at, facts.node_expires_at), (Timestamp::from_seconds(NOW), facts.expires_at));
}

#[tokio::test]
async fn the_token_is_kept_where_it_is_a_humans_and_shown_nowhere() {
    let house = House::new().await;
    let token = house.token(json!({}));
    let caller = house.present(&token).await.unwrap();
    let kept = caller.token().user_token.as_ref().unwrap();
    assert_eq!(kept.expose_secret(), token);
    let signature = token.rsplit('.').next().unwrap();
    assert!(!format!("{caller:?}").contains(signature), "{caller:?}");
    let alone = house.present(&house.token(json!({ "sub": CLIENT }))).await.unwrap();
    assert!(alone.user().is_none() && alone.token().user_token.is_none());
    let behind = alone.token().behind.as_ref().unwrap();
    assert_eq!(behind.clients.len(), 1, "its client can be revoked though no human is named with it");
}

#[tokio::test]
async fn what_is_remembered_stands_and_falls_with_the_agent_and_the_key() {
    let house = House::new().await;
    let token = house.token(json!({ "scope": "write admin" }));
    assert_eq!(house.present(&token).await.unwrap().token().scopes, ["write".to_owned()].into());
    house.registered(&[agent(|agent| agent.scopes = BTreeSet::new())]);
    assert_eq!(house.present_at_once(&token).unwrap().token().scopes, BTreeSet::new());
    house.registered(&[agent(|agent| agent.apps = [AppId::new("elsewhere").unwrap()].into())]);
    assert_eq!(house.present_at_once(&token).unwrap_err(), Denial::TokenWrongAudience);
    house.registered(&[agent(|agent| agent.apps = [app().clone()].into())]);
    assert!(house.present_at_once(&token).is_ok());
    house.registered(&[agent(|agent| agent.state = AgentState::Retired)]);
    assert_eq!(house.present_at_once(&token).unwrap_err(), Denial::AgentUnknown);
    house.registered(&[]);
    assert_eq!(house.present_at_once(&token).unwrap_err(), Denial::AgentUnknown);
    house.registered(&[agent(|_| ())]);
    assert!(house.present_at_once(&token).is_ok());

    house.realm.advance(11);
    let other = RsaSigner::new();
    house.realm.issuer.publish(&[named(&other.jwk(), "k2")]);
    let signed = other.sign("k2", &house.claims(json!({})));
    assert!(house.present(&signed).await.is_ok());
    assert_eq!(house.present(&token).await.unwrap_err(), Denial::TokenKeyUnknown);
}

#[tokio::test]
async fn a_token_that_is_issued_in_our_future_is_no_younger_than_now() {
    let house = House::new().await;
    let caller = house.present(&house.token(json!({ "iat": NOW + 20 }))).await.unwrap();
    assert_eq!(caller.token().issued_at, house.realm.clock.now());
    assert_eq!(caller.represented().unwrap().since, Some(house.realm.clock.now()));
    assert_eq!(
        house.present(&house.token(json!({ "iat": NOW + 31 }))).await.unwrap_err(),
        Denial::TokenNotYetValid
    );
}

#[tokio::test]
async fn one_token_for_two_resources_is_judged_for_each() {
    let house = House::new().await;
    let token = house.token(json!({ "aud": ["https://gw.test/apps/other", RESOURCE] }));
    assert_eq!(house.present(&token).await.unwrap().token().audience, RESOURCE);
    let only = house.token(json!({ "aud": "https://gw.test/apps/other" }));
    assert_eq!(house.present(&only).await.unwrap_err(), Denial::TokenWrongAudience);
}

#[tokio::test]
async fn a_type_that_the_operator_does_not_name_is_refused() {
    let house = House::with(|config| config.access_token_types = BTreeSet::new()).await;
    let as_jwt = house.realm.signer.sign(&header("JWT", "k1"), &house.claims(json!({})));
    assert_eq!(house.present(&as_jwt).await.unwrap_err(), Denial::TokenWrongType);
    assert!(house.present(&house.token(json!({}))).await.is_ok());
}

#[test]
fn callers_are_configured_without_ambiguity() {
    let flaw = |change: &dyn Fn(&mut UserIssuerConfig)| {
        let mut config = crate::users_issuer::config("corp", "https://idp.test");
        config.callers = Some(Callers::default());
        change(&mut config);
        UserIssuers::check(&[config], "https://gw.test").unwrap_err().key
    };
    let names = |user: &[&str], agent: &str| {
        let user = user.iter().map(|name| (*name).to_owned()).collect();
        let (alone, token_id) = (Default::default(), "jti".to_owned());
        let mapping = Mapping::Claims(ClaimNames { agent: agent.to_owned(), user, alone, token_id });
        Some(Callers { audiences: BTreeSet::new(), mapping })
    };
    let other = AgentId::new("other").unwrap();
    assert_eq!(
        flaw(&|config| drop(config.agents.insert(other.clone(), [CLIENT.to_owned()].into()))),
        "agents"
    );
    assert_eq!(flaw(&|config| config.callers = names(&[], "azp")), "callers.claims.user");
    assert_eq!(flaw(&|config| config.callers = names(&["a", "b", "c", "d"], "azp")), "callers.claims.user");
    assert_eq!(flaw(&|config| config.callers = names(&["sub"], "")), "callers.claims");
    let audiences = || Some(Callers { audiences: [String::new()].into(), mapping: Mapping::Standard });
    assert_eq!(flaw(&|config| config.callers = audiences()), "callers.audiences");
}
