//! The gateway as a process that is stopped, killed and tampered with: what was acknowledged holds, what was forwarded
//! is in the record, and what cannot be known is said.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{net::TcpStream, task::JoinSet};
use vestibule_model::{Clock, SystemClock, Timestamp};
use vestibule_testkit::{Answer, CallReply, Era, Http, Mcp, TestUpstream};

use crate::binary::{Folder, Served, cli};

const PERMIT_ALL: &str = r#"@id("all") permit (principal, action in Action::"call", resource);"#;
/// Tasks that call at once.
const CALLERS: usize = 8;
/// Calls that reach the application before the gateway is killed.
const CALLS: usize = 300;

/// A gateway's folder with HTTP applications, whose operation `GET /{marker}` is recorded with its argument.
fn folder(apps: &[(&str, &TestUpstream)], more: &str) -> Folder {
    let apps: String = apps
        .iter()
        .map(|(id, upstream)| {
            let url = upstream.url();
            format!(
                "  {id}: {{ http: {{ url: '{url}', record: {{ arguments: true }}, \
                 operations: {{ routes: {{ mark: {{ route: 'GET /{{marker}}' }} }} }} }} }}\n"
            )
        })
        .collect();
    let listeners = "data: { listen: 127.0.0.1:0 }\nadmin: { listen: 127.0.0.1:0 }\n";
    Folder::with(&format!("{listeners}{more}\napps:\n{apps}"), PERMIT_ALL)
}

async fn application() -> TestUpstream {
    TestUpstream::http(Answer::json(&json!({}))).await
}

/// A fresh agent's token for an application.
async fn token(folder: &Folder, served: &Served, id: &str, app: &str) -> String {
    let added = folder.json(&["agent", "add", id, "--trust", "1"]).await.remove(0);
    served.connect(id, added["client_secret"].as_str().unwrap()).await.token(served.resource(app)).await
}

/// Calls that have not been answered yet; each gives its status when it is, none when it was cut.
fn calls(served: &Served, app: &str, token: &str, markers: &[&str]) -> JoinSet<Option<u16>> {
    let call = |marker: &&str| {
        let call = Http::get(&format!("{}/{marker}", served.resource(app))).bearer(token);
        async move {
            let mut reply = call.open().await.ok()?;
            while reply.chunk().await.ok()?.is_some() {}
            Some(reply.status.as_u16())
        }
    };
    markers.iter().map(call).collect()
}

fn marker(attempt: &Value) -> String {
    attempt["arguments"]["marker"].as_str().unwrap_or_default().to_owned()
}

/// The markers of an application's attempts.
fn markers<'a>(attempts: &'a [Value], app: &'a str) -> impl Iterator<Item = String> + use<'a> {
    attempts.iter().filter(move |attempt| attempt["app"] == app && attempt["kind"] == "call").map(marker)
}

#[tokio::test]
async fn calls_in_flight_finish_when_the_gateway_is_told_to_stop() {
    let upstream = application().await;
    let folder = folder(&[("app", &upstream)], "limits: { drain_seconds: 60 }");
    let served = folder.run().await;
    let token = token(&folder, &served, "a", "app").await;
    upstream.hold();
    let running = calls(&served, "app", &token, &["m1", "m2", "m3"]);
    upstream.wait_for(3).await;
    assert_eq!(served.readiness().await, 200);
    served.drain().await;
    let address = served.part("gateway_url").strip_prefix("http://").unwrap().to_owned();
    // The socket closes right after the probe turns.
    while TcpStream::connect(&address).await.is_ok() {}
    folder.cli(&["agent", "ls"]).await.tells(&["active"]);

    upstream.release();
    assert_eq!(running.join_all().await, [Some(200); 3]);
    let (code, errors) = served.process.ended().await;
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let attempts = folder.attempts().await;
    let ended = attempts.iter().filter(|attempt| attempt["outcome"] == "completed" && attempt["app"] == "app");
    assert_eq!(ended.map(marker).filter(|marker| !marker.is_empty()).collect::<BTreeSet<_>>(), ["m1", "m2", "m3"].map(String::from).into());
    let report = folder.verified().await;
    assert_eq!((&report["unsigned"], &report["open"], &report["gaps"]), (&json!(0), &json!([]), &json!([])));
}

#[tokio::test]
async fn a_second_signal_ends_at_once_and_the_next_start_says_what_is_unknown() {
    let upstream = application().await;
    let folder = folder(&[("app", &upstream)], "limits: { drain_seconds: 3600 }");
    let served = folder.run().await;
    let token = token(&folder, &served, "a", "app").await;
    upstream.hold();
    let running = calls(&served, "app", &token, &["m"]);
    upstream.wait_for(1).await;
    served.drain().await;
    served.process.terminate();
    let (code, errors) = served.process.ended().await;
    assert_eq!(code, Some(3));
    assert!(errors.contains("ended before the drain was complete"), "{errors}");
    assert_eq!(running.join_all().await, [None]);

    folder.run().await.stop().await;
    let unknown: Vec<Value> = folder.attempts().await.into_iter().filter(|attempt| attempt["outcome"] == "unknown").collect();
    assert_eq!(unknown.iter().map(marker).collect::<Vec<_>>(), ["m"]);
    folder.verified().await;
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
        assert!(recorded.contains(&seen.path[1..]), "{} reached the application and is not in the record", seen.path);
    }
    for attempt in attempts.iter().filter(|attempt| killed.answered.contains(&marker(attempt))) {
        assert_eq!(attempt["outcome"], "completed", "the last byte was sent before the end was durable: {attempt}");
    }
    assert!(killed.answered.len() + CALLERS >= CALLS && killed.answered.is_subset(&recorded));
    let unknown = attempts.iter().filter(|attempt| attempt["outcome"] == "unknown" && attempt["app"] == "stuck");
    assert_eq!(unknown.map(marker).collect::<BTreeSet<_>>(), ["s1", "s2", "s3"].map(String::from).into());
    assert!(attempts.iter().all(|attempt| attempt["state"] == "closed"));
    let report = killed.folder.verified().await;
    assert_eq!((report["gaps"].as_array().unwrap().len(), &report["open"], &report["unsigned"]), (1, &json!([]), &json!(0)));
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
    let missing: Vec<_> = killed.busy.requests().into_iter().filter(|seen| !recorded.contains(&seen.path[1..])).collect();
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
    let (revoked, other) = (token(&folder, &served, "bad", "app").await, token(&folder, &served, "good", "app").await);
    // The same address again, so that the tokens fit.
    let address = served.part("gateway_url").strip_prefix("http://").unwrap().to_owned();
    let order = Http::post(&format!("{}/admin/v1/revocations", served.part("admin_url")))
        .bearer(served.part("admin_token"))
        .json(&json!({ "kind": "agent", "id": "bad", "reason": "compromise" }));
    assert_eq!(order.send().await.status, 200);
    served.kill().await;

    let config = fs::read_to_string(folder.join("vestibule.yaml")).unwrap();
    let config = config.replacen("data: { listen: 127.0.0.1:0 }", &format!("data: {{ listen: {address} }}"), 1);
    fs::write(folder.join("vestibule.yaml"), config).unwrap();
    let served = folder.run().await;
    assert_eq!(calls(&served, "app", &revoked, &["m"]).join_all().await, [Some(401)]);
    assert!(upstream.requests().is_empty());
    assert_eq!(calls(&served, "app", &other, &["m"]).join_all().await, [Some(200)]);
    assert_eq!(folder.json(&["agent", "show", "bad"]).await[0]["state"], "revoked");
    let acts = folder.json(&["audit", "search", "--agent", "bad", "--denial", "agent-revoked"]).await;
    assert_eq!(acts.len(), 1);
}

/// A stopped gateway's evidence of several segments.
async fn evidence() -> Folder {
    let upstream = application().await;
    let folder = folder(&[("app", &upstream)], "evidence: { segment_max_bytes: 65536 }");
    let served = folder.run().await;
    let token = token(&folder, &served, "a", "app").await;
    let markers: Vec<String> = (0..100).map(|number| format!("m{number}")).collect();
    let markers: Vec<&str> = markers.iter().map(String::as_str).collect();
    calls(&served, "app", &token, &markers).join_all().await;
    served.stop().await;
    folder
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Does something to a copy of the evidence, and gives what `audit verify` says about it: it must say no.
async fn said_about(evidence: &Path, tamper: impl FnOnce(&Path)) -> String {
    let copied = TempDir::new().unwrap();
    copy(evidence, copied.path());
    tamper(copied.path());
    let ran = cli(&["audit", "verify", "--folder", copied.path().to_str().unwrap()]).await;
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.stderr.is_empty());
    ran.stdout
}

fn segment(number: usize) -> PathBuf {
    format!("segments/{number:08}.jsonl").into()
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn one_changed_byte_anywhere_is_found_and_its_place_is_named() {
    let folder = evidence().await;
    let evidence = folder.join("evidence");
    let last = fs::read_dir(evidence.join("segments")).unwrap().count();
    assert!(last >= 3, "{last} segments");
    for number in [1, 2, last] {
        let bytes = fs::read(evidence.join(segment(number))).unwrap();
        for place in [0, bytes.len() / 3, bytes.len() / 2, bytes.len() - 2] {
            let line = bytes[..place].iter().filter(|byte| **byte == b'\n').count() + 1;
            // A digit or letter becomes another, so that the line stays JSON where it can.
            let said = said_about(&evidence, |copy| change(&copy.join(segment(number)), |bytes| bytes[place] ^= 1)).await;
            assert!(said.starts_with("FAILED"), "{said}");
            assert!(said.contains(&format!("segment {number:08}, line {line}")), "byte {place} of {number}, line {line}: {said}");
        }
    }
    for file in ["checkpoint", "checkpoints", "log.vkey"] {
        let ran = cli_about_changed(&evidence, file).await;
        assert_ne!(ran, Some(0), "a changed `{file}` passes");
    }
}

/// The exit code of a verification where one byte in the middle of this file is changed.
async fn cli_about_changed(evidence: &Path, file: &str) -> Option<i32> {
    let copied = TempDir::new().unwrap();
    copy(evidence, copied.path());
    change(&copied.path().join(file), |bytes| {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    });
    cli(&["audit", "verify", "--folder", copied.path().to_str().unwrap()]).await.code
}

#[tokio::test]
async fn what_was_cut_off_is_missed() {
    let folder = evidence().await;
    let evidence = folder.join("evidence");
    let last = fs::read_dir(evidence.join("segments")).unwrap().count();
    let lines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count();
    let whole = said_about(&evidence, |copy| fs::remove_file(copy.join(segment(last))).unwrap()).await;
    assert!(whole.contains("were signed"), "{whole}");
    let middle = said_about(&evidence, |copy| fs::remove_file(copy.join(segment(2))).unwrap()).await;
    assert!(middle.contains("segment 00000002"), "{middle}");
    let entry = said_about(&evidence, |copy| {
        change(&copy.join(segment(last)), |bytes| {
            let start = bytes[..bytes.len() - 1].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            bytes.truncate(start);
        });
    })
    .await;
    assert!(entry.contains("were signed"), "{entry}");
    let half = said_about(&evidence, |copy| change(&copy.join(segment(last)), |bytes| bytes.truncate(bytes.len() - 1))).await;
    assert!(half.contains("were signed"), "{half}");
    let from_the_middle = said_about(&evidence, |copy| {
        change(&copy.join(segment(1)), |bytes| {
            let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
            bytes.drain(..=end);
            assert!(lines(bytes) > 1);
        });
    })
    .await;
    assert!(from_the_middle.contains("segment 00000001, line 1"), "{from_the_middle}");
}

#[tokio::test]
async fn a_stream_without_an_end_is_cut_after_the_drain_time_and_recorded() {
    let tool = json!({ "name": "work", "inputSchema": { "type": "object", "properties": {} } });
    let mcp = Mcp::new(Era::Legacy, vec![tool]);
    mcp.reply_with(CallReply::Stream(1_000));
    let upstream = TestUpstream::mcp(mcp).await;
    let config = format!(
        "data: {{ listen: 127.0.0.1:0 }}\nadmin: {{ listen: 127.0.0.1:0 }}\nlimits: {{ drain_seconds: 1 }}\n\
         apps: {{ app: {{ mcp: {{ url: '{}/mcp' }} }} }}",
        upstream.url()
    );
    let folder = Folder::with(&config, PERMIT_ALL);
    let served = folder.run().await;
    let token = token(&folder, &served, "a", "app").await;
    let legacy = |message: &Value| {
        Http::post(served.resource("app"))
            .bearer(&token)
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2025-11-25")
            .json(message)
    };
    let params = json!({ "protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": { "name": "t", "version": "1" } });
    let initialize = json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params });
    let session = legacy(&initialize).send().await.header("mcp-session-id").to_owned();
    upstream.hold();
    upstream.step();
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": { "name": "work", "arguments": {} } });
    let mut stream = legacy(&call).header("mcp-session-id", &session).open().await.unwrap();
    stream.read_until("notifications/progress").await;

    served.drain().await;
    let cut = loop {
        match stream.chunk().await {
            Ok(Some(_)) => {}
            end => break end,
        }
    };
    assert!(cut.is_err(), "the stream was completed instead of cut");
    upstream.wait_for_aborted(1).await;
    let (code, errors) = served.process.ended().await;
    assert_eq!(code, Some(0));
    assert!(errors.contains("still running after the drain time are cut"), "{errors}");
    let attempts = folder.attempts().await;
    let streamed: Vec<&Value> = attempts.iter().filter(|attempt| attempt["operation"] == "work").collect();
    assert_eq!(streamed.len(), 1);
    assert_eq!((&streamed[0]["outcome"], &streamed[0]["state"]), (&json!("unknown"), &json!("closed")));
    assert!(streamed[0]["bytes_out"].as_u64().unwrap() > 0);
    assert_eq!(folder.verified().await["gaps"], json!([]));
}
