//! Telling an application that a call is over.

use bytes::Bytes;
use vestibule_model::FaultKind;

use super::*;

const MESSAGE: &str = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"7"}}"#;
const TAKEN: &str = "HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

fn headers() -> HeaderMap {
    let headers = [
        ("mcp-session-id", "upstream-1"),
        ("mcp-protocol-version", "2025-11-25"),
        ("content-type", "application/json"),
        ("accept", "application/json, text/event-stream"),
        ("authorization", "Bearer agents-own-token"),
        ("cookie", "agents-own-cookie"),
        ("connection", "x-hop"),
        ("x-hop", "agents-own-hop"),
    ];
    headers
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

/// Withdraws a call that nobody made.
async fn withdraw(outbound: &Outbound, message: impl Into<Bytes>) -> Result<(), Fault> {
    let access = outbound.obtain(permit(), &calling(1)).await.unwrap();
    let withdrawal = outbound.withdrawal(&access, headers()).unwrap();
    outbound.withdraw(withdrawal, message.into()).await
}

#[tokio::test]
async fn a_withdrawal_goes_to_the_base_with_the_session_and_the_credential_of_the_call() {
    let header = StaticConfig::Header { name: "X-Key".into(), value: secret() };
    let query = StaticConfig::Query { name: "key".into(), value: secret() };
    let token = format!("calltoken.0.agent.b.{}.30", calling(1).attempt);
    for (strategy, target, credential) in [
        (StrategyConfig::Static(header), "/base", format!("x-key: {SECRET}\r\n")),
        (StrategyConfig::Static(query), "/base?key=hunter2", String::new()),
        (called(), "/base", format!("authorization: Bearer {token}\r\n")),
        (StrategyConfig::None, "/base", String::new()),
    ] {
        let mut upstream = Upstream::answering(TAKEN).await;
        let outbound = outbound(&upstream.url, strategy.clone());
        let access = outbound.obtain(permit(), &calling(1)).await.unwrap();
        let withdrawal = outbound.withdrawal(&access, headers()).unwrap();
        assert_eq!(withdrawal.operation(), &OperationId::new(app(), "read"));
        outbound.call(access, request()).await.unwrap();
        outbound.withdraw(withdrawal, MESSAGE.into()).await.unwrap();

        let call = upstream.asked.recv().await.unwrap();
        let told = upstream.asked.recv().await.unwrap();
        assert!(told.starts_with(&format!("POST {target} HTTP/1.1\r\n")), "{strategy:?}: {told}");
        for line in [
            "mcp-session-id: upstream-1\r\n",
            "mcp-protocol-version: 2025-11-25\r\n",
            "content-type: application/json\r\n",
            "accept: application/json, text/event-stream\r\n",
            "user-agent: vestibule/",
            credential.as_str(),
        ] {
            assert!(told.contains(line), "{strategy:?}: {told}");
        }
        assert!(call.contains(&credential), "the same as the call had: {call}");
        assert!(told.ends_with(&format!("\r\n\r\n{MESSAGE}")), "{told}");
        assert!(!told.contains("agents-own"), "{told}");
        assert_eq!(told.matches("authorization").count(), usize::from(strategy == called()), "{told}");
    }
}

#[tokio::test]
async fn a_question_of_the_gateways_own_cannot_be_withdrawn() {
    let url = Url::parse("http://127.0.0.1:1/").unwrap();
    let outbound = outbound(&url, StrategyConfig::None);
    let access = outbound.obtain_own(&app()).await.unwrap();
    assert!(outbound.withdrawal(&access, headers()).is_none());
}

#[tokio::test]
async fn a_message_of_more_than_4_kib_is_not_sent() {
    let mut upstream = Upstream::answering(TAKEN).await;
    let outbound = outbound(&upstream.url, StrategyConfig::None);
    let fault = withdraw(&outbound, vec![b'x'; 4097]).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Internal);
    assert!(upstream.asked.try_recv().is_err());
    withdraw(&outbound, vec![b'x'; 4096]).await.unwrap();
    assert!(upstream.asked.recv().await.unwrap().contains("content-length: 4096\r\n"));
}

#[tokio::test]
async fn an_application_that_does_not_take_it_is_a_fault_that_repeats_nothing_of_its_answer() {
    let gone = "HTTP/1.1 404 Not Found\r\ncontent-length: 7\r\nconnection: close\r\n\r\nhunter2";
    let upstream = Upstream::answering(gone).await;
    let fault = withdraw(&outbound(&upstream.url, StrategyConfig::None), MESSAGE).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::UpstreamInvalid);
    assert!(fault.cause.contains("404 Not Found") && !fault.cause.contains(SECRET), "{fault}");

    let unreachable = Url::parse("http://127.0.0.1:1/").unwrap();
    let fault = withdraw(&outbound(&unreachable, StrategyConfig::None), MESSAGE).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::UpstreamUnreachable);
}

#[tokio::test]
async fn an_answer_that_does_not_end_holds_nobody_up() {
    let endless = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 1000\r\n\r\n: hi";
    let upstream = Upstream::answering(endless).await;
    withdraw(&outbound(&upstream.url, StrategyConfig::None), MESSAGE).await.unwrap();
}

/// The clock stands still but for timers, and the client's own limits are far away.
#[tokio::test(start_paused = true)]
async fn an_application_that_is_silent_is_given_up_after_five_seconds() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/", silent.local_addr().unwrap())).unwrap();
    let apps = vec![UpstreamConfig { app: app(), url, strategy: StrategyConfig::None }];
    let config = OutboundConfig { apps, servers: Vec::new() };
    let backing = backing(clock(), Arc::new(Issued::default()));
    let outbound = Outbound::new(config, ways(Duration::from_secs(600)), backing).unwrap();
    let started = tokio::time::Instant::now();
    let fault = withdraw(&outbound, MESSAGE).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::UpstreamTimeout);
    assert_eq!(started.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn no_debug_text_shows_the_session_or_the_secret() {
    let url = Url::parse("http://127.0.0.1:1/").unwrap();
    let bearer = StrategyConfig::Static(StaticConfig::Bearer { token: secret() });
    let outbound = outbound(&url, bearer);
    let access = outbound.obtain(permit(), &calling(1)).await.unwrap();
    let shown = format!("{:?}", outbound.withdrawal(&access, headers()).unwrap());
    assert!(shown.contains("app") && shown.contains("[redacted]"), "{shown}");
    assert!(!shown.contains("upstream-1") && !shown.contains(SECRET), "{shown}");
}
