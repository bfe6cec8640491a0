use serde_json::json;
use vestibule_testkit::{Answer, Http, TestUpstream};

#[tokio::test]
async fn a_request_is_recorded_as_it_was_sent() {
    let upstream = TestUpstream::http(Answer::new(201, "made").header("x-kind", "repo")).await;
    let call = Http::post(&format!("{}/a/../b%2Fc?x=1&x=2", upstream.url())).header("x-one", "1");
    let reply = call.bearer("secret").json(&json!({ "name": "n" })).send().await;

    assert_eq!((reply.status.as_u16(), reply.text().as_str(), reply.header("x-kind")), (201, "made", "repo"));
    let seen = upstream.requests();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].method, "POST");
    assert_eq!(seen[0].path, "/a/../b%2Fc");
    assert_eq!(seen[0].query.as_deref(), Some("x=1&x=2"));
    assert_eq!(seen[0].header("authorization"), "Bearer secret");
    assert_eq!(seen[0].header("host"), upstream.url().trim_start_matches("http://"));
    assert_eq!(seen[0].json(), json!({ "name": "n" }));
}

#[tokio::test]
async fn answers_can_be_changed_between_requests() {
    let upstream = TestUpstream::http(Answer::new(200, "one")).await;
    assert_eq!(Http::get(&upstream.url()).send().await.text(), "one");
    upstream.answer(Answer::new(503, "two"));
    let reply = Http::get(&upstream.url()).send().await;
    assert_eq!((reply.status.as_u16(), reply.text().as_str()), (503, "two"));
    assert_eq!(upstream.aborted(), 0);
}

#[tokio::test]
async fn a_held_request_waits_for_its_release() {
    let upstream = TestUpstream::http(Answer::new(200, "late")).await;
    upstream.hold();
    let waiting = tokio::spawn(Http::get(&upstream.url()).send());
    upstream.wait_for(1).await;
    assert!(!waiting.is_finished());
    upstream.release();
    assert_eq!(waiting.await.unwrap().text(), "late");
}

#[tokio::test]
async fn a_request_given_up_while_it_is_held_counts_as_aborted() {
    let upstream = TestUpstream::http(Answer::new(200, "never")).await;
    upstream.hold();
    let waiting = tokio::spawn(Http::get(&upstream.url()).send());
    upstream.wait_for(1).await;
    assert_eq!(upstream.aborted(), 0);
    waiting.abort();
    upstream.wait_for_aborted(1).await;
    assert_eq!(upstream.aborted(), 1);
}

#[tokio::test]
async fn a_stream_goes_on_chunk_by_chunk_and_its_reader_leaving_counts_as_aborted() {
    let upstream = TestUpstream::http(Answer::stream("text/plain", ["one", "two", "three"])).await;
    upstream.hold();
    let mut reply = Http::get(&upstream.url()).open().await.unwrap();
    upstream.step();
    assert_eq!(reply.chunk().await.unwrap().unwrap(), "one");
    upstream.step();
    assert_eq!(reply.chunk().await.unwrap().unwrap(), "two");
    assert_eq!(upstream.aborted(), 0);
    drop(reply);
    upstream.wait_for_aborted(1).await;
}

#[tokio::test]
async fn an_upstream_that_is_dropped_cuts_its_connections() {
    let upstream = TestUpstream::http(Answer::stream("text/plain", ["one", "two"])).await;
    upstream.hold();
    let mut reply = Http::get(&upstream.url()).open().await.unwrap();
    upstream.step();
    assert_eq!(reply.chunk().await.unwrap().unwrap(), "one");
    let url = upstream.url();
    drop(upstream);
    reply.chunk().await.unwrap_err();
    Http::get(&url).open().await.unwrap_err();
}
