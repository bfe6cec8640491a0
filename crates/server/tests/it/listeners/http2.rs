//! HTTP/2 connections: nobody keeps one without a use for it, nor a reply without taking it. The bounds on time are
//! waited for, a second each.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::Incoming,
    client::conn::http2::{Builder, SendRequest},
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::JoinHandle,
    time::timeout,
};
use vestibule_testkit::{Answer, TestUpstream};

use super::{
    tls::{handshake, start_with_limits},
    upstream,
};
use crate::gateway::TestGateway;

const SOON: Duration = Duration::from_secs(10);

/// A gateway with these limits, and its application.
struct House {
    web: TestUpstream,
    gateway: TestGateway,
    cert: CertificateDer<'static>,
}

impl House {
    async fn new(limits: &str) -> Self {
        let web = upstream().await;
        let (gateway, cert) = start_with_limits(&web, limits).await;
        Self { web, gateway, cert }
    }

    /// A client that answers PINGs, and takes `window` bytes of each reply until it reads.
    async fn connect(&self, window: u32) -> Client {
        let stream = handshake(&self.gateway, &self.cert, &[b"h2"]).await.unwrap();
        let mut builder = Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(window).initial_connection_window_size(1 << 20);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
        let ended = tokio::spawn(async move {
            // However it ends.
            let _ = connection.await;
        });
        Client { sender, ended, base: self.gateway.url("") }
    }

    /// A token of a new agent for the application.
    async fn token(&self) -> String {
        let added = self.gateway.post("/admin/v1/agents", &json!({ "id": "a", "groups": ["testers"] })).await;
        let secret = added["client_secret"].as_str().unwrap();
        let form = format!("grant_type=client_credentials&client_id=a&client_secret={secret}");
        let mut client = self.connect(1 << 16).await;
        let request = Request::post(format!("{}/oauth/token", client.base))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::from(form))
            .unwrap();
        let reply = json(client.sender.send_request(request).await.unwrap()).await;
        reply["access_token"].as_str().unwrap().to_owned()
    }
}

struct Client {
    sender: SendRequest<Full<Bytes>>,
    ended: JoinHandle<()>,
    base: String,
}

impl Client {
    fn things(&mut self, token: &str) -> impl Future<Output = hyper::Result<Response<Incoming>>> + use<> {
        let request = Request::get(format!("{}/apps/web/things", self.base))
            .header(header::AUTHORIZATION, format!("Bearer {token}"))
            .body(Full::default())
            .unwrap();
        self.sender.send_request(request)
    }
}

async fn json(reply: Response<Incoming>) -> Value {
    assert_eq!(reply.status(), 200);
    serde_json::from_slice(&reply.into_body().collect().await.unwrap().to_bytes()).unwrap()
}

#[tokio::test]
async fn a_connection_on_which_no_request_comes_is_closed() {
    let house = House::new("headers_read_seconds: 1").await;
    let client = house.connect(1 << 16).await;
    let mut silent = Vec::new();
    for said in [&b""[..], b"PRI * HTTP/2.0\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"] {
        let mut stream = handshake(&house.gateway, &house.cert, &[b"h2"]).await.unwrap();
        stream.write_all(said).await.unwrap();
        silent.push(stream);
    }
    for mut stream in silent {
        // It may end without TLS's farewell.
        let _ = timeout(SOON, stream.read_to_end(&mut Vec::new())).await.unwrap();
    }
    timeout(SOON, client.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_without_a_request_is_closed_after_a_while_and_one_with_a_request_is_not() {
    let house = House::new("connection_idle_seconds: 1").await;
    let token = house.token().await;
    let mut busy = house.connect(1 << 16).await;
    house.web.hold();
    let running = tokio::spawn(busy.things(&token));
    house.web.wait_for(1).await;
    let mut idle = house.connect(1 << 16).await;
    let request = Request::get(format!("{}/oauth/jwks", idle.base)).body(Full::default()).unwrap();
    assert!(json(idle.sender.send_request(request).await.unwrap()).await["keys"].is_array());
    timeout(SOON, idle.ended).await.unwrap().unwrap();
    house.web.release();
    assert_eq!(json(running.await.unwrap().unwrap()).await, json!([]));
    timeout(SOON, busy.ended).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_reply_whose_window_stays_shut_is_cut_and_its_record_closed() {
    let house = House::new("write_stall_seconds: 1").await;
    let token = house.token().await;
    let chunk = Bytes::from(vec![b'x'; 1 << 20]);
    house.web.answer(Answer::stream("text/plain", std::iter::repeat_n(chunk, 64)));
    let mut client = house.connect(1 << 16).await;
    let unread = client.things(&token).await.unwrap();
    timeout(SOON, house.web.wait_for_aborted(1)).await.unwrap();
    let closed = async {
        loop {
            let found = house.gateway.attempts("app=web&outcome=unknown").await;
            if !found.is_empty() {
                return found;
            }
        }
    };
    let attempts = timeout(SOON, closed).await.unwrap();
    assert_eq!((attempts.len(), &attempts[0]["operation"]), (1, &json!("list")));
    let written = attempts[0]["bytes_out"].as_u64().unwrap();
    assert!(written < 64 << 20, "{written} bytes were taken for a client that reads none");
    house.web.answer(Answer::json(&json!(["next"])));
    assert_eq!(
        json(client.things(&token).await.unwrap()).await,
        json!(["next"]),
        "another on the connection"
    );
    assert!(unread.into_body().collect().await.is_err(), "a part was passed off as the whole");
}

#[tokio::test]
async fn a_whole_reply_that_is_not_taken_gives_its_turn_back() {
    let house = House::new("write_stall_seconds: 1, agent_requests_max: 1, agent_queue_max: 1").await;
    let token = house.token().await;
    let mut shut = house.connect(0).await;
    let unread = shut.things(&token).await.unwrap();
    let next = timeout(SOON, house.connect(1 << 16).await.things(&token)).await.unwrap().unwrap();
    assert_eq!(json(next).await, json!([]));
    assert!(unread.into_body().collect().await.is_err(), "a part was passed off as the whole");
}

#[tokio::test]
async fn a_large_reply_that_is_read_arrives_whole() {
    let house = House::new("write_stall_seconds: 1").await;
    let token = house.token().await;
    let chunks: Vec<Bytes> = (0..8).map(|number| Bytes::from(vec![number; (1 << 20) + 1])).collect();
    house.web.answer(Answer::stream("text/plain", chunks.clone()));
    let reply = house.connect(1000).await.things(&token).await.unwrap();
    assert!(reply.into_body().collect().await.unwrap().to_bytes() == chunks.concat(), "something is lost");
}
