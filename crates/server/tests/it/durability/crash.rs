use std::{collections::BTreeSet, fs, time::Duration};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use vestibule_model::{Clock, SystemClock, Timestamp};
use vestibule_testkit::{Http, TestUpstream};

use super::{application, calls, folder, marker, token};
use crate::binary::{Folder, Served};

/// Tasks that call at once.
const CALLERS: usize = 8;
/// Calls that reach the application before the gateway is killed.
const CALLS: usize = 300;

/// The markers of an application's attempts.
fn markers<'a>(attempts: &'a [Value], app: &'a str) -> impl Iterator<Item = String> + use<'a> {
    attempts.iter().filter(move |attempt| attempt["app"] == app && attempt["kind"] == "call").map(marker)
}

/// Calls without a pause, each with a marker of its own, until the gateway is gone. Gives the markers that were
/// answered in full.
fn hammer(served: &Served, app: &str, token: &str) -> JoinSet<Vec<String>> {
    let caller = |caller: usize| {
        let (base, token) = (served.resource(app).to_owned(), token.to_owned());
        async move {
            let mut answered = Vec::new();
            for number in 0.. {
                let marker = format!("c{caller}-{number}");
                let call = Http::get(&format!("{base}/{marker}")).bearer(&token);
                let Ok(mut reply) = call.open().await else { break };
                assert_eq!(reply.status, 200);
                loop {
                    match reply.chunk().await {
                        Ok(Some(_)) => {}
                        Ok(None) => break answered.push(marker),
                        Err(_) => return answered,
                    }
                }
            }
            answered
        }
    };
    (0..CALLERS).map(caller).collect()
}

/// The end of a gateway under load, by `kill -9`.
struct Killed {
    folder: Folder,
    /// Never answered its calls.
    _stuck: TestUpstream,
    /// Answered at once.
    busy: TestUpstream,
    /// The markers whose replies were complete.
    answered: BTreeSet<String>,
    /// Just before it was killed.
    at: Timestamp,
}

async fn killed_under_load(mode: &str) -> Killed {
    let (stuck, busy) = (application().await, application().await);
    let folder = folder(&[("stuck", &stuck), ("busy", &busy)], &format!("evidence: {{ mode: {mode} }}"));
    let served = folder.run().await;
    let stuck_token = token(&folder, &served, "s", "stuck").await;
    let busy_token = token(&folder, &served, "b", "busy").await;
    stuck.hold();
    let held = calls(&served, "stuck", &stuck_token, &["s1", "s2", "s3"]);
    stuck.wait_for(3).await;
    let callers = hammer(&served, "busy", &busy_token);
    busy.wait_for(CALLS).await;
    let at = SystemClock::default().now();
    served.kill().await;
    let answered = callers.join_all().await.into_iter().flatten().collect();
    assert_eq!(held.join_all().await, [None; 3]);
    Killed { folder, _stuck: stuck, busy, answered, at }
}

#[tokio::test]
async fn a_required_record_holds_everything_that_was_forwarded_before_a_crash() {
    let killed = killed_under_load("required").await;
    killed.folder.run().await.stop().await;
    let attempts = killed.folder.attempts().await;
    let recorded: BTreeSet<String> = markers(&attempts, "busy").collect();
    let forwarded = killed.busy.requests();
    assert!(forwarded.len() >= CALLS);
    for seen in &forwarded {
        assert!(
            recorded.contains(&seen.path[1..]),
            "{} reached the application and is not in the record",
            seen.path
        );
    }
    for attempt in attempts.iter().filter(|attempt| killed.answered.contains(&marker(attempt))) {
        assert_eq!(
            attempt["outcome"], "completed",
            "the last byte was sent before the end was durable: {attempt}"
        );
    }
    assert!(killed.answered.len() + CALLERS >= CALLS && killed.answered.is_subset(&recorded));
    let unknown =
        attempts.iter().filter(|attempt| attempt["outcome"] == "unknown" && attempt["app"] == "stuck");
    assert_eq!(unknown.map(marker).collect::<BTreeSet<_>>(), ["s1", "s2", "s3"].map(String::from).into());
    assert!(attempts.iter().all(|attempt| attempt["state"] == "closed"));
    let report = killed.folder.verified().await;
    assert_eq!(
        (report["gaps"].as_array().unwrap().len(), &report["open"], &report["unsigned"]),
        (1, &json!([]), &json!(0))
    );
}

/// Entries are written every 10 ms; the rest is room for a machine that has other things to do.
const LOSS_MAX: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_batched_record_loses_no_more_than_the_last_moment_and_says_which() {
    let killed = killed_under_load("batched").await;
    killed.folder.run().await.stop().await;
    let attempts = killed.folder.attempts().await;
    let recorded: BTreeSet<String> = markers(&attempts, "busy").collect();
    let report = killed.folder.verified().await;
    let [gap] = report["gaps"].as_array().unwrap().as_slice() else { panic!("one gap: {report}") };
    let (from, to) = (gap["from"].as_i64().unwrap(), gap["to"].as_i64().unwrap());
    let oldest_lost = killed.at.millis() - i64::try_from(LOSS_MAX.as_millis()).unwrap();
    let missing: Vec<_> =
        killed.busy.requests().into_iter().filter(|seen| !recorded.contains(&seen.path[1..])).collect();
    for seen in &missing {
        let at = seen.at.millis();
        assert!((from..=to).contains(&at), "{} at {at} is missing outside the gap {gap}", seen.path);
        assert!(at >= oldest_lost, "{} at {at} is missing", seen.path);
    }
    assert!(from >= oldest_lost, "nothing was written for long before the crash: {gap}");
    assert!(attempts.iter().all(|attempt| attempt["state"] == "closed"));
}

#[tokio::test]
async fn what_was_revoked_stays_revoked_when_the_gateway_is_killed_right_after() {
    let upstream = application().await;
    let folder = folder(&[("app", &upstream)], "");
    let served = folder.run().await;
    let (revoked, other) =
        (token(&folder, &served, "bad", "app").await, token(&folder, &served, "good", "app").await);
    // The same address again, so that the tokens fit.
    let address = served.part("gateway_url").strip_prefix("http://").unwrap().to_owned();
    let order = Http::post(&format!("{}/admin/v1/revocations", served.part("admin_url")))
        .bearer(served.part("admin_token"))
        .json(&json!({ "kind": "agent", "id": "bad", "reason": "compromise" }));
    assert_eq!(order.send().await.status, 200);
    served.kill().await;

    let config = fs::read_to_string(folder.join("vestibule.yaml")).unwrap();
    let config =
        config.replacen("data: { listen: 127.0.0.1:0 }", &format!("data: {{ listen: {address} }}"), 1);
    fs::write(folder.join("vestibule.yaml"), config).unwrap();
    let served = folder.run().await;
    assert_eq!(calls(&served, "app", &revoked, &["m"]).join_all().await, [Some(401)]);
    assert!(upstream.requests().is_empty());
    assert_eq!(calls(&served, "app", &other, &["m"]).join_all().await, [Some(200)]);
    assert_eq!(folder.json(&["agent", "show", "bad"]).await[0]["state"], "revoked");
    let acts = folder.json(&["audit", "search", "--agent", "bad", "--denial", "agent-revoked"]).await;
    assert_eq!(acts.len(), 1);
}
