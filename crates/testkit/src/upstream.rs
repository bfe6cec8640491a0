use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpListener, sync::watch, task::JoinSet};
use vestibule_model::{Clock, SystemClock, Timestamp};

use crate::{
    answer::{Answer, ReplyBody},
    gate::Gate,
    mcp::{Mcp, Reaction},
};

/// A request that reached the upstream.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its method.
    pub method: Method,
    /// Its path, as it was sent.
    pub path: String,
    /// Its query, without the question mark.
    pub query: Option<String>,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its whole body.
    pub body: Bytes,
    /// When its body was complete.
    pub at: Timestamp,
}

impl Seen {
    /// The body as JSON; `null` when it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The header `name` as text; empty when it is absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// An application on 127.0.0.1 that records what it sees. It ends, with all its connections, when it is dropped.
#[derive(Debug)]
pub struct TestUpstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    _server: JoinSet<()>,
}

/// What every connection sees.
#[derive(Debug)]
struct Shared {
    mode: Mode,
    seen: watch::Sender<Vec<Seen>>,
    aborted: watch::Sender<usize>,
    gate: Gate,
    beats: AtomicU64,
    finish: watch::Sender<bool>,
}

#[derive(Debug)]
enum Mode {
    Http(Mutex<Answers>),
    Deciding(Decider),
    Mcp(Mcp),
}

/// What makes an answer out of a request.
struct Decider(Box<dyn Fn(&Seen) -> Answer + Send + Sync>);

impl std::fmt::Debug for Decider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Decider").finish()
    }
}

#[derive(Debug)]
struct Answers {
    usual: Answer,
    at: BTreeMap<String, Answer>,
}

impl Answers {
    fn to(&self, seen: &Seen) -> Answer {
        self.at.get(&seen.path).unwrap_or(&self.usual).clone()
    }
}

impl TestUpstream {
    /// An HTTP application that gives `answer` to every request.
    pub async fn http(answer: Answer) -> Self {
        Self::start(Mode::Http(Mutex::new(Answers { usual: answer, at: BTreeMap::new() }))).await
    }

    /// An HTTP application that answers each request by what it says.
    pub async fn deciding(decide: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        Self::start(Mode::Deciding(Decider(Box::new(decide)))).await
    }

    /// An MCP server; its endpoint is [`TestUpstream::url`] with `/mcp`.
    pub async fn mcp(mcp: Mcp) -> Self {
        Self::start(Mode::Mcp(mcp)).await
    }

    async fn start(mode: Mode) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let shared = Arc::new(Shared {
            mode,
            seen: watch::Sender::default(),
            aborted: watch::Sender::default(),
            gate: Gate::open(),
            beats: AtomicU64::new(0),
            finish: watch::Sender::new(false),
        });
        let mut server = JoinSet::new();
        server.spawn(serve(listener, Arc::clone(&shared)));
        Self { address, shared, _server: server }
    }

    /// `http://127.0.0.1:PORT`, without a trailing slash.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What an upstream in HTTP mode answers from now on, but at the paths that have an answer of their own.
    ///
    /// # Panics
    /// When it is no [`TestUpstream::http`].
    pub fn answer(&self, answer: Answer) {
        self.answers(|answers| answers.usual = answer);
    }

    /// What an upstream in HTTP mode answers at this path from now on.
    ///
    /// # Panics
    /// When it is no [`TestUpstream::http`].
    pub fn answer_at(&self, path: &str, answer: Answer) {
        self.answers(|answers| {
            answers.at.insert(path.to_owned(), answer);
        });
    }

    fn answers(&self, change: impl FnOnce(&mut Answers)) {
        match &self.shared.mode {
            Mode::Http(answers) => change(&mut answers.lock().unwrap_or_else(PoisonError::into_inner)),
            Mode::Mcp(_) | Mode::Deciding(_) => panic!("this upstream decides by itself what it answers"),
        }
    }

    /// The MCP server behind this upstream.
    ///
    /// # Panics
    /// When it is no [`TestUpstream::mcp`].
    #[must_use]
    pub fn protocol(&self) -> &Mcp {
        match &self.shared.mode {
            Mode::Mcp(mcp) => mcp,
            Mode::Http(_) | Mode::Deciding(_) => panic!("this upstream speaks HTTP only"),
        }
    }

    /// All requests so far, in the order in which their bodies were complete.
    #[must_use]
    pub fn requests(&self) -> Vec<Seen> {
        self.shared.seen.borrow().clone()
    }

    /// Waits until at least `count` requests have been seen.
    pub async fn wait_for(&self, count: usize) {
        self.shared.seen.subscribe().wait_for(|seen| seen.len() >= count).await.expect("the sender lives");
    }

    /// How many requests were given up by the other side before they were answered in full.
    #[must_use]
    pub fn aborted(&self) -> usize {
        *self.shared.aborted.borrow()
    }

    /// Waits until at least `count` requests have been given up.
    pub async fn wait_for_aborted(&self, count: usize) {
        self.shared
            .aborted
            .subscribe()
            .wait_for(|aborted| *aborted >= count)
            .await
            .expect("the sender lives");
    }

    /// From now on no call is answered and no event of a stream is sent. What is needed before a call (an MCP
    /// handshake, a list) still goes through.
    pub fn hold(&self) {
        self.shared.gate.hold();
    }

    /// Lets one answer or one event of a stream through.
    pub fn step(&self) {
        self.shared.gate.step();
    }

    /// Lets everything through again.
    pub fn release(&self) {
        self.shared.gate.release();
    }

    /// How many beats it has sent so far, over all its streams of [`Answer::beats`] and [`crate::CallReply::Beats`]. The
    /// next one has a higher number.
    #[must_use]
    pub fn beats(&self) -> u64 {
        self.shared.beats.load(Ordering::SeqCst)
    }

    /// From now on, streams of beats end as they should, and answers that are late are given.
    pub fn finish(&self) {
        self.shared.finish.send_replace(true);
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        let service = service_fn(move |request| respond(Arc::clone(&shared), request));
        connections.spawn(async move {
            // A connection that ends badly has been counted by its `Flight`.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn respond(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<ReplyBody>, Box<dyn std::error::Error + Send + Sync>> {
    let mut flight = Flight { shared: Arc::clone(&shared), is_gated: true, has_landed: false };
    let (head, body) = request.into_parts();
    let seen = Seen {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(str::to_owned),
        headers: head.headers,
        body: body.collect().await?.to_bytes(),
        at: SystemClock::default().now(),
    };
    shared.seen.send_modify(|all| all.push(seen.clone()));
    let answer = match &shared.mode {
        Mode::Http(answers) => answers.lock().unwrap_or_else(PoisonError::into_inner).to(&seen),
        Mode::Deciding(decider) => decider.0(&seen),
        Mode::Mcp(mcp) => match mcp.react(&seen) {
            Reaction::Call(answer) => answer,
            Reaction::AtOnce(answer) => {
                flight.is_gated = false;
                answer
            }
            Reaction::Hang(id) => mcp.until_cancelled(&id).await,
        },
    };
    Ok(answer.deliver(flight).await)
}

/// A request that is being answered. Dropped before it has landed, it counts as aborted: hyper drops the future, or
/// the body, of a request whose connection is gone.
#[derive(Debug)]
pub(crate) struct Flight {
    shared: Arc<Shared>,
    is_gated: bool,
    has_landed: bool,
}

impl Flight {
    /// Waits at the gate.
    pub(crate) async fn pass(&self) {
        if self.is_gated {
            self.shared.gate.pass().await;
        }
    }

    /// Waits until the upstream is told to finish.
    pub(crate) async fn until_finish(&self) {
        self.shared.finish.subscribe().wait_for(|finish| *finish).await.expect("the sender is in `shared`");
    }

    /// The number of one more beat.
    pub(crate) fn beat(&self) -> u64 {
        self.shared.beats.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn land(mut self) {
        self.has_landed = true;
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if !self.has_landed {
            self.shared.aborted.send_modify(|count| *count += 1);
        }
    }
}
