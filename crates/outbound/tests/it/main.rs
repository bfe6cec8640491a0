//! Door two against real sockets.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops")]
#![expect(clippy::indexing_slicing, reason = "a key that a `serde_json::Value` lacks reads as `null`")]

mod authorization_server;
mod cache;
mod call;
mod called_agent;
mod check;
mod entra;
mod mtls;
mod probe;
mod renewal;
mod revocation;
mod signed;
mod strategies;
mod withdrawal;
mod world;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretString;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::mpsc,
};
use url::Url;
use vestibule_egress::{Addresses, Client, EgressLimits, Trust, empty, full};
use vestibule_inbound::{Caller, TokenFacts};
use vestibule_model::{
    Actor, AgentId, AppId, AttemptId, Chain, Clock, Digest, Fault, FixedClock, Method, OperationId,
    SeededEntropy, Timestamp,
};
use vestibule_outbound::{
    Backing, CallTokenSource, CalledAgentConfig, Calling, Forward, Outbound, OutboundConfig, OutboundError,
    SecretRef, Secrets, StaticConfig, StrategyConfig, UpstreamConfig, Ways,
};
use vestibule_policy::Permit;
use world::backing;

const SECRET: &str = "hunter2";

/// An application that answers every request with `answer` and reports what it was asked.
struct Upstream {
    url: Url,
    asked: mpsc::UnboundedReceiver<String>,
}

impl Upstream {
    async fn answering(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/base", listener.local_addr().unwrap())).unwrap();
        let (report, asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut buffer = vec![0u8; 8192];
                let length = stream.read(&mut buffer).await.unwrap();
                buffer.truncate(length);
                report.send(String::from_utf8(buffer).unwrap()).unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        Self { url, asked }
    }

    async fn ok() -> Self {
        Self::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await
    }
}

fn app() -> AppId {
    AppId::new("app").unwrap()
}

fn clock() -> Arc<FixedClock> {
    Arc::new(FixedClock::at(Timestamp::from_seconds(1_800_000_000)))
}

fn secrets() -> Secrets {
    Secrets::new(|name| (name == "SECRET").then(|| SECRET.to_owned()))
}

fn secret() -> SecretRef {
    SecretRef::Env("SECRET".into())
}

fn client(head_timeout: Duration) -> Client {
    let limits = EgressLimits {
        head_timeout,
        connect_timeout: head_timeout.max(Duration::from_secs(5)),
        ..EgressLimits::default()
    };
    Client::new(Addresses::Operator, limits, Trust::default()).unwrap()
}

fn open(url: &Url, strategy: StrategyConfig, clock: Arc<dyn Clock>) -> Result<Outbound, OutboundError> {
    let apps = vec![UpstreamConfig { app: app(), url: url.clone(), strategy }];
    let config = OutboundConfig { apps, servers: Vec::new() };
    Outbound::new(config, ways(Duration::from_millis(200)), backing(clock, Arc::new(Issued::default())))
}

fn ways(head_timeout: Duration) -> Ways {
    Ways { apps: client(head_timeout), servers: Trust::default() }
}

fn outbound(url: &Url, strategy: StrategyConfig) -> Outbound {
    open(url, strategy, clock()).unwrap()
}

/// Makes tokens that say what they were asked for, and counts them.
#[derive(Debug, Default)]
struct Issued(Mutex<Vec<String>>);

impl Issued {
    fn tokens(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl CallTokenSource for Issued {
    fn call_token(
        &self,
        caller: &Caller,
        agent: &AgentId,
        call: AttemptId,
        life: Duration,
    ) -> Result<SecretString, Fault> {
        let mut tokens = self.0.lock().unwrap();
        let (caller, number) = (caller.agent(), tokens.len());
        let token = format!("calltoken.{number}.{caller}.{agent}.{call}.{}", life.as_secs());
        tokens.push(token.clone());
        Ok(SecretString::from(token))
    }
}

fn called() -> StrategyConfig {
    StrategyConfig::Agent(CalledAgentConfig { id: AgentId::new("b").unwrap() })
}

/// The `n`th call.
fn calling(n: u64) -> Calling {
    let attempt = AttemptId::new(clock().now(), &SeededEntropy::new(n));
    let args_digest = Some(Digest::of(b"{}"));
    Calling { attempt, life: Duration::from_secs(30), args_digest }
}

fn permit() -> Permit {
    permit_for(app())
}

fn permit_for(app: AppId) -> Permit {
    let entropy = SeededEntropy::new(1);
    let actor = Actor { issuer: "https://issuer.test".into(), agent: AgentId::new("agent").unwrap() };
    let facts = TokenFacts::for_test("https://gateway.test/apps/app", clock().now(), &entropy);
    Permit::for_test(
        Caller::for_test(None, Chain::new(vec![actor]).unwrap(), facts),
        OperationId::new(app, "read"),
    )
}

fn request() -> Forward {
    let forwarded = [
        ("authorization", "Bearer agents-own-token"),
        ("cookie", "agents-own-cookie"),
        ("dpop", "agents-own-proof"),
        ("x-api-key", "agents-own-key"),
        ("x-key", "agents-own-header"),
        ("host", "gateway.test"),
        ("connection", "x-hop"),
        ("x-hop", "agents-own-hop"),
        ("accept", "application/json"),
    ];
    let headers = forwarded
        .into_iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect();
    let query = Some("a=b&key=agents-own-parameter".to_owned());
    Forward { method: Method::Post, path: "/x".into(), query, headers, body: full("body") }
}

fn plain() -> Forward {
    Forward {
        method: Method::Get,
        path: String::new(),
        query: None,
        headers: HeaderMap::new(),
        body: empty(),
    }
}
