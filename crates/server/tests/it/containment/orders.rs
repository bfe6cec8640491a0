//! Orders that are milder than a revocation for good: to be taken back, to end nothing but minting, for what is older
//! than a moment, and only rehearsed.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use serde_json::json;
use vestibule_model::FixedClock;
use vestibule_testkit::{AgentKey, Http};

use super::wood::Wood;
use crate::gateway::wednesday_noon;

const STREAMS: usize = 14;

#[tokio::test]
async fn what_is_suspended_is_cut_and_refused_until_it_is_resumed_and_then_works_with_the_same_token() {
    for (kind, apps) in [("agent", &["modern", "web"][..]), ("delegation", &["web"])] {
        let wood = Wood::new().await;
        let b = wood.alice.get("b");
        let id = if kind == "agent" { b.id.clone() } else { wood.node("b", "web") };
        let dead: BTreeSet<_> = ["b", "c", "d"]
            .iter()
            .flat_map(|who| apps.iter().map(move |app| format!("{who}@{app}")))
            .collect();
        let report = wood.house.order(kind, &id, json!({ "state": "suspended" })).await;
        assert_eq!((&report["state"], &report["cut"]["streams"]), (&json!("suspended"), &json!(dead.len())));
        assert_eq!(wood.dead("agent-suspended").await, dead);
        let reply = wood.alice.get("d").call(&wood.house, "web", "suspended").await;
        assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (403, "60"), "{}", reply.text());
        for name in ["b", "c"] {
            let holder = wood.alice.get(name).at("web");
            let (again, child) =
                (holder.exchange_form(&[]).await, holder.try_spawn(AgentKey::generate("child"), &[]).await);
            for refused in [again, *child.unwrap_err()] {
                assert_eq!(refused.status, 503, "{name}: {}", refused.text());
                assert_eq!(refused.header("retry-after"), "60", "{name}");
                assert_eq!(refused.json()["error"], "temporarily_unavailable", "{name}");
            }
        }
        wood.house.gateway.post("/admin/v1/revocations/resume", &json!({ "kind": kind, "id": id })).await;
        for name in ["b", "c", "d"] {
            let member = wood.alice.get(name);
            for app in apps {
                assert_eq!(member.call(&wood.house, app, "resumed").await.status, 200, "{name}@{app}");
            }
            assert_eq!(member.at("web").exchange_form(&[]).await.status, 200, "{name}");
        }
        // What was cut stays cut.
        wood.goes_on(STREAMS - dead.len()).await;
    }
}

#[tokio::test]
async fn a_key_that_is_superseded_cuts_nothing_and_gets_nothing_new_and_those_below_it_work_on() {
    let wood = Wood::new().await;
    let (b, c) = (wood.alice.get("b"), wood.alice.get("c"));
    let report = wood.house.order("credential", &b.key(), json!({ "reason": "superseded" })).await;
    assert_eq!(report["cut"], json!({ "attempts": 0, "streams": 0, "nodes": 0 }));
    wood.goes_on(STREAMS).await;
    assert_eq!(wood.dead("credential-revoked").await, BTreeSet::new());
    for app in ["modern", "web"] {
        let refused = b.at(app).exchange_form(&[]).await;
        assert_eq!((refused.status.as_u16(), &refused.json()["error"]), (400, &json!("invalid_request")));
        assert!(b.at(app).try_spawn(AgentKey::generate("child"), &[]).await.is_err());
        assert_eq!(c.at(app).exchange_form(&[]).await.status, 200);
        c.at(app).spawn(AgentKey::generate("child"), &[]).await;
    }
}

#[tokio::test]
async fn a_back_dated_order_kills_what_was_delegated_before_however_new_its_token_is() {
    let clock = wednesday_noon();
    let wood = Wood::at(Arc::<FixedClock>::clone(&clock)).await;
    let (gateway, made) = (&wood.house.gateway, wood.house.gateway.clock.now().millis());
    let c = wood.alice.get("c");
    gateway.advance(&clock, Duration::from_secs(20)).await;
    let early = wood.house.order("agent", &c.id, json!({ "cutoff": made - 1 })).await;
    assert_eq!(early["cut"], json!({ "attempts": 0, "streams": 0, "nodes": 0 }));
    assert_eq!(wood.dead("agent-revoked").await, BTreeSet::new());
    // Its token is of now, its delegation is not.
    let url = format!("{}/plain?n=renewed", gateway.resource("web"));
    let renewed = c.at("web").try_again().await.unwrap();
    assert_eq!(renewed.send("GET", &url, || Http::get(&url)).await.status, 200);
    let late = wood.house.order("agent", &c.id, json!({ "cutoff": made + 10_000 })).await;
    assert_eq!(late["cut"], json!({ "attempts": 4, "streams": 4, "nodes": 4 }));
    assert_eq!(renewed.send("GET", &url, || Http::get(&url)).await.status, 401);
    let dead = ["c@modern", "c@web", "d@modern", "d@web"].map(str::to_owned);
    assert_eq!(wood.dead("agent-revoked").await, dead.into());
    // What is delegated to the same key afterwards lives.
    let anew = wood.alice.get("b").at("web").spawn(Arc::clone(c.at("web").key()), &[]).await;
    assert_eq!(anew.id(), c.id);
    assert_eq!(anew.send("GET", &url, || Http::get(&url)).await.status, 200);
}

#[tokio::test]
async fn a_rehearsal_counts_what_the_order_would_cut_and_cuts_nothing() {
    let wood = Wood::new().await;
    let (b, node) = (wood.alice.get("b").id.clone(), wood.node("b", "web"));
    let (user, key) = (wood.foreign("alice"), wood.alice.get("c").key());
    let orders = [
        ("agent", &*b, 6, 6),
        ("delegation", &*node, 3, 3),
        ("user", &*user, 10, 10),
        ("credential", &*key, 4, 4),
        ("app", "web", 7, 7),
        ("all", "*", 14, 14),
    ];
    for (kind, id, streams, nodes) in orders {
        let report = wood.house.order(kind, id, json!({ "dry_run": true })).await;
        let cut = json!({ "attempts": streams, "streams": streams, "nodes": nodes });
        assert_eq!((&report["cut"], &report["version"]), (&cut, &json!(0)), "{kind}");
        let attempts = report["attempts"].as_array().unwrap();
        assert_eq!(attempts.len(), streams, "{kind}");
        assert!(attempts.iter().all(|one| one["stage"] == "streaming"), "{kind}");
    }
    assert_eq!(wood.dead("agent-revoked").await, BTreeSet::new());
    wood.goes_on(STREAMS).await;
    assert_eq!(wood.house.gateway.get("/admin/v1/revocations").await["items"], json!([]));
    // And the order then cuts what it said.
    let report = wood.house.order("agent", &b, json!({})).await;
    assert_eq!(report["cut"], json!({ "attempts": 6, "streams": 6, "nodes": 6 }));
    wood.goes_on(STREAMS - 6).await;
}
