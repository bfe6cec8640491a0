//! An application that answers at once, so that what is measured is what stands before it.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use crate::{Failed, server, workload};

pub(crate) async fn serve(listen: SocketAddr) -> Result<(), Failed> {
    server::serve(listen, answer).await
}

async fn answer(request: Request<Incoming>) -> Response<Full<Bytes>> {
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
