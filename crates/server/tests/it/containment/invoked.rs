//! An agent that is called acts within the call: below its caller, and no longer than the call lasts, however it ends.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};
use vestibule_model::SystemClock;
use vestibule_testkit::{AgentKey, Holder, Reply, Seen, TestAgent};

use super::{
    family::{House, STREAM},
    member::{Family, Flight, Member},
};

const LEGACY: &str = "helper-legacy";
const MODERN: &str = "helper-modern";

/// `c`, which alice's agent `a` has spawned, has called `helper`, which streams its answer. Meanwhile `helper` streams
/// from the API.
struct Call {
    house: House,
    family: Family,
    helper: TestAgent,
    outer: Flight,
    call_token: String,
    invoked: Member,
    inner: Flight,
}

impl Call {
    async fn at(app: &'static str) -> Self {
        let house = House::at(Arc::new(SystemClock::default()), "", &[LEGACY, MODERN]).await;
        let family = house.tree("a", Some("alice"), &[app], &[("c", "a"), ("d", "a")]).await;
        let helper = house.gateway.agent("helper", json!({})).await;
        let outer = family.get("c").start(&house, app, STREAM);
        outer.beyond(0).await;
        let call_token = bearer(house.upstream(app).requests().last().unwrap());
        let holder = invoked(&house, &helper, &call_token).await.unwrap();
        let invoked =
            Member::new(&house, "helper", "helper".to_owned(), BTreeMap::from([("web", holder)])).await;
        let inner = invoked.start(&house, "web", STREAM);
        inner.beyond(0).await;
        Self { house, family, helper, outer, call_token, invoked, inner }
    }

    /// The helper's call has broken off and the application knows; it was cut for this reason. The helper can do no more
    /// within the call, for that one.
    async fn assert_over(&self, denial: &str, refusal: &str) {
        self.inner.watched.ended().await;
        assert!(!self.inner.watched.is_whole());
        self.house.upstream("web").wait_for_aborted(1).await;
        let inner = self.house.record(&self.inner.attempt()).await;
        let told = [&inner["outcome"], &inner["denial"], &inner["cancelled"]];
        assert_eq!(told, [&json!("cut"), &json!(denial), &json!("closed")]);
        let seen = self.house.seen("web").len();
        let late = self.invoked.call(&self.house, "web", "late").await;
        assert_eq!(late.status, 401);
        assert_eq!(self.house.record(late.header("x-request-id")).await["denial"], refusal);
        assert_eq!(self.house.seen("web").len(), seen);
        for refused in [
            invoked(&self.house, &self.helper, &self.call_token).await.unwrap_err(),
            self.invoked.at("web").try_again().await.unwrap_err(),
        ] {
            assert_eq!((refused.status.as_u16(), &refused.json()["error"]), (400, &json!("invalid_request")));
            let record = self.house.record(refused.header("x-request-id")).await;
            assert!(record["denial"] == refusal || record["denial"] == "call-ended", "{record}");
        }
    }
}

/// What the gateway authenticates itself with at the application.
fn bearer(seen: &Seen) -> String {
    seen.header("authorization").strip_prefix("Bearer ").unwrap().to_owned()
}

async fn invoked(house: &House, helper: &TestAgent, call_token: &str) -> Result<Holder, Box<Reply>> {
    let resource = house.gateway.resource("web");
    Holder::invoked(helper, AgentKey::generate("helper"), call_token, &[("resource", &resource)]).await
}

#[tokio::test]
async fn the_record_says_for_whom_the_called_agent_acts_and_no_token_goes_further_than_it_is_meant_for() {
    let call = Call::at(MODERN).await;
    call.house.upstream("web").finish();
    call.inner.watched.ended().await;
    assert!(call.inner.watched.is_whole());
    let record = call.house.record(&call.inner.attempt()).await;
    let chain: Vec<_> =
        record["chain"].as_array().unwrap().iter().map(|link| link["agent"].clone()).collect();
    assert_eq!(chain, ["a", &*call.family.get("c").id, "helper"]);
    assert_eq!((&record["agent"], &record["app"]), (&json!("helper"), &json!("web")));
    assert_eq!((&record["outcome"], &record["user"]["subject"]), (&json!("completed"), &json!("alice")));
    assert_eq!(record["calls"], json!([call.outer.attempt()]));
    assert_eq!(call.invoked.at("web").claims()["vst"]["calls"], json!([call.outer.attempt()]));
    let (callers, helpers) = (call.family.get("c").at(MODERN).token(), call.invoked.at("web").token());
    for (app, ours) in [(MODERN, Some(&*call.call_token)), ("web", None)] {
        for seen in call.house.upstream(app).requests() {
            let text = format!("{:?} {:?} {:?}", seen.headers, seen.query, seen.body);
            assert!(!text.contains(callers) && !text.contains(helpers), "{app}: {text}");
            assert_eq!(seen.header("dpop"), "", "{app}");
            assert!(
                seen.header("authorization").is_empty() || ours == Some(&*bearer(&seen)),
                "{app}: {text}"
            );
        }
    }
}

#[tokio::test]
async fn revoking_the_caller_cuts_what_the_called_agent_does_for_it() {
    let call = Call::at(MODERN).await;
    let report = call.house.order("agent", &call.family.get("c").id, json!({})).await;
    let told: Vec<_> =
        report["attempts"].as_array().unwrap().iter().map(|one| one["attempt"].clone()).collect();
    assert_eq!(told, [json!(call.outer.attempt()), json!(call.inner.attempt())]);
    call.outer.watched.ended().await;
    assert!(!call.outer.watched.is_whole());
    call.house.upstream(MODERN).wait_for_aborted(1).await;
    call.assert_over("agent-revoked", "call-ended").await;
}

#[tokio::test]
async fn revoking_the_called_agent_ends_its_calls_and_not_the_one_that_it_was_called_by() {
    let call = Call::at(MODERN).await;
    let report = call.house.order("agent", "helper", json!({})).await;
    assert_eq!(report["cut"]["attempts"], 1);
    call.inner.watched.ended().await;
    assert!(!call.inner.watched.is_whole());
    call.outer.beyond(call.house.upstream(MODERN).beats()).await;
    let refused = invoked(&call.house, &call.helper, &call.call_token).await.unwrap_err();
    assert_eq!((refused.status.as_u16(), &refused.json()["error"]), (401, &json!("invalid_client")));
}

#[tokio::test]
async fn a_caller_that_leaves_ends_what_the_called_agent_does_for_it() {
    for app in [LEGACY, MODERN] {
        let call = Call::at(app).await;
        call.outer.watched.leave();
        call.house.upstream(app).wait_for_aborted(1).await;
        call.assert_over("call-ended", "call-ended").await;
        let record = call.house.record(&call.outer.attempt()).await;
        assert_eq!((&record["outcome"], &record["cancelled"]), (&json!("unknown"), &Value::Null), "{app}");
    }
}

#[tokio::test]
async fn a_caller_of_the_legacy_era_that_calls_its_call_off_ends_what_the_called_agent_does_for_it() {
    let call = Call::at(LEGACY).await;
    let notice = json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": call.outer.name } });
    let send = async |name: &str| {
        let (member, url) = (call.family.get(name), call.house.gateway.resource(LEGACY));
        let message = || member.in_session(&call.house, LEGACY).json(&notice);
        assert_eq!(member.at(LEGACY).send("POST", &url, message).await.status, 202, "{name}");
    };
    // Every client counts from one: another agent's request of the same number is another.
    send("d").await;
    call.inner.beyond(call.house.upstream("web").beats()).await;
    call.outer.beyond(call.house.upstream(LEGACY).beats()).await;
    send("c").await;
    call.outer.watched.ended().await;
    assert!(!call.outer.watched.is_whole());
    call.assert_over("call-ended", "call-ended").await;
    let record = call.house.record(&call.outer.attempt()).await;
    let told = [&record["outcome"], &record["denial"], &record["cancelled"]];
    assert_eq!(told, [&json!("cut"), &json!("call-called-off"), &Value::Null]);
    // In the words of the two callers, and no third time.
    let name = json!(call.outer.name);
    assert_eq!(call.house.upstream(LEGACY).protocol().cancelled(), [name.clone(), name]);
}

#[tokio::test]
async fn what_the_called_agent_does_for_a_call_ends_with_its_answer() {
    for app in [LEGACY, MODERN] {
        let call = Call::at(app).await;
        call.house.upstream(app).finish();
        call.outer.watched.ended().await;
        assert!(call.outer.watched.is_whole(), "{app}");
        call.assert_over("call-ended", "call-ended").await;
        assert_eq!(call.house.record(&call.outer.attempt()).await["outcome"], "completed", "{app}");
    }
}
