//! An agent that was called acts on, within the call.

use std::time::Duration;

use http::HeaderMap;
use serde_json::json;
use vestibule_containment::{DenyKey, Passage, Path};
use vestibule_inbound::Caller;
use vestibule_issuer::{NewAgent, OAuthError, Reason, TokenResponse};
use vestibule_model::{AgentId, AttemptId, Denial, Origin};

use crate::{
    holder::{EXCHANGE, Holder, JWT},
    support::{BILLING, Ground, ISSUER, Plan, SANDBOX, Signer, World, app, basic, payload, set, worker},
};

const LIFE: Duration = Duration::from_secs(60);

/// `worker` calls the agent `helper`, which listens at the application `sandbox`.
struct Call {
    world: World,
    caller: Holder,
    /// The secret of `helper`.
    secret: String,
    id: AttemptId,
    /// The call is under way as long as this lives.
    passage: Option<Passage>,
    token: String,
    _ground: Ground,
}

fn helper() -> NewAgent {
    NewAgent {
        id: "helper".into(),
        scopes: set(&["repo:read", "bill:read"]),
        apps: [app("billing")].into(),
        ..NewAgent::default()
    }
}

impl Call {
    async fn new() -> Self {
        Self::planned(Plan::default(), &[]).await
    }

    async fn planned(plan: Plan, asked: &[(&str, &str)]) -> Self {
        Self::by(worker(), plan, asked).await
    }

    /// With another `worker`.
    async fn by(worker: NewAgent, plan: Plan, asked: &[(&str, &str)]) -> Self {
        let ground = Ground::new();
        let world = World::planned(&ground, plan).await;
        let secret = world.add(worker).await;
        let caller = world.root(&secret, asked).await;
        let secret = world.add(helper()).await;
        let id = world.attempt();
        let (passage, token) = call(&world, &caller, "helper", id);
        Self { world, caller, secret, id, passage: Some(passage), token, _ground: ground }
    }

    async fn exchange(
        &self,
        headers: &HeaderMap,
        more: &[(&str, &str)],
    ) -> Result<TokenResponse, OAuthError> {
        let subject = [("grant_type", EXCHANGE), ("subject_token", &self.token), ("subject_token_type", JWT)];
        self.world.token(headers, &[&subject, more].concat()).await
    }

    async fn ask(&self, key: &Signer, more: &[(&str, &str)]) -> Result<TokenResponse, OAuthError> {
        self.exchange(&self.world.proven("helper", &self.secret, key), more).await
    }

    async fn refused(&self, more: &[(&str, &str)]) -> Reason {
        self.ask(&Signer::new("h"), more).await.unwrap_err().reason
    }

    async fn held(&self, more: &[(&str, &str)]) -> Holder {
        let key = Signer::new("h");
        let response = self.ask(&key, more).await.unwrap();
        Holder::of(key, &response)
    }
}

/// Lets the call of `holder` in, and gives the token that the called agent gets.
fn call(world: &World, holder: &Holder, agent: &str, id: AttemptId) -> (Passage, String) {
    let caller = world.caller(holder);
    let token = caller.token();
    let path = Path {
        jti: Some(&token.jti),
        issued_at: token.issued_at,
        agents: caller.chain().actors(),
        nodes: &token.nodes,
        user: caller.represented(),
        behind: None,
        app: None,
        calls: &token.calls,
    };
    let passage = world.judges.containment.admit(&path, id).unwrap();
    (passage, call_token(world, &caller, agent, id))
}

fn call_token(world: &World, caller: &Caller, agent: &str, id: AttemptId) -> String {
    let agent = AgentId::new(agent).unwrap();
    let token = world.issuer.call_token(caller, &agent, id, LIFE).unwrap();
    secrecy::ExposeSecret::expose_secret(&token).to_owned()
}

#[tokio::test]
async fn the_token_about_a_call_says_who_calls_whom_and_within_which_call() {
    let call = Call::new().await;
    let claims = payload(&call.token);
    let caller = payload(&call.caller.token);
    assert_eq!((&claims["iss"], &claims["aud"]), (&json!(ISSUER), &json!("helper")));
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!("worker"), &json!("worker")));
    assert_eq!(claims["call"], json!(call.id));
    for name in ["vst", "scope", "acti"] {
        assert_eq!(claims[name], caller[name], "{name}");
    }
    assert_eq!(claims["exp"], call.world.now() + 60);
    assert_eq!(claims.get("cnf"), None);
    assert_ne!(claims["jti"], caller["jti"]);
    // Not beyond the caller's node.
    let caller = call.world.caller(&call.caller);
    let agent = AgentId::new("helper").unwrap();
    let long = call.world.issuer.call_token(&caller, &agent, call.id, Duration::from_secs(86400)).unwrap();
    let long = payload(secrecy::ExposeSecret::expose_secret(&long));
    assert_eq!(long["exp"], call.caller.minted.delegation.expires_at.seconds());
}

#[tokio::test]
async fn the_called_agent_acts_below_its_caller() {
    let call = Call::new().await;
    let held = call.held(&[]).await;
    let (above, node) = (&call.caller.minted.delegation, &held.minted.delegation);
    assert_eq!((node.parent.as_ref(), node.origin), (Some(&above.id), Origin::Invoked));
    assert_eq!((node.calls.as_slice(), node.depth()), ([call.id].as_slice(), 2));
    assert_eq!(node.resource, BILLING, "its own application");
    assert!(held.minted.made && held.minted.decision.as_ref().unwrap().allow);
    let claims = payload(&held.token);
    assert_eq!((&claims["sub"], &claims["client_id"]), (&json!("worker"), &json!("helper")));
    assert_eq!(claims["act"], json!({"iss": ISSUER, "sub": "helper"}));
    assert_eq!(claims["vst"]["calls"], json!([call.id]));
    // What both may.
    assert_eq!(claims["scope"], "repo:read");
    assert_eq!(call.world.call(&held), Ok(()));
}

#[tokio::test]
async fn everything_made_within_a_call_ends_with_it() {
    let mut call = Call::new().await;
    let held = call.held(&[]).await;
    let child = call.world.spawn(&held, &[]).await;
    assert_eq!(child.minted.delegation.calls, [call.id]);
    assert_eq!((call.world.call(&held), call.world.call(&child)), (Ok(()), Ok(())));
    call.passage = None;
    assert_eq!(call.world.call(&held), Err(Denial::CallEnded));
    assert_eq!(call.world.call(&child), Err(Denial::CallEnded));
    assert_eq!(call.refused(&[]).await, Reason::CallEnded);
    assert_eq!(call.world.not_spawned(&held, &[]).await, Reason::CallEnded);
    assert_eq!(call.world.exchange(&held, &[]).await.unwrap_err().reason, Reason::CallEnded);
    // The caller itself is not concerned.
    assert_eq!(call.world.call(&call.caller), Ok(()));
}

#[tokio::test]
async fn a_call_that_never_was_is_no_call() {
    let call = Call::new().await;
    let caller = call.world.caller(&call.caller);
    let token = call_token(&call.world, &caller, "helper", call.world.attempt());
    let call = Call { token, ..call };
    assert_eq!(call.refused(&[]).await, Reason::CallEnded);
}

#[tokio::test]
async fn only_the_agent_that_is_called_may_use_it() {
    let call = Call::new().await;
    let thief = call.world.add(NewAgent { id: "thief".into(), ..helper() }).await;
    let headers = call.world.proven("thief", &thief, &Signer::new("t"));
    let error = call.exchange(&headers, &[]).await.unwrap_err();
    assert_eq!((error.reason, error.status()), (Reason::CallTokenNotForClient, 400));
    assert_eq!(error.agent.unwrap().as_str(), "thief");
    let error = call.exchange(&call.world.proof(&Signer::new("t"), None), &[]).await.unwrap_err();
    assert_eq!(error.reason, Reason::ClientMissing);
}

#[tokio::test]
async fn below_the_first_agent_there_are_no_bearer_tokens() {
    let call = Call::new().await;
    let error = call.exchange(&basic("helper", &call.secret), &[]).await.unwrap_err();
    assert_eq!(
        (error.reason, error.body()["error"].as_str()),
        (Reason::ProofMissing, Some("invalid_dpop_proof"))
    );
    assert!(error.nonce.is_some());
}

#[tokio::test]
async fn within_one_call_the_same_terms_lead_to_the_same_node() {
    let call = Call::new().await;
    let key = Signer::new("h");
    let one = call.ask(&key, &[]).await.unwrap().minted;
    let two = call.ask(&key, &[("scope", "repo:read")]).await.unwrap().minted;
    assert_eq!((one.made, two.made), (true, false));
    assert_eq!(one.delegation, two.delegation);
    assert!(two.decision.is_some(), "policy is asked all the same");
    let other = call.ask(&Signer::new("i"), &[]).await.unwrap().minted;
    assert_ne!(other.delegation.id, one.delegation.id);
    let id = call.world.attempt();
    let (_passage, token) = self::call(&call.world, &call.caller, "helper", id);
    let next = Call { token, ..call };
    let next = next.ask(&key, &[]).await.unwrap().minted;
    assert_ne!(next.delegation.id, one.delegation.id);
}

#[tokio::test]
async fn it_may_what_both_may_and_no_more() {
    let call = Call::new().await;
    for (asked, reason) in [
        (("scope", "repo:write"), Reason::ScopeNotAllowed),
        (("scope", "bill:read"), Reason::ScopeNotAllowed),
        (("resource", SANDBOX), Reason::TargetNotAllowed),
        (("resource", "https://evil.test"), Reason::TargetNotAllowed),
    ] {
        assert_eq!(call.refused(&[asked]).await, reason, "{asked:?}");
    }
    let held = call.held(&[("expires_in", "86400")]).await;
    assert_eq!(held.minted.delegation.expires_at, call.caller.minted.delegation.expires_at);
}

#[tokio::test]
async fn nobody_is_carried_to_an_application_that_they_may_not_reach() {
    let narrow = NewAgent { apps: [app("sandbox")].into(), ..worker() };
    let call = Call::by(narrow, Plan::default(), &[]).await;
    let error = call.ask(&Signer::new("h"), &[]).await.unwrap_err();
    assert_eq!(
        (error.reason, error.body()["error"].as_str()),
        (Reason::TargetNotAllowed, Some("invalid_target"))
    );
    assert_eq!(error.cause, "not an application of `worker`");

    // Each of them: the one in the middle too.
    let call = Call::new().await;
    let held = call.held(&[]).await;
    let last = call.world.add(NewAgent { id: "last".into(), apps: [].into(), ..helper() }).await;
    let id = call.world.attempt();
    let (passage, token) = self::call(&call.world, &held, "last", id);
    let inner = Call { token, secret: last, id, passage: Some(passage), ..call };
    let headers = || inner.world.proven("last", &inner.secret, &Signer::new("l"));
    let error = inner.exchange(&headers(), &[("resource", SANDBOX)]).await.unwrap_err();
    assert_eq!(
        (error.reason, error.cause.as_str()),
        (Reason::TargetNotAllowed, "not an application of `helper`")
    );
    assert!(inner.exchange(&headers(), &[("resource", BILLING)]).await.is_ok());
}

#[tokio::test]
async fn what_was_delegated_to_the_caller_bounds_it_by_resource() {
    let details = |location: &str| {
        json!([{"type": "vestibule_operations", "locations": [location], "operations": {"list": {}}}])
            .to_string()
    };
    let here = details(SANDBOX);
    let call = Call::planned(Plan::default(), &[("authorization_details", &here)]).await;
    let error = call.ask(&Signer::new("h"), &[]).await.unwrap_err();
    assert_eq!(error.reason, Reason::AuthorityNotForTarget);
    assert_eq!(error.body()["error"], "invalid_authorization_details");
    let there = details(BILLING);
    assert_eq!(call.refused(&[("authorization_details", &there)]).await, Reason::AuthorityNotSubset);

    let call = Call::planned(Plan::default(), &[("authorization_details", &there)]).await;
    let held = call.held(&[]).await;
    assert_eq!(held.minted.authority, call.caller.minted.authority);
    let more = there.replace("\"list\"", "\"drop\"");
    assert_eq!(call.refused(&[("authorization_details", &more)]).await, Reason::AuthorityNotSubset);
}

#[tokio::test]
async fn depth_number_and_policy_bound_it_too() {
    let mut config = crate::support::config(&["sandbox", "billing"]);
    config.max_depth = 1;
    let call = Call::planned(Plan { config, ..Plan::default() }, &[]).await;
    assert_eq!(call.refused(&[]).await, Reason::DepthExceeded);

    let mut config = crate::support::config(&["sandbox", "billing"]);
    config.max_children = 1;
    let call = Call::planned(Plan { config, ..Plan::default() }, &[]).await;
    call.held(&[]).await;
    assert_eq!(call.refused(&[]).await, Reason::FanOutExceeded);

    let policies = r#"
        @id("all") permit (principal, action, resource);
        @id("not the helper") forbid (principal, action == Action::"delegate", resource == Agent::"helper");
    "#;
    let call = Call::planned(Plan { policies, ..Plan::default() }, &[]).await;
    let error = call.ask(&Signer::new("h"), &[]).await.unwrap_err();
    assert_eq!(error.reason, Reason::DelegationNotPermitted);
    assert!(error.decision.is_some());
}

#[tokio::test]
async fn revoking_the_caller_ends_what_was_made_within_its_call() {
    let call = Call::new().await;
    let held = call.held(&[]).await;
    call.world.revoke(DenyKey::Delegation(call.caller.minted.delegation.id.clone())).await;
    assert!(call.world.call(&held).is_err());
    let error = call.ask(&Signer::new("h"), &[]).await.unwrap_err();
    assert!(matches!(error.reason, Reason::DelegationRevoked | Reason::CallEnded), "{error}");
}

#[tokio::test]
async fn a_revoked_or_expired_token_about_a_call_is_refused() {
    let call = Call::new().await;
    let jti = payload(&call.token)["jti"].as_str().unwrap().to_owned();
    call.world.revoke(DenyKey::Token(vestibule_model::TokenId::parse(&jti).unwrap())).await;
    assert_eq!(call.refused(&[]).await, Reason::TokenRevoked);
    let call = Call::new().await;
    call.world.clock.advance(LIFE);
    assert_eq!(call.refused(&[]).await, Reason::TokenExpired);
}

#[tokio::test]
async fn the_called_agent_may_be_called_further() {
    let call = Call::new().await;
    let held = call.held(&[]).await;
    let last = call.world.add(NewAgent { id: "last".into(), ..helper() }).await;
    let id = call.world.attempt();
    let (passage, token) = self::call(&call.world, &held, "last", id);
    let inner = Call { token, secret: last, id, passage: Some(passage), ..call };
    let key = Signer::new("l");
    let headers = inner.world.proven("last", &inner.secret, &key);
    let response = inner.exchange(&headers, &[]).await.unwrap();
    let node = &response.minted.delegation;
    assert_eq!((node.depth(), node.calls.len()), (3, 2));
    assert_eq!(node.calls.last(), Some(&id));
}
