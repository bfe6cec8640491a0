use std::collections::BTreeSet;

use serde_json::{Value, json};
use tokio::net::TcpStream;
use vestibule_testkit::{CallReply, Era, Http, Mcp, TestUpstream};

use super::{PERMIT_ALL, application, calls, folder, marker, token};
use crate::binary::Folder;

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
    let ended =
        attempts.iter().filter(|attempt| attempt["outcome"] == "completed" && attempt["app"] == "app");
    assert_eq!(
        ended.map(marker).filter(|marker| !marker.is_empty()).collect::<BTreeSet<_>>(),
        ["m1", "m2", "m3"].map(String::from).into()
    );
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

    let open = folder.attempts().await.into_iter().filter(|attempt| attempt["state"] == "open");
    assert_eq!(open.map(|attempt| marker(&attempt)).collect::<Vec<_>>(), ["m"]);
    folder.run().await.stop().await;
    let unknown: Vec<Value> =
        folder.attempts().await.into_iter().filter(|attempt| attempt["outcome"] == "unknown").collect();
    assert_eq!(unknown.iter().map(marker).collect::<Vec<_>>(), ["m"]);
    folder.verified().await;
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
