//! An application that answers at once, so that what is measured is what stands before it; or never, so that much is in
//! flight.

use std::{
    future::pending,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::{Failed, server, workload};

pub(crate) async fn serve(listen: SocketAddr) -> Result<(), Failed> {
    let held = Arc::<AtomicUsize>::default();
    server::serve(listen, move |request| answer(request, Arc::clone(&held))).await
}

/// A request that is not answered, counted until whoever sent it goes away.
struct Held(Arc<AtomicUsize>);

impl Held {
    fn new(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn answer(request: Request<Incoming>, held: Arc<AtomicUsize>) -> Response<Full<Bytes>> {
    match request.uri().path() {
        workload::HOLD_PATH => {
            let _held = Held::new(held);
            return pending().await;
        }
        workload::HELD_PATH => return json_response(held.load(Ordering::SeqCst).to_string()),
        _ => {}
    }
    let is_mcp = request.uri().path() == "/mcp";
    let is_post = request.method() == Method::POST;
    let Ok(body) = request.into_body().collect().await else {
        return plain(StatusCode::BAD_REQUEST);
    };
    match (is_mcp, is_post) {
        (true, true) => mcp(&body.to_bytes()),
        (true, false) => plain(StatusCode::METHOD_NOT_ALLOWED),
        (false, _) => json_response(workload::HTTP_ANSWER.to_owned()),
    }
}

/// What is read of a message. The rest is skipped, not parsed.
#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: &'a str,
}

fn mcp(body: &[u8]) -> Response<Full<Bytes>> {
    let Ok(message) = serde_json::from_slice::<Message<'_>>(body) else {
        return plain(StatusCode::BAD_REQUEST);
    };
    let Some(id) = message.id else { return plain(StatusCode::ACCEPTED) };
    let answer = match message.method {
        "tools/call" => format!(r#""result":{}"#, workload::TOOL_RESULT),
        "tools/list" => format!(r#""result":{}"#, json!({ "tools": tools() })),
        "initialize" => format!(r#""result":{}"#, welcome()),
        "ping" => r#""result":{}"#.to_owned(),
        _ => r#""error":{"code":-32601,"message":"Method not found"}"#.to_owned(),
    };
    json_response(format!(r#"{{"jsonrpc":"2.0","id":{id},{answer}}}"#))
}

fn welcome() -> Value {
    json!({
        "protocolVersion": workload::PROTOCOL_VERSION,
        "capabilities": { "tools": {} },
        "serverInfo": { "name": "bench", "version": env!("CARGO_PKG_VERSION") },
    })
}

fn tools() -> Vec<Value> {
    (0..workload::TOOLS)
        .map(|tool| {
            json!({
                "name": workload::tool(tool),
                "description": "Answers at once.",
                "inputSchema": workload::arguments_schema(),
                "annotations": { "readOnlyHint": true },
            })
        })
        .collect()
}

fn json_response(body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

fn plain(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
